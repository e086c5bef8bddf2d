"""Every fault of the local Toolforge, through the whole product: the merge request ends in the right state,
GitLab is told so once, the account comes back, and nothing is left behind.

An account suffers one row's faults at a time, so that many rows are played at once and can be told apart.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from deploy.follow import toolforge_state, wait_for
from deploy.local.seed import MergeRequest
from deploy.local.toolforge.faults import HTTP_KINDS, SERVICE_KINDS
from deploy.stack import Stack
from orchestrator.pool import FAILURES_BEFORE_QUARANTINE, Account, AccountState
from orchestrator.preview import Deployment, State
from tests.whole.conftest import Stacks
from tests.whole.faults import arm_toolforge, disarm_toolforge, leave_envvar, toolforge_hits
from tests.whole.scene import Scene, server

#: Toolforge's seconds are this long here.
_TIME_SCALE = 0.02
_SCENARIO = {"builds": [{"duration": 10, "size": "20Mi"}], "jobs": [{"start_delay": 5}]}
_ACCOUNTS = 14
_MOST_BUILDS = 1000


@dataclass(frozen=True)
class Fault:
    """A rule for the local Toolforge."""

    kind: str
    operation: str = "*"
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Faults, and what has to come of them."""

    name: str
    faults: tuple[Fault, ...]
    ends: State = State.LIVE
    #: Of the failure, and words of its summary. Stage ``toolforge`` has to acquit the author.
    stage: str = ""
    words: str = ""
    #: The merge request is closed as soon as its build has begun.
    closed_early: bool = False
    #: Words of the reason for which the account is put away.
    quarantined: str = ""
    #: It goes on on another account, so nobody else may come for an account meanwhile.
    is_moved: bool = False
    #: The others do not wait for it.
    is_slow: bool = False


def fault(kind: str, *operations: str, **settings: Any) -> tuple[Fault, ...]:
    """The same fault at each of the operations."""
    return tuple(Fault(kind, operation, settings) for operation in operations or ("*",))


_FOR_GOOD: dict[str, Any] = {"count": None}
_BUILD_HANGS = fault("build_never_ends")
_TOO_LATE = "did not start the job"

