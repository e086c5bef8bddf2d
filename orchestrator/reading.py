"""What only people ask of the database: SQL that reads, within a transaction of the store.

No decision stands on any of it. Lists are short or have a `most`: a page never reads all that ever was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, func, or_, select

from orchestrator import tables as t
from orchestrator.pool import Account
from orchestrator.preview import PROBE, Deployment, State, Step
from orchestrator.records import BRANCH_IID, Event, Lease, Preview
from orchestrator.rows import account_from, deployment_from, event_from, lease_from, preview_from
from orchestrator.store import Tx

#: Events that say nothing but what the merge requests show anyway; the settings of a project are not public.
PUBLIC_SUBJECTS = ("account", "deployment", "preview", "switch")
#: What operators see besides: what was set for projects, secrets by their names, who made tokens for the API.
ALL_SUBJECTS = (*PUBLIC_SUBJECTS, "project", "token")

_DEPLOYMENTS = select(t.deployment, t.preview.c.iid).join(
    t.preview, t.preview.c.id == t.deployment.c.preview_id
)


@dataclass(frozen=True)
class Change:
    """Something has become different."""

    id: int
    #: The preview that it is about, and what else.
    preview_id: int | None
    subject: str
    subject_id: int


@dataclass(frozen=True)
class Sought:
    """Which events somebody wants to see; what is None or empty excludes nothing."""

    subject: str = ""
    who: str = ""
    #: Part of the reason.
    text: str = ""
    #: The state that was entered.
    after: str = ""
    project_id: int | None = None
    since: float | None = None
    until: float | None = None
    subjects: Sequence[str] = field(default=PUBLIC_SUBJECTS)


@dataclass(frozen=True)
class NumberedEvent:
    """An event with its number, by which one pages, and the merge request that it is about."""

    id: int
    event: Event
    preview_id: int | None


def previews_by_id(tx: Tx, ids: Sequence[int]) -> Mapping[int, Preview]:
    """Some previews."""
    rows = tx.connection.execute(select(t.preview).where(t.preview.c.id.in_(ids))) if ids else ()
    return {row.id: preview_from(row) for row in rows}


def holders(tx: Tx, preview_ids: Sequence[int]) -> Mapping[int, Account]:
    """The accounts that some previews have, by the preview's id."""
    held = select(t.account).where(t.account.c.preview_id.in_(preview_ids))
    rows = tx.connection.execute(held) if preview_ids else ()
    return {row.preview_id: account_from(row) for row in rows}


def previews_of(
    tx: Tx, project_id: int | None, *, most: int, before: int | None = None, is_open: bool | None = None
) -> list[Preview]:
    """A project's previews of merge requests, or with None all; the newest first.

    Only those older than number `before`, where that is given.
    """
    query = select(t.preview).order_by(t.preview.c.id.desc()).limit(most)
    query = query.where(t.preview.c.iid != BRANCH_IID)
    if project_id is not None:
        query = query.where(t.preview.c.project_id == project_id)
    if before is not None:
        query = query.where(t.preview.c.id < before)
    if is_open is not None:
        was_open = t.preview.c.mr_state == "opened"
        query = query.where(was_open if is_open else ~was_open)
    return [preview_from(row) for row in tx.connection.execute(query)]


def newest_of(tx: Tx, preview_ids: Sequence[int]) -> Mapping[int, Deployment]:
    """The newest deployment of each preview, by the preview's id."""
    newest = (
        select(func.max(t.deployment.c.id))
        .where(t.deployment.c.preview_id.in_(preview_ids))
        .group_by(t.deployment.c.preview_id)
    )
    rows = tx.connection.execute(_DEPLOYMENTS.where(t.deployment.c.id.in_(newest))) if preview_ids else ()
    return {row.preview_id: deployment_from(row) for row in rows}


def deployments_of(
    tx: Tx,
    project_id: int | None,
    *,
    most: int,
    before: int | None = None,
    preview_id: int | None = None,
    states: Sequence[str] = (),
) -> list[Deployment]:
    """Deployments of merge requests, of a project or with None of all; the newest first.

    Only those older than number `before`, where that is given.
    """
    query: Select[Any] = (
        _DEPLOYMENTS.where(t.preview.c.iid != BRANCH_IID).order_by(t.deployment.c.id.desc()).limit(most)
    )
    if project_id is not None:
        query = query.where(t.preview.c.project_id == project_id)
    if preview_id is not None:
        query = query.where(t.deployment.c.preview_id == preview_id)
    if before is not None:
        query = query.where(t.deployment.c.id < before)
    if states:
        query = query.where(t.deployment.c.state.in_(states))
    return [deployment_from(row) for row in tx.connection.execute(query)]


