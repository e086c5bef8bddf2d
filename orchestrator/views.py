"""What the badge, the pages, the command line and the reports read. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator import cohorts, mainline, sight, watching
from orchestrator.errors import BadInput
from orchestrator.forecast import Turn
from orchestrator.mainline import Issue
from orchestrator.pool import Account
from orchestrator.preview import AT_REST, Deployment, State, Step
from orchestrator.records import BRANCH_IID, Event, Lease, Preview, Project
from orchestrator.report import Subject
from orchestrator.rules import MainWatch
from orchestrator.scheduler import Limits
from orchestrator.sight import Sight
from orchestrator.store import Store, Tx
from orchestrator.switches import Stop, Switch

#: Of a longer queue, pages show the first.
_QUEUE_SHOWN = 50
#: Of each log, a note shows the last lines.
_LOG_LINES = 40


@dataclass(frozen=True)
class Picture:
    """What a deployment's page looked like."""

    deployment_id: int
    sha: str
    taken_at: float


@dataclass(frozen=True)
class PreviewView:
    """One preview with all that a page about it shows."""

    project: Project
    preview: Preview
    #: The newest first.
    deployments: Sequence[Deployment]
    account: Account | None
    address: str | None
    events: Sequence[Event] = ()
    #: Which logs are kept, as (deployment id, kind).
    logs: frozenset[tuple[int, str]] = frozenset()
    #: The newest there is.
    picture: Picture | None = None
    #: Why the newest deployment does not go on although it could; empty when nothing holds it.
    held: str = ""

    @property
    def newest(self) -> Deployment | None:
        """The newest deployment."""
        return self.deployments[0] if self.deployments else None


@dataclass(frozen=True)
class SwitchView:
    """Something that operators have stopped."""

    #: As a sentence's begin, such as "builds are frozen".
    what: str
    #: What ends it, on the command line.
    remedy: str
    switch: Switch


@dataclass(frozen=True)
class Waiter:
    """Somebody in the queue."""

    project: Project
    preview: Preview
    turn: Turn


@dataclass(frozen=True)
class Overview:
    """The pool, the queue and the newest previews."""

    accounts: Sequence[Account]
    previews: Sequence[PreviewView]
    builds: int
    ceiling: int
    #: How many wait, those for an approval among them.
    waiting: int
    #: Those that wait for an account or a build slot, the next first; the beginning of a long queue.
    queue: Sequence[Waiter]
    switches: Sequence[SwitchView] = ()
    #: Nothing new is built, so that no verdict can be expected.
    is_frozen: bool = False
    #: What GitLab refused to be told, the newest few.
    untold: Sequence[str] = ()


@dataclass(frozen=True)
class AccountView:
    """One account with what is told about it."""

    account: Account
    #: The merge request that it serves, as ``group/project!iid``; ``many`` when it is shared, else empty.
    holder: str
    #: The newest first.
    leases: Sequence[Lease] = ()
    #: The merge requests of the leases, by the preview's id.
    names: Mapping[int, str] = field(default_factory=dict)


