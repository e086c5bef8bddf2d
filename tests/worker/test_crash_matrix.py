"""Killed at any moment of any step, a worker loses nothing, doubles nothing and leaks nothing.

The moments are not written down anywhere: each story of a merge request is gone through once, and at every
moment that a look came to it is gone through again, with a ``kill -9`` there. That the stories come to every
change of state is held against the table of transitions.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import MergeRequest, Seeder
from deploy.local.toolforge import LocalToolforge
from orchestrator import preview, probing
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.connect import add_account, connect_project
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.probes import Probe, branch
from orchestrator.records import BRANCH_IID, Due, Kind, Project
from orchestrator.report import STATUS_NAME
from orchestrator.rules import MainWatch, RefusedVersions, Rules
from orchestrator.runtimes import BUILDERS, RuntimeSeen
from orchestrator.settings import load_settings
from orchestrator.store import Tx
from tests.fresh import Databases
from tests.worker.cut_off import Moment, Watch, in_a_process_of_its_own, step_of
from worker.claims import CLAIM_SECONDS
from worker.runner import Runner

#: A build fails so where the builder does not have the version.
_LACKS = {
    "outcome": "failure",
    "log": [
        "Using Python 3.99 specified in .python-version",
        "[Error: The requested Python version isn't recognised]",
    ],
}
#: What becomes of the first and the second deployment, by the name of the story.
SCENARIO: dict[str, Any] = {
    "instant": True,
    "builds": [
        {"match": {"source_url": "*/broken-*", "image_name": "mr1-d2"}, "outcome": "failure"},
        {"match": {"source_url": "*/watched-*", "image_name": "mr0-d2"}, "outcome": "failure"},
        {"match": {"ref": "refs/heads/python"}, "resolved_ref": branch("python").sha},
        {"match": {"ref": "refs/heads/nodejs"}, "resolved_ref": branch("nodejs").sha},
        {"match": {"ref": "refs/heads/go"}, "resolved_ref": branch("go").sha, "outcome": "failure"},
        {"match": {"source_url": "*/endless-*", "image_name": "mr1-d1"}, "duration": 10_000_000},
        {"match": {"source_url": "*/lacking-*", "image_name": "mr1-d1"}, **_LACKS},
        {"match": {"source_url": "*/lacking-*", "image_name": "*d1--latest"}, "duration": 10_000_000},
        {"match": {"source_url": "*/outdated-*", "image_name": "mr1-d1"}, **_LACKS},
        {"match": {"source_url": "*/awaited-*", "image_name": "mr1-d1*"}, **_LACKS},
    ],
    "jobs": [
        {"match": {"tool": "crashes-*", "image": "*mr1-d2*"}, "health": "crash", "exit_code": 3},
        {"match": {"tool": "secrets-crashes-*", "image": "*mr1-d2*"}, "health": "crash", "exit_code": 3},
        {"match": {"tool": "refuses-*", "image": "*mr1-d2*"}, "http": {"status": 500}},
        {"match": {"tool": "stuck-*", "image": "*mr1-d2*"}, "health": "never_ready"},
        {"match": {"tool": "slow-*", "image": "*mr1-d1*"}, "health": "never_ready"},
        {"match": {"tool": "checking-*", "image": "*mr1-d1*"}, "http": {"status": 500}},
    ],
}
_numbers = itertools.count(1)
Story = Callable[["World"], None]


class World:
    """One merge request in a project of its own, one account, and workers that take one look each."""

    def __init__(
        self, story: str, servers: tuple[LocalToolforge, LocalGitLab, Seeder], database_url: str
    ) -> None:
        toolforge, gitlab, self._seeder = servers
        number = next(_numbers)
        self._is_probed = story == "probed"
        self.tool = f"{story}-account"
        self.tools = [self.tool]
        if story in BRANCH_STORIES:
            # Nothing that nobody waits for is tried on the last account.
            self.tools.append(f"{story}-second")
        self._toolforge = toolforge
        self.settings = load_settings(
            database_url=database_url,
            gitlab_url=gitlab.url,
            gitlab_token=self._seeder.service.token,
            toolforge_url=toolforge.gateway_url,
            toolforge_ca_file=toolforge.ca_file,
            preview_url=f"http://{{tool}}.localhost:{toolforge.web_port}",
            stable_seconds=0,
            check_seconds=5000 if story.startswith("checking") else 1,
            quiet_seconds=0,
            bot_quiet_seconds=0,
            bots="dana" if story == "checked" else "",
            secret_key="k" * 40,
        )
        self.parts = Parts(self.settings)
        self._offset = 0.0
        self.merge_request: MergeRequest | None = None
        #: Where to be killed, and whether that has happened.
        self.die_at: Moment | None = None
        self.was_killed = False
        self.moments: dict[Moment, None] = {}
        self.project = self._seeder.project(f"{story}-{number}")
        self._commits("main", README="A tool.\n")
        connect_project(self.parts, self.project.path, checks=(), now=self.now())
        for tool in self.tools:
            home = toolforge.tool_home(tool) / ".toolskube"
            credentials = {"cert": str(home / "client.crt"), "key": str(home / "client.key")}
            add_account(self.parts, tool, credentials, self.now())
        self.settles()

    def close(self) -> None:
        self.parts.close()

    def now(self) -> float:
        return time.time() + self._offset

    def _project(self, tx: Tx) -> Project:
        """What the story is about: a project that was connected, or that of the probes."""
        (found,) = [one for one in tx.projects() if one.is_ours is self._is_probed]
        return found

    # --- what people do -------------------------------------------------------------------------------

    def _commits(self, branch: str, **files: str) -> str:
        path = f"/projects/{self.project.id}/repository/commits"
        actions = [{"action": "create", "file_path": name, "content": text} for name, text in files.items()]
        start = {} if branch == "main" or self.merge_request else {"start_branch": "main"}
        change = {"branch": branch, "commit_message": "A change", "actions": actions, **start}
        made = self._seeder.api("POST", path, **change)
        return str(made["id"])

    def opens(self, **files: str) -> None:
        """A merge request."""
        self._commits("change", one="1\n", **files)
        self.merge_request = self._seeder.open_merge_request(self.project, "change", "A change")
        self._is_told()

    def pushes(self) -> None:
        """Another commit of it."""
        self._commits("change", **{f"push-{next(_numbers)}": "2\n"})
        self._is_told()

    def closes(self) -> None:
        """Nobody wants it any more."""
        assert self.merge_request is not None
        self._seeder.close_merge_request(self.merge_request)
        self._is_told()

    def stops(self) -> None:
        """Somebody takes it down."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
            present = tx.preview_of(project.id, 1)
            assert present is not None
        self.parts.lifecycle.stop(present.id, "dana", "stopped by dana", self.now())

    def _is_told(self) -> None:
        """GitLab delivers that something has happened."""
        assert self.merge_request is not None
        with self.parts.store.read() as tx:
            project = self._project(tx)
        key = f"delivery-{next(_numbers)}"
        facts = {"username": "dana"}
        self.parts.lifecycle.receive(
            project, key, kind="merge_request", iid=self.merge_request.iid, facts=facts, now=self.now()
        )

    # --- what workers do ------------------------------------------------------------------------------

    def settles(self, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Look at whatever is due, one row after the other, until nothing is, or `stop` says so."""
        deadline = time.monotonic() + 60
        while not stop() and (due := self._next()) is not None:
            assert time.monotonic() < deadline, f"never settled: {due}, {self._row(due)}"
            # Time goes on to when it is due; what a killed worker holds is free after its claim.
            self._offset += max(due.at - self.now(), 0.0)
            before = self._row(due)
            self._look(due)
            self._check_builds()
            if self._row(due) == before:
                self._offset += CLAIM_SECONDS / 4
                time.sleep(0.005)

    def _check_builds(self) -> None:
        """No build was started twice."""
        tools = self._toolforge.state()["tools"]
        names = [one["image_name"] for tool in self.tools for one in tools[tool]["builds"]]
        assert len(names) == len({*names}), names

    def newest(self) -> Deployment:
        """The newest deployment."""
        assert self.merge_request is not None
        with self.parts.store.read() as tx:
            project = self._project(tx)
            present = tx.preview_of(project.id, self.merge_request.iid)
            assert present is not None
            return tx.deployments_of(present.id)[0]

    def settles_at(self, step: Step) -> None:
        """Go on until the newest deployment is at a step, whose effect has been had."""
        self.settles(stop=lambda: self._has_deployments() and self.newest().step is step)

    def _has_deployments(self) -> bool:
        with self.parts.store.read() as tx:
            project = self._project(tx)
            present = tx.preview_of(project.id, 1)
            return present is not None and bool(tx.deployments_of(present.id))

    def has_lived(self, number: int) -> bool:
        """Whether the deployment of that number went live."""
        newest = self.newest()
        return newest.id == number and State.LIVE in (newest.entered or {})

    def pauses(self) -> None:
        """Operators stop the project."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
        self.parts.lifecycle.pause("operator", "a pause", self.now(), project_id=project.id)

    def sets_secret(self, name: str) -> None:
        """A Maintainer sets a secret of the project."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
        self.parts.secrets.put(project.id, name, "hunter2-hunter2", "max", self.now())

    def takes_secret(self, name: str) -> None:
        """A Maintainer takes one away."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
        self.parts.secrets.remove(project.id, name, "max", self.now())

    def waits_for_versions(self) -> None:
        """Maintainers have it wait for what the builder lacks."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
        rules = Rules(refused_versions=RefusedVersions.WAIT)
        self.parts.lifecycle.set_rules(project.id, rules, "dana", self.now())

    def learns(self, *, is_there: bool) -> None:
        """Somebody else's build has shown that the builder has the version, or lacks it."""
        now = self.now()
        times = {"seen_at": now} if is_there else {"refused_at": now, "cause": "python-version-missing"}
        with self.parts.store.write_alone() as tx:
            tx.put_runtime(RuntimeSeen("Python", "3.99", **times), now)  # type: ignore[arg-type]
        self.parts.lifecycle.sweep(now)

    def loses(self, operation: str) -> None:
        """Toolforge refuses the account's credentials once."""
        self._toolforge.faults.add(
            "status", tool=self.tool, operation=operation, status=403, body="Forbidden", count=1
        )

    def watches(self) -> None:
        """The project wants to know whether its default branch deploys."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
        rules = Rules(watch_main=MainWatch.ISSUE)
        self.parts.lifecycle.set_rules(project.id, rules, "dana", self.now())

    def probes(self) -> None:
        """Operators want to know what the builders have."""
        self.parts.lifecycle.set_probes("https://previews.example.org", self.now())

    def compares(self, *, after: float = 0.0) -> None:
        """The project is compared with GitLab, some seconds later."""
        self._offset += after
        with self.parts.store.write() as tx:
            project = self._project(tx)
            tx.compare_by(self.now())
        while self._is_due(project.id):
            self._look(Due(Kind.PROJECT, project.id, self.now()))
            self._offset += CLAIM_SECONDS / 4

    def _is_due(self, project_id: int) -> bool:
        with self.parts.store.read() as tx:
            claimed = tx.due(self.now() + CLAIM_SECONDS, limit=100)
            return any(due.kind is Kind.PROJECT and due.id == project_id for due in claimed)

    def changes_main(self) -> None:
        """A commit of the default branch."""
        self._commits("main", **{f"mended-{next(_numbers)}": "3\n"})

    def _next(self) -> Due | None:
        with self.parts.store.read() as tx:
            dues = tx.due(self.now() + 3000.0, limit=100)
            accounts = {account.id: account for account in tx.accounts()}
        resting = {AccountState.FREE, AccountState.LEASED}
        urgent = [
            due
            for due in dues
            if due.kind is not Kind.PROJECT
            and not (due.kind is Kind.ACCOUNT and accounts[due.id].state in resting)
        ]
        return min(urgent, key=lambda due: due.at, default=None)

    def _row(self, due: Due) -> object:
        with self.parts.store.read() as tx:
            return {
                Kind.DEPLOYMENT: lambda: tx.deployment(due.id),
                Kind.ACCOUNT: lambda: tx.account(due.id),
                Kind.DELIVERY: lambda: tx.delivery(due.id),
                Kind.REPORT: lambda: tx.told(due.id),
            }[due.kind]()

    def _step(self, due: Due) -> str:
        with self.parts.store.read() as tx:
            if due.kind is Kind.DEPLOYMENT:
                return step_of(tx.deployment(due.id))
            return str(tx.account(due.id).state) if due.kind is Kind.ACCOUNT else ""

    def _look(self, due: Due) -> None:
        step = self._step(due)
        wanted = self.die_at
        if self.was_killed or wanted is None or (due.kind, step) != (wanted.kind, wanted.step):
            self._take(due, Watch(due.kind, step), self.parts)
            return

        def in_child() -> None:
            self._take(due, Watch(due.kind, step, die_at=wanted), Parts(self.settings))

        self.was_killed = in_a_process_of_its_own(in_child)

    def _take(self, due: Due, watch: Watch, parts: Parts) -> None:
        runner = Runner(parts, watch.say, clock=self.now)
        with watch.effects():
            # One step, as if a message had come for each.
            runner.look(due.kind, due.id)
        runner.close()
        self.moments |= dict.fromkeys(watch.reached)

    # --- what is left ---------------------------------------------------------------------------------

    def transitions(self) -> set[tuple[str, str]]:
        """Every change of a deployment's state."""
        with self.parts.store.read() as tx:
            project = self._project(tx)
            present = tx.preview_of(project.id, self._iid)
            assert present is not None
            events = tx.events_of(present.id)
        moves = {(one.before, one.after) for one in events if one.subject == "deployment" and one.before}
        # What is only noted is no change.
        return {(before, after) for before, after in moves if before != after}

    def check(self) -> None:
        """Nothing is lost, doubled or leaked."""
        with self.parts.store.read() as tx:
            assert {account.state for account in tx.accounts()} == {AccountState.FREE}, tx.accounts()
            project = self._project(tx)
            present = tx.preview_of(project.id, self._iid)
            assert present is not None
            deployments = tx.deployments_of(present.id)
        assert all(one.is_settled for one in deployments), deployments
        for tool in self.tools:
            held = self._toolforge.state()["tools"][tool]
            envvars = [name for name in held["envvars"] if not name.startswith("TOOL_")]
            assert (held["jobs"], held["builds"], held["images"], envvars) == ([], [], [], [])
        if self.merge_request is not None:
            self._check_gitlab({one.sha for one in deployments})
        elif self._is_probed:
            self._check_probes(deployments)
        else:
            self._check_issue(deployments)

    @property
    def _iid(self) -> int:
        return self.merge_request.iid if self.merge_request is not None else BRANCH_IID

    def _check_issue(self, deployments: list[Deployment]) -> None:
        """There is one, which tells the last verdict; and nothing was said of the branch's commits."""
        assert [one.state for one in deployments] == [State.STOPPED, State.FAILED, State.STOPPED]
        base = f"/projects/{self.project.id}"
        (issue,) = self._seeder.api("GET", f"{base}/issues")
        assert (issue["state"], "deploys again" in issue["description"]) == ("closed", True)
        for one in deployments:
            path = f"{base}/repository/commits/{one.sha}/statuses?all=true"
            assert self._seeder.api("GET", path) == []
        assert self._seeder.api("GET", f"{base}/environments") == []

    def _check_probes(self, deployments: list[Deployment]) -> None:
        """Each was built once with each builder, and it is known how that ended."""
        with self.parts.store.read() as tx:
            known = {one.probe: one.was_built for one in probing.known(tx)}
            assert tx.connection.scalars(t.report_state.select()).all() == []
        assert known == {
            Probe(name, builder): name != "go" for name in ("python", "nodejs", "go") for builder in BUILDERS
        }
        assert len(deployments) == len(known)

    def _check_gitlab(self, shas: set[str]) -> None:
        assert self.merge_request is not None
        base = f"/projects/{self.project.id}"
        for sha in shas:
            told = [
                status["status"]
                for status in self._seeder.api("GET", f"{base}/repository/commits/{sha}/statuses?all=true")
                if status["name"] == STATUS_NAME
            ]
            assert told, sha
            assert told[-1] not in {"pending", "running"}, (sha, told)
        notes = self._seeder.api("GET", f"{base}/merge_requests/{self.merge_request.iid}/notes")
        ours = [note for note in notes if "<!-- toolforge-preview:" in note["body"]]
        assert len(ours) == 1
        made = [one["sha"] for one in self._seeder.api("GET", f"{base}/deployments")]
        assert len(made) == len({*made}), "no deployment twice"
        environments = self._seeder.api("GET", f"{base}/environments")
        assert {one["state"] for one in environments} <= {"stopped"}


# --- stories ------------------------------------------------------------------------------------------


def swapped(world: World) -> None:
    """A push replaces what is up, or does not; then nobody wants it any more."""
    world.opens()
    world.settles()
    world.pushes()
    world.settles()
    world.closes()
    world.settles()


def told_late(world: World) -> None:
    """What goes live after a stop is stopped again before GitLab has heard of it."""
    world.opens()
    world.settles()
    world.stops()
    world.settles()
    world.pushes()
    world.settles(stop=lambda: world.has_lived(2))
    world.stops()
    world.settles()
    world.closes()
    world.settles()


def pushed_at(step: Step) -> Story:
    def story(world: World) -> None:
        world.opens()
        world.settles_at(step)
        world.pushes()
        world.settles()
        world.closes()
        world.settles()

    return story


def pushed_beside(world: World) -> None:
    """A push that is being tried beside what is up is overtaken by another one."""
    world.opens()
    world.settles()
    world.pushes()
    world.settles_at(Step.WATCH_CANDIDATE)
    world.pushes()
    world.settles()
    world.closes()
    world.settles()


def closed_at(step: Step) -> Story:
    def story(world: World) -> None:
        world.opens()
        world.settles_at(step)
        world.closes()
        world.settles()

    return story


def paused(world: World) -> None:
    """Two commits wait until it is closed."""
    world.pauses()
    world.opens()
    world.settles()
    world.pushes()
    world.settles()
    world.closes()
    world.settles()


def loses_at(operation: str) -> Story:
    def story(world: World) -> None:
        world.loses(operation)
        swapped(world)

    return story


def with_secrets(world: World) -> None:
    """Between two pushes one of the project's secrets is taken away, and another one set."""
    world.sets_secret("FIRST_KEY")
    world.opens()
    world.settles()
    world.takes_secret("FIRST_KEY")
    world.sets_secret("SECOND_KEY")
    world.pushes()
    world.settles()
    world.closes()
    world.settles()


def with_file(text: str) -> Story:
    def story(world: World) -> None:
        world.opens(**{".toolforge-preview.yaml": text})
        world.settles()
        world.closes()
        world.settles()

    return story


_ASKING = {".python-version": "3.99\n"}


def awaited(world: World) -> None:
    """What the builder lacks is waited for, and built once it is there."""
    world.waits_for_versions()
    world.opens(**_ASKING)
    world.settles()
    assert world.newest().step is Step.AWAIT_VERSION
    world.learns(is_there=True)
    world.settles()
    world.closes()
    world.settles()


def awaited_in_vain(world: World) -> None:
    """What the builder is known to lack is not built; another push asks for it, too; then it is closed."""
    world.waits_for_versions()
    world.learns(is_there=False)
    world.opens(**_ASKING)
    world.settles()
    world.pushes()
    world.settles()
    assert world.newest().step is Step.AWAIT_VERSION
    world.closes()
    world.settles()


def watched(world: World) -> None:
    """A default branch deploys, then it does not, and then it is mended."""
    world.watches()
    world.compares()
    world.settles()
    world.compares(after=8 * 86400.0)
    world.settles()
    world.changes_main()
    world.compares()
    world.settles()


def probed(world: World) -> None:
    """Tiny repositories of ours are built, one after the other; some of them cannot be."""
    world.probes()
    for _ in range(7):
        world.compares()
        world.settles()


BRANCH_STORIES: dict[str, Story] = {"watched": watched, "probed": probed}
STORIES: dict[str, Story] = {
    **BRANCH_STORIES,
    "plain": swapped,
    "broken": swapped,
    "crashes": swapped,
    "refuses": swapped,
    "checked": swapped,
    "endless-pushed": pushed_at(Step.WATCH_BUILD),
    "endless-closed": closed_at(Step.WATCH_BUILD),
    "outdated": swapped,
    "lacking-pushed": pushed_at(Step.WATCH_OPINION),
    "lacking-closed": closed_at(Step.WATCH_OPINION),
    "awaited": awaited,
    "known": awaited_in_vain,
    "stuck": pushed_beside,
    "slow-pushed": pushed_at(Step.WATCH_JOB),
    "slow-closed": closed_at(Step.WATCH_JOB),
    "checking-closed": closed_at(Step.CHECK),
    "paused": paused,
    "unusable-building": loses_at("builds.get"),
    "unusable-starting": loses_at("jobs.get"),
    "secrets": with_secrets,
    "secrets-crashes": with_secrets,
    "told-late": told_late,
    "wrong-file": with_file("metod: 1\n"),
    "left-out": with_file("filters: {labels: preview}\n"),
}
#: Changes of state that no story comes to, and why.
ELSEWHERE = {
    (State.CHECKING, State.QUEUED): "the account's lease would have to end under the checks",
}


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalToolforge, LocalGitLab, Seeder]]:
    folder = tmp_path_factory.mktemp("servers")
    tools = [f"{story}-account" for story in STORIES] + [f"{story}-second" for story in BRANCH_STORIES]
    with (
        LocalToolforge(
            folder / "toolforge", tools, "synthetic", scenario=SCENARIO, time_scale=0.01
        ) as toolforge,
        LocalGitLab(folder / "gitlab") as gitlab,
        Seeder(gitlab.url, gitlab.root_token) as seeder,
    ):
        yield toolforge, gitlab, seeder


