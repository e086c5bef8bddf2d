"""Keeping the claims of this process alive while their steps run.

A claim is short, so that a killed worker costs seconds; a step may be long, so its claim is renewed until it
ends. A frozen process renews nothing, loses its claims, and finds that out at its next guard.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import Conflict
from orchestrator.records import Claim
from orchestrator.store import Store

log = logging.getLogger(__name__)

#: What a killed worker costs before another goes on.
CLAIM_SECONDS = 8.0
_RENEW_SECONDS = 2.0
#: No step may go on for longer; what is still running then is overtaken.
_OLDEST_SECONDS = 180.0


class ActiveClaims:
    """The claims whose steps run in this process; a thread renews them. Call :meth:`close` at the end."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._claims: dict[str, tuple[Claim, float]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="claims", daemon=True)
        self._thread.start()

    @contextmanager
    def keep(self, claim: Claim) -> Iterator[None]:
        """Renew `claim` while the block runs."""
        with self._lock:
            self._claims[claim.token] = (claim, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._claims[claim.token]

    def close(self) -> None:
        """Renew nothing any more."""
        self._closing.set()
        self._thread.join()

    def _renew_for_ever(self) -> None:
        while not self._closing.wait(_RENEW_SECONDS):
            with self._lock:
                oldest = self._clock() - _OLDEST_SECONDS
                claims = [claim for claim, since in self._claims.values() if since > oldest]
            if claims:
                self._renew(claims)

    def _renew(self, claims: list[Claim]) -> None:
        try:
            for claim in claims:
                # One a transaction: who locks two rows can wait for somebody who waits for the first.
                with self._store.write() as tx:
                    tx.renew(claim, until=self._clock() + CLAIM_SECONDS)
        except (SQLAlchemyError, Conflict) as error:
            # The next round tries again; a claim that is lost by then stops its step at the next guard.
            log.warning("claims could not be renewed: %s", type(error).__name__)