class Views:
    """Reads for people. `preview_url` is the address of a tool, `public_url` that of our own web process."""

    def __init__(self, store: Store, *, preview_url: str, public_url: str, limits: Limits) -> None:
        self._store = store
        self._preview_url = preview_url
        self._public_url = public_url
        self._limits = limits

    def address(self, tool: str) -> str:
        """Where what tool `tool` publishes is reached."""
        return f"{self._preview_url.format(tool=tool)}/"

    def page_url(self, project: Project, iid: int) -> str:
        """Our page about a preview."""
        return f"{self._public_url}/{project.path}/-/{iid}"

    def overview(self, now: float) -> Overview:
        """All that the first page shows."""
        with self._store.read() as tx:
            seen = sight.for_forecast(tx, self._limits, now)
            projects = {project.id: project for project in seen.projects}
            return Overview(
                accounts=tx.accounts(),
                previews=[self._view(tx, projects[p.project_id], p, limit=1) for p in tx.previews(limit=50)],
                builds=sum(deployment.holds_build_slot for deployment, _ in seen.going),
                ceiling=seen.ceiling.builds,
                waiting=tx.waiting_count(),
                queue=self._queue(tx, seen, projects, now),
                switches=[self._switch(switch, projects) for switch in seen.switches.on],
                is_frozen=seen.switches.is_frozen,
                untold=_untold(tx, projects)[:3],
            )

    def accounts(self) -> list[AccountView]:
        """The pool by name."""
        with self._store.read() as tx:
            return [AccountView(account, _holder(tx, account)) for account in tx.accounts()]

    def account(self, name: str) -> AccountView:
        """One account with its newest leases; raises :class:`BadInput` when the pool does not have it."""
        with self._store.read() as tx:
            account = tx.account_named(name)
            if account is None:
                raise BadInput(
                    f"There is no account '{name}' in the pool; `toolforge-preview pool list` shows it."
                )
            leases = tx.leases_of(account.id)
            holders = {one.preview_id for one in leases if one.preview_id is not None}
            names = {preview_id: _name(tx, preview_id) for preview_id in holders}
            return AccountView(account, _holder(tx, account), leases, names)

    def switches(self) -> list[SwitchView]:
        """What operators have stopped, the oldest first."""
        with self._store.read() as tx:
            projects = {project.id: project for project in tx.projects()}
            return [self._switch(switch, projects) for switch in tx.switches().on]

    def untold(self) -> list[str]:
        """What GitLab refused to be told, the newest first, as ``group/project!iid: GitLab's words``."""
        with self._store.read() as tx:
            return _untold(tx, {project.id: project for project in tx.projects()})

    def history(self, subject: str) -> list[Event]:
        """The newest events about subjects of one kind, the oldest of them first."""
        with self._store.read() as tx:
            return tx.events_about(subject)

    def _switch(self, switch: Switch, projects: Mapping[int, Project]) -> SwitchView:
        resume = "toolforge-preview switch resume"
        if switch.project_id is not None:
            path = projects[switch.project_id].path
            return SwitchView(f"project {path} is paused", f"{resume} --project {path}", switch)
        what = "everything is paused" if switch.stop is Stop.PAUSE else "builds are frozen"
        return SwitchView(what, resume, switch)

    def _queue(self, tx: Tx, seen: Sight, projects: Mapping[int, Project], now: float) -> list[Waiter]:
        turns = seen.turns(self._limits, now)
        waiting = [(d, project_id) for d, project_id in seen.going if d.id in turns]
        waiting.sort(key=lambda pair: turns[pair[0].id].position)
        return [
            Waiter(projects[project_id], tx.preview(d.preview_id), turns[d.id])
            for d, project_id in waiting[:_QUEUE_SHOWN]
        ]

    def preview(self, project_path: str, iid: int, *, now: float | None = None) -> PreviewView | None:
        """One preview, with its timeline; number 0 is the default branch, where it has been tried.

        What holds it is told where the time is given.
        """
        if not BRANCH_IID <= iid < 2**31:
            return None
        with self._store.read() as tx:
            project = tx.project_at(project_path)
            present = tx.preview_of(project.id, iid) if project else None
            if project is None or present is None:
                return None
            view = self._view(tx, project, present, with_events=True)
            held = "" if now is None else self._held(tx, project, view.newest, now)
            return replace(view, held=held)

    def log(self, deployment_id: int, kind: str) -> str | None:
        """A kept log."""
        with self._store.read() as tx:
            return tx.log(deployment_id, kind)

    def subject(self, preview_id: int, now: float) -> tuple[Project, Subject]:
        """What a report about the preview is made of."""
        with self._store.read() as tx:
            present = tx.preview(preview_id)
            project = tx.project(present.project_id)
            view = self._view(tx, project, present)
            lease = tx.last_lease(preview_id)
            turn = self._turn(tx, view.newest, now)
            is_over = lease is not None and lease.ended_at is not None and lease.bytes_after is not None
            return project, Subject(
                preview=present,
                deployments=view.deployments,
                address=view.address,
                page_url=self.page_url(project, present.iid),
                account=view.account.name if view.account else None,
                position=turn.position if turn else None,
                expected_at=turn.verdict_at if turn else None,
                receipt=(lease.bytes_before or 0, lease.bytes_after) if is_over and lease else None,
                pool_is_usable=tx.pool_is_usable(),
                is_cleaning=lease is not None and lease.ended_at is None and view.account is None,
                held=self._held(tx, project, view.newest, now),
                logs=_log_ends(tx, present, view.newest),
            )

    def branch_report(self, preview_id: int) -> tuple[Project, Issue | None] | None:
        """Of a default branch: its project, and the issue that it should have, where one is wanted.

        None for the preview of a merge request.
        """
        with self._store.read() as tx:
            present = tx.preview(preview_id)
            if not present.is_branch:
                return None
            project, known = tx.project(present.project_id), watching.verdict(tx, present.project_id)
        is_wanted = watching.is_watched(project) and project.rules.watch_main is MainWatch.ISSUE
        page_url = self.page_url(project, present.iid)
        issue = mainline.issue(known, present.source_branch, page_url) if is_wanted else None
        return project, issue

    def _view(
        self, tx: Tx, project: Project, present: Preview, *, limit: int = 100, with_events: bool = False
    ) -> PreviewView:
        deployments = tx.deployments_of(present.id, limit=limit)
        account = tx.account_of(present.id) or self._shared_account(tx, deployments)
        is_live = any(d.state is State.LIVE for d in tx.unsettled_of(present.id))
        return PreviewView(
            project=project,
            preview=present,
            deployments=deployments,
            account=account,
            address=self.address(account.name) if account and is_live else None,
            events=tx.events_of(present.id) if with_events else (),
            logs=tx.kept_logs([d.id for d in deployments]) if with_events else frozenset(),
            picture=_picture(tx, present.id) if with_events else None,
        )

    def _shared_account(self, tx: Tx, deployments: Sequence[Deployment]) -> Account | None:
        """The account that the newest deployment shares, while it uses it."""
        newest = deployments[0] if deployments else None
        if newest is None or newest.account_id is None or newest.is_settled or newest.step in AT_REST:
            return None
        return tx.account(newest.account_id) if tx.lease_is_current(newest) else None

    def _turn(self, tx: Tx, newest: Deployment | None, now: float) -> Turn | None:
        if newest is None or newest.step is not Step.AWAIT_SLOT:
            return None
        return sight.for_forecast(tx, self._limits, now).turns(self._limits, now).get(newest.id)

    def _held(self, tx: Tx, project: Project, newest: Deployment | None, now: float) -> str:
        if newest is None or not newest.is_on_its_way:
            return ""
        is_waiting = newest.state is State.QUEUED
        by_switch = tx.switches().holding(project.id, is_waiting=is_waiting)
        by_switch = by_switch or self._same_change(tx, newest, now)
        waits_for_quiet = is_waiting and newest.ready_at is not None and newest.ready_at > now
        return by_switch or ("a quiet moment is awaited, since more pushes may follow" * waits_for_quiet)

    def _same_change(self, tx: Tx, newest: Deployment, now: float) -> str:
        """For whose result it waits, since that has the same change; empty: for nobody's."""
        if newest.change is None or newest.step is not Step.AWAIT_SLOT:
            return ""
        going = [(one.deployment, one.project_id) for one in tx.unfinished()]
        paused = tx.switches().paused_projects
        first = cohorts.held(going, now, self._limits.cohort_seconds, paused).get(newest.id)
        if first is None:
            return ""
        name = _name(tx, tx.deployment(first).preview_id)
        return f"the result of {name} is awaited, which has the same change"


def _untold(tx: Tx, projects: Mapping[int, Project]) -> list[str]:
    return [
        f"{projects[project_id].path}!{iid}: {error}"
        if iid != BRANCH_IID
        else f"{projects[project_id].path}!{iid}, the issue about its default branch: {error}"
        for project_id, iid, error in tx.untold()
    ]


def _log_ends(tx: Tx, present: Preview, newest: Deployment | None) -> Mapping[str, str]:
    """The ends of the logs that somebody asked for, by kind."""
    if newest is None or not present.shows_logs:
        return {}
    logs = {kind: tx.log(newest.id, kind) for kind in ("build", "job")}
    return {kind: "\n".join(text.splitlines()[-_LOG_LINES:]) for kind, text in logs.items() if text}


def _picture(tx: Tx, preview_id: int) -> Picture | None:
    row = tx.picture_of(preview_id)
    return None if row is None else Picture(row.deployment_id, row.sha, row.taken_at)


def _holder(tx: Tx, account: Account) -> str:
    return "many" if account.shared else "" if account.preview_id is None else _name(tx, account.preview_id)


def _name(tx: Tx, preview_id: int) -> str:
    present = tx.preview(preview_id)
    return f"{tx.project(present.project_id).path}{present.reference}"
