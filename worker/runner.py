"""Claim a row, take its step, record the outcome, and go on with the same row while it is due at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator import outcome as out
from orchestrator.belongings import component_jobs
from orchestrator.bootstrap import Parts
from orchestrator.components import Source
from orchestrator.diagnosis import procfile
from orchestrator.engines import AWAY
from orchestrator.errors import BadInput, Conflict, PreviewError, TryLater
from orchestrator.gitlab import GitLabBusy, GitLabError, Missing
from orchestrator.jobs import reusable_component
from orchestrator.logs import about
from orchestrator.outcome import CleaningOutcome, InspectionOutcome, Outcome, Pin
from orchestrator.pool import Account, AccountState
from orchestrator.preview import ASKED_FOR, Deployment, State, Step
from orchestrator.progress import backoff_seconds
from orchestrator.records import ON_ACCOUNTS, Claim, Due, Kind, Preview, Project
from orchestrator.runtimes import every_runtime
from orchestrator.secret_rules import Opened
from orchestrator.store import Tx
from orchestrator.toolforge import AnswerLost, Busy, NotAllowed, ToolforgeError
from worker import (
    branch_issue,
    build,
    catch_up,
    deliveries,
    deploy,
    holdings,
    janitor,
    opinion,
    reports,
    repository_file,
    smoke,
    teardown,
)
from worker.claims import CLAIM_SECONDS, ActiveClaims
from worker.janitor import Round
from worker.repository_file import Reading
from worker.step import Overtaken, Site

log = logging.getLogger(__name__)

#: An image of a component is looked for in so many deployments before.
_EARLIER = 10
#: One message takes a row at most this many steps on, so that others get their turn.
_STEPS = 8
#: An effect is begun only while its claim lasts at least this long.
_MARGIN_SECONDS = 3.0
_REPORT_BACKOFF = 5.0
#: While GitLab is away, projects are compared so often: until it is back, and once then.
_OUTAGE_SECONDS = 30.0
#: What GitLab refuses this often (it may take hours) is refused for good.
_REPORT_TRIES = 20

_STEPS_TAKEN_BY: Mapping[Step, Callable[[Site], Outcome]] = {
    Step.START_BUILD: build.start,
    Step.WATCH_BUILD: build.watch,
    Step.START_CANDIDATE: deploy.start_candidate,
    Step.WATCH_CANDIDATE: deploy.watch_candidate,
    Step.PUBLISH: deploy.publish,
    Step.WATCH_JOB: deploy.watch_job,
    Step.CHECK: smoke.check,
    Step.ROLL_BACK: deploy.roll_back,
    Step.START_OPINION: opinion.start,
    Step.WATCH_OPINION: opinion.watch,
    Step.TIDY: teardown.tidy,
}


#: What a line of the log is about while a row of each kind is looked at.
_NAMES: Mapping[Kind, str] = {
    Kind.DEPLOYMENT: "deployment",
    Kind.ACCOUNT: "account_id",
    Kind.DELIVERY: "delivery",
    Kind.REPORT: "preview",
    Kind.PROJECT: "project",
}


class _Paused(PreviewError):
    """Operators have stopped everything: no further effect."""


_LEASE_IS_OVER = out.AccountUnusable("its lease is over")


@dataclass(frozen=True)
class _Place:
    """The rows around a deployment."""

    account: Account
    credentials: Mapping[str, str]
    preview: Preview
    project: Project
    others: Sequence[Deployment]

    @property
    def merge_request(self) -> tuple[int, int]:
        """GitLab's numbers of the project and of the merge request."""
        return self.project.gitlab_id, self.preview.iid


