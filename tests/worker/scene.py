"""Accounts on a local Toolforge, deployments at any step, and a runner with a clock of the test's own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from deploy.local.toolforge import LocalToolforge
from orchestrator import belongings
from orchestrator.bootstrap import Parts
from orchestrator.merge_request import MergeRequest
from orchestrator.outcome import BuildGoesOn, BuildStarted, BuildSucceeded, FileRead
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Due, Kind, Preview, Project
from orchestrator.secret_rules import Opened
from orchestrator.settings import Settings, load_settings
from orchestrator.toolforge import AccountClient, Job, JobSpec, Toolforge
from worker import build
from worker.holdings import Sort
from worker.runner import Runner
from worker.step import Site

#: The commit that every build resolves to, and one that none does.
SHA, OTHER_SHA = "a" * 40, "b" * 40
#: What the local Toolforge makes of a merge request, by its number.
GOOD, BROKEN, ENDLESS, CRASHING, LOUD, MISSING, LATE, PINNED, LEAKING = range(1, 10)
#: What that last one prints: a secret of ours, and a password.
OURS, LEAKED = "a-secret-of-ours", "hunter2hunter2"
SCENARIO: dict[str, Any] = {
    "instant": True,
    "resolve": "scenario",
    "builds": [
        {
            "match": {"image_name": f"mr{BROKEN}-*"},
            "outcome": "failure",
            "resolved_ref": SHA,
            "log": ["[Error: Unable to install dependencies using pip]", "the last words"],
        },
        {
            "match": {"image_name": f"mr{PINNED}-*"},
            "outcome": "failure",
            "resolved_ref": SHA,
            "log": ["[Error: The requested Python version isn't recognised]"],
        },
        {
            "match": {"image_name": f"mr{LEAKING}-*"},
            "outcome": "failure",
            "resolved_ref": SHA,
            "duration": 60,
            "log": [f"it was {OURS}", f"DB_PASSWORD={LEAKED}", "the last words"],
        },
        {"match": {"image_name": f"mr{ENDLESS}-*"}, "duration": 10_000_000, "resolved_ref": SHA},
        {
            "match": {"image_name": f"mr{LOUD}-*"},
            "resolved_ref": SHA,
            "log": [f"line {number} {'x' * 50}" for number in range(200)] + ["the end"],
        },
        {"match": {"ref": f"refs/merge-requests/{MISSING}/head"}, "ref_error": "exit status 128"},
        {"match": {"image_name": "*"}, "resolved_ref": SHA, "log": ["building", "built"]},
    ],
    "jobs": [
        {"match": {"name": "crashing"}, "health": "crash", "exit_code": 4, "log": ["no broker"]},
        {"match": {"name": "late"}, "health": "never_ready", "log": ["connecting"]},
        {
            "match": {"image": f"*mr{CRASHING}-*"},
            "health": "crash",
            "exit_code": 3,
            "log": ["Traceback: no module"],
        },
        {"match": {"image": f"*mr{LATE}-*"}, "health": "never_ready", "log": ["still loading"]},
    ],
}
_numbers = itertools.count(1)
#: Every deployment that was made, by its number.
KNOWN: dict[int, Deployment] = {}


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What a condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def a_deployment(iid: int = GOOD, **changes: object) -> Deployment:
    """A deployment with a number of its own."""
    values: dict[str, object] = {
        "id": next(_numbers),
        "preview_id": 1,
        "iid": iid,
        "sha": SHA,
        "state": State.BUILDING,
        "step": Step.START_BUILD,
        "created_at": 0.0,
        "since": 0.0,
        "step_since": 0.0,
        "due_at": 0.0,
        "trigger": "test",
        "actor": "alice",
        "entered": {State.QUEUED: 0.0, State.BUILDING: 0.0},
    }
    deployment = Deployment(**(values | changes))  # type: ignore[arg-type]
    KNOWN[deployment.id] = deployment
    return deployment


def sort(account: AccountClient, *, was_leased: bool = True, envvars: Container[str] = ()) -> Sort:
    """Tells whose things are: every deployment that was ever made here has had a lease of `account`."""
    return lambda held: belongings.sort(account.tool, held, KNOWN, was_leased=was_leased, envvars=envvars)


def a_site(account: AccountClient, deployment: Deployment, **changes: object) -> Site:
    """Where `deployment` is worked on; its lease is never lost."""
    preview = Preview(
        id=1,
        project_id=1,
        iid=deployment.iid,
        title="A change",
        author="alice",
        web_url="",
        source_branch="change",
        target_branch="main",
        mr_state="opened",
        head_sha=SHA,
        is_from_project=True,
        seen_at=0.0,
        expires_at=None,
        stop_reason="",
        created_at=0.0,
    )
    project = Project(1, 77, "group/tool", "", "https://gitlab.example.org/group/tool.git", (), (), 0.0)
    values: dict[str, object] = {
        "deployment": deployment,
        "preview": preview,
        "project": project,
        "account": account,
        "place": Account(1, "dev-1", AccountState.LEASED, 0.0, None, own_envvars=()),
        "address": "http://127.0.0.1:1/",
        "secrets": Opened(),
        "settings": load_settings(gitlab_token="none"),
        "serving": None,
        "address_busy": False,
        "needed_beside": frozenset(),
        "guard": lambda: None,
        "procfile": lambda: None,
        "pins": lambda runtime: (),
        "head_now": lambda: deployment.sha,
        "merged_now": lambda: None,
        "is_merge": lambda sha: False,
        "tree": lambda sha: "",
        "reusable": lambda sha, tree: None,
        "reusable_component": lambda name, source: None,
        "now": 0.0,
    }
    return Site(**(values | changes))  # type: ignore[arg-type]


class Workshop:
    """One account of a local Toolforge that belongs to the test alone."""

    def __init__(self, toolforge: LocalToolforge, tool: str) -> None:
        self.toolforge = toolforge
        self.tool = tool
        home = toolforge.tool_home(tool) / ".toolskube"
        self.credentials = {"cert": str(home / "client.crt"), "key": str(home / "client.key")}

    @contextmanager
    def opened(self) -> Iterator[AccountClient]:
        """A client of the account."""
        product = Toolforge(self.toolforge.gateway_url, user_agent="tests", ca_file=self.toolforge.ca_file)
        with product.account(self.tool, self.credentials) as account:
            yield account
        product.close()

    def leaves_job(self, account: AccountClient, name: str = "cronjob") -> None:
        """Somebody else runs a job of their own in the account."""
        account.put_job(JobSpec(name, "python3.11", "sleep 1000", 8001, publish=False))

    def leaves_build(self, account: AccountClient, image_name: str = "their-tool") -> str:
        """Somebody else builds an image in the account; the build's id, once it has ended."""
        url = "https://gitlab.example.org/group/theirs.git"
        new = account.start_build(source_url=url, ref="refs/heads/main", image_name=image_name)
        until(lambda: account.build(new.id).has_ended)
        return new.id

    def fault(self, kind: str, operation: str = "*", **settings: Any) -> None:
        """Something goes wrong for this account."""
        self.toolforge.faults.add(kind, tool=self.tool, operation=operation, **settings)

    def images(self) -> dict[str, str]:
        """The image that each job runs, by the job's name, by the local Toolforge's own word."""
        jobs = self.toolforge.state()["tools"][self.tool]["jobs"]
        return {job["name"]: job["spec"]["imagename"] for job in jobs}

    def settings(self, database_url: str, **changes: object) -> Settings:
        """Settings of a product that uses this Toolforge."""
        values: dict[str, object] = {
            "database_url": database_url,
            "gitlab_token": "none",
            "toolforge_url": self.toolforge.gateway_url,
            "toolforge_ca_file": self.toolforge.ca_file,
            "preview_url": f"http://{{tool}}.localhost:{self.toolforge.web_port}",
            "stable_seconds": 0,
            "quiet_seconds": 0,
        }
        return load_settings(**(values | changes))