#: Those that take long first, and those that make us ask for less at once last.
ROWS = (
    Row(
        "an expired certificate",
        fault("certificate_expired", "builds.start"),
        quarantined="the gateway refused the account's certificate",
        is_moved=True,
        is_slow=True,
    ),
    Row("a log without end", fault("log_never_ends"), is_slow=True),
    Row(
        "an image that cannot be deleted for long",
        fault("clean_fails", count=FAILURES_BEFORE_QUARANTINE),
        quarantined="error trying to delete artifact",
        is_slow=True,
    ),
    Row("a start of which nothing is heard", fault("cut_before", "builds.start"), is_slow=True),
    Row(
        "a build that stays pending",
        fault("build_pending"),
        ends=State.FAILED,
        stage="toolforge",
        words="did not begin the build within",
        is_slow=True,
    ),
    Row(
        "a build that never ends",
        _BUILD_HANGS,
        ends=State.FAILED,
        stage="build",
        words="took longer than",
        is_slow=True,
    ),
    Row(
        "builds that vanish again and again",
        fault("build_vanishes", seconds=2, **_FOR_GOOD),
        ends=State.FAILED,
        stage="toolforge",
        words="lost the build",
        is_slow=True,
    ),
    Row(
        "an image that cannot be pulled",
        fault("image_pull_error", **_FOR_GOOD),
        ends=State.FAILED,
        stage="toolforge",
        words=_TOO_LATE,
        is_slow=True,
    ),
    Row(
        "a job that starts far too late",
        fault("job_late", seconds=10_000),
        ends=State.FAILED,
        stage="toolforge",
        words=_TOO_LATE,
        is_slow=True,
    ),
    Row(
        "a job that never listens",
        fault("job_not_ready", **_FOR_GOOD),
        ends=State.FAILED,
        stage="start",
        is_slow=True,
    ),
    Row(
        "an outage that outlasts our patience",
        fault("cut_before", "builds.get", **_FOR_GOOD),
        ends=State.FAILED,
        stage="toolforge",
        words="could not be used for",
        is_slow=True,
    ),
    # What goes over, unseen by the author.
    Row("slow answers", fault("slow", "builds.start", "jobs.update", "jobs.delete", seconds=50)),
    Row("a slow ls-remote", fault("ls_remote_slow", seconds=100)),
    Row("a race for the limit", fault("limit_race", seconds=50)),
    Row("a build that vanishes once", fault("build_vanishes", seconds=2)),
    Row("a broken log", fault("log_broken")),
    Row("a log that is cut off", fault("log_cut")),
    Row("no log at all", fault("status", "builds.logs", status=500)),
    Row("a job that starts late", fault("job_late", seconds=100)),
    Row("an image that is pulled at the fourth try", fault("image_pull_error", count=3)),
    Row("an image that is not known for a moment", fault("harbor_down", "images")),
    Row("connections cut before the answer", fault("cut_before", "builds.get", "builds.logs", "jobs.update")),
    Row("connections cut in the middle", fault("cut_middle", "builds.start", "builds.get", "jobs.get")),
    Row("a lost answer to the start of the build", fault("lost", "builds.start")),
    Row("a lost answer to the start of the job", fault("lost", "jobs.update")),
    Row("an image store that is away during the build", fault("registry_away"), is_slow=True),
    # Toolforge's own, after a second try.
    Row(
        "an image store that is away during every build",
        fault("registry_away", count=2),
        ends=State.FAILED,
        stage="toolforge",
        words="image store could not be reached",
        is_slow=True,
    ),
    # The commit's own, or the account's.
    Row(
        "a build that fails",
        fault("build_fails"),
        ends=State.FAILED,
        stage="build",
        words="the Python dependencies could not be installed",
    ),
    Row(
        "a store that is full in the middle of a build",
        fault("quota_full"),
        ends=State.FAILED,
        stage="build",
        words="does not fit into the account's image store",
    ),
    Row(
        "a job that crashes again and again",
        fault("job_crash", **_FOR_GOOD),
        ends=State.FAILED,
        stage="start",
        words="the web process exited",
    ),
    Row(
        "an address that a webservice holds",
        fault("publish_taken"),
        ends=State.FAILED,
        stage="toolforge",
        words="address is taken",
    ),
    Row("a lost answer to the setting of the address", fault("lost", "envvars.create")),
    Row("errors at the setting of the address", fault("status", "envvars.create", status=500)),
    Row("a setting of the address that is refused at first", fault("status", "envvars.create", status=422)),
    # While the account is emptied.
    Row("a lost answer to the deletion of a build", fault("lost", "builds.delete")),
    Row("a lost answer to the deletion of the images", fault("lost", "builds.clean")),
    Row("a lost answer to the deletion of a job", fault("lost", "jobs.delete")),
    Row("a lost answer to the deletion of an envvar", fault("lost", "envvars.delete")),
    Row("an image that cannot be deleted at first", fault("clean_fails")),
    Row("a store that is away while it is emptied", fault("harbor_down", "builds", after=1)),
    Row("errors while the account is emptied", fault("status", "builds.clean", status=500)),
    Row("HTML while the account is emptied", fault("status", "builds.delete", "jobs.list", status=502)),
    Row("cut off while the account is emptied", fault("cut_middle", "jobs.delete", "envvars.list")),
    # While a build is taken back.
    Row(
        "a lost answer to the end of a build",
        _BUILD_HANGS + fault("lost", "builds.cancel"),
        ends=State.CANCELLED,
        closed_early=True,
    ),
    Row(
        "an end of a build that is refused at first",
        _BUILD_HANGS + fault("status", "builds.cancel", status=502),
        ends=State.CANCELLED,
        closed_early=True,
    ),
    # What asks us for less.
    Row("too many builds", fault("status", "builds.start", status=409)),
    Row("too many requests", fault("status", "builds.start", status=429, retry_after=1)),
    Row("a start that fails", fault("status", "builds.start", status=500)),
    Row("HTML instead of a start", fault("status", "builds.start", status=502)),
    Row("a store that is away at the start", fault("harbor_down", "builds")),
    Row("a job that is stored and not run", fault("runtime_fails")),
    Row("a job that is said to exist", fault("status", "jobs.update", status=409)),
    Row(
        "HTML instead of a look",
        fault("status", "builds.list", "builds.get", "jobs.get", status=502),
    ),
)
_STATUS = {State.LIVE: "success", State.FAILED: "failed", State.CANCELLED: "canceled"}
_HEADLINE = {
    State.LIVE: "Preview is live",
    State.FAILED: "Preview failed",
    State.CANCELLED: "Preview was cancelled",
}
_LAST_HEADLINE = _HEADLINE | {State.LIVE: "Preview was taken down"}


