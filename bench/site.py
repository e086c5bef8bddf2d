"""The stage of the storms: a stack whose builds take the storm's times, and its projects."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.repository import Repository
from bench.storm import Job, scenario
from deploy.follow import connect, pool_is_clean, wait_for
from deploy.stack import Stack
from orchestrator.progress import Patience
from orchestrator.quiet import Quiet
from orchestrator.scheduler import Limits

_GROUP = "storm"
_BOT = "dana"
#: What the product waits for, in Toolforge's seconds; as its settings are when nothing is said.
_PAUSES: Mapping[str, float] = {
    "poll_min_seconds": Patience.poll_min_seconds,
    "poll_max_seconds": Patience.poll_max_seconds,
    "stable_seconds": Patience.stable_seconds,
    "quiet_seconds": Quiet.people_seconds,
    "bot_quiet_seconds": Quiet.bot_seconds,
    "min_live_seconds": Limits.min_live_seconds,
}
_OURS = ("web", "worker-builds", "worker-gitlab", "beat")


@dataclass(frozen=True)
class Given:
    """The size of the storm and of the pool."""

    projects: int
    each: int
    accounts: int
    builds: int
    #: Seconds here for one of Toolforge's.
    scale: float
    #: Toolforge's seconds that people look at a preview.
    review: float
    seed: int


class Site:
    """A stack with the storm's projects, nothing opened yet; a context manager.

    With `only_twins` without the product's processes, and with nothing connected.
    """

    def __init__(self, given: Given, jobs: Sequence[Job], *, only_twins: bool = False) -> None:
        self.given = given
        self.jobs = jobs
        self._only_twins = only_twins
        self._open = ExitStack()
        self.stack: Stack
        self.repositories: dict[int, Repository] = {}

    def __enter__(self) -> Site:
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _start(self) -> None:
        given = self.given
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        path = folder / "storm.json"
        path.write_text(json.dumps(scenario(self.jobs, group=_GROUP)))
        stack = Stack(
            folder / "state",
            tools=[f"bench-{number}" for number in range(given.accounts)],
            overrides={
                **{name: seconds * given.scale for name, seconds in _PAUSES.items()},
                "max_concurrent_builds": given.builds,
                "bots": _BOT,
                "deliveries_per_minute": 1_000_000,
                "waiting_per_project": 100_000,
            },
            toolforge_options=(
                *("--engine", "synthetic", "--scenario", str(path)),
                *("--time-scale", str(given.scale)),
            ),
        )
        self.stack = self._open.enter_context(stack)
        wait_for("the pool", lambda: pool_is_clean(self.stack))
        for name in _OURS if self._only_twins else ():
            self.stack.kill(name, and_keep_down=True)
        for number in range(1, given.projects + 1):
            repository = Repository(self.stack.seeder, f"{_GROUP}-{number}", branches=given.each)
            self.repositories[number] = self._open.enter_context(repository)
            if not self._only_twins:
                connect(self.stack, repository.project.path)

    def token(self, job: Job) -> str:
        """That of the bot, or of a person (the administrator)."""
        return self.stack.seeder.developer.token if job.is_bot else self.stack.places.gitlab_root_token

    def calls(self) -> Mapping[str, Mapping[str, int]]:
        """How often the local Toolforge was called, by operation and by status."""
        found: Mapping[str, Mapping[str, int]] = self._admin("calls")
        return found

    def _admin(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.stack.places.toolforge_admin_url}/{path}") as answer:
            return json.load(answer)

    def _running(self) -> int:
        tools = self._admin("state")["tools"].values()
        return sum(build["ended"] is None for tool in tools for build in tool["builds"])

    @contextmanager
    def watched(self) -> Iterator[list[tuple[float, int]]]:
        """How many builds run at Toolforge, by time, while the block runs."""
        seen: list[tuple[float, int]] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.25):
                seen.append((time.time(), self._running()))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()

    def hit(self, opens: Callable[[Job], None], pushes: Callable[[Job], None]) -> threading.Thread:
        """Let the storm begin now, in a thread of its own: all open at once, some are pushed to later."""
        begun = time.time()

        def run() -> None:
            for job in self.jobs:
                opens(job)
            for at, job in sorted((job.pushes_at or 0.0, job) for job in self.jobs if job.pushes_at):
                time.sleep(max(begun + at * self.given.scale - time.time(), 0.0))
                pushes(job)

        thread = threading.Thread(target=run)
        thread.start()
        return thread
