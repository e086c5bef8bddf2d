"""Any order of pushes, closes, approvals, outcomes, crashes and time: invariants hold, all ends clean."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
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
from orchestrator.merge_request import Verb
from orchestrator.outcome import CheckResult, CleaningOutcome, Failure, Outcome
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Kind
from orchestrator.scheduler import Limits
from orchestrator.settings import load_settings
from tests.databases import Server, migrate
from tests.orchestrator.scene import GOOD, A, B, C, World

_BROKEN = out.StageFailed(Failure(stage="build", summary="it broke", remedy="mend it"))
_UNWELL: list[Outcome] = [
    out.NotNow("502", throttled=True),
    out.NotNow("timeout", may_have_happened=True),
    out.AccountUnusable("HTTP 403"),
]
_BAD: dict[Step, list[Outcome]] = {
    Step.START_BUILD: [_BROKEN, out.WrongCommit("b", "f" * 40), out.BuildAwaited(5.0)],
    Step.WATCH_BUILD: [_BROKEN, out.BuildGoesOn(), out.BuildVanished()],
    Step.START_CANDIDATE: [_BROKEN],
    Step.WATCH_CANDIDATE: [_BROKEN, out.JobNotReady("pending"), out.JobVanished()],
    Step.PUBLISH: [_BROKEN],
    Step.WATCH_JOB: [_BROKEN, out.JobNotReady("pending"), out.JobVanished()],
    Step.CHECK: [out.ChecksDone((CheckResult("GET /", False, "500"),))],
    Step.ROLL_BACK: [],
    Step.TIDY: [out.TidyGoesOn()],
}
_CLEANINGS: list[CleaningOutcome] = [
    out.Cleaned(5, 0),
    out.CleaningGoesOn("1 build"),
    out.CleaningFailed("artifact stuck"),
    out.CleaningFailed("HTTP 403", refused=True),
]
_IIDS = st.integers(1, 4)
#: Two of them are a bot's, which wants a verdict alone; a Developer's comment makes a preview of one.
_AUTHORS = {1: "bob", 2: "project_77_bot_1", 3: "project_77_bot_1", 4: "mallory"}
_LIMITS = Limits(max_concurrent_builds=2, min_live_seconds=300.0)


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
        self.world = World(self.parts, accounts=2, limits=_LIMITS)
        self.heads: dict[int, str] = {}
        self.in_flight: list[tuple[object, Deployment]] = []

    # --- what people do ---

    @rule(iid=_IIDS, sha=st.sampled_from([A, B, C]))
    def push(self, iid: int, sha: str) -> None:
        self.heads[iid] = sha
        self.world.sees(iid, sha, fork=iid == 4, author=_AUTHORS[iid])

    @rule(iid=_IIDS, state=st.sampled_from(["closed", "merged"]))
    def close(self, iid: int, state: str) -> None:
        if iid in self.heads:
            self.world.sees(iid, self.heads[iid], state, fork=iid == 4)

    @rule(iid=_IIDS, verb=st.sampled_from(list(Verb)))
    def comment(self, iid: int, verb: Verb) -> None:
        head = self.heads.setdefault(iid, A)
        self.world.comments(verb, iid, under=head, head=head, fork=iid == 4)

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
        self.world.later(61)

    @rule(outcome=st.sampled_from(_CLEANINGS))
    def clean(self, outcome: CleaningOutcome) -> None:
        with self.world.store.read() as tx:
            due = [account for account in tx.accounts() if account.due_at is not None]
        if due:
            self.world.cleaning(due[0].id, outcome)

    @rule(seconds=st.sampled_from([1, 30, 400, 2000, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.world.later(seconds)
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

    def teardown(self) -> None:
        """Every preview ends: with everything closed and Toolforge well, all accounts come back clean."""
        try:
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
                    if account.due_at is not None:
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
