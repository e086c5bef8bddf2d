"""What is done where somebody has put the clock of this machine forward or back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from celery import beat

from orchestrator.jumps import LEAST_SECONDS
from orchestrator.lifecycle import Lifecycle

#: Another one after each start of the machine; see random(4).
_START = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since the machine was started, whatever its clock says."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """This machine's clock, as one process watches it."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        *,
        time_of_day: Callable[[], float] = time.time,
        uptime: Callable[[], float] = uptime,
    ) -> None:
        self._lifecycle = lifecycle
        self._time_of_day = time_of_day
        self._uptime = uptime
        self._start = _START.read_text().strip()
        #: By how much the clock was ahead of the uptime when the database was last told; None: never yet.
        self._told: float | None = None

    def look(self) -> None:
        """Have a jump made up for, if there was one. Raises what the database raises."""
        now = self._time_of_day()
        ahead = now - self._uptime()
        if self._told is None or abs(ahead - self._told) >= LEAST_SECONDS:
            self._lifecycle.mind_clock(self._start, ahead, now)
            self._told = ahead


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Beat's, by a clock that nobody puts back: Celery's own would send nothing until it is as late again.

    It keeps nothing: what is sent every second need not be remembered.
    """

    def is_due(self, entry: beat.ScheduleEntry) -> tuple[bool, float]:
        """It is asked once the time that :meth:`_when` has told has come."""
        return True, entry.schedule.seconds

    def _when(self, entry: beat.ScheduleEntry, next_time_to_run: float, **_: object) -> float:
        return uptime() + (self.adjust(next_time_to_run) or 0.0)
