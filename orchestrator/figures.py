"""The state of an installation in numbers, for monitoring: read at once, in a few statements on indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Select, func, or_, select

from orchestrator import counting, watching
from orchestrator import statements as sql
from orchestrator import tables as t
from orchestrator.pool import AccountState
from orchestrator.preview import PENDING, SPARE, State, Step
from orchestrator.records import OURS, Kind
from orchestrator.scheduler import Limits
from orchestrator.store import Tx
from orchestrator.switches import Stop
from orchestrator.tally import Counts


@dataclass(frozen=True)
class Figures:
    """One moment."""

    #: Deployments on their way or live, by state and step.
    deployments: Mapping[tuple[State, Step], int]
    #: How long the one that waits the longest has waited for its turn; 0: nobody waits.
    oldest_waiting_seconds: float
    builds: int
    #: How many builds Toolforge bears just now, and how many the setting allows.
    ceiling: int
    max_builds: int
    accounts: Mapping[AccountState, int]
    draining: int
    #: Rows that are due and not being looked at, and for how long the first has been.
    due: Mapping[Kind, int]
    oldest_due_seconds: Mapping[Kind, float]
    #: Reports that GitLab is still to be told, and those of which it refused something.
    reports_pending: int
    reports_refused: int
    switches: Mapping[Stop, int]
    projects: int
    #: Default branches that are watched and have had a verdict, by whether they deploy.
    branches: Mapping[bool, int]
    counts: Counts


def figures(tx: Tx, limits: Limits, now: float) -> Figures:
    """What the database says now."""
    connection = tx.connection
    due = {
        kind: connection.execute(statement, {"now": now}).one() for kind, statement in sql.DUE_COUNT.items()
    }
    accounts = connection.execute(
        select(t.account.c.state, t.account.c.drain, func.count()).group_by(
            t.account.c.state, t.account.c.drain
        )
    ).all()
    on = tx.switches().on
    return Figures(
        deployments={
            (State(state), Step(step)): number for state, step, number in connection.execute(_DEPLOYMENTS)
        },
        oldest_waiting_seconds=_age(connection.scalar(_FIRST_WAITING), now),
        builds=sum(one.deployment.holds_build_slot for one in tx.unfinished()),
        ceiling=min(tx.ceiling(limits).builds, limits.max_concurrent_builds),
        max_builds=limits.max_concurrent_builds,
        accounts={
            state: sum(number for found, _, number in accounts if found == state)
            for state in AccountState
            if state is not AccountState.REMOVED
        },
        draining=sum(number for state, drain, number in accounts if drain and state != AccountState.DRAINED),
        due={kind: row[0] for kind, row in due.items()},
        oldest_due_seconds={kind: _age(row[1], now) for kind, row in due.items()},
        reports_pending=_number(tx, _REPORTS.where(t.report_state.c.due_at.is_not(None))),
        reports_refused=_number(tx, _REPORTS.where(t.report_state.c.error != "")),
        switches={stop: sum(switch.stop is stop for switch in on) for stop in Stop},
        projects=_number(tx, select(func.count()).where(t.project.c.gitlab_id != OURS)),
        branches=_branches(tx),
        counts=counting.read(connection),
    )


def _branches(tx: Tx) -> Mapping[bool, int]:
    judged = [one for one in watching.verdicts(tx).values() if one.checked_at is not None]
    return {deploys: sum(one.is_broken is not deploys for one in judged) for deploys in (True, False)}


_STATES = [*sorted(PENDING), State.LIVE]
_DEPLOYMENTS = (
    select(t.deployment.c.state, t.deployment.c.step, func.count())
    # What waits for an idle pool is no queue.
    .where(
        t.deployment.c.state.in_(_STATES),
        or_(t.deployment.c.trigger.not_in(SPARE), t.deployment.c.state != State.QUEUED),
    )
    .group_by(t.deployment.c.state, t.deployment.c.step)
)
_FIRST_WAITING = select(func.min(t.deployment.c.step_since)).where(
    t.deployment.c.state == State.QUEUED,
    t.deployment.c.step == Step.AWAIT_SLOT,
    t.deployment.c.trigger.not_in(SPARE),
)
_REPORTS = select(func.count()).select_from(t.report_state)


def _number(tx: Tx, query: Select[int]) -> int:
    return int(tx.connection.scalar(query) or 0)


def _age(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(now - since, 0.0)