class Service:
    """A runner on a database of its own, with one account; time stands still unless told."""

    def __init__(self, workshop: Workshop, parts: Parts) -> None:
        self.workshop = workshop
        self.parts = parts
        self.now = time.time()
        self.said: list[Due] = []
        #: What every repository asks for.
        self.config: Mapping[str, object] = {}
        self.runner = Runner(parts, self.said.extend, clock=lambda: self.now)
        with parts.store.write() as tx:
            self.project_id = tx.put_project(
                gitlab_id=77,
                path="group/tool",
                web_url="http://gitlab/group/tool",
                git_url="https://gitlab.example.org/group/tool.git",
                secret_digests=["0" * 64],
                checks=[],
                now=self.now,
            )
            self.account_id = tx.add_account(workshop.tool, workshop.credentials, self.now)

    def close(self) -> None:
        """Let go of everything."""
        self.runner.close()
        self.parts.close()

    def cleans(self) -> Account:
        """One look at the account."""
        self.runner.look(Kind.ACCOUNT, self.account_id)
        return self.account()

    def sees(
        self, iid: int = GOOD, state: str = "opened", sha: str = SHA, *, is_fork: bool = False
    ) -> Deployment:
        """GitLab says that there is a merge request."""
        source = 78 if is_fork else 77
        seen = MergeRequest(iid, state, sha, "A change", "alice", "", "change", "main", source, 77)
        with self.parts.store.read() as tx:
            project = tx.project(self.project_id)
        (due,) = self.parts.lifecycle.receive(
            project, f"key-{next(_numbers)}", kind="merge_request", iid=iid, facts={}, now=self.now
        )
        with self.parts.store.write() as tx:
            claim = tx.claim(Kind.DELIVERY, due.id, now=self.now, seconds=60.0)
            delivery = tx.delivery(due.id)
        assert claim is not None
        self.parts.lifecycle.observe(claim, delivery, seen, self.now, as_of=self.now)
        self.reads(iid)
        return self.deployment(iid)

    def reads(self, iid: int = GOOD) -> None:
        """The repository's own file is read, where that is to be done."""
        deployment = self.deployment(iid)
        if deployment.step is Step.READ_FILE:
            with self.parts.store.write() as tx:
                claim = tx.claim(Kind.DEPLOYMENT, deployment.id, now=self.now, seconds=60.0)
            assert claim is not None
            self.parts.lifecycle.record(claim, deployment, FileRead(self.config), self.now)

    def looks(self, deployment: Deployment) -> Deployment:
        """Time goes on to when the deployment is due, and a worker looks at it."""
        if deployment.due_at is not None:
            self.now = max(self.now, deployment.due_at)
        self.runner.look(Kind.DEPLOYMENT, deployment.id)
        return self.deployment(deployment.iid)

    def deployment(self, iid: int = GOOD) -> Deployment:
        """The newest of the merge request."""
        with self.parts.store.read() as tx:
            preview = tx.preview_of(self.project_id, iid)
            assert preview is not None
            return tx.deployments_of(preview.id)[0]

    def account(self) -> Account:
        """The account as the database has it."""
        with self.parts.store.read() as tx:
            return tx.account(self.account_id)


def built(account: AccountClient, iid: int = GOOD, **changes: object) -> Deployment:
    """A deployment with an image, about to be published."""
    deployment = a_deployment(iid, **changes)
    started = build.start(a_site(account, deployment))
    assert isinstance(started, BuildStarted)
    deployment = replace(deployment, build_id=started.build_id)
    seen = until(lambda: (o := build.watch(a_site(account, deployment))) != BuildGoesOn() and o)
    assert isinstance(seen, BuildSucceeded)
    entered = {State.QUEUED: 0.0, State.BUILDING: 0.0, State.STARTING: 0.0}
    return replace(deployment, state=State.STARTING, step=Step.PUBLISH, image=seen.image, entered=entered)


def job_named(account: AccountClient, name: str) -> Job | None:
    """The job of that name, if there is one."""
    return next((job for job in account.jobs() if job.name == name), None)
