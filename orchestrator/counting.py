"""Counts that only grow, kept in the database: all processes, on however many machines, add to the same rows.

Workers and web processes may run in containers of their own, so that files they share (the other way that the
field's library knows) are not to be had, and workers have no address at which they could be asked. What
changes of state count is written in their own transactions, and so is as true as they are. What else is
counted is gathered in memory and written every few seconds; a process that is killed loses those.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, Double, bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import tables as t
from orchestrator.errors import Conflict
from orchestrator.store import Store
from orchestrator.tally import Count, Counts, key

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0
_ADD = (
    update(t.tally)
    .where(t.tally.c.name == bindparam("which"), t.tally.c.labels == bindparam("words"))
    .values(value=t.tally.c.value + bindparam("amount", type_=Double))
)


def add(connection: Connection, counts: Counts) -> None:
    """Add to the counts; in one order, so that no two transactions wait for each other."""
    for name, labels in sorted(counts):
        amount = counts[name, labels]
        added = connection.execute(_ADD, {"which": name, "words": labels, "amount": amount})
        if not added.rowcount:
            connection.execute(insert(t.tally).values(name=name, labels=labels, value=amount))


def read(connection: Connection) -> Counts:
    """All counts."""
    return {(row.name, row.labels): row.value for row in connection.execute(select(t.tally))}


class Counting:
    """Gathers what happens outside of changes of state. Call :meth:`close` at the end."""

    def __init__(self, store: Store, *, flush_seconds: float = _FLUSH_SECONDS) -> None:
        self._store = store
        self._flush_seconds = flush_seconds
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, what: Count, *labels: str) -> None:
        """Count one. Takes no time, and never fails."""
        with self._lock:
            self._counts[key(what, *labels)] += 1
            if self._thread is None and not self._closing.is_set():
                # Not before: gunicorn forks processes, and threads do not go along.
                self._thread = threading.Thread(target=self._flush_for_ever, name="counting", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write down what was gathered; what cannot be written now is kept for the next time."""
        with self._lock:
            gathered, self._counts = self._counts, Counter()
        if not gathered:
            return
        amounts: Mapping[tuple[str, str], float] = {which: float(n) for which, n in gathered.items()}
        try:
            with self._store.write() as tx:
                add(tx.connection, amounts)
        except (SQLAlchemyError, Conflict) as error:
            log.info("counts are kept for later: %s", type(error).__name__)
            with self._lock:
                self._counts.update(gathered)

    def close(self) -> None:
        """Write down the last, and gather nothing any more."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _flush_for_ever(self) -> None:
        while not self._closing.wait(self._flush_seconds):
            self.flush()
