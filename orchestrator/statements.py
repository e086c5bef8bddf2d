"""The statements that every step makes, put together once: to build one costs more than to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Select, Table, Update, bindparam, case, exists, func, or_, select, true, update

from orchestrator import tables as t
from orchestrator.merge_request import OPEN_STATES
from orchestrator.pool import AccountState
from orchestrator.preview import AT_REST, ENDED, PENDING, State, Step
from orchestrator.records import ON_ACCOUNTS, Kind
from orchestrator.switches import Stop, Switch

TABLES: Mapping[Kind, Table] = {
    Kind.DELIVERY: t.delivery,
    Kind.DEPLOYMENT: t.deployment,
    Kind.ACCOUNT: t.account,
    Kind.REPORT: t.report_state,
    Kind.PROJECT: t.project,
}


def key(table: Table) -> Column[int]:
    """The column by which a row that can be due is known."""
    return table.c.preview_id if table is t.report_state else table.c.id


def _is_free(table: Table) -> Any:
    is_unclaimed = or_(table.c.claimed_until.is_(None), table.c.claimed_until <= bindparam("now"))
    return (table.c.due_at <= bindparam("now")) & is_unclaimed


_IS_PAUSED = exists().where(t.switch.c.name == Switch(Stop.PAUSE, None, "", "", 0.0).name)
#: A row while operators have stopped everything that is done to accounts.
PAUSED = select(t.switch.c.name).where(_IS_PAUSED).limit(1)
SWITCHES = select(t.switch.c.value).where(or_(*(t.switch.c.name.startswith(stop) for stop in Stop)))


def _may_be_begun(kind: Kind) -> Any:
    return ~_IS_PAUSED if kind in ON_ACCOUNTS else true()


#: Rows that are due at ``now`` and not being looked at, the longest due first.
DUE: Mapping[Kind, Select[Any]] = {
    kind: select(key(table), table.c.due_at)
    .where(_is_free(table), _may_be_begun(kind))
    .order_by(table.c.due_at)
    .limit(bindparam("most"))
    for kind, table in TABLES.items()
}
#: How many rows are due at ``now`` and not being looked at, and since when the first has been.
DUE_COUNT: Mapping[Kind, Select[Any, Any]] = {
    kind: select(func.count(), func.min(table.c.due_at)).where(_is_free(table), _may_be_begun(kind))
    for kind, table in TABLES.items()
}
#: The claim that an earlier holder left behind on row ``row_id``; no row when it cannot be claimed.
ABANDONED: Mapping[Kind, Select[Any]] = {
    kind: select(table.c.claim).where(key(table) == bindparam("row_id"), _is_free(table), _may_be_begun(kind))
    for kind, table in TABLES.items()
}
#: Claim row ``row_id``.
TAKE: Mapping[Kind, Update] = {
    kind: update(table)
    .where(key(table) == bindparam("row_id"), _is_free(table))
    .values(claim=bindparam("token"), claimed_until=bindparam("until"))
    for kind, table in TABLES.items()
}
#: A row when ``token`` is the claim on ``row_id`` and lasts beyond ``now``.
HELD: Mapping[Kind, Select[Any]] = {
    kind: select(key(table)).where(
        key(table) == bindparam("row_id"),
        table.c.claim == bindparam("token"),
        table.c.claimed_until > bindparam("now"),
    )
    for kind, table in TABLES.items()
}
#: Let the claim ``token`` on ``row_id`` last until ``until``.
RENEW: Mapping[Kind, Update] = {
    kind: update(table)
    .where(key(table) == bindparam("row_id"), table.c.claim == bindparam("token"))
    .values(claimed_until=bindparam("until"))
    for kind, table in TABLES.items()
}
#: A row when ``account_id`` is leased to ``preview_id``, or shared, under ``fence``.
LEASED = select(t.account.c.id).where(
    t.account.c.id == bindparam("account_id"),
    t.account.c.fence == bindparam("fence"),
    or_(t.account.c.preview_id == bindparam("preview_id"), t.account.c.shared),
)

PROJECT = select(t.project).where(t.project.c.id == bindparam("id"))
PROJECT_AT = select(t.project).where(t.project.c.path == bindparam("path"), t.project.c.removed_at.is_(None))
PREVIEW = select(t.preview).where(t.preview.c.id == bindparam("id"))
PREVIEW_OF = select(t.preview).where(
    t.preview.c.project_id == bindparam("project_id"), t.preview.c.iid == bindparam("iid")
)

#: Merge requests of a project that are open as far as we know.
KNOWN_OPEN = select(
    t.preview.c.iid,
    t.preview.c.head_sha,
    t.preview.c.seen_at,
    exists()
    .where(t.deployment.c.preview_id == t.preview.c.id, t.deployment.c.state == State.LIVE)
    .label("is_up"),
).where(t.preview.c.project_id == bindparam("project_id"), t.preview.c.mr_state.in_(OPEN_STATES))
#: Previews of a project that do not give way to others.
KEPT = (
    select(t.preview)
    .where(
        t.preview.c.project_id == bindparam("project_id"),
        t.preview.c.keep_until > bindparam("now"),
        t.preview.c.expires_at > bindparam("now"),
    )
    .order_by(t.preview.c.iid)
)
#: Compare every project at ``at``, or earlier if that was planned.
COMPARE_BY = update(t.project).where(t.project.c.due_at > bindparam("at")).values(due_at=bindparam("at"))

#: Waits until no other transaction has it.
LOCK_SCHEDULE = select(t.switch.c.name).where(t.switch.c.name == "schedule").with_for_update()

_DEPLOYMENTS = select(t.deployment, t.preview.c.iid, t.preview.c.project_id).join(
    t.preview, t.preview.c.id == t.deployment.c.preview_id
)
DEPLOYMENT = _DEPLOYMENTS.where(t.deployment.c.id == bindparam("id"))
_OF_PREVIEW = _DEPLOYMENTS.where(t.deployment.c.preview_id == bindparam("preview_id")).order_by(
    t.deployment.c.id.desc()
)
DEPLOYMENTS_OF = _OF_PREVIEW.limit(bindparam("most"))
_IS_UNSETTLED = or_(
    t.deployment.c.state.in_([*PENDING, State.LIVE]),
    # An ended deployment that is still due has something left to tidy. Said so that an index serves it: to
    # "is not null" SQLite reads all that ever was.
    t.deployment.c.due_at > 0,
)
#: The same of few deployments that another index finds: said so that it is not left for those of the states.
ONE_IS_UNSETTLED = or_(
    func.coalesce(t.deployment.c.state, "").in_([*PENDING, State.LIVE]),
    func.coalesce(t.deployment.c.due_at, 0.0) > 0.0,
)
UNSETTLED = _DEPLOYMENTS.where(_IS_UNSETTLED).order_by(t.deployment.c.id)
UNSETTLED_OF = _OF_PREVIEW.where(ONE_IS_UNSETTLED)
UNSETTLED_ON = _DEPLOYMENTS.where(
    t.deployment.c.account_id == bindparam("account_id"),
    t.deployment.c.fence == bindparam("fence"),
    ONE_IS_UNSETTLED,
).order_by(t.deployment.c.id)
LIVE = select(func.count()).where(t.deployment.c.state == State.LIVE)
#: What waits for its builder, and holds nothing any more.
BLOCKED = _DEPLOYMENTS.where(
    t.deployment.c.state == State.BLOCKED, t.deployment.c.step == Step.AWAIT_VERSION
).order_by(t.deployment.c.id)
#: For the scheduler; the states are there for their index.
WAITING = (
    select(t.deployment.c.id)
    .where(
        t.deployment.c.state.in_([State.QUEUED, State.BUILDING]),
        t.deployment.c.step.in_([Step.AWAIT_SLOT, Step.AWAIT_PLACE]),
    )
    .limit(1)
)

#: Deployments of a project that are to be built and were not begun, but for those of one preview.
WAITING_IN = (
    select(func.count())
    .select_from(t.deployment.join(t.preview, t.preview.c.id == t.deployment.c.preview_id))
    .where(
        t.deployment.c.state == State.QUEUED,
        t.deployment.c.step.in_([Step.READ_FILE, Step.AWAIT_SLOT]),
        t.preview.c.project_id == bindparam("project_id"),
        t.preview.c.id != bindparam("but"),
    )
)
_DELIVERIES_OF = (t.delivery.c.project_id == bindparam("project_id")) & (
    t.delivery.c.kind == bindparam("kind")
)
#: No more of them are counted than matter.
DELIVERIES_SINCE = select(func.count()).select_from(
    select(t.delivery.c.id)
    .where(_DELIVERIES_OF, t.delivery.c.received_at > bindparam("since"))
    .limit(bindparam("most"))
    .subquery()
)
#: When the last one that is not handled is to be looked at.
LAST_DUE = select(func.max(t.delivery.c.due_at)).where(_DELIVERIES_OF, t.delivery.c.due_at.is_not(None))
#: Those about one merge request at which nobody has begun to look.
NOT_BEGUN = select(t.delivery.c.id, t.delivery.c.due_at, t.delivery.c.facts).where(
    _DELIVERIES_OF,
    t.delivery.c.iid == bindparam("iid"),
    t.delivery.c.due_at.is_not(None),
    t.delivery.c.claim.is_(None),
)

_LEASE_OF = t.lease.c.account_id == bindparam("account_id")
_IS_ON_ACCOUNT = (t.deployment.c.account_id == bindparam("account_id")) & (
    t.deployment.c.fence == t.lease.c.fence
)
#: A deployment whose shared account was taken from it remembers only when it was there.
_MAY_HAVE_BEEN_ON_IT = (
    t.deployment.c.account_id.is_distinct_from(bindparam("account_id"))
    & (t.deployment.c.created_at <= func.coalesce(t.lease.c.ended_at, t.deployment.c.created_at))
    & (t.deployment.c.state.not_in(ENDED) | (t.deployment.c.since >= t.lease.c.taken_at))
)
#: Those of the deployments ``ids`` that have had a lease of the account, by their preview or themselves.
LEASED_DEPLOYMENTS = _DEPLOYMENTS.where(
    t.deployment.c.id.in_(bindparam("ids", expanding=True)),
    or_(
        exists().where(_LEASE_OF, t.lease.c.preview_id == t.deployment.c.preview_id),
        exists().where(_LEASE_OF, t.lease.c.preview_id.is_(None), or_(_IS_ON_ACCOUNT, _MAY_HAVE_BEEN_ON_IT)),
    ),
)

#: Deployments for which their preview needs its account, and which use a shared one.
_NEEDS_ACCOUNT = (
    ONE_IS_UNSETTLED
    & t.deployment.c.step.not_in(AT_REST)
    & (t.deployment.c.preview_id == t.account.c.preview_id)
)
_USES_ACCOUNT = (
    ONE_IS_UNSETTLED
    & t.deployment.c.step.not_in(AT_REST)
    & (t.deployment.c.account_id == t.account.c.id)
    & (t.deployment.c.fence == t.account.c.fence)
)
#: Account ``id``, when it is leased for nothing.
IS_LEASED_FOR_NOTHING = select(t.account.c.id).where(
    t.account.c.id == bindparam("id"),
    t.account.c.state == AccountState.LEASED,
    ~exists().where(_NEEDS_ACCOUNT),
    ~exists().where(_USES_ACCOUNT),
)
#: The newest image of the same files that ``account_id`` still has under ``fence``.
REUSABLE = (
    select(t.deployment.c.image)
    .join(t.preview, t.preview.c.id == t.deployment.c.preview_id)
    .where(
        t.deployment.c.account_id == bindparam("account_id"),
        t.deployment.c.fence == bindparam("fence"),
        t.deployment.c.image.is_not(None),
        t.preview.c.project_id == bindparam("project_id"),
        or_(
            func.coalesce(t.deployment.c.merged_sha, t.deployment.c.sha) == bindparam("sha"),
            (t.deployment.c.tree != "") & (t.deployment.c.tree == bindparam("tree")),
        ),
    )
    .order_by(t.deployment.c.id.desc())
    .limit(1)
)

#: From ``now`` on the patience for what is under way counts anew.
COUNT_ANEW = (
    update(t.deployment)
    .where(t.deployment.c.state.in_(PENDING - {State.QUEUED, State.BLOCKED}))
    .values(since=bindparam("now"), step_since=bindparam("now"))
)
CLEAN_ANEW = (
    update(t.account).where(t.account.c.state == AccountState.CLEANING).values(since=bindparam("now"))
)


def _brought_nearer(table: Table, *columns: Column[Any]) -> Update:
    """What of these times is still to come, sooner by ``seconds``; who is at the row just now looks again."""
    sooner = {
        column: case((column > bindparam("now"), column - bindparam("seconds")), else_=column)
        for column in columns
    }
    version = {table.c.version: table.c.version + 1} if "version" in table.c else {}
    return (
        update(table)
        .where(or_(*(column > bindparam("now") for column in columns)))
        .values({**sooner, **version})
    )


_OTHER_TIMES = ("ready_at", "ready_since", "unsure_until", "since")
#: Everything that is waited for, and whatever was seen, when the clock is put back.
BRING_NEARER: Sequence[Update] = [
    *(
        _brought_nearer(
            table,
            table.c.due_at,
            table.c.claimed_until,
            *(table.c[name] for name in _OTHER_TIMES if name in table.c),
        )
        for table in TABLES.values()
    ),
    _brought_nearer(t.preview, t.preview.c.seen_at),
    _brought_nearer(t.picture, t.picture.c.again_at),
    # They count against what a project may deliver in a minute.
    _brought_nearer(t.delivery, t.delivery.c.received_at),
]
#: What is up, and was not to be touched for ``seconds``, stays up for so much longer.
STAY_LONGER = (
    update(t.preview)
    .where(t.preview.c.expires_at.is_not(None))
    .values(
        expires_at=t.preview.c.expires_at + bindparam("seconds"),
        keep_until=t.preview.c.keep_until + bindparam("seconds"),
    )
)

_IS_IN_POOL = t.account.c.state != AccountState.REMOVED
ACCOUNTS = select(t.account).where(_IS_IN_POOL).order_by(t.account.c.name)
ACCOUNT_NAMED = select(t.account).where(t.account.c.name == bindparam("name"))
LEASES = (
    select(t.lease)
    .where(t.lease.c.account_id == bindparam("account_id"))
    .order_by(t.lease.c.fence.desc())
    .limit(bindparam("most"))
)
ACCOUNT = select(t.account).where(t.account.c.id == bindparam("id"))
#: Inspect every account that can be inspected at ``now``.
INSPECT_ALL = (
    update(t.account)
    .where(t.account.c.state.in_([AccountState.FREE, AccountState.LEASED]))
    .values(due_at=bindparam("now"))
)
ACCOUNT_OF = select(t.account).where(t.account.c.preview_id == bindparam("preview_id"))

#: Tell GitLab of ``preview_id`` at ``at``, or earlier if that was planned.
MARK_REPORT = (
    update(t.report_state)
    .where(t.report_state.c.preview_id == bindparam("which"))
    .values(
        due_at=case(
            # GitLab asked for a pause: news does not shorten it.
            (t.report_state.c.attempts > 0, func.coalesce(t.report_state.c.due_at, bindparam("at"))),
            (t.report_state.c.due_at < bindparam("at"), t.report_state.c.due_at),
            else_=bindparam("at"),
        ),
        version=t.report_state.c.version + 1,
    )
)
TOLD = select(t.report_state).where(t.report_state.c.preview_id == bindparam("preview_id"))


def _guarded(table: Table) -> Any:
    return update(table).where(table.c.id == bindparam("row_id"), table.c.version == bindparam("old_version"))


#: Write a row of ``old_version``; the values are given as parameters.
PUT: Mapping[Kind, Update] = {
    Kind.DEPLOYMENT: _guarded(t.deployment),
    Kind.ACCOUNT: _guarded(t.account),
}
#: The same, provided that ``token`` is still the claim on it.
PUT_CLAIMED: Mapping[Kind, Update] = {
    kind: statement.where(TABLES[kind].c.claim == bindparam("token")) for kind, statement in PUT.items()
}
