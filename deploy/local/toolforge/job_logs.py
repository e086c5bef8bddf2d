"""The output of a job's containers, as Loki keeps it: an hour, and not without end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from deploy.local.toolforge.answers import rfc3339_nano

KEPT_LINES = 20_000


@dataclass(frozen=True)
class Entry:
    """One line of output. `number` tells lines of one instant apart."""

    number: int
    moment_ns: int
    pod: str
    container: str
    message: str

    def to_json(self) -> dict[str, str]:
        """As jobs-api and logs-api send it."""
        return {
            "pod": self.pod,
            "container": self.container,
            "datetime": rfc3339_nano(self.moment_ns),
            "message": self.message,
        }


class JobLog:
    """All lines of one job."""

    def __init__(self, keep_seconds: float) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT_LINES)
        self._keep_ns = int(keep_seconds * 10**9)
        self._number = 0
        self._changed = asyncio.Event()

    def write(self, pod: str, container: str, message: str) -> None:
        """Add a line."""
        self._number += 1
        self._entries.append(Entry(self._number, time.time_ns(), pod, container, message))
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    def entries(self, lag: float = 0.0) -> list[Entry]:
        """What a query finds, oldest first: not older than is kept, not newer than the ingestion's lag."""
        now = time.time_ns()
        newest, oldest = now - int(lag * 10**9), now - self._keep_ns
        return [entry for entry in self._entries if oldest <= entry.moment_ns <= newest]

    async def follow(self, since: int = 0) -> AsyncIterator[Entry]:
        """Entries with a number above `since`, then those to come."""
        while True:
            event = self._changed
            for entry in list(self._entries):
                if entry.number > since:
                    since = entry.number
                    yield entry
            await event.wait()
