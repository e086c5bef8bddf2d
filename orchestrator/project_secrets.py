"""The secret envvars of projects: set, replaced, removed, opened for a deployment, sealed anew.

A value goes in, and comes out for a worker that sets it in a dev account; nobody is ever shown it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from orchestrator import tables as t
from orchestrator.errors import BadInput
from orchestrator.records import Preview
from orchestrator.sealing import Unreadable, Vault
from orchestrator.secret_rules import MOST, Opened, as_kept, check_name
from orchestrator.store import Store, Tx


@dataclass(frozen=True)
class Secret:
    """What people are told of a secret."""

    name: str
    set_at: float
    set_by: str
    #: Some key of the installation opens it.
    is_readable: bool
    #: It is sealed with the key in force.
    is_newest: bool


@dataclass(frozen=True)
class Resealed:
    """What sealing everything anew came to."""

    #: How many were.
    sealed: int
    #: Project and name of those that no key opens.
    unreadable: tuple[tuple[str, str], ...]


class ProjectSecrets:
    """The secrets in a database, sealed by a vault."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    def put(self, project_id: int, name: str, value: str, who: str, now: float) -> bool:
        """Set a secret of a connected project; True when it replaces one.

        Raises :class:`BadInput`, without the value, when it cannot be set; nothing is changed then.
        """
        check_name(name)
        sealed = self._vault.seal(_purpose(project_id, name), as_kept(value))
        values = {"sealed": sealed, "set_at": now, "set_by": who}
        with self._store.write_alone() as tx:
            if tx.project(project_id).removed_at is not None:
                raise BadInput("The project is not connected any more.")
            there = secret_names(tx, project_id)
            is_there = name in there
            if is_there:
                tx.connection.execute(update(t.secret).where(_this(project_id, name)).values(values))
            elif len(there) >= MOST:
                raise BadInput(f"The project has {MOST} secrets: remove one that is not needed any more.")
            else:
                key = {"project_id": project_id, "name": name}
                tx.connection.execute(insert(t.secret).values({**key, **values}))
            _note(tx, project_id, f"its secret {name} was {'replaced' if is_there else 'set'}", who, now)
        return is_there

    def remove(self, project_id: int, name: str, who: str, now: float) -> None:
        """Forget a secret. Raises :class:`BadInput` when there is none of that name."""
        with self._store.write_alone() as tx:
            # Anything may be asked for; what no secret is called is not brought before the database.
            if name not in secret_names(tx, project_id):
                raise BadInput("The project has no such secret.")
            tx.connection.execute(delete(t.secret).where(_this(project_id, name)))
            _note(tx, project_id, f"its secret {name} was removed", who, now)

    def of(self, project_id: int) -> list[Secret]:
        """What there is, by name."""
        with self._store.read() as tx:
            rows = _rows(tx, project_id)
        return [self._told(row) for row in rows]

    def opened(self, preview: Preview) -> Opened:
        """The secrets that deployments of `preview` get; a fork's get none, whoever approved them."""
        if not preview.is_from_project:
            return Opened()
        with self._store.read() as tx:
            rows = _rows(tx, preview.project_id)
        values, unreadable = {}, []
        for row in rows:
            try:
                values[row.name] = self._open(row)
            except Unreadable:
                unreadable.append(row.name)
        return Opened(values, tuple(unreadable))

    def reseal(self, who: str, now: float) -> Resealed:
        """Seal with the key in force what an older key has sealed. Raises :class:`BadInput` without a key.

        Safe to repeat, and to be cut off: each is done by itself, and only as it was when it was read.
        """
        self._vault.check()
        sealed, unreadable = 0, []
        for path, row in self._everything():
            told = self._told(row)
            if told.is_newest:
                continue
            if not told.is_readable:
                unreadable.append((path, row.name))
                continue
            sealed += self._seal_anew(row, who, now)
        return Resealed(sealed, tuple(unreadable))

    def in_need(self) -> tuple[list[tuple[str, str]], int]:
        """Project and name of what no key opens, and how many are sealed with an older key."""
        told = [(path, self._told(row)) for path, row in self._everything()]
        lost = [(path, one.name) for path, one in told if not one.is_readable]
        return lost, sum(one.is_readable and not one.is_newest for _, one in told)

    def _everything(self) -> list[tuple[str, Row[Any]]]:
        query = (
            select(t.secret, t.project.c.path)
            .join(t.project, t.project.c.id == t.secret.c.project_id)
            .order_by(t.project.c.path, t.secret.c.name)
        )
        with self._store.read() as tx:
            return [(row.path, row) for row in tx.connection.execute(query)]

    def _seal_anew(self, row: Row[Any], who: str, now: float) -> int:
        purpose = _purpose(row.project_id, row.name)
        sealed = self._vault.seal(purpose, self._vault.open(purpose, row.sealed))
        # Somebody may have replaced it meanwhile, which was with the key in force.
        as_read = (t.secret.c.id == row.id, t.secret.c.sealed == row.sealed)
        with self._store.write_alone() as tx:
            changed = tx.connection.execute(update(t.secret).where(*as_read).values(sealed=sealed)).rowcount
            if changed:
                _note(tx, row.project_id, f"its secret {row.name} was encrypted with the new key", who, now)
        return changed

    def _told(self, row: Row[Any]) -> Secret:
        is_newest = self._vault.is_newest(_purpose(row.project_id, row.name), row.sealed)
        return Secret(row.name, row.set_at, row.set_by, is_newest or self._is_readable(row), is_newest)

    def _is_readable(self, row: Row[Any]) -> bool:
        try:
            self._open(row)
        except Unreadable:
            return False
        return True

    def _open(self, row: Row[Any]) -> str:
        return self._vault.open(_purpose(row.project_id, row.name), row.sealed)


def secret_names(tx: Tx, project_id: int) -> frozenset[str]:
    """What the secrets of a project are called."""
    query = select(t.secret.c.name).where(t.secret.c.project_id == project_id)
    return frozenset(tx.connection.scalars(query))


def _rows(tx: Tx, project_id: int) -> list[Row[Any]]:
    query = select(t.secret).where(t.secret.c.project_id == project_id).order_by(t.secret.c.name)
    return list(tx.connection.execute(query))


def _this(project_id: int, name: str) -> Any:
    return (t.secret.c.project_id == project_id) & (t.secret.c.name == name)


def _purpose(project_id: int, name: str) -> str:
    return f"project-secret:{project_id}:{name}"


def _note(tx: Tx, project_id: int, why: str, who: str, now: float) -> None:
    tx.add_event("project", project_id, "", "", who=who, why=why, now=now, preview_id=None)
