"""What is old is forgotten: events, logs, pictures, deliveries and deployments, a page of a table at a time.

Rows are numbered in the order in which they came, so that the primary key leads from the oldest on, and a
round ends where rows are young: no index on times is needed, and a large table costs no more than a small
one. Never forgotten are the newest deployment of a preview, what is not settled, and whatever a present
lease may still have on an account: by those rows `belongings.py` tells what is ours. The last event and the
last delivery stay as well: SQLite would give their numbers again, and pages go on behind that of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Select, Table, and_, bindparam, exists, func, or_, select

from orchestrator import tables as t
from orchestrator.merge_request import OPEN_STATES
from orchestrator.policy import Retention
from orchestrator.pool import AccountState
from orchestrator.preview import ENDED, Step

#: Rows that are looked at, and at most removed, in one transaction.
PAGE = 200
#: From the end of a round to the next one.
ROUND_SECONDS = 3600.0
_NEVER = 1e300

_later = t.deployment.alias("later")
_HAS_A_NEWER = exists().where(
    _later.c.preview_id == t.deployment.c.preview_id, _later.c.id > t.deployment.c.id
)
_IS_SETTLED = and_(
    t.deployment.c.state.in_(ENDED), t.deployment.c.step == Step.NONE, t.deployment.c.due_at.is_(None)
)
_IS_CLOSED = exists().where(
    t.preview.c.id == t.deployment.c.preview_id, t.preview.c.mr_state.not_in(OPEN_STATES)
)
#: What is on an account now came there after this moment.
_OLDEST_LEASE = (
    select(func.min(t.lease.c.taken_at))
    .join(t.account, and_(t.account.c.id == t.lease.c.account_id, t.account.c.fence == t.lease.c.fence))
    .where(t.account.c.state.not_in([AccountState.FREE, AccountState.REMOVED]))
)


def _is_not_the_last(table: Table) -> Any:
    newest = table.alias("newest")
    return table.c.id < select(func.max(newest.c.id)).scalar_subquery()


def _page(came_at: Column[Any], may_go: Any) -> Select[Any]:
    table = came_at.table
    return (
        select(
            table.c.id,
            (came_at < bindparam("before")).label("is_old"),
            may_go.label("may_go"),
        )
        .where(table.c.id > bindparam("after"))
        .order_by(table.c.id)
        .limit(PAGE)
    )


@dataclass(frozen=True)
class _Kind:
    table: Table
    #: The rows behind number ``after``; of each, whether it is older than ``before``, and whether it may go.
    page: Select[Any]


_EVENTS = _Kind(
    t.event, _page(t.event.c.at, (t.event.c.at < bindparam("before")) & _is_not_the_last(t.event))
)
_DELIVERIES = _Kind(
    t.delivery,
    _page(
        t.delivery.c.received_at,
        and_(
            t.delivery.c.due_at.is_(None),
            t.delivery.c.handled_at < bindparam("before"),
            _is_not_the_last(t.delivery),
        ),
    ),
)


def _of_deployments(table: Table) -> _Kind:
    """What is kept of deployments, until they are over; of an open merge request's newest it stays."""
    may_go = exists().where(
        t.deployment.c.id == table.c.deployment_id, _IS_SETTLED, or_(_HAS_A_NEWER, _IS_CLOSED)
    )
    return _Kind(table, _page(table.c.at, (table.c.at < bindparam("before")) & may_go))


_LOGS, _PICTURES = _of_deployments(t.log), _of_deployments(t.picture)
_DEPLOYMENTS = _Kind(
    t.deployment,
    _page(
        t.deployment.c.created_at,
        and_(
            _IS_SETTLED,
            t.deployment.c.since < bindparam("before"),
            t.deployment.c.since < bindparam("leased_since"),
            _HAS_A_NEWER,
        ),
    ),
)


class Forgetting:
    """Where a process is on its rounds; what it remembers of them is no more than a hint."""

    def __init__(self, retention: Retention) -> None:
        self._kinds: Sequence[tuple[_Kind, float]] = (
            (_DELIVERIES, retention.delivery_seconds),
            (_LOGS, retention.log_seconds),
            (_PICTURES, retention.log_seconds),
            (_DEPLOYMENTS, retention.deployment_seconds),
            (_EVENTS, retention.event_seconds),
        )
        self._turn = 0
        self._after = 0
        self._next_round = 0.0

    def is_due(self, now: float) -> bool:
        """False between two rounds."""
        # A clock that was set back does not stop it for longer than a round.
        return now >= self._next_round or now < self._next_round - ROUND_SECONDS

    def step(self, connection: Connection, now: float) -> int:
        """Look at the next page and remove of it what may go; how many rows went.

        What is kept of deployments goes with them, and is not counted. All of it is within the caller's
        transaction; one that is not committed is made up for by the next round.
        """
        kind, seconds = self._kinds[self._turn]
        values: dict[str, float] = {"after": self._after, "before": now - seconds}
        if kind is _DEPLOYMENTS:
            leased_since = connection.scalar(_OLDEST_LEASE)
            values["leased_since"] = _NEVER if leased_since is None else leased_since
        page = connection.execute(kind.page, values).all()
        gone = [row.id for row in page if row.may_go]
        if gone:
            _remove(connection, kind.table, gone)
        if len(page) == PAGE and page[-1].is_old:
            self._after = page[-1].id
        else:
            self._next_kind(now)
        return len(gone)

    def _next_kind(self, now: float) -> None:
        self._after = 0
        self._turn = (self._turn + 1) % len(self._kinds)
        if self._turn == 0:
            self._next_round = now + ROUND_SECONDS


def _remove(connection: Connection, table: Table, ids: Sequence[int]) -> None:
    if table is t.deployment:
        for kept in (t.log, t.picture):
            connection.execute(kept.delete().where(kept.c.deployment_id.in_(ids)))
    connection.execute(table.delete().where(table.c.id.in_(ids)))
