"""Any order of pushes, closes, approvals, outcomes, crashes and time: invariants hold, all ends clean."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, Conflict
from orchestrator.merge_request import Verb
from orchestrator.outcome import (
    CheckResult,
    CleaningOutcome,
    Failure,
    Outcome,
    Refusal,
    toolforge_failed,
)
from orchestrator.policy import Policy
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.quiet import Quiet
from orchestrator.records import Claim, Due, Kind
from orchestrator.scheduler import Limits
from orchestrator.settings import load_settings
from tests.databases import Server, migrate
from tests.orchestrator.scene import GOOD, A, B, C, World

_BROKEN = out.StageFailed(Failure(stage="build", summary="it broke", remedy="mend it"))
_NO_FAULT_OF_ITS_OWN = out.StageFailed(toolforge_failed("the image store was away"))
_UNWELL: list[Outcome] = [
    out.NotNow("502", throttled=True),
    out.NotNow("timeout", may_have_happened=True),
    out.AccountUnusable("HTTP 403"),
]
_BAD: dict[Step, list[Outcome]] = {
    Step.READ_FILE: [
        _BROKEN,
        out.DoesNotApply(Refusal("it is a draft", {})),
        out.FileRead({"run": {"envvars": {"NAME": "value"}}, "life": {"min": "1h", "max": "2h"}}),
    ],
    Step.START_BUILD: [_BROKEN, out.WrongCommit("b", "f" * 40), out.BuildAwaited(5.0)],
    Step.WATCH_BUILD: [_BROKEN, _NO_FAULT_OF_ITS_OWN, out.BuildGoesOn(), out.BuildVanished()],
    Step.START_CANDIDATE: [_BROKEN],
    Step.WATCH_CANDIDATE: [_BROKEN, out.JobNotReady("pending"), out.JobVanished()],
    Step.PUBLISH: [_BROKEN],
    Step.WATCH_JOB: [_BROKEN, out.JobNotReady("pending"), out.JobVanished()],
    Step.CHECK: [out.ChecksDone((CheckResult("GET /", False, "500"),))],
    Step.ROLL_BACK: [],
    Step.TIDY: [out.TidyGoesOn()],
}
_BEING_CLEANED = {AccountState.CLEANING, AccountState.QUARANTINED}
_CLEANINGS: list[CleaningOutcome] = [
    out.Cleaned(5, 0),
    out.CleaningGoesOn("1 build"),
    out.CleaningFailed("artifact stuck"),
    out.CleaningFailed("HTTP 403", refused=True),
    out.FoundForeign("job cronjob"),
]
_IIDS = st.integers(1, 4)
_NAMES = st.sampled_from(["dev-0", "dev-1"])
#: Two of them are a bot's, which wants a verdict alone; a Developer's comment makes a preview of one.
_AUTHORS = {1: "bob", 2: "project_77_bot_1", 3: "project_77_bot_1", 4: "mallory"}
_LIMITS = Limits(max_concurrent_builds=2, min_live_seconds=300.0)


def _unless_seen_later() -> AbstractContextManager[None]:
    """After the clock has jumped back, what was seen before is the newer; the delivery is taken up again."""
    return suppress(Conflict)


@cache
def _empty_database() -> Path:
    path = Path(tempfile.mkdtemp(prefix="interleavings-")) / "empty.db"
    parts = Parts(load_settings(database_url=f"sqlite:///{path}", gitlab_token="none"))
    parts.migrate()
    parts.close()
    return path


class Interleavings(RuleBasedStateMachine):
    """Four merge requests, one of them a fork's, on two accounts with two build slots.

    On SQLite, or on a database of `server`.
    """

    def __init__(self, server: Server | None = None) -> None:
        super().__init__()
        self.server = server

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="interleavings-")
        if self.server is None:
            path = Path(self.folder.name) / "test.db"
            shutil.copy(_empty_database(), path)
            self.url = f"sqlite:///{path}"
        else:
            self.url = self.server.create()
            migrate(self.url)
        self.parts = Parts(load_settings(database_url=self.url, gitlab_token="none"))
        self.world = World(self.parts, accounts=2, policy=Policy(limits=_LIMITS, quiet=Quiet(10.0, 60.0)))
        #: What is true in GitLab, whether we were told of it or not.
        self.heads: dict[int, str] = {}
        self.closed: set[int] = set()
        #: What was up, and what was on its way, at the last look.
        self.was_live: dict[int, int] = {}
        self.was_begun: frozenset[int] | None = None
        self.latest = self.world.now
        self.in_flight: list[tuple[object, Deployment]] = []
        self.looking: list[tuple[Claim, Account, bool]] = []

    # --- what people do ---

    @rule(iid=_IIDS, sha=st.sampled_from([A, B, C]))
    def push(self, iid: int, sha: str) -> None:
        self.heads[iid] = sha
        self.closed.discard(iid)
        with _unless_seen_later():
            self.world.sees(iid, sha, fork=iid == 4, author=_AUTHORS[iid], reads=False)

    @rule(iid=_IIDS, state=st.sampled_from(["closed", "merged"]))
    def close(self, iid: int, state: str) -> None:
        if iid in self.heads:
            self.closed.add(iid)
            with _unless_seen_later():
                self.world.sees(iid, self.heads[iid], state, fork=iid == 4, reads=False)

    @rule(iid=_IIDS, verb=st.sampled_from(list(Verb)))
    def comment(self, iid: int, verb: Verb) -> None:
        head = self.heads.setdefault(iid, A)
        self.closed.discard(iid)
        with _unless_seen_later():
            self.world.comments(verb, iid, under=head, head=head, fork=iid == 4)

    @rule(iid=_IIDS, hours=st.sampled_from([1, 48, 1000]))
    def keep(self, iid: int, hours: int) -> None:
        self._try(
            lambda: self.world.lifecycle.keep(self._preview_id(iid), hours * 3600.0, "op", self.world.now)
        )

    @rule(iid=_IIDS)
    def release(self, iid: int) -> None:
        self._try(lambda: self.world.lifecycle.release(self._preview_id(iid), "op", self.world.now))

    # --- what operators do ---

    @rule(name=_NAMES, undo=st.booleans())
    def drain(self, name: str, undo: bool) -> None:
        self._try(lambda: self.world.lifecycle.drain(name, "op", self.world.now, undo=undo))

    @rule(name=_NAMES, everything=st.booleans())
    def order_a_cleaning(self, name: str, everything: bool) -> None:
        self._try(lambda: self.world.lifecycle.clean(name, "op", self.world.now, everything=everything))

    @rule(name=_NAMES)
    def remove_an_account(self, name: str) -> None:
        self._try(lambda: self.world.lifecycle.remove(name, "op", self.world.now))

    @rule(name=_NAMES)
    def add_an_account(self, name: str) -> None:
        self._try(lambda: self.world.lifecycle.add_account(name, {}, "op", self.world.now))

    @rule(how=st.sampled_from(["pause", "freeze", "pause the project"]))
    def stop_something(self, how: str) -> None:
        lifecycle, now = self.world.lifecycle, self.world.now
        if how == "freeze":
            lifecycle.freeze("op", "maintenance", now)
        else:
            project_id = self.world.project_id if how == "pause the project" else None
            lifecycle.pause("op", "trouble", now, project_id=project_id)

    @rule(of_project=st.booleans())
    def resume(self, of_project: bool) -> None:
        project_id = self.world.project_id if of_project else None
        self._try(lambda: self.world.lifecycle.resume("op", self.world.now, project_id=project_id))

    def _try(self, order: Callable[[], object]) -> None:
        """Some orders make no sense just now: they are refused, and change nothing."""
        with suppress(BadInput):
            order()

    def _preview_id(self, iid: int) -> int:
        with self.world.store.read() as tx:
            known = tx.preview_of(self.world.project_id, iid)
        if known is None:
            raise BadInput("no such preview")
        return known.id

    # --- what GitLab says when it is asked ---

    @rule(listing=st.sampled_from(["true", "empty", "cut short"]))
    def catch_up(self, listing: str) -> None:
        """A comparison, by a list that may be wrong; whoever is asked about after that is told of truly."""
        self.world.lifecycle.compare_by(self.world.now)
        with self.world.store.write() as tx:
            claim = tx.claim(Kind.PROJECT, self.world.project_id, now=self.world.now, seconds=60.0)
        if claim is None:
            return
        true = {iid: head for iid, head in self.heads.items() if iid not in self.closed}
        listed = {"true": true, "empty": {}, "cut short": dict(list(true.items())[:1])}[listing]
        for due in self.world.lifecycle.compared(claim, listed, self.world.now):
            self._answer(due)

    @rule(iid=_IIDS)
    def lose_the_delivery_of_a_close(self, iid: int) -> None:
        if iid in self.heads:
            self.closed.add(iid)

    @rule(iid=_IIDS, sha=st.sampled_from([A, B, C]))
    def lose_the_delivery_of_a_push(self, iid: int, sha: str) -> None:
        if iid in self.heads:
            self.heads[iid] = sha

    def _answer(self, due: Due) -> None:
        claim = self.world.claim(Kind.DELIVERY, due.id)
        with self.world.store.read() as tx:
            delivery = tx.delivery(claim.id)
        iid, now = delivery.iid, self.world.now
        if iid not in self.heads:
            self.world.lifecycle.not_found(claim, delivery, now, as_of=now)
            return
        state = "closed" if iid in self.closed else "opened"
        seen = self.world.merge_request(iid, self.heads[iid], state, fork=iid == 4, author=_AUTHORS[iid])
        with _unless_seen_later():
            self.world.lifecycle.observe(claim, delivery, seen, now, as_of=now)

    # --- what workers do ---

    @rule(choice=st.randoms(use_true_random=False), luck=st.integers(0, 9))
    def work(self, choice: object, luck: int) -> None:
        for deployment in self._due():
            bad = [*_BAD[deployment.step], *_UNWELL]
            outcome = GOOD[deployment.step] if luck < 7 else choice.choice(bad)  # type: ignore[attr-defined]
            claim = self.world.claim(Kind.DEPLOYMENT, deployment.id)
            self.world.lifecycle.record(claim, deployment, outcome, self.world.now)
            return

    @rule()
    def begin_a_step_and_be_slow(self) -> None:
        for deployment in self._due():
            claim = self.world.claim(Kind.DEPLOYMENT, deployment.id)
            self.in_flight.append((claim, deployment))
            return

    @rule(luck=st.booleans())
    def end_a_slow_step(self, luck: bool) -> None:
        if self.in_flight:
            claim, deployment = self.in_flight.pop(0)
            with self.world.store.read() as tx:
                is_held = tx.holds(claim, self.world.now)  # type: ignore[arg-type]
            if is_held:
                outcome = GOOD[deployment.step] if luck else out.NotNow("timeout", may_have_happened=True)
                self.world.lifecycle.record(claim, deployment, outcome, self.world.now)  # type: ignore[arg-type]

    @rule()
    def be_killed_in_the_middle_of_everything(self) -> None:
        self.in_flight.clear()
        self.looking.clear()
        self.world.later(61)

    @rule(outcome=st.sampled_from(_CLEANINGS))
    def clean(self, outcome: CleaningOutcome) -> None:
        with self.world.store.read() as tx:
            due = [account for account in tx.accounts() if account.state in _BEING_CLEANED]
            is_paused = tx.is_paused()
        if due and not is_paused:
            self.world.cleaning(due[0].id, outcome)

    @rule(choice=st.randoms(use_true_random=False), luck=st.integers(0, 9))
    def inspect(self, choice: random.Random, luck: int) -> None:
        with self.world.store.read() as tx:
            due = [one for one in tx.due(self.world.now, limit=50) if one.kind is Kind.ACCOUNT]
            seen = [account for one in due if (account := tx.account(one.id)).state not in _BEING_CLEANED]
        for account in seen:
            claim = self.world.claim(Kind.ACCOUNT, account.id)
            self.looking.append((claim, account, luck < 5))
            return

    @rule(choice=st.randoms(use_true_random=False))
    def end_an_inspection(self, choice: random.Random) -> None:
        """However late, and whatever has happened to the account since."""
        if not self.looking:
            return
        claim, account, is_well = self.looking.pop(0)
        with self.world.store.read() as tx:
            is_held = tx.holds(claim, self.world.now)
            going = [d.id for d in tx.unsettled_on(account)]
        lost = choice.choice(going) if going and not is_well else None
        left = "" if is_well or account.state is AccountState.LEASED else "job x"
        outcome = choice.choice([out.Inspected(5, left=left, lost=lost), out.NotInspected("502")])
        if is_held:
            self.world.lifecycle.record_inspection(claim, account, outcome, self.world.now)

    @rule(seconds=st.sampled_from([1, 30, 400, 2000, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.world.later(seconds)
        self.world.lifecycle.sweep(self.world.now)

    @rule()
    def the_clock_jumps_back(self) -> None:
        self.latest = max(self.latest, self.world.now)
        self.world.later(-3600)
        self.world.lifecycle.sweep(self.world.now)

    def _due(self) -> list[Deployment]:
        with self.world.store.read() as tx:
            due = [due for due in tx.due(self.world.now, limit=50) if due.kind is Kind.DEPLOYMENT]
            return [tx.deployment(one.id) for one in due]

    # --- what has to be true at any time ---

    @invariant()
    def at_most_the_allowed_builds_run(self) -> None:
        with self.world.store.read() as tx:
            building = [d for d, _ in tx.unsettled() if d.state is State.BUILDING]
        assert len(building) <= _LIMITS.max_concurrent_builds

    @invariant()
    def no_account_is_leased_twice_at_once(self) -> None:
        with self.world.store.read() as tx:
            accounts = tx.accounts()
            using = {(d.account_id, d.preview_id) for d, _ in tx.unsettled() if d.state is not State.QUEUED}
        holders = Counter(account.preview_id for account in accounts if account.preview_id is not None)
        assert all(count == 1 for count in holders.values())
        for account in accounts:
            own = {(account.id, account.preview_id)}
            others = {pair for pair in using if pair[0] == account.id} - own
            with self.world.store.read() as tx:
                current = [
                    d
                    for d, _ in tx.unsettled()
                    if (d.account_id, d.preview_id) in others and tx.lease_is_current(d)
                ]
            assert not current or account.shared
            assert all(d.check_only for d in current), "only those that want a verdict alone share an account"
            assert sum(d.is_at_the_address for d in current) <= 1

    @invariant()
    def nothing_of_an_untrusted_commit_runs_without_an_approval_of_that_commit(self) -> None:
        with self.world.store.read() as tx:
            present = tx.preview_of(self.world.project_id, 4)
            if present is None:
                return
            approved = {event.why for event in tx.events_of(present.id) if "approved" in event.why}
            commanded = {d.id for d in tx.deployments_of(present.id) if d.trigger == "command"}
            for deployment in tx.deployments_of(present.id):
                if deployment.state not in {State.QUEUED, State.CANCELLED, State.SUPERSEDED}:
                    is_approved = any(deployment.sha in why for why in approved)
                    assert is_approved or deployment.id in commanded

    @invariant()
    def at_most_one_deployment_of_a_preview_is_live(self) -> None:
        with self.world.store.read() as tx:
            live = Counter(d.preview_id for d, _ in tx.unsettled() if d.state is State.LIVE)
        assert all(count == 1 for count in live.values())

    @invariant()
    def a_freed_account_is_verified_empty(self) -> None:
        with self.world.store.read() as tx:
            events = tx.events_about("account")
        ways = {event.before for event in events if event.after == AccountState.FREE != event.before}
        assert ways <= {AccountState.CLEANING, AccountState.QUARANTINED}, "only a cleaning frees an account"

    @invariant()
    def a_good_preview_survives_a_bad_push(self) -> None:
        """What was up is up, was replaced by what is up, or was taken down for a reason that is told."""
        with self.world.store.read() as tx:
            live = {d.preview_id: d.id for d, _ in tx.unsettled() if d.state is State.LIVE}
            for preview_id, deployment_id in self.was_live.items():
                if preview_id not in live:
                    assert tx.deployment(deployment_id).state is State.STOPPED
                    assert tx.preview(preview_id).stop_reason
        self.was_live = live

    @invariant()
    def nothing_is_begun_while_builds_are_frozen(self) -> None:
        with self.world.store.read() as tx:
            is_frozen = tx.switches().is_frozen
            begun = frozenset(d.id for d, _ in tx.unsettled() if d.state is not State.QUEUED)
        if is_frozen and self.was_begun is not None:
            assert begun <= self.was_begun
        self.was_begun = begun if is_frozen else None

    def teardown(self) -> None:
        """Every preview ends: with everything closed and Toolforge well, all accounts come back clean."""
        try:
            self.world.now = max(self.world.now, self.latest)
            for project_id in (None, self.world.project_id):
                self._try(
                    lambda p=project_id: self.world.lifecycle.resume("op", self.world.now, project_id=p)
                )
            for name in ("dev-0", "dev-1"):
                self.add_an_account(name)
                self.drain(name, undo=True)
            for iid, head in self.heads.items():
                self.world.sees(iid, head, "closed", fork=iid == 4)
            for _ in range(200):
                self.world.later(61)
                self.world.lifecycle.sweep(self.world.now)
                for deployment in self._due():
                    claim = self.world.claim(Kind.DEPLOYMENT, deployment.id)
                    self.world.lifecycle.record(claim, deployment, GOOD[deployment.step], self.world.now)
                with self.world.store.read() as tx:
                    accounts = tx.accounts()
                for account in accounts:
                    if account.state in _BEING_CLEANED:
                        self.world.cleaning(account.id, out.Cleaned(5, 0))
                if self._is_quiet():
                    break
            assert self._is_quiet()
        finally:
            self.parts.close()
            self.folder.cleanup()
            if self.server is not None:
                self.server.drop(self.url)

    def _is_quiet(self) -> bool:
        with self.world.store.read() as tx:
            is_free = all(account.state is AccountState.FREE for account in tx.accounts())
            return is_free and not tx.unsettled()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_interleavings_on_a_server(kind: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(kind)
    run_state_machine_as_test(
        lambda: Interleavings(server),
        settings=settings(TestInterleavings.settings, max_examples=8),
    )
