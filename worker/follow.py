"""Follows the logs of running builds for those who look at them: one connection to Toolforge a build.

A thread a log, beside the worker's own: a build may say nothing for ten minutes, which no step may wait for.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from redis.exceptions import RedisError

from orchestrator.bootstrap import Parts
from orchestrator.errors import NotFound
from orchestrator.livelog import PLACE_SECONDS, LiveLog
from orchestrator.preview import State
from orchestrator.toolforge import ToolforgeError

log = logging.getLogger(__name__)

#: Logs that one worker process follows at once.
_MOST = 8
#: Lines are passed on together, so often.
_BATCH_SECONDS = 0.3
_LONGEST_BATCH = 500
_KEEP_SECONDS = PLACE_SECONDS / 4

#: Opens the stream of a build's lines.
Lines = Callable[[], Iterator[str]]


class Followers:
    """The logs that this process follows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._room = threading.BoundedSemaphore(_MOST)

    def follow(self, deployment_id: int) -> threading.Thread | None:
        """Follow the build of a deployment, unless it is followed, or does not run; the thread that does."""
        found = self._build_of(deployment_id)
        if found is None or not self._room.acquire(blocking=False):
            return None
        live = LiveLog(self._parts.redis, self._parts.settings.queue_prefix, deployment_id)
        token = secrets.token_hex(8)
        if not live.take_place(token):
            self._room.release()
            return None
        thread = threading.Thread(
            target=self._run, args=(live, token, *found), name=f"log-{deployment_id}", daemon=True
        )
        thread.start()
        return thread

    def _build_of(self, deployment_id: int) -> tuple[str, dict[str, str], str] | None:
        """The account, its credentials and the build; None when there is none to follow."""
        with self._parts.store.read() as tx:
            try:
                deployment = tx.deployment(deployment_id)
            except NotFound:
                return None
            is_built = deployment.state is State.BUILDING and tx.lease_is_current(deployment)
            if not is_built or deployment.account_id is None or deployment.build_id is None or tx.is_paused():
                return None
            account = tx.account(deployment.account_id)
            return account.name, dict(tx.credentials(account.id)), deployment.build_id

    def _run(self, live: LiveLog, token: str, tool: str, credentials: dict[str, str], build_id: str) -> None:
        try:
            with self._parts.toolforge.account(tool, credentials) as client:
                pass_on(live, token, lambda: client.build_log(build_id, follow=True))
        except (ToolforgeError, RedisError) as error:
            # Whoever looks calls again, if the build still runs.
            log.info("the log of %s's build is not followed any more: %s", tool, type(error).__name__)
        finally:
            self._room.release()


def pass_on(live: LiveLog, token: str, open_lines: Lines) -> None:
    """Pass on the lines behind those that are there, while the place is ours and somebody looks.

    The place is kept until the connection has ended: another follower would open a second. Raises what the
    stream raises.
    """
    pump = _Pump(open_lines, skip=live.count())
    pump.start()
    try:
        kept_at = time.monotonic()
        while pump.is_alive() or not pump.lines.empty():
            batch = _batch(pump.lines)
            if batch and not live.add(batch):
                pump.is_wanted = False
                return
            if time.monotonic() - kept_at > _KEEP_SECONDS:
                pump.is_wanted = live.keep_place(token)
                kept_at = time.monotonic()
    finally:
        was_wanted, pump.is_wanted = pump.is_wanted, False
        live.leave_place(token, is_read=was_wanted and pump.failed is None and not pump.is_alive())
    if pump.failed is not None:
        raise pump.failed


class _Pump(threading.Thread):
    """Reads the stream, in which ten minutes may pass without a line; ends at one that nobody wants."""

    def __init__(self, open_lines: Lines, *, skip: int) -> None:
        super().__init__(name="log-pump", daemon=True)
        self._open = open_lines
        self._skip = skip
        self.lines: queue.Queue[str] = queue.Queue(maxsize=2 * _LONGEST_BATCH)
        self.is_wanted = True
        self.failed: ToolforgeError | None = None

    def run(self) -> None:
        """Read to the end, or until nobody wants more."""
        try:
            for line in islice(self._open(), self._skip, None):
                if not self._hand_over(line):
                    return
        except ToolforgeError as error:
            self.failed = error

    def _hand_over(self, line: str) -> bool:
        while self.is_wanted:
            with suppress(queue.Full):
                self.lines.put(line, timeout=1.0)
                return True
        return False


def _batch(lines: queue.Queue[str]) -> list[str]:
    """What comes within a moment."""
    deadline = time.monotonic() + _BATCH_SECONDS
    batch: list[str] = []
    while len(batch) < _LONGEST_BATCH and (left := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            batch.append(lines.get(timeout=left))
    return batch
