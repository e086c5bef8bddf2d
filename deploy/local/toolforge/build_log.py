"""The log of one build: container lines with Kubernetes' stamps, followed by any number of readers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from deploy.local.toolforge.answers import rfc3339_nano


class LogTooLong(Exception):
    """The build wrote more than the local Toolforge keeps."""


class BuildLog:
    """Lines as builds-api sends them: `[container] stamp text`."""

    def __init__(self, max_bytes: int) -> None:
        self.lines: list[str] = []
        self.started = False
        self.closed = False
        self.gone = False
        self._room = max_bytes
        self._changed = asyncio.Event()

    def start(self) -> None:
        """The first container runs: readers are answered from now on."""
        self.started = True
        self._notify()

    def write(self, container: str, text: str) -> None:
        """Add the lines of a text. Raises `LogTooLong` when there is no room."""
        for line in text.split("\n"):
            self._room -= len(line) + 1
            if self._room < 0:
                raise LogTooLong
            self.lines.append(f"[{container}] {rfc3339_nano(time.time_ns())} {line}")
        self._notify()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._notify()

    def vanish(self) -> None:
        """The pod is gone, and the log with it: readers get an error."""
        self.gone = True
        self._notify()

    async def wait_started(self, timeout: float) -> bool:
        """Wait until there is something to read; False when it took too long."""
        try:
            async with asyncio.timeout(timeout):
                while not (self.started or self.gone):
                    await self._change()
        except TimeoutError:
            return False
        return self.started and not self.gone

    async def follow(self) -> AsyncIterator[list[str]]:
        """Batches of lines from the start, until the log is closed."""
        seen = 0
        while True:
            if self.gone:
                return
            if seen < len(self.lines):
                batch, seen = self.lines[seen:], len(self.lines)
                yield batch
            elif self.closed:
                return
            else:
                await self._change()

    def save(self, path: Path) -> None:
        """Keep a finished log on disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.lines), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> BuildLog:
        """A finished log from disk; without a file it is one that never started."""
        log = cls(0)
        log.closed = True
        if path.exists():
            log.lines = json.loads(path.read_text(encoding="utf-8"))
            log.started = True
        return log

    async def _change(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        event.set()