@dataclass
class Played:
    """One row on the stage, and what was seen of it."""

    row: Row
    merge_request: MergeRequest
    preview_id: int
    #: The account that suffers the faults, and their rules.
    account: str
    rules: list[int]
    deployment: Deployment | None = None
    status: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    page: int | None = None
    last_status: dict[str, Any] = field(default_factory=dict)
    last_note: str = ""
    hits: list[int] = field(default_factory=list)
    #: The account after all, by our records and by Toolforge's own word.
    account_after: Account | None = None
    tool_after: dict[str, Any] = field(default_factory=dict)


class Stage:
    """Plays rows, as many at once as there are free accounts.

    An account that was given to a row is drained, so that nobody else gets it before its row was looked at.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._scene = Scene(stack)
        self._first: MergeRequest | None = None
        self._numbers = itertools.count(1)

    def play(self, rows: Sequence[Row]) -> dict[str, Played]:
        """All of `rows`; by their names."""
        waiting, going, closed = list(rows), list[Played](), list[Played]()
        played: dict[str, Played] = {}
        while waiting or going or closed:
            going += self._begin(waiting)
            decided = self._next(going, self._is_decided, all_of_them=not waiting and not closed)
            for one in decided:
                self._look(one)
                self._scene.closes(one.merge_request)
            going = [one for one in going if one not in decided]
            closed += decided
            over = self._next(closed, self._is_over, all_of_them=not waiting and not going)
            for one in over:
                self._see_the_end(one)
            closed = [one for one in closed if one not in over]
            self._give_back(over)
            played |= {one.row.name: one for one in over}
        return played

    def _begin(self, waiting: list[Row]) -> list[Played]:
        """Give each free account a row's faults, and open as many merge requests; takes them from `waiting`.

        A row that is moved begins alone.
        """
        free = [name for name, account in self._accounts().items() if account.state is AccountState.FREE]
        if waiting and waiting[0].is_moved:
            free = free[:1]
        rows = {name: waiting.pop(0) for name in free if waiting}
        rules = {
            name: [
                arm_toolforge(self._stack, one.kind, one.operation, tool=name, **one.settings)
                for one in row.faults
            ]
            for name, row in rows.items()
        }
        return [self._open(rows, rules) for _ in range(len(rows))]

    def _open(self, rows: dict[str, Row], rules: dict[str, list[int]]) -> Played:
        """Open a merge request; the account that it gets says which of the rows it plays."""
        # Rows that are begun in the same second must not make the same commit.
        files = server(f"number {next(self._numbers)}")
        merge_request = self._scene.opens(files, beside=self._first)
        self._first = self._first or merge_request
        wait_for("an account", partial(self._has_account, merge_request), seconds=60.0)
        name = self._scene.accounts(merge_request)[0]
        row = rows.pop(name)
        self._stack.parts.lifecycle.drain(name, "a test", time.time())
        if row.is_moved:
            wait_for("another account", partial(self._has_account, merge_request, count=2), seconds=60.0)
        if any(one.operation == "envvars.delete" for one in row.faults):
            leave_envvar(self._stack, name, "PREVIEW_LEFT_BEHIND")
        view = self._stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        assert view is not None
        return Played(row, merge_request, view.preview.id, name, rules[name])

    def _has_account(self, merge_request: MergeRequest, *, count: int = 1) -> bool:
        return len(self._scene.accounts(merge_request)) >= count

    def _next(
        self, those: list[Played], is_so: Callable[[Played], bool], *, all_of_them: bool
    ) -> list[Played]:
        """Those for which it is so, once it is for all that are not slow, or for `all_of_them`."""
        needed = [one for one in those if all_of_them or not one.row.is_slow]
        for one in needed:
            wait_for(f"{one.row.name}, {is_so.__name__}", partial(is_so, one), seconds=90.0)
        return [one for one in those if is_so(one)]

    def _is_decided(self, one: Played) -> bool:
        with self._stack.parts.store.read() as tx:
            newest = tx.deployments_of(one.preview_id, limit=1)[0]
        if one.row.closed_early:
            return newest.build_id is not None
        return not newest.is_pending and self._scene.is_told(one.preview_id)

    def _look(self, one: Played) -> None:
        if one.row.closed_early:
            return
        one.deployment = self._scene.verdict(one.merge_request)
        one.status = self._scene.status(one.merge_request)
        one.note = self._scene.note(one.merge_request)
        if one.deployment.state is State.LIVE:
            one.page = self._scene.page(one.merge_request).status_code

    def _is_over(self, one: Played) -> bool:
        """Whether its accounts have been given back, or put away, and GitLab knows."""
        accounts = self._accounts()
        first = AccountState.QUARANTINED if one.row.quarantined else AccountState.DRAINED
        others = set(self._scene.accounts(one.merge_request)) - {one.account}
        return (
            accounts[one.account].state is first
            and all(accounts[name].state is AccountState.FREE for name in others)
            and self._scene.is_told(one.preview_id)
        )

    def _see_the_end(self, one: Played) -> None:
        if one.deployment is None:
            one.deployment = self._scene.verdict(one.merge_request)
        one.last_status = self._scene.status(one.merge_request)
        one.last_note = self._scene.note(one.merge_request)
        hits = toolforge_hits(self._stack)
        one.hits = [hits[rule] for rule in one.rules]
        for rule in one.rules:
            disarm_toolforge(self._stack, rule)
        one.tool_after = toolforge_state(self._stack)["tools"][one.account]

    def _give_back(self, those: list[Played]) -> None:
        """Put the accounts back into the pool, but for those in quarantine: they come when it is over."""
        names = [one.account for one in those if not one.row.quarantined]
        for name in names:
            self._stack.parts.lifecycle.drain(name, "a test", time.time(), undo=True)
        for name in names:
            wait_for(
                f"{name} to be free", partial(_is_in, self._stack, name, AccountState.FREE), seconds=30.0
            )
        for one in those:
            one.account_after = self._accounts()[one.account]

    def _accounts(self) -> dict[str, Account]:
        with self._stack.parts.store.read() as tx:
            return {account.name: account for account in tx.accounts()}


def _left_in(tool: dict[str, Any]) -> dict[str, Any]:
    """What an account holds, by Toolforge's own word; empty when it is."""
    things = {kind: tool[kind] for kind in ("builds", "jobs", "images")}
    # Those named TOOL_... are Toolforge's own.
    things["envvars"] = [name for name in tool["envvars"] if not name.startswith("TOOL_")]
    things["bytes"] = tool["quota"]["used_bytes"]
    return {kind: thing for kind, thing in things.items() if thing}


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    settings = {
        "max_concurrent_builds": _MOST_BUILDS,
        "build_seconds": 12.0,
        "start_seconds": 10.0,
        "check_seconds": 2.0,
        "stable_seconds": 0.2,
        "outage_seconds": 8.0,
    }
    tools = (f"dev-{number}" for number in range(1, _ACCOUNTS + 1))
    with stacks(*tools, scenario=_SCENARIO, time_scale=_TIME_SCALE, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def played(stack: Stack, request: pytest.FixtureRequest) -> dict[str, Played]:
    """The rows that were asked for, played all together."""
    asked = {item.name for item in request.session.items}
    rows = [row for row in ROWS if f"{test_a_fault_ends_as_it_should.__name__}[{row.name}]" in asked]
    return Stage(stack).play(rows or ROWS)


def test_every_fault_of_the_local_toolforge_has_its_row() -> None:
    mutations = {"start", "cancel", "delete", "clean"}
    lost = {one.operation for row in ROWS for one in row.faults if one.kind == "lost"}
    assert {one.kind for row in ROWS for one in row.faults} == HTTP_KINDS | SERVICE_KINDS
    assert lost == {f"builds.{name}" for name in mutations} | {
        "jobs.update",
        "jobs.delete",
        "envvars.create",
        "envvars.delete",
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault_ends_as_it_should(played: dict[str, Played], row: Row) -> None:
    seen = played[row.name]
    assert all(seen.hits), f"a fault did not strike: {seen.hits}"
    deployment = seen.deployment
    assert deployment is not None
    failure = deployment.failure
    assert (deployment.state, failure.stage if failure else "") == (row.ends, row.stage), failure
    assert (failure is not None) == (row.ends is State.FAILED)
    if failure is not None:
        assert row.words in failure.summary
        assert ("no fault of the commit" in failure.remedy) == (row.stage == "toolforge")
        assert failure.remedy in seen.note
    if row.ends is State.LIVE:
        assert seen.page == 200
    if not row.closed_early:
        assert seen.status["status"] == _STATUS[row.ends]
        assert _HEADLINE[row.ends] in seen.note
    assert seen.last_status["status"] == _STATUS[row.ends], "the verdict on the commit stays"
    assert _LAST_HEADLINE[row.ends] in seen.last_note

    account = seen.account_after
    assert account is not None
    if row.quarantined:
        assert account.state is AccountState.QUARANTINED
        assert row.quarantined in account.reason
    else:
        assert account.state is AccountState.FREE
        assert "given back clean" in seen.last_note
        assert _left_in(seen.tool_after) == {}


def test_what_asked_for_less_got_less(stack: Stack, played: dict[str, Played]) -> None:
    assert played
    assert stack.parts.views.overview(time.time()).ceiling < _MOST_BUILDS


def test_the_pool_comes_back_and_nothing_is_left_behind(stack: Stack, played: dict[str, Played]) -> None:
    for name in [one.account for one in played.values() if one.row.is_moved]:
        # The test has drained it, so that is what it becomes once its quarantine is over and it is empty.
        wait_for(
            "the end of the quarantine", partial(_is_in, stack, name, AccountState.DRAINED), seconds=90.0
        )
        stack.parts.lifecycle.drain(name, "a test", time.time(), undo=True)
        wait_for("the account to be free", partial(_is_in, stack, name, AccountState.FREE), seconds=30.0)
    # Longer than a test can wait; until then it is shown why.
    away = {one.account for one in played.values() if one.row.quarantined and not one.row.is_moved}
    with stack.parts.store.read() as tx:
        assert {account.name for account in tx.accounts() if account.state is not AccountState.FREE} == away
    left = {name: _left_in(tool) for name, tool in toolforge_state(stack)["tools"].items()}
    assert {name for name, things in left.items() if things} == away
    assert all(left[name].keys() == {"images", "bytes"} for name in away)


def _is_in(stack: Stack, name: str, state: AccountState) -> bool:
    with stack.parts.store.read() as tx:
        account = tx.account_named(name)
    return account is not None and account.state is state
