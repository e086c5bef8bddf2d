"""The plan within a transaction: what it looks at is read, the scheduler decides, here it is carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator import history, pool, preview, scheduler, sight
from orchestrator.journal import Journal
from orchestrator.policy import Policy
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State
from orchestrator.project_secrets import secret_names
from orchestrator.records import Project
from orchestrator.repoconfig import restored
from orchestrator.sight import Sight
from orchestrator.store import Tx

#: Those who wait are told of a new place in the queue this much later: it changes often.
_QUEUE_SECONDS = 30.0


def plan(journal: Journal, tx: Tx, policy: Policy, now: float) -> None:
    """Start what can be started, and let give way whatever has to; nothing when nobody waits."""
    if not tx.is_anybody_waiting():
        return
    seen = sight.for_plan(tx, policy.limits, now)
    snapshot = seen.snapshot(now)
    decisions = scheduler.plan(snapshot, scheduler.with_weights(policy.limits, seen.projects), now)
    if decisions:
        tx.mark_queue(now + _QUEUE_SECONDS)
    plan = _Plan(journal, tx, seen, now)
    for decision in decisions:
        plan.carry_out(decision)
    plan.note_quiet(waiting.deployment_id for waiting in snapshot.waiting)


def has_time_to_spare(tx: Tx, policy: Policy, current: Deployment, project: Project, now: float) -> bool:
    """Whether something that nobody waits for may be built where `current` was, whose build is over."""
    if current.account_id is None or project.id in tx.switches().paused_projects:
        return False
    snapshot = sight.for_plan(tx, policy.limits, now).snapshot(now)
    size = project.image_bytes or scheduler.UNKNOWN_BYTES
    return scheduler.has_time_to_spare(snapshot, policy.limits, current.account_id, size)


class _Plan:
    """Carries decisions out, one after the other."""

    def __init__(self, journal: Journal, tx: Tx, seen: Sight, now: float) -> None:
        self._journal = journal
        self._tx = tx
        self._now = now
        self._deployments = {deployment.id: deployment for deployment, _ in seen.going}
        self._accounts = {account.id: account for account in seen.accounts}

    def carry_out(self, decision: scheduler.Decision) -> None:
        """Write down what `decision` means."""
        match decision:
            case scheduler.Start(deployment_id, account_id):
                waiting = self._deployments[deployment_id]
                secrets = self._secret_names(waiting)
                leased = self._leased(self._accounts[account_id], waiting, decision, secrets)
                self._accounts[account_id] = leased
                self._start(waiting, leased, decision, secrets)
            case scheduler.Serve(deployment_id):
                built = self._deployments[deployment_id]
                self._journal.put_deployment(built, preview.serve(built, self._now))
            case scheduler.MakeRoom(preview_id):
                why = "another merge request waited for an account"
                self._journal.expire(self._tx.preview(preview_id), why)
            case scheduler.CleanFirst(preview_id):
                self._clean_first(preview_id)
            case scheduler.Refuse(deployment_id, needs_bytes, largest):
                waiting = self._deployments[deployment_id]
                failure = history.does_not_fit(needs_bytes, largest)
                self._journal.put_deployment(waiting, preview.refuse(waiting, failure, self._now))
            case scheduler.DropOpinion(deployment_id):
                asking = self._deployments[deployment_id]
                self._journal.put_deployment(asking, preview.without_opinion(asking, self._now), is_news=True)
            case scheduler.GiveUp(deployment_id):
                tried = self._deployments[deployment_id]
                why = "a merge request needs its place; it is tried again when nobody waits"
                ended = preview.end(tried, State.CANCELLED, self._now)
                self._journal.put_deployment(tried, ended, why=why)

    def note_quiet(self, ready: Iterable[int]) -> None:
        """Those that waited for quiet wait for their turn from now on, which their reports say."""
        for deployment_id in ready:
            if self._deployments[deployment_id].ready_at is not None:
                present = self._tx.deployment(deployment_id)
                if present.state is State.QUEUED:
                    self._journal.put_deployment(present, replace(present, ready_at=None), is_news=True)

    def _leased(
        self, account: Account, waiting: Deployment, decision: scheduler.Start, secrets: frozenset[str]
    ) -> Account:
        envvars = {*restored(waiting.config).run.envvars, *secrets}
        if account.state is not AccountState.FREE:
            lent = pool.lend(account, envvars)
            return account if lent == account else self._journal.put_account(account, lent)
        preview_id = None if decision.is_shared else waiting.preview_id
        why = "check-only deployments share it" if decision.is_shared else ""
        leased = pool.lend(pool.lease(account, preview_id, self._now), envvars)
        leased = self._journal.put_account(account, leased, why=why, preview_id=preview_id)
        self._tx.open_lease(leased, preview_id, self._now)
        return leased

    def _start(
        self, waiting: Deployment, account: Account, decision: scheduler.Start, secrets: frozenset[str]
    ) -> None:
        started = preview.assign(
            waiting,
            account_id=account.id,
            fence=account.fence,
            now=self._now,
            is_shared=decision.is_shared,
            reserved_bytes=decision.needs_bytes,
        )
        both = sorted(secrets & restored(waiting.config).run.envvars.keys())
        instead = f"; secrets of the project count instead of run.envvars: {', '.join(both)}" if both else ""
        self._journal.put_deployment(waiting, started, why=f"builds on {account.name}{instead}")

    def _secret_names(self, waiting: Deployment) -> frozenset[str]:
        """Names of the secrets that the deployment gets."""
        present = self._tx.preview(waiting.preview_id)
        return secret_names(self._tx, present.project_id) if present.is_from_project else frozenset()

    def _clean_first(self, preview_id: int) -> None:
        """Clean the preview's account, so that its next image fits; what is live on it is taken down."""
        why = "the next image does not fit into the account's store beside this one"
        account = self._tx.account_of(preview_id)
        self._tx.set_preview(preview_id, expires_at=None, stop_reason=why)
        for live in self._tx.unsettled_of(preview_id):
            if live.state is State.LIVE:
                self._journal.put_deployment(live, preview.stop(live, self._now), why=why)
        if account is not None:
            self._journal.give_back(account)
