"""The records, in memory with a copy on disk.

Reads and writes touch only memory; what changed is written to an SQLite file a few hundredths of a second
later, in one transaction and without waiting for the disk. So a killed process loses at most that moment
(git keeps the refs by itself), and a request never waits for a write.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from deploy.local.gitlab import model

FLUSH_SECONDS = 0.03

_SCHEMA = """
CREATE TABLE IF NOT EXISTS row (kind TEXT, id INTEGER, body TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sequence (kind TEXT PRIMARY KEY, last INTEGER);
"""

T = TypeVar("T")


class Table(Generic[T]):
    """Records of one kind by id, with look-ups by the fields named in `index` (which must not change)."""

    def __init__(self, store: Store, kind: type[T], index: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.name = kind.__name__
        self.fields = frozenset(kind.__annotations__)
        self._store = store
        self._rows: dict[int, T] = {}
        self._index: dict[str, dict[Any, dict[int, T]]] = {field: {} for field in index}
        self.last = 0
        store.tables[self.name] = self

    def insert(self, **fields: Any) -> T:
        """A new record with the next id; ids are never used twice."""
        self.last += 1
        make: Any = self.kind
        row: T = make(id=self.last, **fields)
        self.load(self.last, row)
        self._store.changed(self.name, self.last, row)
        return row

    def load(self, row_id: int, row: T) -> None:
        """Put a record in place without marking it as changed."""
        self._rows[row_id] = row
        for field, entries in self._index.items():
            entries.setdefault(getattr(row, field), {})[row_id] = row

    def get(self, row_id: int) -> T | None:
        """The record with this id, or None."""
        return self._rows.get(row_id)

    def __getitem__(self, row_id: int) -> T:
        return self._rows[row_id]

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._rows.values()))

    def by(self, field: str, value: Any) -> list[T]:
        """Records whose indexed field has this value, oldest first."""
        return list(self._index[field].get(value, {}).values())

    def save(self, row: T) -> None:
        """Say that a record was changed."""
        self._store.changed(self.name, row.id, row)  # type: ignore[attr-defined]

    def delete(self, row: T) -> None:
        """Forget a record; deleting what is gone does nothing."""
        row_id: int = row.id  # type: ignore[attr-defined]
        if self._rows.pop(row_id, None) is None:
            return
        for field, entries in self._index.items():
            entries.get(getattr(row, field), {}).pop(row_id, None)
        self._store.changed(self.name, row_id, None)


class Store:
    """All tables of the instance, and the file that they are kept in."""

    def __init__(self, path: Path) -> None:
        self.tables: dict[str, Table[Any]] = {}
        self._dirty: dict[tuple[str, int], Any] = {}
        self._wake = asyncio.Event()
        self.users = Table(self, model.User, ("username",))
        self.tokens = Table(self, model.Token, ("secret", "user_id"))
        self.groups = Table(self, model.Group, ("path",))
        self.projects = Table(self, model.Project, ("full_path", "namespace", "forked_from_id"))
        self.members = Table(self, model.Member, ("source", "user_id"))
        self.labels = Table(self, model.Label, ("project_id",))
        self.merge_requests = Table(self, model.MergeRequest, ("project_id", "source_project_id", "place"))
        self.issues = Table(self, model.Issue, ("project_id",))
        self.notes = Table(self, model.Note, ("merge_request_id",))
        self.awards = Table(self, model.Award, ("awardable",))
        self.pipelines = Table(self, model.Pipeline, ("sha",))
        self.statuses = Table(self, model.CommitStatus, ("commit",))
        self.environments = Table(self, model.Environment, ("project_id", "place"))
        self.deployments = Table(self, model.Deployment, ("project_id", "environment_id"))
        self.hooks = Table(self, model.Hook, ("project_id",))
        self.deliveries = Table(self, model.Delivery, ("hook_id", "project_id"))
        self.applications = Table(self, model.Application, ("uid",))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._load()

    def _load(self) -> None:
        for kind, row_id, body in self._db.execute("SELECT kind, id, body FROM row ORDER BY kind, id"):
            table = self.tables[kind]
            # What an earlier version wrote besides is left out.
            kept = {name: value for name, value in json.loads(body).items() if name in table.fields}
            table.load(row_id, table.kind(**kept))
        for kind, last in self._db.execute("SELECT kind, last FROM sequence"):
            self.tables[kind].last = last

    def changed(self, kind: str, row_id: int, row: Any) -> None:
        """Note a record for the next write; None means that it is gone."""
        self._dirty[kind, row_id] = row
        self._wake.set()

    def flush(self) -> None:
        """Write what changed, in one transaction."""
        dirty, self._dirty = self._dirty, {}
        self._wake.clear()
        if not dirty:
            return
        kept = [(kind, row_id, json.dumps(asdict(row))) for (kind, row_id), row in dirty.items() if row]
        gone = [key for key, row in dirty.items() if row is None]
        sequences = [(kind, self.tables[kind].last) for kind in {kind for kind, _ in dirty}]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", kept)
        self._db.executemany("DELETE FROM row WHERE kind = ? AND id = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO sequence VALUES (?, ?)", sequences)
        self._db.execute("COMMIT")

    async def keep_flushed(self) -> None:
        """Run for ever: write soon after something changed, many changes at a time."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.flush()
        self._db.close()

    def root(self) -> tuple[model.User, model.Token]:
        """The administrator and their token, made on the first call."""
        found = self.users.by("username", "root")
        if found:
            user = found[0]
            return user, next(token for token in self.tokens.by("user_id", user.id) if token.name == "root")
        user = self.users.insert(
            username="root", name="Administrator", email="admin@gitlab.example", admin=True
        )
        return user, self.new_token(user, "root", ["api", "sudo"])

    def new_token(self, user: model.User, name: str, scopes: list[str], **more: Any) -> model.Token:
        """A token in GitLab's form: `glpat-` and twenty characters."""
        secret = "glpat-" + secrets.token_urlsafe(20)[:20]
        return self.tokens.insert(user_id=user.id, name=name, secret=secret, scopes=scopes, **more)
