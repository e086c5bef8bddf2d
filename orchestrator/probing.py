"""The probes within a transaction: which are known, when one is built, and what came of it.

It is decided in ``probes.py``. Only ``lifecycle.py`` and ``change.py`` write by this.

All of them are tries of one branch after the other, of a project of our own that GitLab knows nothing of: so
that building, giving way and cleaning are what they are for default branches. Its preview has no report, and
so nothing about it is ever told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import delete, func, insert, select, update

from orchestrator import mainline, opinion, preview, probes, watching
from orchestrator import tables as t
from orchestrator.journal import Journal
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.probes import Probe, Tried
from orchestrator.records import OURS, Project
from orchestrator.scheduler import FREE_FOR_SPARES
from orchestrator.store import Tx
from orchestrator.watching import Branch

_PATH = "probes"


def git_url(public_url: str) -> str:
    """Where the repository of the probes is, of which each is a branch."""
    return f"{public_url}/{_PATH}.git"


def branches(tx: Tx) -> Sequence[str]:
    """The names of the branches that may be built."""
    return list(tx.connection.scalars(select(t.probe.c.name).distinct()))


def known(tx: Tx) -> list[Tried]:
    """What is known of each probe, by name."""
    rows = tx.connection.execute(select(t.probe).order_by(t.probe.c.name, t.probe.c.builder))
    return [
        Tried(
            Probe(row.name, row.builder),
            deployment_id=row.deployment_id,
            tried_at=row.tried_at,
            again_at=row.again_at,
            checked_at=row.checked_at,
            was_built=row.was_built,
            why=row.why,
        )
        for row in rows
    ]


def set_up(tx: Tx, public_url: str, now: float) -> None:
    """Let there be probes, which are cloned from that address; they are looked at next."""
    tx.put_project(
        gitlab_id=OURS,
        path=_PATH,
        web_url=f"{public_url}/builders",
        git_url=git_url(public_url),
        secret_digests=[],
        signing=[],
        checks=[],
        removed_at=None,
        due_at=now,
        now=now,
    )


def ours(tx: Tx) -> Project | None:
    """The project that stands for the probes, while there are any."""
    project = tx.project_by_gitlab_id(OURS)
    return None if project is None or project.removed_at is not None else project


def forget(tx: Tx) -> None:
    """There are no probes any more."""
    tx.connection.execute(delete(t.probe))


def look(journal: Journal, tx: Tx, project: Project, every: float, now: float) -> None:
    """Write down what came of the newest try, once nothing of it is left, and begin the next that is due."""
    present = watching.branch_of(tx, project.id)
    newest = next(iter(tx.deployments_of(present.id, limit=1)), None) if present else None
    is_idle = _is_idle(tx)
    if newest is not None and newest.state is State.QUEUED and not is_idle:
        # While something waits a plan is made each second; a look like this one comes once a minute.
        newest = journal.put_deployment(newest, preview.end(newest, State.CANCELLED, now))
    if newest is not None and (not newest.is_settled or tx.account_of(newest.preview_id) is not None):
        return
    tried = _as_they_should_be(tx, now)
    if newest is not None:
        tried = {probe: _judged(tx, one, newest) for probe, one in tried.items()}
    changed_at = watching.builder(tx).changed_at
    due = probes.next_due(tried.values(), changed_at, every, now) if is_idle else None
    if due is not None:
        begun = _begin(journal, tx, project, due, now)
        put(tx, replace(tried[due], deployment_id=begun.id, tried_at=now, again_at=None))


def _is_idle(tx: Tx) -> bool:
    """Whether there are accounts on which something may be tried that nobody waits for."""
    is_free = (t.account.c.state == AccountState.FREE) & ~t.account.c.drain
    free = tx.connection.scalar(select(func.count()).where(is_free)) or 0
    return free >= FREE_FOR_SPARES and not tx.switches().is_frozen


def _as_they_should_be(tx: Tx, now: float) -> Mapping[Probe, Tried]:
    """Every probe that there should be; what is not wanted any more is forgotten."""
    awaited = [(pin, opinion.builder_of(one)) for one in tx.blocked() for pin in one.pins]
    wanted = probes.wanted(awaited, tx.runtimes(None), now)
    before = {one.probe: one for one in known(tx)}
    _remove(tx, before.keys() - {*wanted})
    return {probe: before.get(probe, Tried(probe)) for probe in wanted}


def _judged(tx: Tx, one: Tried, newest: Deployment) -> Tried:
    """What is known of a probe, with how its try ended where that was the newest of all."""
    if one.deployment_id != newest.id or (one.checked_at or 0.0) >= newest.since or one.again_at is not None:
        return one
    why = newest.failure.summary if newest.failure else ""
    if mainline.is_verdict(newest):
        was_built = newest.state is State.STOPPED
        after = replace(one, checked_at=newest.since, was_built=was_built, why=why)
    else:
        # One that gave way comes back as soon as the pool is idle again.
        pause = probes.AGAIN_SECONDS if newest.state is State.FAILED else 0.0
        after = replace(one, again_at=newest.since + pause, why=why or one.why)
    put(tx, after)
    return after


def _begin(journal: Journal, tx: Tx, project: Project, probe: Probe, now: float) -> Deployment:
    branch = Branch(probe.name, probes.branch(probe.name).sha, project.web_url)
    present = watching.put_branch(tx, project, branch, now, is_told=False)
    waiting = journal.add_deployment(present, step=Step.AWAIT_SLOT, trigger=preview.PROBE, is_bot=True)
    asking = replace(waiting, config=probe.config, pins=probe.pins)
    journal.plan_again = True
    why = f"{probe.name}, to be built by the {probe.builder} builder"
    journal.note(waiting, why, preview_id=present.id)
    return journal.put_deployment(waiting, asking)


def put(tx: Tx, one: Tried) -> None:
    """Write down what is known of a probe."""
    values = {
        "deployment_id": one.deployment_id,
        "tried_at": one.tried_at,
        "again_at": one.again_at,
        "checked_at": one.checked_at,
        "was_built": one.was_built,
        "why": one.why,
    }
    this = (t.probe.c.name == one.probe.name) & (t.probe.c.builder == one.probe.builder)
    if not tx.connection.execute(update(t.probe).where(this).values(**values)).rowcount:
        tx.connection.execute(
            insert(t.probe).values(name=one.probe.name, builder=one.probe.builder, **values)
        )


def _remove(tx: Tx, gone: Collection[Probe]) -> None:
    for one in gone:
        this = (t.probe.c.name == one.name) & (t.probe.c.builder == one.builder)
        tx.connection.execute(delete(t.probe).where(this))
