"""The parts of one local GitLab, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.gitlab.faults import Faults
from deploy.local.gitlab.git import Git
from deploy.local.gitlab.limits import PerMinute
from deploy.local.gitlab.merges import Merges
from deploy.local.gitlab.model import Group, Project, User
from deploy.local.gitlab.store import Store, Table
from deploy.local.gitlab.webhooks import Webhooks


@dataclass(slots=True)
class Settings:
    """What an administrator of GitLab can set. Times in seconds.

    `webhook_auto_disable` is off on some self-managed instances; the first pause is a minute on GitLab.
    `webhook_signing` is off where GitLab is too old to sign its deliveries (before the feature flag
    `webhook_signing_token`): a signing token is then taken and ignored. `hook_tests_per_minute` is for each
    project and user (GitLab: `web_hook_test` and `web_hook_event_resend`, five a minute each).
    """

    webhook_timeout_seconds: float = 10.0
    webhook_auto_disable: bool = True
    webhook_pause_seconds: float = 60.0
    webhook_max_pause_seconds: float = 86400.0
    webhook_signing: bool = True
    hook_tests_per_minute: int = 5
    deliveries_kept_per_hook: int = 1000
    git_timeout_seconds: float = 600.0


class Lab:
    """Records, repositories, webhooks and faults; everything that answers a request gets this."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.url = ""
        self.settings = Settings()
        self.faults = Faults()
        self.limits = PerMinute()
        self.store = Store(state / "gitlab.sqlite3")
        self.git = Git(state / "repositories")
        self.webhooks = Webhooks(self)
        self.merges = Merges(self)
        self._locks: dict[int, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def lock(self, project_id: int) -> asyncio.Lock:
        """Held while a project's refs are changed."""
        return self._locks.setdefault(project_id, asyncio.Lock())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside the request; it is cancelled when the server stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Cancel what still runs beside the requests."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def find_project(self, reference: str) -> Project | None:
        """A project by its number or its full path."""
        if reference.isdecimal():
            return self.store.projects.get(int(reference)) if len(reference) < 10 else None
        found = self.store.projects.by("full_path", reference)
        return found[0] if found else None

    def find_group(self, reference: str) -> Group | None:
        """A group by its number or its path."""
        if reference.isdecimal():
            return self.store.groups.get(int(reference)) if len(reference) < 10 else None
        found = self.store.groups.by("path", reference)
        return found[0] if found else None

    def find_user(self, username: str) -> User | None:
        """A user by name."""
        found = self.store.users.by("username", username)
        return found[0] if found else None

    def project_url(self, project: Project) -> str:
        """The address of a project's page."""
        return f"{self.url}/{project.full_path}"

    async def create_project(self, *, fork_of: Project | None = None, **fields: Any) -> Project:
        """A project with its repository, empty or with a copy of the forked one's branches."""
        project = self.store.projects.insert(forked_from_id=fork_of.id if fork_of else None, **fields)
        await self.git.create(project.id, project.default_branch, fork_of.id if fork_of else None)
        return project

    def delete_project(self, project: Project) -> None:
        """A project and everything that belongs to it."""
        store = self.store
        for merge_request in store.merge_requests.by("project_id", project.id):
            for note in store.notes.by("merge_request_id", merge_request.id):
                store.notes.delete(note)
            store.merge_requests.delete(merge_request)
        owned: tuple[Table[Any], ...] = (
            store.labels,
            store.issues,
            store.environments,
            store.deployments,
            store.hooks,
        )
        for table in owned:
            for row in table.by("project_id", project.id):
                table.delete(row)
        for member in store.members.by("source", f"project:{project.id}"):
            store.members.delete(member)
        store.projects.delete(project)
        self.git.remove(project.id)
