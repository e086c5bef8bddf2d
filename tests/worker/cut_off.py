"""Workers that are killed at a chosen moment of a look: before an effect, after it, or after the commit."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from orchestrator.gitlab import GitLab
from orchestrator.preview import Deployment
from orchestrator.records import Due, Kind
from orchestrator.toolforge import AccountClient

#: What only asks has no effect.
_EFFECTS = ("POST", "PUT", "PATCH", "DELETE")
#: What is particular in a path: an account, a build, a candidate, a commit, a number.
_PARTICULAR = re.compile(
    r"(?<=/tool/)[^/]+|(?<=/builds/)[^/]+-pipelinerun-[^/]+|(?<=/jobs/)candidate-[^/]+|[0-9a-f]{40}|(?<=/)\d+"
)


@dataclass(frozen=True, order=True)
class Moment:
    """One moment in the life of a row: where in which step it is reached."""

    kind: str
    #: The state and step of a deployment, the state of an account, else empty.
    step: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind} {self.step}: {self.where}".replace("  ", " ")


class Watch:
    """Notes each moment that a look comes to; at a wanted one the process ends as by ``kill -9``."""

    def __init__(self, kind: Kind, step: str, *, die_at: Moment | None = None) -> None:
        self.reached: list[Moment] = []
        self._kind, self._step = kind, step
        self._die_at = die_at
        self._seen: Counter[str] = Counter()

    def reach(self, where: str) -> None:
        """The look comes to this."""
        moment = Moment(self._kind, self._step, where)
        self.reached.append(moment)
        if moment == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def say(self, _: list[Due]) -> None:
        """What is due next was committed, and is to be put on the queue."""
        self.reach("after the commit, before the message")

    @contextmanager
    def effects(self) -> Iterator[None]:
        """Within the block each request that changes something is two moments."""
        toolforge, gitlab = AccountClient._open, GitLab._response

        def opened(
            client: AccountClient, method: str, path: str, *rest: Any, **more: Any
        ) -> requests.Response:
            return self._around(method, path, lambda: toolforge(client, method, path, *rest, **more))

        def answered(client: GitLab, method: str, path: str, **more: Any) -> Any:
            return self._around(method, path, lambda: gitlab(client, method, path, **more))

        AccountClient._open, GitLab._response = opened, answered  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            AccountClient._open, GitLab._response = toolforge, gitlab  # type: ignore[method-assign]

    def _around(self, method: str, path: str, call: Callable[[], Any]) -> Any:
        if method not in _EFFECTS:
            return call()
        effect = f"{method} {_PARTICULAR.sub('*', path)}"
        self._seen[effect] += 1
        which = f"{effect} number {self._seen[effect]}"
        self.reach(f"before {which}")
        answer = call()
        self.reach(f"after {which}")
        return answer


def step_of(deployment: Deployment) -> str:
    """Where a deployment is."""
    return f"{deployment.state}, {deployment.step}"


def in_a_process_of_its_own(work: Callable[[], None]) -> bool:
    """Do it in a process of its own; True when that was killed. What else goes wrong there is raised."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the worker's process failed"
    return False