def newest_try(tx: Tx, project_id: int) -> Deployment | None:
    """The newest deployment of a project that got to a verdict, or is on its way to one.

    One that waits for an approval is not: with it a stranger could say something of the project.
    """
    states = [State.QUEUED, State.BUILDING, State.STARTING, State.CHECKING]
    states += [State.LIVE, State.FAILED, State.STOPPED]
    query = _DEPLOYMENTS.where(
        t.preview.c.project_id == project_id,
        t.preview.c.iid != BRANCH_IID,
        t.deployment.c.state.in_(states),
        t.deployment.c.step != Step.AWAIT_APPROVAL,
    )
    row = tx.connection.execute(query.order_by(t.deployment.c.id.desc()).limit(1)).first()
    return deployment_from(row) if row else None


def failures_since(tx: Tx, since: float, *, most: int) -> list[Deployment]:
    """What failed after `since`, the newest first; not what was tried to see whether it would."""
    failed = (t.deployment.c.state == State.FAILED) & (t.deployment.c.since > since)
    failed &= t.deployment.c.trigger != PROBE
    query = _DEPLOYMENTS.where(failed).order_by(t.deployment.c.since.desc()).limit(most)
    return [deployment_from(row) for row in tx.connection.execute(query)]


def asked_for(tx: Tx, *, most: int) -> list[tuple[Preview, Deployment]]:
    """What default branches and merged merge requests ask for, by the newest `most` deployments that tell."""
    is_theirs = or_(t.preview.c.iid == BRANCH_IID, t.preview.c.mr_state == "merged")
    query = _DEPLOYMENTS.where(is_theirs, t.deployment.c.pins.is_not(None), t.deployment.c.trigger != PROBE)
    found = [
        deployment_from(row)
        for row in tx.connection.execute(query.order_by(t.deployment.c.id.desc()).limit(most))
    ]
    of = previews_by_id(tx, sorted({one.preview_id for one in found}))
    return [(of[one.preview_id], one) for one in found]


def leases_since(tx: Tx, since: float, *, account_id: int | None = None, most: int = 500) -> list[Lease]:
    """Leases, of one account or of all, that were not over at `since`; the newest first."""
    was_held = or_(t.lease.c.ended_at.is_(None), t.lease.c.ended_at > since)
    query = select(t.lease).where(was_held).order_by(t.lease.c.taken_at.desc()).limit(most)
    if account_id is not None:
        query = query.where(t.lease.c.account_id == account_id)
    return [lease_from(row) for row in tx.connection.execute(query)]


def newest_change(tx: Tx) -> int:
    """The number of the newest event; 0 before the first."""
    return int(tx.connection.scalar(select(func.max(t.event.c.id))) or 0)


def changes_after(tx: Tx, number: int, *, most: int = 500) -> list[Change]:
    """Events after the one with this number, the oldest first."""
    columns = (t.event.c.id, t.event.c.preview_id, t.event.c.subject, t.event.c.subject_id)
    query = select(*columns).where(t.event.c.id > number).order_by(t.event.c.id).limit(most)
    return [Change(*row) for row in tx.connection.execute(query)]


def events(tx: Tx, sought: Sought, *, most: int, before: int | None = None) -> list[NumberedEvent]:
    """The events that are sought, the newest first, those older than number `before`."""
    query = select(t.event).where(t.event.c.subject.in_(sought.subjects))
    if sought.project_id is not None:
        mine = select(t.preview.c.id).where(t.preview.c.project_id == sought.project_id)
        itself = (t.event.c.subject == "project") & (t.event.c.subject_id == sought.project_id)
        query = query.where(or_(t.event.c.preview_id.in_(mine), itself))
    for column, value in (
        (t.event.c.subject, sought.subject),
        (t.event.c.who, sought.who),
        (t.event.c.after, sought.after),
    ):
        if value:
            query = query.where(column == value)
    if sought.text:
        query = query.where(t.event.c.why.contains(sought.text, autoescape=True))
    if sought.since is not None:
        query = query.where(t.event.c.at >= sought.since)
    if sought.until is not None:
        query = query.where(t.event.c.at < sought.until)
    if before is not None:
        query = query.where(t.event.c.id < before)
    rows = tx.connection.execute(query.order_by(t.event.c.id.desc()).limit(most))
    return [NumberedEvent(row.id, event_from(row), row.preview_id) for row in rows]


def event_actors(tx: Tx, subjects: Sequence[str], *, most: int = 50) -> list[str]:
    """Who has acted lately, by name."""
    newest = (
        select(t.event.c.who)
        .where(t.event.c.subject.in_(subjects))
        .order_by(t.event.c.id.desc())
        .limit(2000)
        .subquery()
    )
    rows = tx.connection.scalars(select(newest.c.who).distinct().order_by(newest.c.who).limit(most))
    return [who for who in rows if who]
