"""Databases that are migrated already, each empty and of somebody's own, all of one kind."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from tests.databases import Server, migrate

#: What `pytest --database` takes.
KINDS = ("sqlite", "mariadb", "postgresql")


class Databases:
    """Makes them in `folder` with SQLite, or on `server`; the migrations run once, the rest are copies."""

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self._folder = folder
        self._server = server
        self._numbers = itertools.count(1)
        self._migrated = self._made()
        migrate(self._migrated)

    def new(self) -> str:
        """The URL of another one."""
        if self._server is not None:
            return self._server.create_like(self._migrated)
        made = self._made()
        shutil.copyfile(_path(self._migrated), _path(made))
        return made

    def forget(self, url: str) -> None:
        """Remove one; whoever still uses it is cut off."""
        if self._server is not None:
            self._server.drop(url)
            return
        for end in ("", "-wal", "-shm"):
            _path(f"{url}{end}").unlink(missing_ok=True)

    def _made(self) -> str:
        if self._server is not None:
            return self._server.create()
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}"


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
