"""A copy of the whole database, made while the service works, and put back into an empty one of any kind.

What the copy looks like is in ``copyfile.py``; what is to be doubted once an old one is put back, in
``doubt.py``. Nothing here knows a column by name: a copy of an older version is put into the tables of that
version, which then are brought to the newest form.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    TypeDecorator,
    cast,
    column,
    func,
    insert,
    inspect,
    select,
    table,
    text,
    type_coerce,
)
from sqlalchemy.types import TypeEngine

from orchestrator import __version__
from orchestrator import tables as t
from orchestrator.bootstrap import Parts, migrate_to, revisions
from orchestrator.copyfile import ColumnKind, CopyReader, CopyWriter, Head, TableHead, check
from orchestrator.doubt import IS_BEING_PUT_BACK
from orchestrator.engines import FOR_WRITING
from orchestrator.errors import BadInput
from orchestrator.switches import Stop, Switch

_REVISIONS = "alembic_version"
#: Rows that a new database has, or that a service without projects may have written.
_SAY_NOTHING = frozenset({_REVISIONS, t.switch.name, t.tally.name})
_FETCHED = 100
_BATCH_ROWS = 200
_BATCH_BYTES = 2**22


def back_up(parts: Parts, path: Path) -> int:
    """Write all rows, as they are at one moment, to the new file `path`; how many there are.

    Others may write meanwhile. Raises :class:`BadInput` when the file is there or cannot be written, or the
    database has no tables, or newer ones than are known here.
    """
    with parts.store.read() as tx:
        connection = tx.connection
        revision = _revision(connection)
        head = Head(revision, time.time(), __version__)
        with CopyWriter(path, head) as writer:
            for reflected in _our_tables(connection):
                _write_table(connection, reflected, writer)
    # One that cannot be read is none.
    check(path)
    return writer.rows


def put_back(parts: Parts, path: Path, *, who: str, stays_paused: bool) -> Head:
    """Fill the empty database with the copy at `path`, bring it to the newest form, and doubt what it says.

    Until all that is done everything is paused, and with `stays_paused` afterwards, too. Raises
    :class:`BadInput` when the copy cannot be used or the database is not empty; nothing is changed then.
    """
    head = check(path)
    if head.revision not in revisions():
        raise BadInput(
            f"{path} was made by Toolforge Preview {head.made_by}, whose database is of a form "
            f"({head.revision}) that this version does not know: put it back with that one or a newer one."
        )
    engine = parts.store.engine
    with engine.connect() as connection:
        _refuse_unless_empty(connection)
    with _emptied_on_failure(engine):
        _fill(engine, path, head, who)
    parts.lifecycle.put_back(who, time.time(), copied_at=head.made_at, stays_paused=stays_paused)
    return head


# --- out ----------------------------------------------------------------------------------------------


def _revision(connection: Connection) -> str:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise BadInput("The database has no tables, so there is nothing to copy.")
    if revision not in revisions():
        raise BadInput(
            f"The database is of a form ({revision}) that this version does not know: copy it with the newer."
        )
    return revision


def _our_tables(connection: Connection) -> Sequence[Table]:
    """Those that are there, as they are there; what others refer to comes first."""
    there = MetaData()
    names = inspect(connection).get_table_names()
    there.reflect(connection, only=[name for name in names if name in t.metadata.tables])
    return there.sorted_tables


def _write_table(connection: Connection, reflected: Table, writer: CopyWriter) -> None:
    types = {one.name: _type(one) for one in reflected.columns}
    columns = [(name, _kind(type_)) for name, type_ in types.items()]
    writer.table(TableHead(reflected.name, columns))
    is_typed = connection.dialect.name == "postgresql"
    chosen = [
        (cast(reflected.c[name], Text) if is_typed else type_coerce(reflected.c[name], Text)).label(name)
        if kind is ColumnKind.JSON
        else type_coerce(reflected.c[name], types[name])
        for name, kind in columns
    ]
    statement = select(*chosen).order_by(*reflected.primary_key.columns)
    with connection.execute(statement, execution_options={"yield_per": _FETCHED}) as rows:
        for row in rows:
            writer.row(row)


def _type(reflected: Column[Any]) -> TypeEngine[Any]:
    """What our own tables say: MariaDB has neither JSON nor truth values of its own."""
    known = t.metadata.tables[reflected.table.name].columns.get(reflected.name)
    if known is not None:
        return known.type
    return Double() if isinstance(reflected.type, Numeric) else reflected.type


def _kind(type_: TypeEngine[Any]) -> ColumnKind:
    if isinstance(type_, JSON):
        return ColumnKind.JSON
    return ColumnKind.BYTES if isinstance(type_, LargeBinary) else ColumnKind.PLAIN


# --- back ---------------------------------------------------------------------------------------------


def _refuse_unless_empty(connection: Connection) -> None:
    for name in inspect(connection).get_table_names():
        if name not in t.metadata.tables and name != _REVISIONS:
            raise BadInput(f"The database has a table '{name}' that is not ours: use an empty database.")
        if name not in _SAY_NOTHING and connection.scalar(
            select(text("1")).select_from(table(name)).limit(1)
        ):
            raise BadInput(
                f"The database is not empty (there are rows in '{name}'): nothing was changed. Make an empty "
                "one and let the setting database_url name it."
            )


def _fill(engine: Engine, path: Path, head: Head, who: str) -> None:
    """Tables of the copy's form, and all of its rows in one transaction, with a pause among them."""
    with engine.connect().execution_options(**{FOR_WRITING: True}) as connection, connection.begin():
        _drop_all(connection)
        migrate_to(connection, head.revision)
        tables = {one.name: one for one in _our_tables(connection)}
        for one in reversed(tables.values()):
            connection.execute(one.delete())
        _insert_all(connection, path, tables)
        _pause(connection, tables[t.switch.name], who)
        _go_on_numbering(connection, tables.values())
        migrate_to(connection, "head")


