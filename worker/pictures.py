"""Takes pictures of what is live, one at a time in a process, in a thread that no step waits for."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable

from orchestrator import logs
from orchestrator.bootstrap import Parts
from orchestrator.engines import AWAY
from orchestrator.errors import Conflict
from orchestrator.pictures import Wanted
from worker import chromium
from worker.chromium import NoPicture

log = logging.getLogger(__name__)


#: When there was nothing to do, it is looked again after this time: to look costs more in a larger pool.
_REST_SECONDS = 5.0


class Photographer:
    """Looks for what is to be pictured, where the machine has a browser for it."""

    def __init__(self, parts: Parts, *, clock: Callable[[], float] = time.time) -> None:
        self._parts = parts
        self._clock = clock
        self._rests_until = 0.0
        self._program = shutil.which(parts.settings.chromium) if parts.settings.chromium else None
        self._is_free = threading.Lock()
        if parts.settings.chromium and self._program is None:
            log.info("no pictures are taken here: there is no program %s", parts.settings.chromium)

    def look(self) -> threading.Thread | None:
        """Take the picture that is due next; the thread that does. None when there is nothing to do."""
        if self._program is None or self._is_resting() or not self._is_free.acquire(blocking=False):
            return None
        try:
            wanted = self._parts.pictures.next(self._clock())
        except (*AWAY, Conflict) as error:
            log.warning("pictures: the database: %s", type(error).__name__)
            wanted = None
        if wanted is None:
            self._rests_until = self._clock() + _REST_SECONDS
            self._is_free.release()
            return None
        thread = threading.Thread(target=self._run, args=(self._program, wanted), name="picture", daemon=True)
        thread.start()
        return thread

    def _is_resting(self) -> bool:
        # A clock that was set back does not have it rest for longer.
        return 0.0 <= self._rests_until - self._clock() <= _REST_SECONDS

    def _run(self, program: str, wanted: Wanted) -> None:
        try:
            with logs.about(
                deployment=wanted.deployment.id, preview=wanted.deployment.preview_id, account=wanted.tool
            ):
                self._take(program, wanted)
        except (*AWAY, Conflict) as error:
            log.warning("pictures: the database: %s", type(error).__name__)
        finally:
            self._is_free.release()

    def _take(self, program: str, wanted: Wanted) -> None:
        pictures = self._parts.pictures
        try:
            taken = chromium.take(program, self._parts.views.address(wanted.tool))
        except NoPicture as error:
            log.info("no picture of deployment %s: %s", wanted.deployment.id, error)
            pictures.failed(wanted, str(error), self._clock())
            return
        if not pictures.keep(wanted, taken, self._clock()):
            log.info("deployment %s was replaced while its picture was taken", wanted.deployment.id)