class Runner:
    """Looks at rows. `say` puts what is due next on the queue."""

    def __init__(
        self, parts: Parts, say: Callable[[list[Due]], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._parts = parts
        self._say = say
        self._clock = clock
        self._claims = ActiveClaims(parts.store, clock=clock)
        self._sweeping = threading.Lock()
        self._take: Mapping[Kind, Callable[[Claim], list[Due]]] = {
            Kind.DEPLOYMENT: self._deployment,
            Kind.ACCOUNT: self._account,
            Kind.DELIVERY: self._delivery,
            Kind.REPORT: self._report,
            Kind.PROJECT: self._project,
        }

    def close(self) -> None:
        """Let go of what runs beside the steps."""
        self._claims.close()

    def look(self, kind: Kind, row_id: int) -> None:
        """Take the row's step if it is due and nobody else does; then its next ones while they are due."""
        try:
            with about(**{_NAMES[kind]: row_id}):
                self._look(kind, row_id)
        except (*AWAY, Conflict) as error:
            # Not even the claim could be taken, or given back: then it ends by itself.
            log.warning("%s %s: the database: %s", kind, row_id, type(error).__name__)

    def _look(self, kind: Kind, row_id: int) -> None:
        for _ in range(_STEPS):
            dues = self._look_once(kind, row_id)
            now = self._clock()
            again = [due for due in dues if (due.kind, due.id) == (kind, row_id)]
            self._say([due for due in dues if due not in again])
            if not any(due.at <= now for due in again):
                self._say(again)
                return
        self._say([Due(kind, row_id, self._clock())])

    def sweep(self) -> bool:
        """Say everything that is due, and forget a part of what is old.

        False when that is being done in another thread: where a sweep takes longer than the time to the next
        one, more of them would take from the work itself.
        """
        if not self._sweeping.acquire(blocking=False):
            return False
        try:
            self._say(self._parts.lifecycle.sweep(self._clock()))
            self._parts.lifecycle.forget(self._clock())
        except AWAY as error:
            log.warning("sweep: the database: %s", type(error).__name__)
        finally:
            self._sweeping.release()
        return True

    def _look_once(self, kind: Kind, row_id: int) -> list[Due]:
        now = self._clock()
        with self._parts.store.write() as tx:
            claim = tx.claim(kind, row_id, now=now, seconds=CLAIM_SECONDS)
        if claim is None:
            return []
        try:
            with self._claims.keep(claim):
                return self._take[kind](claim)
        except _Paused:
            # The claim stays: whoever goes on with the row will know that it was cut off in the middle.
            log.info("%s %s: paused", kind, row_id)
            return []
        except (Overtaken, Conflict) as reason:
            log.info("%s %s: %s", kind, row_id, reason)
            return self._give_back(claim, self._clock())
        except AWAY as error:
            log.warning("%s %s: the database: %s", kind, row_id, type(error).__name__)
            return self._give_back(claim, self._clock() + 1.0)
        except Exception:
            # A bug must not strand the row, nor be repeated at once without end.
            log.exception("%s %s: a step failed in an unforeseen way", kind, row_id)
            return self._give_back(claim, self._clock() + 30.0)

    def _give_back(self, claim: Claim, due_at: float) -> list[Due]:
        with self._parts.store.write() as tx:
            if claim.kind is Kind.REPORT:
                # GitLab may have been told what was not written down: the next try looks before it repeats.
                tx.postpone(claim, due_at=due_at, error="a try did not come to its end")
            else:
                tx.drop_claim(claim, due_at=due_at)
        return [Due(claim.kind, claim.id, due_at)]

    def _guard(self, claim: Claim, deployment: Deployment | None = None) -> Callable[[], None]:
        def check() -> None:
            now = self._clock()
            with self._parts.store.read() as tx:
                is_held = tx.holds(claim, now + _MARGIN_SECONDS)
                is_leased = deployment is None or tx.lease_is_current(deployment)
                is_paused = claim.kind in ON_ACCOUNTS and tx.is_paused()
            if is_paused:
                raise _Paused
            if not is_leased:
                raise Overtaken("the lease of the account is over")
            if not is_held and not self._renew(claim, now):
                raise Overtaken("somebody else looks at the row by now")

        return check

    def _renew(self, claim: Claim, now: float) -> bool:
        with self._parts.store.write() as tx:
            return tx.renew(claim, until=now + CLAIM_SECONDS)

    # --- deployments ----------------------------------------------------------------------------------

    def _deployment(self, claim: Claim) -> list[Due]:
        with self._parts.store.read() as tx:
            deployment = tx.deployment(claim.id)
            place = self._place(tx, deployment)
        with about(preview=deployment.preview_id, account=place.account.name if place else None):
            outcome = self._outcome_of(claim, deployment, place)
            return self._parts.lifecycle.record(claim, deployment, outcome, self._clock())

    def _outcome_of(self, claim: Claim, deployment: Deployment, place: _Place | None) -> Outcome:
        """What its step brings; what goes wrong is an outcome, too."""
        try:
            if deployment.step is Step.READ_FILE:
                return self._read_file(deployment)
            return self._outcome(claim, deployment, place) if place else _LEASE_IS_OVER
        except Busy as error:
            return out.NotNow(str(error), seconds=error.seconds, throttled=True)
        except AnswerLost as error:
            return out.NotNow(str(error), may_have_happened=True)
        except TryLater as error:
            return out.NotNow(str(error), seconds=error.seconds)
        except (NotAllowed, BadInput) as error:
            return out.AccountUnusable(str(error))
        except (ToolforgeError, GitLabError) as error:
            return out.NotNow(f"an answer that should not be: {error}")

    def _outcome(self, claim: Claim, deployment: Deployment, place: _Place) -> Outcome:
        account, secrets = place.account, self._parts.secrets.opened(place.preview)
        hidden = tuple(secrets.values.values())
        with self._parts.toolforge.account(account.name, place.credentials, secrets=hidden) as client:
            site = Site(
                deployment=deployment,
                preview=place.preview,
                project=place.project,
                account=client,
                place=account,
                address=self._parts.views.address(account.name),
                secrets=secrets,
                settings=self._parts.settings,
                serving=next((d for d in place.others if d.state is State.LIVE), None),
                address_busy=any(d.is_at_the_address for d in place.others),
                needed_beside=frozenset().union(*(component_jobs(d) for d in place.others if d.has_jobs)),
                guard=self._guard(claim, deployment),
                head_now=lambda: self._head_now(place),
                merged_now=lambda: self._parts.gitlab.merged_result(*place.merge_request),
                is_merge=lambda sha: self._is_merge(place, deployment, sha),
                tree=lambda sha: self._tree(place, sha),
                procfile=lambda: self._procfile(place, deployment),
                pins=lambda runtime: self._pins(place, deployment, runtime),
                reusable=lambda sha, tree: self._reusable(place, deployment, sha, tree),
                reusable_component=lambda name, source: self._reusable_component(deployment, name, source),
                now=self._clock(),
                is_takeover=claim.is_takeover,
            )
            return _STEPS_TAKEN_BY[deployment.step](site)

    def _read_file(self, deployment: Deployment) -> Outcome:
        with self._parts.store.read() as tx:
            preview = tx.preview(deployment.preview_id)
            project = tx.project(preview.project_id)
            refused = frozenset(one.runtime for one in tx.runtimes(None) if one.is_refused(self._clock()))
        # Of a default branch it is remembered for when the builder changes.
        read = every_runtime() if deployment.is_spare else refused
        bounds = self._parts.settings.bounds()
        reading = Reading(
            self._parts.gitlab, project, preview, deployment, bounds, read, self._joins(preview, deployment)
        )
        return repository_file.read(reading)

    def _joins(self, preview: Preview, deployment: Deployment) -> bool:
        """Whether others that change the same may have to be waited for: not by people, nor by strangers."""
        is_asked_for = deployment.trigger in ASKED_FOR or deployment.is_spare
        is_on = self._parts.settings.cohort_seconds > 0
        return is_on and deployment.is_bot and not is_asked_for and preview.is_from_project

    def _head_now(self, place: _Place) -> str:
        return self._parts.gitlab.merge_request(*place.merge_request).sha

    def _is_merge(self, place: _Place, deployment: Deployment, sha: str) -> bool:
        with suppress(Missing):
            return deployment.sha in self._parts.gitlab.parents(place.project.gitlab_id, sha)
        return False

    def _tree(self, place: _Place, sha: str) -> str:
        if place.project.is_ours:
            return ""
        try:
            return self._parts.gitlab.tree(place.project.gitlab_id, sha)
        except GitLabError as error:
            # All that is lost is the chance to build once instead of twice.
            log.info("commit %s of %s: its files are not known: %s", sha, place.project.path, error)
            return ""

    def _procfile(self, place: _Place, deployment: Deployment) -> str | None:
        gitlab, sha, most = self._parts.gitlab, deployment.sha, procfile.MOST_BYTES
        try:
            content = repository_file.at_commit(
                gitlab, place.project, place.preview, "Procfile", sha, most_bytes=most
            )
        except GitLabError as error:
            # All that is lost is a part of a sentence.
            log.info("deployment %s: its Procfile is not known: %s", deployment.id, error)
            return None
        return (content or b"").decode("utf-8", "replace")

    def _pins(self, place: _Place, deployment: Deployment, runtime: str) -> tuple[Pin, ...]:
        if place.project.is_ours:
            return tuple(pin for pin in deployment.pins if pin.runtime == runtime)
        gitlab, bounds = self._parts.gitlab, self._parts.settings.bounds()
        reading = Reading(gitlab, place.project, place.preview, deployment, bounds, frozenset({runtime}))
        try:
            return repository_file.pins(reading)
        except GitLabError as error:
            # All that is lost is to know it before the next build.
            log.info("deployment %s: what it asks for is not known: %s", deployment.id, error)
            return ()

    def _reusable(self, place: _Place, deployment: Deployment, sha: str, tree: str) -> str | None:
        with self._parts.store.read() as tx:
            return tx.reusable_image(deployment, place.project.id, sha, tree)

    def _reusable_component(self, deployment: Deployment, name: str, source: Source) -> str | None:
        with self._parts.store.read() as tx:
            earlier = tx.deployments_of(deployment.preview_id, limit=_EARLIER)
        return reusable_component(deployment, name, source, earlier)

    def _place(self, tx: Tx, deployment: Deployment) -> _Place | None:
        """The rows around the deployment; None when its account is not its preview's any more."""
        if deployment.account_id is None or not tx.lease_is_current(deployment):
            return None
        preview = tx.preview(deployment.preview_id)
        return _Place(
            account=tx.account(deployment.account_id),
            credentials=tx.credentials(deployment.account_id),
            preview=preview,
            project=tx.project(preview.project_id),
            others=tx.neighbours_of(deployment),
        )

    # --- accounts -------------------------------------------------------------------------------------

    def _account(self, claim: Claim) -> list[Due]:
        with self._parts.store.read() as tx:
            account = tx.account(claim.id)
            credentials = tx.credentials(claim.id)
        with about(account=account.name, preview=account.preview_id):
            if account.state in {AccountState.FREE, AccountState.LEASED}:
                return self._inspect(claim, account, credentials)
            return self._clean(claim, account, credentials)

    def _clean(self, claim: Claim, account: Account, credentials: Mapping[str, str]) -> list[Due]:
        outcome: CleaningOutcome
        bytes_seen: int | None = None
        try:
            with self._parts.toolforge.account(account.name, credentials) as client:
                outcome, bytes_seen = teardown.clean(
                    client,
                    holdings.sorter(self._parts.store, account),
                    self._guard_account(claim, account),
                    is_late=self._clock() - account.since > build.CANCEL_SECONDS,
                    everything=account.clean_all,
                )
        except (NotAllowed, BadInput) as error:
            outcome = out.CleaningFailed(str(error), refused=True)
        except ToolforgeError as error:
            outcome = out.CleaningFailed(str(error))
        return self._parts.lifecycle.record_cleaning(
            claim, account, outcome, self._clock(), bytes_seen=bytes_seen
        )

    def _inspect(self, claim: Claim, account: Account, credentials: Mapping[str, str]) -> list[Due]:
        outcome: InspectionOutcome
        try:
            with self._parts.toolforge.account(account.name, credentials) as client:
                outcome = janitor.inspect(
                    Round(
                        account=account,
                        client=client,
                        address=self._parts.views.address(account.name),
                        settings=self._parts.settings,
                        known=holdings.knower(self._parts.store, account),
                        going=lambda: self._going(account),
                        secrets=self._secrets_of,
                        guard=self._guard_account(claim, account),
                        now=self._clock(),
                    )
                )
        except (NotAllowed, BadInput) as error:
            outcome = out.NotInspected(str(error), refused=True)
        except ToolforgeError as error:
            outcome = out.NotInspected(str(error))
        return self._parts.lifecycle.record_inspection(claim, account, outcome, self._clock())

    def _going(self, account: Account) -> list[Deployment]:
        with self._parts.store.read() as tx:
            return tx.unsettled_on(account)

    def _secrets_of(self, deployment: Deployment) -> Opened:
        with self._parts.store.read() as tx:
            preview = tx.preview(deployment.preview_id)
        return self._parts.secrets.opened(preview)

    def _guard_account(self, claim: Claim, account: Account) -> Callable[[], None]:
        is_held = self._guard(claim)

        def check() -> None:
            is_held()
            with self._parts.store.read() as tx:
                if tx.account(account.id).version != account.version:
                    raise Overtaken("the account has changed in the meantime")

        return check

    # --- GitLab ---------------------------------------------------------------------------------------

    def _delivery(self, claim: Claim) -> list[Due]:
        try:
            return deliveries.handle(self._parts, claim, self._clock())
        except (TryLater, GitLabError) as error:
            # A token that was refused can be mended: nothing that GitLab told us may be lost.
            with self._parts.store.read() as tx:
                attempts = tx.delivery(claim.id).attempts
            return self._postpone(claim, error, backoff_seconds(attempts))

    def _report(self, claim: Claim) -> list[Due]:
        now = self._clock()
        with self._parts.store.read() as tx:
            told, version, attempts = tx.told(claim.id)

        def keep(news: Mapping[str, object]) -> None:
            with self._parts.store.write() as tx:
                tx.put_told(claim, news)

        try:
            refused = self._tell(claim, told, keep, now, is_retry=claim.is_takeover or attempts > 0)
        except TryLater as error:
            return self._postpone(claim, error, _report_pause(attempts))
        for words in refused:
            log.warning("report of preview %s: GitLab refused %s", claim.id, words)
        if refused and attempts < _REPORT_TRIES:
            return self._postpone(claim, GitLabError("; ".join(refused)), _report_pause(attempts))
        with self._parts.store.write() as tx:
            is_done = tx.close_report(claim, version, error="; ".join(refused))
        return [] if is_done else [Due(Kind.REPORT, claim.id, self._clock())]

    def _tell(
        self,
        claim: Claim,
        told: Mapping[str, object],
        keep: Callable[[Mapping[str, object]], None],
        now: float,
        *,
        is_retry: bool,
    ) -> list[str]:
        """Tell GitLab what is news; returns what it refused."""
        gitlab, guard = self._parts.gitlab, self._guard(claim)
        branch = self._parts.views.branch_report(claim.id)
        if branch is None:
            project, subject = self._parts.views.subject(claim.id, now)
            return reports.send(gitlab, project, subject, told, keep=keep, guard=guard, is_retry=is_retry)
        project, issue = branch
        try:
            branch_issue.send(gitlab, project, issue, told, keep=keep, guard=guard, now=now)
        except TryLater:
            raise
        except GitLabError as error:
            return [str(error)]
        return []

    def _project(self, claim: Claim) -> list[Due]:
        try:
            return catch_up.compare(self._parts, claim, self._clock())
        except GitLabBusy as error:
            return self._postpone(claim, error, _OUTAGE_SECONDS)
        except GitLabError as error:
            log.warning("project %s cannot be compared: %s", claim.id, error)
            return self._postpone(claim, error, self._parts.settings.catch_up_seconds)

    def _postpone(self, claim: Claim, error: PreviewError, pause: float) -> list[Due]:
        asked_for = error.seconds if isinstance(error, TryLater) else None
        due_at = self._clock() + (pause if asked_for is None else min(asked_for, 600.0))
        with self._parts.store.write() as tx:
            tx.postpone(claim, due_at=due_at, error=str(error))
        if isinstance(error, GitLabBusy) and claim.kind is not Kind.PROJECT:
            self._compare_after_outage()
        return [Due(claim.kind, claim.id, due_at)]

    def _compare_after_outage(self) -> None:
        """What happened while GitLab was away it may never have told us."""
        # The next one that is away, or the usual time of the comparison, brings it as well.
        with suppress(Conflict):
            self._parts.lifecycle.compare_by(self._clock() + _OUTAGE_SECONDS)


def _report_pause(attempts: int) -> float:
    return min(_REPORT_BACKOFF * 2.0 ** min(attempts, 10), 600.0)