Worlds = Callable[[str], World]


@pytest.fixture
def worlds(servers: tuple[LocalToolforge, LocalGitLab, Seeder], databases: Databases) -> Iterator[Worlds]:
    """Makes a world for a story."""
    made: list[World] = []

    def make(story: str) -> World:
        close()
        servers[0].faults.clear()
        made.append(World(story, servers, databases.new()))
        return made[-1]

    def close() -> None:
        while made:
            world = made.pop()
            world.close()
            databases.forget(world.settings.database_url)

    yield make
    close()


#: Moments that an earlier story has tried.
_tried: set[Moment] = set()
#: Changes of state that the stories came to.
_seen: set[tuple[str, str]] = set()


@pytest.mark.parametrize("name", STORIES)
def test_killed_at_any_moment_of_its_story_nothing_is_lost_or_doubled(
    worlds: Worlds, name: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    story = STORIES[name]
    undisturbed = worlds(name)
    story(undisturbed)
    undisturbed.check()
    _seen.update(undisturbed.transitions())
    new = [moment for moment in undisturbed.moments if moment not in _tried]
    assert new or name != "plain"
    # For the report: see docs/reliability.py.
    record_testsuite_property(f"moments of {name}", len(new))
    for moment in new:
        world = worlds(name)
        world.die_at = moment
        story(world)
        assert world.was_killed, f"never came to {moment}"
        try:
            world.check()
        except AssertionError as error:
            raise AssertionError(f"killed at {moment}: {error}") from error
        _tried.add(moment)


def test_the_stories_come_to_every_change_of_state() -> None:
    assert _seen == {*preview.TRANSITIONS} - ELSEWHERE.keys()
