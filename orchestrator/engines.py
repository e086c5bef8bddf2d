"""Databases, opened so that all of them behave alike. SQLite, MariaDB and PostgreSQL differ here only.

* What a writing transaction waited for, it sees as it is after the wait.
* A reading transaction sees one moment.
* Whoever stops in the middle of a transaction (frozen, or cut off from the server) holds nobody up for long.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError, TimeoutError

from orchestrator.errors import BadInput

#: Execution option of a connection: whether its transactions write. Without it nothing is promised.
FOR_WRITING = "for_writing"

#: A transaction in which nothing is said for this long is rolled back; a claim lasts longer.
_IDLE_SECONDS = 5
#: How long a lock is waited for.
_LOCK_SECONDS = 15
#: How often, and for how long, a file's lock is looked at while another process writes.
_LOOK_SECONDS = 0.001
_EAGER_SECONDS = 2.0
#: How long a server that does not answer is believed to be at work.
_ANSWER_SECONDS = 120
#: What both kinds of server say when transactions were in each other's way and this one had to give in:
#: deadlocks, locks waited for in vain, and reads that are not true any more.
_OVERTAKEN = frozenset({1205, 1213, "40001", "40P01", "55P03"})
#: What is raised when the database cannot be reached, or cut us off; nothing of the transaction remains.
AWAY = (OperationalError, InterfaceError, InternalError, TimeoutError)


def open_engine(url: str) -> Engine:
    """The database at SQLAlchemy's `url`."""
    return _open_file(url) if is_file(url) else _open_server(url)


def is_file(url: str) -> bool:
    """True for SQLite, which has one writer at a time and no row locks."""
    return make_url(url).get_backend_name() == "sqlite"


def _to_json(value: object) -> str:
    """JSON without half characters, which MariaDB takes for none."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def was_overtaken(error: DBAPIError) -> bool:
    """True when the transaction can be tried again, and another one was the reason why it failed."""
    original = error.orig
    number = next(iter(original.args), None) if original is not None else None
    return number in _OVERTAKEN or getattr(original, "sqlstate", None) in _OVERTAKEN


# --- SQLite -------------------------------------------------------------------------------------------


def _open_file(url: str) -> Engine:
    engine = create_engine(url, json_serializer=_to_json)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own guesses at BEGIN are switched off; _begin below says which kind is meant.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(FOR_WRITING):
            connection.exec_driver_sql("BEGIN")
        elif not _begun_soon(connection.connection.dbapi_connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _begun_soon(connection: Any) -> bool:
    """True once `connection` may write; False when others wrote all the time, or something else is wrong.

    SQLite itself looks ever more rarely while it waits, in the end every tenth of a second: among many short
    transactions some would wait for very long.
    """
    deadline = time.monotonic() + _EAGER_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < deadline:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    return False
                time.sleep(_LOOK_SECONDS)
            else:
                return True
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_LOCK_SECONDS * 1000}")


# --- servers ------------------------------------------------------------------------------------------


def _open_server(url: str) -> Engine:
    engine = create_engine(
        url,
        json_serializer=_to_json,
        isolation_level="READ COMMITTED",
        connect_args=dict(_CONNECT[make_url(url).get_backend_name()]),
        # ToolsDB lets a tool have 20 connections, asks not to keep idle ones open, and closes what was idle
        # for 600 seconds. Transactions are short: threads wait for a connection for milliseconds.
        pool_size=1,
        max_overflow=3,
        pool_recycle=300,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(FOR_WRITING) is False:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Dialect, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        connection = dialect.connect(*arguments, **options)
        if dialect.name == "postgresql":
            try:
                _expect_unicode(connection)
            except BadInput:
                connection.close()
                raise
        return connection

    return engine


def _expect_unicode(connection: Any) -> None:
    """What a PostgreSQL that was installed without a locale makes is bytes, and counts them as characters."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise BadInput(
            f"The database is kept in {encoding}, and has to be in UTF-8. Make it anew: "
            "createdb --encoding UTF8 --template template0 --owner USER NAME."
        )


_MARIADB: Mapping[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": _ANSWER_SECONDS,
    "write_timeout": _ANSWER_SECONDS,
    "init_command": (
        f"SET SESSION idle_transaction_timeout = {_IDLE_SECONDS}, innodb_lock_wait_timeout = {_LOCK_SECONDS}"
    ),
}
_CONNECT: Mapping[str, Mapping[str, Any]] = {
    "mysql": _MARIADB,
    "mariadb": _MARIADB,
    "postgresql": {
        "connect_timeout": 5,
        "keepalives_idle": _ANSWER_SECONDS // 2,
        "tcp_user_timeout": _ANSWER_SECONDS * 1000,
        "options": (
            f"-c idle_in_transaction_session_timeout={_IDLE_SECONDS}s -c lock_timeout={_LOCK_SECONDS}s"
        ),
    },
}
