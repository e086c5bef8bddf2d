"""Saying that a row is due. Only a hint: what was never said, the sweep finds within a second.

The names of tasks and queues stand here, since the web process says them and the workers listen. Redis
remembers for a moment that a row was hinted at, so that a backlog is not doubled by every sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from orchestrator.errors import TryLater
from orchestrator.records import Due, Kind

LOOK = "toolforge_preview.look"
SWEEP = "toolforge_preview.sweep"
#: Somebody looks at the log of a running build.
FOLLOW = "toolforge_preview.follow"

#: Teardown and GitLab have queues of their own: neither may wait behind the other, or behind builds.
QUEUES: Mapping[Kind, str] = {
    Kind.DEPLOYMENT: "toolforge",
    Kind.ACCOUNT: "teardown",
    Kind.DELIVERY: "gitlab",
    Kind.REPORT: "gitlab",
    Kind.PROJECT: "gitlab",
}
CLOCK_QUEUE = "clock"

#: What is due later than this is left to the sweep.
_SOON_SECONDS = 5.0
#: A message lost together with its worker is repeated after this time.
_REMEMBER_SECONDS = 2.0


class Send(Protocol):
    """Puts one task on a queue; raises :class:`TryLater` when the queue is away."""

    def __call__(self, task: str, args: tuple[str, int], *, queue: str, countdown: float | None) -> None: ...


class Hints:
    """Sends and forgets. The queue being away is no error: the database knows what is due."""

    def __init__(
        self, send: Send, redis: Redis, prefix: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._send = send
        self._redis = redis
        self._prefix = prefix
        self._clock = clock

    def say(self, dues: Iterable[Due]) -> None:
        """Put every row that is due soon on its queue."""
        with suppress(RedisError, TryLater):
            for due in dues:
                self._say(due)

    def _say(self, due: Due) -> None:
        delay = max(due.at - self._clock(), 0.0)
        if delay > _SOON_SECONDS:
            return
        # A hint for later must not swallow one for now.
        key = self._key(due.kind, due.id, "soon" if delay > 0.05 else "now")
        if self._redis.set(key, 1, nx=True, px=int((delay + _REMEMBER_SECONDS) * 1000)):
            self._send(LOOK, (due.kind.value, due.id), queue=QUEUES[due.kind], countdown=delay or None)

    def follow(self, deployment_id: int) -> None:
        """Somebody looks at the log of what a deployment runs: a worker is to follow it."""
        with suppress(TryLater):
            self._send(
                FOLLOW, (Kind.DEPLOYMENT.value, deployment_id), queue=QUEUES[Kind.DEPLOYMENT], countdown=None
            )

    def taken(self, kind: Kind, row_id: int) -> None:
        """A worker looks at the row now; what happens from here on is worth a new hint."""
        with suppress(RedisError):
            self._redis.delete(self._key(kind, row_id, "now"), self._key(kind, row_id, "soon"))

    def _key(self, kind: Kind, row_id: int, when: str) -> str:
        return f"{self._prefix}:hint:{kind}:{row_id}:{when}"
