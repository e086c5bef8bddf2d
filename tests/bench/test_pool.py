"""What a lease and a release make a database do is the same in a large pool, and in an old database."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, event, make_url

from bench.pool import Rig
from tests.databases import Server

#: Sweeps look at so many only that they see as many leased accounts in all of them.
_SMALL = 500
_SIZES = {"the pool": (3000, 0), "the past": (_SMALL, 3000), "both": (3000, 3000)}
#: For the deeper trees of the indexes.
_TOLERANCE = 1.15
_READ_BY_POSTGRESQL = """
    SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
         + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
"""


@dataclass
class _Work:
    """What a database has done."""

    amount: int = 0


@contextmanager
def _rig(url: str, accounts: int, finished: int) -> Iterator[Rig]:
    rig = Rig(url, accounts, finished)
    # What is made for the first time, such as the statements, is not counted.
    rig.once()
    yield rig
    rig.close()


def _steps_of_sqlite(folder: Path, accounts: int, finished: int) -> int:
    """Steps of its virtual machine in which one preview is leased and released."""
    work = _Work()

    def tick() -> int:
        work.amount += 1
        return 0

    with _rig(f"sqlite:///{folder / f'{accounts}-{finished}.db'}", accounts, finished) as rig:

        @event.listens_for(rig.store.engine, "before_cursor_execute")
        def _count(connection: Any, *_: object) -> None:
            opened: sqlite3.Connection = connection.connection.dbapi_connection
            opened.set_progress_handler(tick, 1)

        rig.once()
    return work.amount


def test_sqlite_does_no_more_in_a_large_pool_or_an_old_database(tmp_path: Path) -> None:
    small = _steps_of_sqlite(tmp_path, _SMALL, 0)
    steps = {name: _steps_of_sqlite(tmp_path, *size) for name, size in _SIZES.items()}
    assert all(count < small * _TOLERANCE for count in steps.values()), (small, steps)


def _rows_read(server: Server, url: str) -> int:
    """Rows and entries of indexes that the server has read so far; nobody else may be connected."""
    if url.startswith("mariadb"):
        with server.administrator() as connection:
            found = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Handler_read%%'", ())
            return sum(int(value) for _, value in found)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(_READ_BY_POSTGRESQL).scalar_one())


def _wait_for_the_end(server: Server) -> None:
    """PostgreSQL counts what a connection has read when it ends."""
    with server.administrator() as connection:
        deadline = time.monotonic() + 30.0
        while server.connections(connection) and time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.mark.parametrize("name", ["mariadb", "postgresql"])
def test_a_server_reads_no_more_rows_in_a_large_pool_or_an_old_database(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)

    def rows_of(accounts: int, finished: int) -> int:
        url = server.create()
        if name == "postgresql":
            # Small tables are quicker read as a whole; what counts is how it is with large ones.
            with server.administrator() as connection:
                connection.exec_driver_sql(
                    f"ALTER DATABASE {make_url(url).database} SET enable_seqscan = off"
                )
        with _rig(url, accounts, finished) as rig:
            read = []
            for act in (lambda: None, rig.once):
                act()
                rig.store.engine.dispose()
                _wait_for_the_end(server)
                read.append(_rows_read(server, url))
        server.drop(url)
        return read[1] - read[0]

    small = rows_of(_SMALL, 0)
    rows = {size: rows_of(*_SIZES[size]) for size in _SIZES}
    assert small > 0
    assert all(count < small * _TOLERANCE for count in rows.values()), (small, rows)
