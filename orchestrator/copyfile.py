"""The file that a copy of the database is kept in: one form for all databases. Knows no database.

Compressed by gzip, one JSON value a line. First what it is::

    {"format": "toolforge-preview copy", "version": 1, "revision": "0011", "made_at": 1.0, "made_by": "0.1.0"}

then each table, those first that others refer to, as its name with its columns and of what kind each is,
followed by its rows as lists; and last how many rows there are, with the SHA-256 of all lines before::

    {"table": "project", "columns": [["id", "plain"], ["checks", "json"], ...]}
    [1, "[]", ...]
    {"rows": 1, "sha256": "..."}

A value is null, a number, a string or a truth value; of the kind ``json`` its text, of the kind ``bytes``
base64. A file that was cut off, or changed anywhere, is known by its last line.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import BadInput

_FORMAT = "toolforge-preview copy"
_VERSION = 1


class ColumnKind(StrEnum):
    """How the values of a column are written."""

    #: As JSON has them.
    PLAIN = "plain"
    #: The text of a JSON value; null is the database's own.
    JSON = "json"
    #: In base64.
    BYTES = "bytes"


@dataclass(frozen=True)
class Head:
    """What a copy says of itself."""

    #: Of the database's migrations.
    revision: str
    made_at: float
    #: The version of Toolforge Preview that made it.
    made_by: str


@dataclass(frozen=True)
class TableHead:
    """What the rows that follow are."""

    name: str
    columns: Sequence[tuple[str, ColumnKind]]


class CopyWriter:
    """Writes a copy to `path`, which is there only when all is in it and on the disk; a context manager.

    Raises :class:`BadInput` when there is such a file, or none can be written.
    """

    def __init__(self, path: Path, head: Head) -> None:
        self._path, self._head = path, head
        self._part = path.with_name(f"{path.name}.part")
        self._sum = hashlib.sha256()
        self._kinds: Sequence[ColumnKind] = ()
        #: How many rows were written.
        self.rows = 0

    def __enter__(self) -> CopyWriter:
        if self._path.exists():
            raise BadInput(f"There is a file {self._path}: remove it, or name another one.")
        try:
            # Logs and names are in it: for nobody else.
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise BadInput(f"{self._path} cannot be written: {error.strerror}.") from None
        self._raw = os.fdopen(descriptor, "wb")
        self._file = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", compresslevel=6)
        head = {"format": _FORMAT, "version": _VERSION, "revision": self._head.revision}
        self._write(head | {"made_at": self._head.made_at, "made_by": self._head.made_by})
        return self

    def table(self, head: TableHead) -> None:
        """The rows that follow are of this table."""
        self._kinds = [kind for _, kind in head.columns]
        self._write({"table": head.name, "columns": [list(column) for column in head.columns]})

    def row(self, values: Sequence[Any]) -> None:
        """One row, in the order of the columns."""
        self._write([_plain(value, kind) for value, kind in zip(values, self._kinds, strict=True)])
        self.rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write({"rows": self.rows, "sha256": self._sum.hexdigest()})
                self._file.close()
                self._raw.flush()
                os.fsync(self._raw.fileno())
                # Never over a file that came in the meantime.
                os.link(self._part, self._path)
        except OSError as problem:
            raise BadInput(f"{self._path} cannot be written: {problem.strerror}.") from None
        finally:
            with suppress(OSError):
                self._raw.close()
            self._part.unlink(missing_ok=True)

    def _write(self, value: object) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._sum.update(line)
        try:
            self._file.write(line)
        except OSError as error:
            raise BadInput(f"{self._path} cannot be written: {error.strerror}.") from None


def check(path: Path) -> Head:
    """Read all of a copy; what it says of itself.

    Raises :class:`BadInput` when there is none, it is no copy, of a newer form, cut off, or damaged.
    """
    for _ in (reading := CopyReader(path)):
        pass
    return reading.head


class CopyReader:
    """Reads the copy at `path`: iterated over, it yields each table's head, then its rows as lists.

    Raises :class:`BadInput` as :func:`check` says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = self._read()
        self.head = self._head()

    def __iter__(self) -> Iterator[TableHead | list[Any]]:
        kinds: Sequence[ColumnKind] | None = None
        for value in self._lines:
            match value:
                case {"table": str(name), "columns": list(columns)}:
                    with self._damage():
                        table = TableHead(name, [(str(column), ColumnKind(kind)) for column, kind in columns])
                    kinds = [kind for _, kind in table.columns]
                    yield table
                case list() if kinds is not None and len(value) == len(kinds):
                    with self._damage():
                        row = [_restored(one, kind) for one, kind in zip(value, kinds, strict=True)]
                    yield row
                case _:
                    raise self._is_damaged()

    def _head(self) -> Head:
        found: Any = next(self._lines, None)
        match found:
            case {"format": str(form), "version": int(version)} if form == _FORMAT:
                if version > _VERSION:
                    raise BadInput(
                        f"{self._path} was made by Toolforge Preview {found.get('made_by')}, which is newer "
                        "than this one: put it back with that version."
                    )
                with self._damage():
                    return Head(str(found["revision"]), float(found["made_at"]), str(found["made_by"]))
        raise self._is_none()

    def _read(self) -> Iterator[Any]:
        """The lines but for the last one, which has to be true of them."""
        total, rows, has_begun, is_whole = hashlib.sha256(), 0, False, False
        try:
            with gzip.open(self._path, "rb") as file:
                for line in file:
                    has_begun = True
                    if is_whole:
                        raise self._is_damaged()
                    with self._damage():
                        value = json.loads(line)
                    if isinstance(value, dict) and "sha256" in value:
                        if value != {"rows": rows, "sha256": total.hexdigest()}:
                            raise self._is_damaged()
                        is_whole = True
                        continue
                    total.update(line)
                    rows += isinstance(value, list)
                    yield value
        except gzip.BadGzipFile:
            raise (self._is_damaged() if has_begun else self._is_none()) from None
        except (EOFError, zlib.error):
            raise self._is_damaged() from None
        except OSError as error:
            raise BadInput(f"{self._path} cannot be read: {error.strerror}.") from None
        if not is_whole:
            raise self._is_damaged()

    def _is_damaged(self) -> BadInput:
        return BadInput(f"{self._path} is damaged or was cut off: nothing was changed; use another copy.")

    def _is_none(self) -> BadInput:
        return BadInput(f"{self._path} is no copy that `toolforge-preview backup` has made.")

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """A value that is not as it has to be means damage."""
        try:
            yield
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._is_damaged() from None


def _plain(value: Any, kind: ColumnKind) -> Any:
    return b64encode(value).decode() if kind is ColumnKind.BYTES and value is not None else value


def _restored(value: Any, kind: ColumnKind) -> Any:
    return b64decode(value, validate=True) if kind is ColumnKind.BYTES and value is not None else value
