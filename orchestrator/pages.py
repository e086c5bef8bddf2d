"""What the pages and the API show beyond a single preview: the pool as a picture, projects, accounts, events.

Nothing here writes. What the command line and the notes read, too, stands in ``views.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator import probing, reading, watching
from orchestrator.builder import Builder
from orchestrator.errors import NotFound
from orchestrator.incidents import LATELY_SECONDS, Affected, Incident, incidents
from orchestrator.mainline import Verdict
from orchestrator.moves import Advice, Asked, advice
from orchestrator.pool import Account
from orchestrator.preview import Deployment, State
from orchestrator.probes import Tried
from orchestrator.reading import Change, NumberedEvent, Sought
from orchestrator.records import Lease, Preview, Project
from orchestrator.runtimes import DEFAULT, RuntimeSeen, version_order
from orchestrator.stages import Record, record
from orchestrator.store import Store, Tx
from orchestrator.views import Overview, Views

_T = TypeVar("_T")

#: How far back the picture of the pool goes.
PICTURE_SECONDS = 6 * 3600.0
#: So many deployments are looked through for what repositories ask for.
_PINS_COMPARED = 2000
#: So many failures are looked through for what they have in common.
_FAILURES_COMPARED = 500
#: "Lately", for failures.
_LATELY_SECONDS = 86400.0
_FAILURES_SHOWN = 8
#: A project is judged by so many of its newest deployments.
_RECORD_OF = 60
#: An account's page goes back so far.
_ACCOUNT_SECONDS = 7 * 86400.0
#: Of an export, read at once; none is longer than `_LONGEST_EXPORT`.
_BATCH, _LONGEST_EXPORT = 1000, 100_000


@dataclass(frozen=True)
class Named:
    """A merge request with its project."""

    project: Project
    preview: Preview

    @property
    def name(self) -> str:
        """As GitLab writes it."""
        return f"{self.project.path}{self.preview.reference}"


@dataclass(frozen=True)
class Tenant:
    """What runs on an account."""

    of: Named
    deployment: Deployment


@dataclass(frozen=True)
class Place:
    """One account of the pool."""

    account: Account
    tenants: Sequence[Tenant]
    #: When the lease began, and when the preview on it expires.
    since: float | None
    until: float | None
    #: Of the last hours, the newest first.
    leases: Sequence[Lease]
    address: str

    @property
    def fullness(self) -> float | None:
        """How full its image store is, 0 to 1; None where that is not known."""
        used, limit = self.account.bytes_used, self.account.bytes_limit
        return None if used is None or not limit else min(used / limit, 1.0)


@dataclass(frozen=True)
class Failed:
    """Something that failed lately."""

    of: Named
    deployment: Deployment


@dataclass(frozen=True)
class PoolPicture:
    """All that the first page shows."""

    overview: Overview
    places: Sequence[Place]
    failures: Sequence[Failed]
    incidents: Sequence[Incident]
    projects: Sequence[Project]
    #: The merge requests of the leases, by the preview's id.
    names: Mapping[int, Named]
    at: float


@dataclass(frozen=True)
class Row:
    """A preview in a list."""

    of: Named
    newest: Deployment | None
    address: str | None = None


@dataclass(frozen=True)
class BranchState:
    """A default branch that is watched."""

    verdict: Verdict
    newest: Deployment | None


@dataclass(frozen=True)
class ProjectPage:
    """A project with a page of its merge requests."""

    project: Project
    rows: Sequence[Row]
    record: Record
    #: Older ones come before this number; None: there are none.
    next: int | None
    #: Of its default branch, where that is watched.
    branch: BranchState | None = None


@dataclass(frozen=True)
class AccountPage:
    """An account with its leases over time."""

    place: Place
    names: Mapping[int, Named]
    begin: float


class Pages:
    """Reads for people who look."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views

    def pool(self, now: float) -> PoolPicture:
        """The pool at one moment (the queue may be a few milliseconds older)."""
        overview = self._views.overview(now)
        with self._store.read() as tx:
            projects = tx.projects()
            places = self._places(tx, {p.id: p for p in projects}, tx.accounts(), now - PICTURE_SECONDS)
            failures = reading.failures_since(tx, now - _LATELY_SECONDS, most=_FAILURES_SHOWN)
            common = self._incidents(tx, now)
            leased = {lease.preview_id for place in places for lease in place.leases}
            names = _names(tx, projects, [*leased, *(failed.preview_id for failed in failures)])
        return PoolPicture(
            overview=overview,
            places=places,
            incidents=common,
            failures=[Failed(names[failed.preview_id], failed) for failed in failures],
            projects=_connected(projects),
            names=names,
            at=now,
        )

    def project(self, path: str, *, before: int | None = None, most: int = 30) -> ProjectPage | None:
        """A project, and its merge requests that are older than number `before`; None: there is none."""
        with self._store.read() as tx:
            project = tx.project_at(path)
            if project is None:
                return None
            rows, following = self._rows(tx, [project], project.id, before=before, most=most)
            judged = record(reading.deployments_of(tx, project.id, most=_RECORD_OF))
            branch = _branch_state(tx, project) if watching.is_watched(project) else None
        return ProjectPage(project, rows, judged, following, branch)

    def previews(
        self, path: str | None, *, before: int | None, most: int, is_open: bool | None
    ) -> tuple[list[Row], int | None] | None:
        """Previews of a project, or of all; and before which number the next come. None: no such project."""
        with self._store.read() as tx:
            projects = tx.projects()
            project = next((one for one in projects if one.path == path), None)
            if path is not None and project is None:
                return None
            own = project.id if project else None
            return self._rows(tx, projects, own, before=before, most=most, is_open=is_open)

    def preview(self, path: str, iid: int) -> Row | None:
        """One preview as in a list; None: there is none."""
        if not 0 < iid < 2**31:
            return None
        with self._store.read() as tx:
            project = tx.project_at(path)
            present = tx.preview_of(project.id, iid) if project else None
            if project is None or present is None:
                return None
            return self._as_rows(tx, {project.id: project}, [present])[0]

    def deployments(
        self, path: str | None, *, iid: int | None, states: Sequence[str], before: int | None, most: int
    ) -> tuple[list[Tenant], int | None] | None:
        """Deployments, the newest first, and before which number the next come; None: no such project."""
        with self._store.read() as tx:
            projects = tx.projects()
            project = next((one for one in projects if one.path == path), None)
            preview = tx.preview_of(project.id, iid) if project and iid is not None else None
            if (path is not None and project is None) or (iid is not None and preview is None):
                return None
            found = reading.deployments_of(
                tx,
                project.id if project else None,
                preview_id=preview.id if preview else None,
                states=states,
                before=before,
                most=most + 1,
            )
            names = _names(tx, projects, [one.preview_id for one in found])
        shown, following = _cut(found, most, [one.id for one in found])
        return [Tenant(names[one.preview_id], one) for one in shown], following

    def deployment(self, deployment_id: int) -> Tenant | None:
        """One deployment; None: there is none."""
        if not 0 < deployment_id < 2**31:
            return None
        with self._store.read() as tx:
            try:
                found = tx.deployment(deployment_id)
            except NotFound:
                return None
            return Tenant(_names(tx, tx.projects(), [found.preview_id])[found.preview_id], found)

    def account(self, name: str, now: float) -> AccountPage | None:
        """One account; None when the pool does not have it."""
        begin = now - _ACCOUNT_SECONDS
        with self._store.read() as tx:
            account = tx.account_named(name)
            if account is None:
                return None
            projects = tx.projects()
            (place,) = self._places(tx, {p.id: p for p in projects}, [account], begin)
            names = _names(tx, projects, [lease.preview_id for lease in place.leases])
        return AccountPage(place, names, begin)

    def events(
        self, sought: Sought, *, before: int | None, most: int
    ) -> tuple[list[NumberedEvent], Mapping[int, Named], int | None]:
        """Events, the newest first; the merge requests that they name; before which number the next come."""
        with self._store.read() as tx:
            found = reading.events(tx, sought, most=most + 1, before=before)
            names = _names(tx, tx.projects(), [one.preview_id for one in found])
        shown, following = _cut(found, most, [one.id for one in found])
        return shown, names, following

    def export(self, sought: Sought) -> Iterator[tuple[NumberedEvent, str]]:
        """All events that are sought, with the names of their merge requests; no transaction stays open."""
        before: int | None = None
        for _ in range(_LONGEST_EXPORT // _BATCH):
            found, names, before = self.events(sought, before=before, most=_BATCH)
            for one in found:
                named = names.get(one.preview_id) if one.preview_id is not None else None
                yield one, named.name if named else ""
            if before is None:
                return

    def actors(self, subjects: Sequence[str]) -> list[str]:
        """Who has acted lately on something of that kind."""
        with self._store.read() as tx:
            return reading.event_actors(tx, subjects)

    def projects(self) -> list[Project]:
        """All connected projects by path."""
        with self._store.read() as tx:
            return _connected(tx.projects())

    def branches(self) -> Mapping[int, BranchState]:
        """The default branches that are watched, by the project's id."""
        with self._store.read() as tx:
            return {one.id: _branch_state(tx, one) for one in tx.projects() if watching.is_watched(one)}

    def incidents(self, now: float) -> list[Incident]:
        """What fails in several projects for the same cause."""
        with self._store.read() as tx:
            return self._incidents(tx, now)

    def _incidents(self, tx: Tx, now: float) -> list[Incident]:
        failed = reading.failures_since(tx, now - LATELY_SECONDS, most=_FAILURES_COMPARED)
        ids = sorted({one.preview_id for one in failed})
        newest, of = reading.newest_of(tx, ids), reading.previews_by_id(tx, ids)
        paths = {project.id: project.path for project in tx.projects() if project.removed_at is None}
        return incidents(
            Affected(present.project_id, paths[present.project_id], present.iid, one)
            for one in failed
            for present in [of[one.preview_id]]
            if one.id == newest[one.preview_id].id and present.is_open and present.project_id in paths
        )

    def runtimes(self, builder: str = DEFAULT) -> list[RuntimeSeen]:
        """What builds have shown of versions of languages in a builder: by language, the newest first."""
        with self._store.read() as tx:
            found = tx.runtimes(builder)
        newest_first = sorted(found, key=lambda seen: version_order(seen.wanted), reverse=True)
        return sorted(newest_first, key=lambda seen: seen.runtime)

    def builder(self) -> Builder:
        """What was noticed of the builder beside its versions of languages."""
        with self._store.read() as tx:
            return watching.builder(tx)

    def outlook(self, now: float) -> list[Advice]:
        """Which projects will break with the builder as it is, or could move up."""
        with self._store.read() as tx:
            paths = {one.id: one.path for one in tx.projects() if one.removed_at is None}
            newest: dict[tuple[int, str], Asked] = {}
            for preview, one in reading.asked_for(tx, most=_PINS_COMPARED):
                for pin in one.pins if preview.project_id in paths else ():
                    asked = Asked(paths[preview.project_id], pin, one.created_at, preview.reference)
                    newest.setdefault((preview.project_id, pin.runtime), asked)
            return advice(newest.values(), tx.runtimes(), watching.builder(tx).changed_at, now)

    def probes(self) -> list[Tried]:
        """The builds of tiny repositories of our own."""
        with self._store.read() as tx:
            return probing.known(tx)

    def newest_change(self) -> int:
        """The number of the newest change; 0 before the first."""
        with self._store.read() as tx:
            return reading.newest_change(tx)

    def changes_after(self, number: int) -> list[Change]:
        """What has changed since then, the oldest first."""
        with self._store.read() as tx:
            return reading.changes_after(tx, number)

    def state_of(self, path: str, iid: int | None) -> State | None:
        """The newest state of a merge request, or with None of a project; None: nothing is known of it.

        Of a project it is that of the newest deployment that got to a verdict, or is on its way to one.
        """
        with self._store.read() as tx:
            project = tx.project_at(path)
            if project is None:
                return None
            if iid is None:
                newest = reading.newest_try(tx, project.id)
            else:
                preview = tx.preview_of(project.id, iid)
                newest = next(iter(tx.deployments_of(preview.id, limit=1)), None) if preview else None
        return newest.state if newest else None

    def _rows(
        self,
        tx: Tx,
        projects: Sequence[Project],
        project_id: int | None,
        *,
        before: int | None,
        most: int,
        is_open: bool | None = None,
    ) -> tuple[list[Row], int | None]:
        found = reading.previews_of(tx, project_id, most=most + 1, before=before, is_open=is_open)
        shown, following = _cut(found, most, [one.id for one in found])
        return self._as_rows(tx, {project.id: project for project in projects}, shown), following

    def _as_rows(self, tx: Tx, projects: Mapping[int, Project], previews: Sequence[Preview]) -> list[Row]:
        ids = [one.id for one in previews]
        newest, holders = reading.newest_of(tx, ids), reading.holders(tx, ids)
        return [
            Row(
                Named(projects[one.project_id], one),
                newest.get(one.id),
                self._views.address(holders[one.id].name)
                if one.id in holders and one.expires_at is not None
                else None,
            )
            for one in previews
        ]

    def _places(
        self, tx: Tx, projects: Mapping[int, Project], accounts: Sequence[Account], begin: float
    ) -> list[Place]:
        only = accounts[0] if len(accounts) == 1 else None
        going: dict[tuple[int | None, int | None], list[Deployment]] = defaultdict(list)
        for deployment in tx.unsettled_on(only) if only else (one for one, _ in tx.unsettled()):
            going[deployment.account_id, deployment.fence].append(deployment)
        leases: dict[int, list[Lease]] = defaultdict(list)
        for lease in reading.leases_since(tx, begin, account_id=only.id if only else None):
            leases[lease.account_id].append(lease)
        there = {a.id: going.get((a.id, a.fence), []) for a in accounts}
        previews = reading.previews_by_id(tx, [one.preview_id for some in there.values() for one in some])
        return [
            self._place(a, [_tenant(projects, previews, one) for one in there[a.id]], leases[a.id])
            for a in accounts
        ]

    def _place(self, account: Account, tenants: Sequence[Tenant], leases: Sequence[Lease]) -> Place:
        present = next((lease for lease in leases if lease.ended_at is None), None)
        ends = [t.of.preview.expires_at for t in tenants if t.of.preview.expires_at is not None]
        return Place(
            account=account,
            tenants=tenants,
            since=present.taken_at if present else None,
            until=max(ends, default=None),
            leases=leases,
            address=self._views.address(account.name),
        )


def _connected(projects: Sequence[Project]) -> list[Project]:
    return [one for one in projects if one.removed_at is None and not one.is_ours]


def _branch_state(tx: Tx, project: Project) -> BranchState:
    return BranchState(watching.verdict(tx, project.id), watching.newest(tx, project.id))


def _tenant(projects: Mapping[int, Project], previews: Mapping[int, Preview], one: Deployment) -> Tenant:
    preview = previews[one.preview_id]
    return Tenant(Named(projects[preview.project_id], preview), one)


def _names(tx: Tx, projects: Sequence[Project], preview_ids: Sequence[int | None]) -> Mapping[int, Named]:
    by_id = {project.id: project for project in projects}
    ids = sorted({preview_id for preview_id in preview_ids if preview_id is not None})
    found = reading.previews_by_id(tx, ids)
    return {key: Named(by_id[preview.project_id], preview) for key, preview in found.items()}


def _cut(found: Sequence[_T], most: int, numbers: Sequence[int]) -> tuple[list[_T], int | None]:
    """At most `most`, and the number before which the next come where there are more."""
    return list(found[:most]), numbers[most - 1] if len(found) > most else None
