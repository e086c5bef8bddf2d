"""What the pool and the line are made of, read so that a large pool costs no more than a small one.

Only rows that can matter are read: what is unfinished, and of the free accounts, of those being cleaned and
of what has been live the longest as many as are asked for. Each statement is said so that an index serves it
on every database; which rows a plan needs is known to ``sight.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, false, func, or_, select, true, union, update

from orchestrator import statements as sql
from orchestrator import tables as t
from orchestrator.lifetime import young_until
from orchestrator.pool import Account, AccountState
from orchestrator.preview import AT_REST, PENDING, SPARE, Deployment, State, Step
from orchestrator.rows import account_from, deployment_from

#: So many rows are asked for by their ids in one statement.
_AT_ONCE = 500
#: So many accounts are looked at by one sweep, whether they are leased for nothing.
_A_SWEEP = 100
#: More values than that do not fit into a statement of every database.
_MOST_VALUES = 10_000
_T = TypeVar("_T")

_GOING = select(
    t.deployment,
    t.preview.c.iid,
    t.preview.c.project_id,
    t.preview.c.expires_at,
    t.preview.c.keep_until,
).join(t.preview, t.preview.c.id == t.deployment.c.preview_id)
#: Like :data:`statements.UNSETTLED`, but for what is live and tidied, and for what is at rest.
_UNFINISHED = _GOING.where(
    or_(t.deployment.c.state.in_(PENDING), t.deployment.c.due_at > 0),
    t.deployment.c.step.not_in(AT_REST),
)
_QUEUED = select(func.count()).where(
    t.deployment.c.state == State.QUEUED, t.deployment.c.trigger.not_in(SPARE)
)
_IS_LIVE = t.deployment.c.state == State.LIVE
_LIVE_OF = _GOING.where(
    t.deployment.c.preview_id.in_(bindparam("ids", expanding=True)),
    # Said so that the index of the preview serves it, and not that of everything that is live.
    func.coalesce(t.deployment.c.state, "") == State.LIVE,
)
#: The sum keeps the databases from the index of what expires, which all that is live stands in.
_IS_KEPT = (t.preview.c.keep_until > bindparam("now")) & (t.preview.c.expires_at + 0.0 > bindparam("now"))
_LONGEST_LIVE = (
    _GOING.where(_IS_LIVE, t.deployment.c.since <= bindparam("before"), func.coalesce(~_IS_KEPT, true()))
    .order_by(t.deployment.c.since, t.deployment.c.id)
    .limit(bindparam("most"))
    .offset(bindparam("offset"))
)
_KEPT_LIVE = (
    _GOING.where(_IS_KEPT, func.coalesce(t.deployment.c.state, "") == State.LIVE)
    .order_by(t.preview.c.keep_until)
    .limit(bindparam("most"))
)

_TO_BE_HAD = (
    select(t.account.c.id)
    .where(
        t.account.c.state == AccountState.FREE,
        t.account.c.shared == false(),
        t.account.c.drain == false(),
        t.account.c.id.not_in(bindparam("but", expanding=True)),
    )
    .order_by(t.account.c.name)
    .limit(bindparam("free"))
)
_HAS_ROOM = or_(
    t.account.c.bytes_limit.is_(None),
    func.coalesce(t.account.c.bytes_used, 0) + bindparam("size") <= t.account.c.bytes_limit,
)
_FREE_WITH_ROOM = _TO_BE_HAD.where(_HAS_ROOM)
_BEING_CLEANED = (
    select(t.account.c.id).where(t.account.c.state == AccountState.CLEANING).limit(bindparam("cleaning"))
)
_SHARED = select(t.account.c.id).where(t.account.c.state == AccountState.LEASED, t.account.c.shared == true())
_DRAINING = select(func.count()).where(
    t.account.c.state == AccountState.LEASED, t.account.c.shared == false(), t.account.c.drain == true()
)
#: States of an account that somebody has, or can get without an operator's doing.
_IN_USE = (AccountState.FREE, AccountState.LEASED, AccountState.CLEANING)


def _largest(state: AccountState, *, is_without_limit: bool) -> Select[Any]:
    limit = t.account.c.bytes_limit
    these = select(t.account.c.id).where(t.account.c.state == state, t.account.c.drain == false())
    if is_without_limit:
        return these.where(limit.is_(None)).limit(1)
    return these.where(limit.is_not(None)).order_by(limit.desc()).limit(1)


_THAT_MATTER = union(
    *(
        select(part.subquery().c.id)
        for part in (
            _TO_BE_HAD,
            _BEING_CLEANED,
            _SHARED,
            *(_largest(state, is_without_limit=without) for state in _IN_USE for without in (True, False)),
        )
    )
)
_LEASED_TO = select(t.account.c.id).where(t.account.c.preview_id.in_(bindparam("ids", expanding=True)))
_ACCOUNTS = (
    select(t.account)
    .where(t.account.c.id.in_(bindparam("ids", expanding=True)), t.account.c.state != AccountState.REMOVED)
    .order_by(t.account.c.name)
)
_ANY_IN_USE = select(t.account.c.id).where(t.account.c.state.in_(_IN_USE)).limit(1)
_NEXT_ACCOUNTS = (
    select(t.account.c.id, t.account.c.state, t.account.c.preview_id)
    .where(t.account.c.id > bindparam("after"))
    .order_by(t.account.c.id)
    .limit(_A_SWEEP)
)
#: Those of the previews ``ids`` that need an account.
_IN_NEED = select(t.deployment.c.preview_id).where(
    t.deployment.c.preview_id.in_(bindparam("ids", expanding=True)),
    t.deployment.c.step.not_in(AT_REST),
    sql.ONE_IS_UNSETTLED,
)

_IN_THE_QUEUE = select(t.deployment.c.preview_id).where(
    t.deployment.c.state == State.QUEUED,
    t.deployment.c.step == Step.AWAIT_SLOT,
    t.deployment.c.trigger.not_in(SPARE),
)
#: Tell ``ids`` of the queue at ``at``, unless they are told something before.
_MARK_QUEUE = (
    update(t.report_state)
    .where(
        t.report_state.c.preview_id.in_(bindparam("ids", expanding=True)),
        # Most reports have nothing to tell: the index of those is not to be used.
        func.coalesce(t.report_state.c.due_at, 0.0) == 0.0,
    )
    .values(due_at=bindparam("at"), version=t.report_state.c.version + 1)
)


@dataclass(frozen=True)
class Going:
    """A deployment that is on its way, live, or not tidied."""

    deployment: Deployment
    project_id: int
    #: Of its preview, see :class:`records.Preview`.
    expires_at: float | None
    keep_until: float | None

    def kept_until(self, now: float) -> float | None:
        """Until when its preview does not give way to others; None when it may give way now."""
        is_kept = (self.expires_at or 0.0) > now and (self.keep_until or 0.0) > now
        until = max(self.keep_until or 0.0 if is_kept else 0.0, young_until(self.deployment))
        return until if until > now else None


class Stock:
    """The part of a transaction that plans, forecasts and sweeps read."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_anybody_waiting(self) -> bool:
        """True when a deployment waits for the scheduler."""
        return self._connection.scalar(sql.WAITING) is not None

    def waiting_count(self) -> int:
        """How many deployments wait, those for an approval among them; not what nobody waits for."""
        return int(self._connection.scalar(_QUEUED) or 0)

    def unfinished(self) -> list[Going]:
        """Deployments on their way and those that are not tidied; not those that hold nothing."""
        return [_going_from(row) for row in self._connection.execute(_UNFINISHED)]

    def live_of(self, preview_ids: Collection[int]) -> list[Going]:
        """What is live of these previews."""
        return [_going_from(row) for row in self._rows_of(_LIVE_OF, preview_ids)]

    def longest_live(self, now: float, *, before: float, limit: int) -> list[Going]:
        """What has been live the longest, since `before` at least, and is not kept.

        Only the repository's own file knows a minimum, so that what it keeps is passed over here.
        """
        found: list[Going] = []
        page, offset = limit, 0
        while len(found) < limit and page == limit:
            values = {"now": now, "before": before, "most": limit, "offset": offset}
            some = [_going_from(row) for row in self._connection.execute(_LONGEST_LIVE, values)]
            found += [one for one in some if one.kept_until(now) is None]
            page, offset = len(some), offset + limit
        return found[:limit]

    def kept_live(self, now: float, *, limit: int) -> list[Going]:
        """What is live and kept, that of which the end comes first."""
        return [_going_from(row) for row in self._connection.execute(_KEPT_LIVE, {"now": now, "most": limit})]

    def draining_count(self) -> int:
        """How many accounts are leased that nobody else will get."""
        return int(self._connection.scalar(_DRAINING) or 0)

    def accounts_that_matter(
        self, leased_to: Collection[int], *, free: int, cleaning: int, but: Collection[int]
    ) -> set[int]:
        """The ids of accounts: those leased to these previews, and all that are shared.

        With them the first `free` ones by name that are to be had, not counting those in `but`, as many that
        are being cleaned as `cleaning` says, and one with the largest store.
        """
        most = {"free": free, "cleaning": cleaning, "but": list(but)}
        found = set(self._connection.scalars(_THAT_MATTER, most))
        return found | {row.id for row in self._rows_of(_LEASED_TO, leased_to)}

    def free_with_room(self, size: int, *, limit: int, but: Collection[int]) -> set[int]:
        """The ids of the first accounts by name that are to be had and take `size` more bytes."""
        most = {"size": size, "free": limit, "but": list(but)}
        return set(self._connection.scalars(_FREE_WITH_ROOM, most))

    def accounts_by_id(self, ids: Collection[int]) -> list[Account]:
        """Those of the accounts that are in the pool, by name."""
        # In one statement: only the database knows how it orders names.
        if len(ids) > _MOST_VALUES:
            wanted = frozenset(ids)
            rows = [row for row in self._connection.execute(sql.ACCOUNTS) if row.id in wanted]
        else:
            rows = list(self._connection.execute(_ACCOUNTS, {"ids": list(ids)}))
        return [account_from(row) for row in rows]

    def pool_is_usable(self) -> bool:
        """True when the pool has an account that is not out of use."""
        return self._connection.scalar(_ANY_IN_USE) is not None

    def leased_for_nothing(self, *, after: int) -> tuple[list[int], int]:
        """Leased accounts that nothing on its way, live, or to be tidied needs; after which id to go on.

        One look goes through a part of a large pool; 0 begins anew.
        """
        part = self._connection.execute(_NEXT_ACCOUNTS, {"after": after}).all()
        leased = {row.id: row.preview_id for row in part if row.state == AccountState.LEASED}
        previews = [preview_id for preview_id in leased.values() if preview_id is not None]
        in_need = set(self._connection.scalars(_IN_NEED, {"ids": previews}))
        doubtful = [account_id for account_id, holder in leased.items() if holder not in in_need]
        idle = [one for one in doubtful if self._connection.scalar(sql.IS_LEASED_FOR_NOTHING, {"id": one})]
        return idle, part[-1].id if len(part) == _A_SWEEP else 0

    def mark_queue(self, at: float) -> None:
        """The queue has moved: tell it to all who wait at `at`, unless they are told something before."""
        waiting = self._connection.scalars(_IN_THE_QUEUE).all()
        for some in _parts(waiting):
            self._connection.execute(_MARK_QUEUE, {"ids": some, "at": at})

    def _rows_of(self, statement: Select[Any], ids: Collection[int]) -> Iterator[Row[Any]]:
        for some in _parts(ids):
            yield from self._connection.execute(statement, {"ids": some})


def _parts(values: Iterable[_T]) -> Iterator[Sequence[_T]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _going_from(row: Row[Any]) -> Going:
    return Going(deployment_from(row), row.project_id, row.expires_at, row.keep_until)
