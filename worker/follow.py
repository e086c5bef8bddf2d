"""Follows the logs of what runs for those who look at them: one connection to Toolforge a log.

A thread a log, beside the worker's own: a build may say nothing for ten minutes, which no step may wait for.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from redis.exceptions import RedisError

from orchestrator.belongings import PUBLISHED_JOB
from orchestrator.bootstrap import Parts
from orchestrator.engines import AWAY
from orchestrator.errors import NotFound
from orchestrator.livelog import PLACE_SECONDS, LiveLog
from orchestrator.preview import State
from orchestrator.toolforge import AccountClient, JobLine, ToolforgeError
from worker import follow_job

log = logging.getLogger(__name__)

#: Logs that one worker process follows at once.
_MOST = 8
#: Lines are passed on together, so often.
_BATCH_SECONDS = 0.3
_LONGEST_BATCH = 500
_KEEP_SECONDS = PLACE_SECONDS / 4

#: Opens the stream of a build's lines.
Lines = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class _Source:
    """What can be followed of a deployment."""

    #: Of the log.
    kind: str
    tool: str
    credentials: Mapping[str, str]
    build_id: str
    #: What its lines must not show.
    secrets: tuple[str, ...] = field(repr=False)
    #: From when on the job writes for this deployment, and for no other one that was there before.
    since: float


class Followers:
    """The logs that this process follows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._room = threading.BoundedSemaphore(_MOST)

    def follow(self, deployment_id: int) -> threading.Thread | None:
        """Follow the build of a deployment, or its tool that is live; the thread that does.

        None when it is followed already, or when there is nothing to follow.
        """
        found = self._source(deployment_id)
        if found is None or not self._room.acquire(blocking=False):
            return None
        live = LiveLog(self._parts.redis, self._parts.settings.queue_prefix, deployment_id, found.kind)
        token = secrets.token_hex(8)
        if not live.take_place(token):
            self._room.release()
            return None
        thread = threading.Thread(
            target=self._run,
            args=(live, token, deployment_id, found),
            name=f"log-{deployment_id}",
            daemon=True,
        )
        thread.start()
        return thread

    def _source(self, deployment_id: int) -> _Source | None:
        with self._parts.store.read() as tx:
            try:
                deployment = tx.deployment(deployment_id)
            except NotFound:
                return None
            kind = {State.BUILDING: "build", State.LIVE: "job"}.get(deployment.state)
            if kind is None or deployment.account_id is None or not tx.lease_is_current(deployment):
                return None
            if (kind == "build" and deployment.build_id is None) or tx.is_paused():
                return None
            account = tx.account(deployment.account_id)
            since = (deployment.entered or {}).get(State.STARTING, deployment.since)
            credentials = dict(tx.credentials(account.id))
            preview = tx.preview(deployment.preview_id)
        secrets = tuple(self._parts.secrets.opened(preview).values.values())
        return _Source(kind, account.name, credentials, deployment.build_id or "", secrets, since)

    def _run(self, live: LiveLog, token: str, deployment_id: int, source: _Source) -> None:
        tool = source.tool
        try:
            hidden = source.secrets
            with self._parts.toolforge.account(tool, source.credentials, secrets=hidden) as client:
                if source.kind == "build":
                    pass_on(live, token, lambda: client.build_log(source.build_id, follow=True))
                else:
                    follow_job.poll(live, token, lambda: self._of_job(client, deployment_id, source))
        except (ToolforgeError, RedisError, *AWAY) as error:
            # Whoever looks calls again, if it still runs.
            log.info("the %s log of %s is not followed any more: %s", source.kind, tool, type(error).__name__)
        finally:
            self._room.release()

    def _of_job(self, client: AccountClient, deployment_id: int, source: _Source) -> Sequence[JobLine] | None:
        """What the tool has written lately; None when it is not live any more."""
        lines = client.job_lines(PUBLISHED_JOB, lines=follow_job.LINES)
        # Not before: the account may have got to somebody else, whose lines they may be.
        if self._source(deployment_id) != source:
            return None
        return [line for line in lines if line.at >= source.since]


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
