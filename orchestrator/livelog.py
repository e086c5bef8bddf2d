"""The log of what runs, fanned out through Redis: one reads it from Toolforge, many look at it.

Nothing here has to last. A worker follows the log of a build or of a tool and appends what comes to a Redis
stream; whoever looks reads that stream, in whatever process. Who wants to look says so every few seconds, and
the worker reads on only while somebody does. Should it die, its place comes free, and the next one goes on
behind the lines that are there already: Toolforge sends a build's log from its first line each time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

#: A follower that has not said for so long that it goes on is gone.
PLACE_SECONDS = 10
#: Who looks says so at least this often.
_WATCHED_SECONDS = 20
#: The lines stay for so long after the newest, or after they were followed.
_KEPT_SECONDS = 900
#: Between two calls for a follower.
_CALL_SECONDS = 2
#: After a stream that has come to its end.
_READ_SECONDS = 30
#: Of a line, and of a whole log, this much is passed on; the kept log has more.
LONGEST_LINE, _LONGEST_LOG = 8_000, 4_000_000
#: Where a stream begins.
BEGIN = "0-0"


@dataclass(frozen=True)
class Batch:
    """Lines that came together."""

    #: Its place in the stream, from which one can go on reading.
    id: str
    #: The number of the first line, from 1.
    first: int
    lines: Sequence[str]


class LiveLog:
    """The log of one deployment's build, or of its job."""

    def __init__(self, redis: Redis, prefix: str, deployment_id: int, kind: str = "build") -> None:
        self._redis = redis
        name = f"{prefix}:log:{deployment_id}:{kind}"
        self._lines, self._count, self._place = f"{name}:lines", f"{name}:count", f"{name}:place"
        self._watched, self._called = f"{name}:watched", f"{name}:called"

    # --- who looks ---

    def want(self) -> bool:
        """Say that somebody looks; True when a follower has to be called."""
        self._redis.set(self._watched, 1, ex=_WATCHED_SECONDS)
        if self._redis.exists(self._place):
            return False
        return bool(self._redis.set(self._called, 1, nx=True, ex=_CALL_SECONDS))

    def after(self, place: str, *, wait_seconds: float) -> list[Batch]:
        """The batches after `place`; when there is none yet, those that come within the time (0: none)."""
        block = int(wait_seconds * 1000) or None
        found: Any = self._redis.xread({self._lines: place}, count=200, block=block)
        return [
            Batch(number.decode(), int(fields[b"first"]), json.loads(fields[b"lines"]))
            for _, entries in found
            for number, fields in entries
        ]

    # --- who follows ---

    def take_place(self, token: str) -> bool:
        """Become the one follower; False where there is one."""
        return bool(self._redis.set(self._place, token, nx=True, ex=PLACE_SECONDS))

    def keep_place(self, token: str) -> bool:
        """Say that the follower goes on; False when it lost its place, or nobody looks any more."""
        if not self._holds(token):
            return False
        self._redis.expire(self._place, PLACE_SECONDS)
        for name in (self._lines, self._count):
            self._redis.expire(name, _KEPT_SECONDS)
        return bool(self._redis.exists(self._watched))

    def leave_place(self, token: str, *, is_read: bool = False) -> None:
        """Follow no more; `is_read` says that the stream came to its end.

        The build is known to have ended only some moments later: till then nobody needs to be called.
        """
        if is_read:
            self._redis.set(self._called, 1, ex=_READ_SECONDS)
        if self._holds(token):
            self._redis.delete(self._place)

    def _holds(self, token: str) -> bool:
        return self._redis.get(self._place) == token.encode()

    def count(self) -> int:
        """How many lines are there already."""
        return int(self._redis.hget(self._count, "lines") or 0)

    def newest(self, most: int) -> list[str]:
        """At least as many of the newest lines, the oldest first; fewer when there are no more."""
        lines: list[str] = []
        end = "+"
        while len(lines) < most:
            found: Any = self._redis.xrevrange(self._lines, max=end, count=10)
            if not found:
                break
            for number, fields in found:
                lines[:0] = json.loads(fields[b"lines"])
                end = f"({number.decode()}"
        return lines

    def add_on(self, lines: Sequence[str]) -> None:
        """Append lines to a log without end: when it gets too long, those before are forgotten."""
        if lines and not self.add(lines):
            self._redis.delete(self._lines)
            self._redis.hset(self._count, "size", 0)
            self.add(lines)

    def add(self, lines: Sequence[str]) -> bool:
        """Append lines; False, and nothing is done, when the log is too long to be followed."""
        cut = [line[:LONGEST_LINE] for line in lines]
        if int(self._redis.hget(self._count, "size") or 0) > _LONGEST_LOG:
            return False
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(self._lines, {"first": self.count() + 1, "lines": json.dumps(cut)})
            pipe.hincrby(self._count, "lines", len(cut))
            pipe.hincrby(self._count, "size", sum(map(len, cut)))
            pipe.expire(self._lines, _KEPT_SECONDS)
            pipe.expire(self._count, _KEPT_SECONDS)
            pipe.execute()
        return True
