"""Keeps tool accounts on disk: one JSON file each, written whole, soon after a change, not per request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.toolforge.model import Tool

#: Seconds between a change and its way to the disk; what a kill -9 can lose.
DELAY = 0.2


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file's content so that a reader sees the old or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


class Storage:
    """Loads accounts, and writes those that were touched, debounced, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dirty: dict[str, Tool] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def load(self, name: str, default: Callable[[], Tool]) -> Tool:
        """The account as it was left, or the default when there is none or its file is unreadable."""
        try:
            data = json.loads(self._path(name).read_text(encoding="utf-8"))
            return Tool.from_json(data)
        except FileNotFoundError:
            return default()

    def touch(self, tool: Tool) -> None:
        """Say that an account changed."""
        self._dirty[tool.name] = tool
        self._wake.set()

    def start(self) -> None:
        """Begin writing in the background; needs the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the background and write what is left."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._flush()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(DELAY)
            self._wake.clear()
            await self._flush()

    async def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        snapshots: list[tuple[Path, dict[str, Any]]] = [
            (self._path(tool.name), tool.to_json()) for tool in dirty.values()
        ]
        if snapshots:
            await asyncio.to_thread(_write_all, snapshots)

    def _path(self, name: str) -> Path:
        return self._folder / "tools" / name / "state.json"


def _write_all(snapshots: list[tuple[Path, dict[str, Any]]]) -> None:
    for path, data in snapshots:
        write_atomically(path, json.dumps(data))
