"""Databases that are migrated already, each empty and of somebody's own, all of one kind."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from sqlalchemy import Connection, Engine, Integer, Table

from orchestrator import tables as t
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


def make_empty(engine: Engine) -> None:
    """Forget every row but those that migrations have made; the next ones have the numbers of the first."""
    with engine.begin() as connection:
        connection.execute(t.switch.delete().where(t.switch.c.name != "schedule"))
        for table in reversed(t.metadata.sorted_tables):
            if table is not t.switch and connection.execute(table.delete()).rowcount:
                _number_anew(connection, table)


def _number_anew(connection: Connection, table: Table) -> None:
    """SQLite does that by itself."""
    if "id" not in table.c or not isinstance(table.c.id.type, Integer):
        return
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ALTER SEQUENCE {table.name}_id_seq RESTART")
    elif connection.dialect.name in {"mysql", "mariadb"}:
        connection.exec_driver_sql(f"ALTER TABLE {table.name} AUTO_INCREMENT = 1")


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
