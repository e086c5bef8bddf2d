"""Tokens with which people's programs use the API: made, found by what was sent, revoked.

Shown once and kept as a digest: who reads the database can use none of them. A token says whose it is, by
GitLab's number; what that person may do is asked of GitLab when it is used.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update

from orchestrator import tables as t
from orchestrator.errors import BadInput, Conflict
from orchestrator.report import instant
from orchestrator.signing import digest
from orchestrator.store import Store, Tx

log = logging.getLogger(__name__)

#: A token that turns up where it should not is known as one of ours.
PREFIX = "tfp_"
#: Of the lines about tokens in the audit.
SUBJECT = "token"
#: Of one person.
MOST = 20
LONGEST_NAME = 100
LONGEST_SECONDS = 365 * 86400.0
#: When it was used last is kept this exactly, so that not every look at the API writes.
_USE_SECONDS = 60.0


class Scope(StrEnum):
    """What a token is good for, at most; its person's own rights count besides."""

    #: To look.
    READ = "read"
    #: To do something to previews.
    ACT = "act"
    #: To change what is set for projects.
    SET = "set"


@dataclass(frozen=True)
class Token:
    """A token, without what proves it."""

    id: int
    #: GitLab's number of the person, and the user name when it was made.
    user_id: int
    user_name: str
    #: What its person calls it.
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float
    #: To the minute; None: never.
    used_at: float | None


class Tokens:
    """The tokens in a database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def make(
        self,
        user_id: int,
        user_name: str,
        *,
        name: str,
        scopes: Collection[Scope],
        seconds: float,
        now: float,
    ) -> str:
        """A new token of a person, good for `seconds`; nobody can be told it again.

        Raises :class:`BadInput` when the name is no good, or the person has :data:`MOST` of them.
        """
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise BadInput(f"Give it a name of at most {LONGEST_NAME} characters.")
        if not scopes or not 0 < seconds <= LONGEST_SECONDS:
            raise BadInput("Say what it is for, and for how long: a year at most.")
        secret = PREFIX + secrets.token_urlsafe(32)
        mine = t.api_token.c.user_id == user_id
        # One after the other: two at once must not both be the last that there is room for.
        with self._store.write_alone() as tx:
            tx.connection.execute(delete(t.api_token).where(mine, t.api_token.c.expires_at <= now))
            there = tx.connection.scalar(select(func.count()).select_from(t.api_token).where(mine)) or 0
            if there >= MOST:
                raise BadInput(f"You have {MOST} tokens: revoke one that is not needed any more.")
            values = {
                "digest": digest(secret),
                "user_id": user_id,
                "user_name": user_name,
                "name": name,
                "scopes": sorted(scopes),
                "created_at": now,
                "expires_at": now + seconds,
            }
            made = tx.connection.execute(insert(t.api_token).values(values)).inserted_primary_key
            why = f"{_told(name, scopes)}, until {instant(now + seconds)}"
            _note(tx, made[0] if made else 0, ("", "made"), who=user_name, why=why, now=now)
        return secret

    def of(self, user_id: int) -> list[Token]:
        """A person's tokens, those that have expired among them; the newest first."""
        query = select(t.api_token).where(t.api_token.c.user_id == user_id).order_by(t.api_token.c.id.desc())
        with self._store.read() as tx:
            return [_token(row) for row in tx.connection.execute(query)]

    def revoke(self, user_id: int, token_id: int, *, who: str, now: float) -> bool:
        """Forget a person's token; `who` names the person. False where there is none of this number."""
        if not 0 < token_id < 2**31:
            return False
        is_it = (t.api_token.c.id == token_id, t.api_token.c.user_id == user_id)
        with self._store.write() as tx:
            row = tx.connection.execute(select(t.api_token).where(*is_it)).first()
            # Revoked twice at once it is revoked, and told, once.
            if row is None or not tx.connection.execute(delete(t.api_token).where(*is_it)).rowcount:
                return False
            _note(tx, row.id, ("made", "revoked"), who=who, why=_told(row.name, row.scopes), now=now)
        return True

    def used(self, secret: str, now: float) -> Token | None:
        """The token that `secret` proves, noted as used; None: there is none, or not any more."""
        query = select(t.api_token).where(t.api_token.c.digest == digest(secret))
        with self._store.read() as tx:
            row = tx.connection.execute(query).first()
        if row is None or row.expires_at <= now:
            return None
        found = _token(row)
        if found.used_at is None or found.used_at <= now - _USE_SECONDS:
            self._note_use(found, now)
        return found

    def _note_use(self, token: Token, now: float) -> None:
        used = t.api_token.c.used_at
        is_older = or_(used.is_(None), used < now)
        try:
            with self._store.write() as tx:
                changed = update(t.api_token).where(t.api_token.c.id == token.id, is_older)
                tx.connection.execute(changed.values(used_at=now))
        except Conflict:
            log.debug("another request notes the use of token %s", token.id)


def _told(name: str, scopes: Collection[str]) -> str:
    return f"the API token '{name}', good for {' and '.join(sorted(scopes, reverse=True))}"


def _note(tx: Tx, token_id: int, move: tuple[str, str], *, who: str, why: str, now: float) -> None:
    """A line for the audit; the token itself is in no line."""
    tx.add_event(SUBJECT, token_id, *move, who=who, why=why, now=now, preview_id=None)


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        user_id=row.user_id,
        user_name=row.user_name,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