def _drop_all(connection: Connection) -> None:
    there = MetaData()
    there.reflect(connection)
    there.drop_all(connection)


@contextmanager
def _emptied_on_failure(engine: Engine) -> Iterator[None]:
    """MariaDB commits with each table that is made: what was begun is taken away again. Others roll back."""
    try:
        yield
    except BaseException:
        if engine.dialect.name not in {"mysql", "mariadb"}:
            raise
        with engine.connect().execution_options(**{FOR_WRITING: True}) as connection, connection.begin():
            _drop_all(connection)
        raise


class _JSONText(TypeDecorator[str]):
    """The text of a JSON value for a column of PostgreSQL's own type."""

    impl = Text
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        """Its text, taken for JSON."""
        return cast(bindvalue, JSON)


def _insert_all(connection: Connection, path: Path, tables: Mapping[str, Table]) -> None:
    into: _Batch | None = None
    for item in CopyReader(path):
        if isinstance(item, TableHead):
            if into is not None:
                into.flush()
            if item.name not in tables or any(name not in tables[item.name].c for name, _ in item.columns):
                raise BadInput(f"{path} does not fit its own form: nothing was changed; use another copy.")
            into = _Batch(connection, tables[item.name], item.columns)
        elif into is not None:
            into.add(item)
    if into is not None:
        into.flush()


class _Batch:
    """Rows on their way into one table, a statement for many."""

    def __init__(
        self, connection: Connection, into: Table, columns: Sequence[tuple[str, ColumnKind]]
    ) -> None:
        self._connection = connection
        self._names = [name for name, _ in columns]
        json_type = _JSONText() if connection.dialect.name == "postgresql" else Text()
        types = [json_type if kind is ColumnKind.JSON else _type(into.c[name]) for name, kind in columns]
        self._are_flags = [isinstance(one, Boolean) for one in types]
        self._statement = insert(table(into.name, *map(column, self._names, types)))
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: Sequence[Any]) -> None:
        values = [
            bool(value) if is_flag and value is not None else value
            for value, is_flag in zip(row, self._are_flags, strict=True)
        ]
        self._rows.append(dict(zip(self._names, values, strict=True)))
        self._bytes += sum(len(value) for value in values if isinstance(value, str | bytes))
        if len(self._rows) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._connection.execute(self._statement, self._rows)
        self._rows, self._bytes = [], 0


def _pause(connection: Connection, switches: Table, who: str) -> None:
    """The emergency stop, unless the copy has one: nobody is to act on what is not all there yet."""
    switch = Switch(Stop.PAUSE, None, who, IS_BEING_PUT_BACK, time.time())
    known = connection.scalar(select(func.count()).where(switches.c.name == switch.name))
    if not known:
        columns = [("name", ColumnKind.PLAIN), ("value", ColumnKind.JSON)]
        batch = _Batch(connection, switches, columns)
        batch.add([switch.name, json.dumps(asdict(switch))])
        batch.flush()


def _go_on_numbering(connection: Connection, tables: Any) -> None:
    """PostgreSQL counts apart from the rows."""
    if connection.dialect.name != "postgresql":
        return
    for one in tables:
        if "id" in one.c:
            highest = select(func.max(one.c.id)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(one.name, "id")
            is_used = highest.is_not(None)
            connection.execute(select(func.setval(sequence, func.coalesce(highest, 1), is_used)))
