"""The watch over default branches, within a transaction: when one is tried, and what came of it.

It is decided in ``mainline.py`` and ``builder.py``. Only ``change.py`` and ``foresight.py`` write by this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select, update

from orchestrator import mainline, preview
from orchestrator import tables as t
from orchestrator.builder import Builder, Noticed
from orchestrator.journal import Journal
from orchestrator.mainline import Verdict
from orchestrator.merge_request import MergeRequest
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import BRANCH_IID, Preview, Project
from orchestrator.rows import verdict_from
from orchestrator.rules import MainWatch
from orchestrator.runtimes import DEFAULT
from orchestrator.store import Tx

#: Stands where others have the state of their merge request.
_STATE = "branch"
_SWITCH = f"builder {DEFAULT}"


@dataclass(frozen=True)
class Branch:
    """The default branch of a project, as GitLab shows it."""

    name: str
    sha: str
    web_url: str


def verdict(tx: Tx, project_id: int) -> Verdict:
    """What is known of a project's default branch."""
    row = tx.connection.execute(select(t.main_watch).where(t.main_watch.c.project_id == project_id)).first()
    return verdict_from(row) if row else Verdict(project_id)


def verdicts(tx: Tx) -> Mapping[int, Verdict]:
    """What is known of the default branches that are watched, by the project's id."""
    watched = {one.id for one in tx.projects() if is_watched(one)}
    rows = tx.connection.execute(select(t.main_watch))
    return {row.project_id: verdict_from(row) for row in rows if row.project_id in watched}


def is_watched(project: Project) -> bool:
    """Whether the project wants its default branch to be watched."""
    return project.removed_at is None and project.rules.watch_main is not MainWatch.NO


def put_verdict(tx: Tx, after: Verdict) -> None:
    """Write down what is known of a project's default branch."""
    values = {name: value for name, value in asdict(after).items() if name != "project_id"}
    this = t.main_watch.c.project_id == after.project_id
    if not tx.connection.execute(update(t.main_watch).where(this).values(**values)).rowcount:
        tx.connection.execute(insert(t.main_watch).values(project_id=after.project_id, **values))


def branch_of(tx: Tx, project_id: int) -> Preview | None:
    """What stands for the default branch among the previews, once it has been tried."""
    return tx.preview_of(project_id, BRANCH_IID)


def newest(tx: Tx, project_id: int) -> Deployment | None:
    """The newest try of the default branch."""
    present = branch_of(tx, project_id)
    return next(iter(tx.deployments_of(present.id, limit=1)), None) if present else None


def may_be_due(tx: Tx, project: Project, now: float) -> bool:
    """Whether GitLab is to be asked for the head of the default branch."""
    if not is_watched(project):
        return False
    changed_at = builder(tx).changed_at
    return mainline.may_be_due(verdict(tx, project.id), newest(tx, project.id), changed_at, now)


def look(journal: Journal, tx: Tx, project: Project, branch: Branch, now: float) -> None:
    """GitLab showed the default branch like this at `now`: let it be tried if it is due.

    One that still waits for its turn makes room for the newer commit.
    """
    if not is_watched(project):
        return
    before = newest(tx, project.id)
    present = put_branch(tx, project, branch, now)
    if before is not None and before.state is State.QUEUED and before.sha != branch.sha:
        before = journal.put_deployment(before, preview.end(before, State.SUPERSEDED, now))
    if mainline.is_due(verdict(tx, project.id), before, branch.sha, builder(tx).changed_at, now):
        journal.add_deployment(present, step=Step.READ_FILE, trigger=preview.WATCH, is_bot=True, due_at=now)


def judge(journal: Journal, tx: Tx, ended: Deployment, now: float) -> None:
    """A try of a default branch has ended: write down what it says, and see to it that it is told."""
    present = tx.preview(ended.preview_id)
    before = verdict(tx, present.project_id)
    after = mainline.judged(before, ended, now)
    if after != before:
        put_verdict(tx, after)
        journal.report(present.id, at_once=True)


def change_watch(journal: Journal, tx: Tx, project: Project, given: MainWatch, now: float) -> None:
    """The project wants its default branch watched like this from now on."""
    present = branch_of(tx, project.id)
    if present is not None:
        for going in tx.unsettled_of(present.id) if given is MainWatch.NO else ():
            stopped = preview.stop(going, now)
            if stopped != going:
                journal.put_deployment(going, stopped, why="the default branch is not watched any more")
        journal.report(present.id)
    if given is not MainWatch.NO:
        tx.compare_project_by(project.id, now)


def put_branch(tx: Tx, project: Project, branch: Branch, now: float, *, is_told: bool = True) -> Preview:
    """Write down what GitLab said of the default branch at `now`; unless it `is_told`, it gets no report."""
    seen = MergeRequest(
        iid=BRANCH_IID,
        state=_STATE,
        sha=branch.sha,
        title=f"Branch {branch.name}",
        author="",
        web_url=branch.web_url,
        source_branch=branch.name,
        target_branch=branch.name,
        source_project_id=project.gitlab_id,
        target_project_id=project.gitlab_id,
    )
    return tx.put_preview(project.id, seen, as_of=now, is_told=is_told)


# --- the builder --------------------------------------------------------------------------------------


def builder(tx: Tx) -> Builder:
    """What is known of the builder beside its versions of languages."""
    kept = tx.switch(_SWITCH) or {}
    changes = tuple(Noticed(**one) for one in kept.get("changes", ()))
    return Builder(kept.get("buildpacks", {}), changes)


def put_builder(tx: Tx, after: Builder) -> None:
    """Write it down."""
    tx.put_switch(_SWITCH, asdict(after))
