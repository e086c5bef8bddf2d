"""What little a plan and a forecast look at leads to what the whole pool would lead to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from orchestrator import scheduler, sight
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.forecast import forecast
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.scheduler import Limits, Snapshot, plan, take_snapshot
from orchestrator.store import Tx
from orchestrator.switches import Stop, Switch

NOW = 1_000_000.0
_PROJECTS = (1, 2, 3)
_FENCE = 5

_Row = dict[str, Any]
#: State, step, and when the states before were entered.
_What = tuple[State, Step, dict[State, float]]
_Held = Sequence[Sequence[_What]]


def _entered(*states: State) -> dict[State, float]:
    return dict.fromkeys(states, NOW)


_WAITS = (State.QUEUED, Step.AWAIT_SLOT, _entered(State.QUEUED))
_ASKS = (State.QUEUED, Step.AWAIT_APPROVAL, _entered(State.QUEUED))
_BUILDS = (State.BUILDING, Step.WATCH_BUILD, _entered(State.QUEUED, State.BUILDING))
_CHECKS = (State.CHECKING, Step.CHECK, _entered(State.QUEUED, State.BUILDING, State.STARTING))
_LIVE = (State.LIVE, Step.NONE, _entered(State.BUILDING, State.STARTING, State.LIVE))
_LIVE_UNTIDY = (State.LIVE, Step.TIDY, _entered(State.BUILDING, State.STARTING, State.LIVE))
_BUILT = (State.BUILDING, Step.AWAIT_PLACE, _entered(State.QUEUED, State.BUILDING))
_CANCELLED = (State.CANCELLED, Step.TIDY, _entered(State.QUEUED, State.BUILDING))
#: Deployments of one preview that are together on an account of its own.
_HELD = (
    *((_LIVE,), (_LIVE,), (_LIVE_UNTIDY,), (_BUILDS,), (_CHECKS,), (_CANCELLED,), (_WAITS,)),
    *((_LIVE, _WAITS), (_LIVE, _BUILDS), (_LIVE, _ASKS), (_LIVE, _CANCELLED), (_LIVE_UNTIDY, _WAITS)),
    *((_CANCELLED, _WAITS), (_CANCELLED, _ASKS), (_LIVE, _CANCELLED, _WAITS)),
)
#: What most accounts of a pool are.
_HABITS = (
    *((AccountState.FREE,), (AccountState.LEASED,), (AccountState.LEASED,)),
    *((AccountState.LEASED, AccountState.CLEANING), (AccountState.LEASED, AccountState.FREE)),
)
_CHANGES = [{"runtime": "Go", "file": "go.mod", "before": old, "after": "1.99"} for old in ("1.1", "1.2")]
_SHARING = (_BUILDS, _BUILT, _CHECKS, _CANCELLED)


@dataclass
class Pool:
    """Rows of one moment."""

    projects: list[_Row] = field(default_factory=list)
    previews: list[_Row] = field(default_factory=list)
    accounts: list[_Row] = field(default_factory=list)
    deployments: list[_Row] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)

    def add_preview(self, project_id: int, **values: Any) -> int:
        number = len(self.previews) + 1
        text = dict.fromkeys(
            ("title", "author", "web_url", "source_branch", "target_branch", "stop_reason"), ""
        )
        given = {"id": number, "iid": number, "project_id": project_id, "head_sha": "a", "mr_state": "opened"}
        known = {"is_from_project": True, "seen_at": NOW, "created_at": NOW, "expires_at": None}
        self.previews.append(text | given | known | {"keep_until": None} | values)
        return number

    def add(self, preview_id: int, what: _What, account: int | None, **values: Any) -> None:
        state, step, entered = what
        is_placed = state is not State.QUEUED
        is_due = is_placed and step not in {Step.NONE, Step.AWAIT_PLACE}
        self.deployments.append(
            {
                "id": len(self.deployments) + 1,
                "preview_id": preview_id,
                "sha": "a",
                "state": state,
                "step": step,
                "entered": entered,
                "created_at": NOW,
                "since": NOW,
                "step_since": NOW,
                "due_at": NOW if is_due else None,
                "trigger": "push",
                "actor": "alice",
                "is_bot": False,
                "check_only": False,
                "ready_at": None,
                "reserved_bytes": None,
                "had_candidate": False,
                "change": None,
                "checks": [],
                "account_id": account if is_placed else None,
                "fence": _FENCE if is_placed else None,
                **values,
            }
        )

    def fill(self, connection: Connection) -> None:
        rows = (t.project, self.projects), (t.preview, self.previews), (t.account, self.accounts)
        for table, those in (*rows, (t.deployment, self.deployments)):
            if those:
                connection.execute(insert(table), those)


def _pool(luck: Random) -> Pool:
    """Accounts in every state, with all that may be on them, and merge requests that wait for one.

    Each pool has its own habits: in one most accounts are free, in another most are used or cleaned.
    """
    pool = Pool()
    for number in _PROJECTS:
        known = {"secret_digests": [], "checks": [], "created_at": NOW, "gitlab_id": number}
        address = {"id": number, "path": f"p{number}", "web_url": "", "git_url": ""}
        figures = {
            "image_bytes": luck.choice([0, 4, 4, 9, 11]),
            "build_seconds": luck.choice([None, 60.0, 200.0]),
        }
        pool.projects.append(known | address | figures | {"weight": luck.choice([0.5, 1.0, 2.0])})
    usual, how_much = luck.choice(_HABITS), luck.choice([1, 10, 100])
    habits = [how_much if state in usual else 1 for state in AccountState]
    states = luck.choices(list(AccountState), habits, k=luck.randint(1, 14))
    names = luck.sample(range(len(states)), len(states))
    limits = luck.choice([[10], [8, 10, 12], [8, 8, 8, 8, 12], [8, 10, None]])
    held = [(_LIVE,), *(luck.choice([(_LIVE,), luck.choice(_HELD)]) for _ in range(3))]
    for number, (state, name) in enumerate(zip(states, names, strict=True), 1):
        account = {"id": number, "name": f"dev-{name:02}", "state": state, "bytes_limit": luck.choice(limits)}
        _add_account(luck, pool, account, held)
    for _ in range(luck.choice([0, 1, 1, 3, 8])):
        _add_homeless(luck, pool)
    frozen = Switch(Stop.FREEZE, None, "", "", NOW)
    paused = Switch(Stop.PAUSE, luck.choice(_PROJECTS), "", "", NOW)
    pool.switches = luck.choice([[], [], [], [], [paused], [frozen]])
    return pool


def _some_time_ago(luck: Random) -> float:
    return NOW - luck.randint(0, 5000)


def _add_account(luck: Random, pool: Pool, account: _Row, held: _Held) -> None:
    state = account["state"]
    is_shared = state is AccountState.LEASED and luck.random() < 0.1
    holder = None
    if state is AccountState.LEASED and not is_shared:
        holder = _add_holder(luck, pool, account["id"], luck.choice(held))
    pool.accounts.append(
        account
        | {"since": _some_time_ago(luck), "fence": _FENCE, "bytes_used": luck.choice([None, 0, 0, 2, 9])}
        | {"drain": luck.random() < 0.1, "reason": "", "credentials": {}, "shared": is_shared}
        | {"preview_id": holder}
    )
    on_it = luck.choices(_SHARING, k=luck.randint(0, 4)) if is_shared else []
    if state is AccountState.FREE and luck.random() < 0.2:
        # The lease under which it was built is over, and the build not cancelled yet.
        on_it = [_CANCELLED]
    for one in on_it:
        preview_id = pool.add_preview(luck.choice(_PROJECTS))
        values = {"check_only": True, "reserved_bytes": 3, "step_since": _some_time_ago(luck)}
        pool.add(preview_id, one, account["id"], **values)


def _add_holder(luck: Random, pool: Pool, account: int, what: Sequence[_What]) -> int:
    keep_until = luck.choice([None, None, NOW - 1, NOW + 9000 + account])
    expires_at = luck.choice([None, NOW - 1, NOW + 20_000]) if keep_until is None else NOW + 20_000
    preview_id = pool.add_preview(luck.choice(_PROJECTS), expires_at=expires_at, keep_until=keep_until)
    is_spare = luck.random() < 0.2 and what in [(_BUILDS,), (_CANCELLED,)]
    values = {"trigger": "watch"} if is_spare else {}
    for one in what:
        reserved = luck.choice([None, 3])
        pool.add(preview_id, one, account, since=_some_time_ago(luck), reserved_bytes=reserved, **values)
    return preview_id


def _add_homeless(luck: Random, pool: Pool) -> None:
    pool.add(
        pool.add_preview(luck.choice(_PROJECTS)),
        luck.choice([_WAITS, _WAITS, _WAITS, _ASKS]),
        None,
        since=_some_time_ago(luck),
        is_bot=luck.random() < 0.3,
        check_only=luck.random() < 0.3,
        trigger=luck.choice(["push", "push", "push", "command", "watch"]),
        ready_at=luck.choice([None, None, None, None, NOW - 1, NOW + 1]),
        step_since=_some_time_ago(luck),
        change=luck.choice([None, None, *_CHANGES]),
    )


def _limits(luck: Random) -> Limits:
    return Limits(
        max_concurrent_builds=luck.choice([1, 2, 3, 20]),
        builds_per_account=luck.randint(1, 4),
        min_live_seconds=luck.choice([0.0, 2000.0, 4000.0]),
        ageing_seconds=luck.choice([0.0, 1000.0]),
        look_ahead=luck.choice([1, 2, 3, 32]),
        cohort_seconds=luck.choice([0.0, 2000.0]),
    )


def _whole(tx: Tx, allowed: Limits, kept: Collection[int]) -> Snapshot:
    projects, switches = tx.projects(), tx.switches()
    return take_snapshot(
        tx.unsettled(),
        tx.accounts(),
        tx.ceiling(allowed),
        {p.id: p.image_bytes for p in projects if p.image_bytes is not None},
        now=NOW,
        frozen=switches.is_frozen,
        paused=switches.paused_projects,
        kept=kept,
        cohort_seconds=allowed.cohort_seconds,
    )


def _compare(parts: Parts, pool: Pool, allowed: Limits) -> None:
    with parts.store.engine.connect() as connection, connection.begin() as transaction:
        pool.fill(connection)
        tx = Tx(connection)
        for switch in pool.switches:
            tx.put_switch(switch.name, _as_kept(switch))
        kept = {p.id: p.keep_until or NOW for number in _PROJECTS for p in tx.kept(number, NOW)}
        whole = _whole(tx, allowed, kept)
        with_weights = scheduler.with_weights(allowed, tx.projects())
        narrow = sight.for_plan(tx, allowed, NOW)
        assert plan(narrow.snapshot(NOW), with_weights, NOW) == plan(whole, with_weights, NOW)

        seconds = {p.id: p.build_seconds for p in tx.projects() if p.build_seconds is not None}
        expected = forecast(whole, tx.unsettled(), tx.accounts(), seconds, with_weights, NOW, kept)
        assert sight.for_forecast(tx, allowed, NOW).turns(allowed, NOW) == expected
        transaction.rollback()


def _as_kept(switch: Switch) -> dict[str, Any]:
    return {"stop": switch.stop, "project_id": switch.project_id, "who": "", "why": "", "at": switch.at}


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )


@_settings(1500)
@given(st.randoms(use_true_random=True))
def test_a_part_of_the_pool_leads_to_the_plan_and_the_forecast_of_the_whole(
    parts: Parts, luck: Random
) -> None:
    _compare(parts, _pool(luck), _limits(luck))


@_settings(50)
@given(st.randoms(use_true_random=True))
def test_so_it_does_on_every_database(any_parts: Parts, luck: Random) -> None:
    _compare(any_parts, _pool(luck), _limits(luck))
