"""Follows the log of a running tool for those who look at it.

Toolforge is asked for the newest lines again and again: the stream that it has, too, says nothing of where it
begins, and of a quiet tool not even that it has begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator.livelog import LONGEST_LINE, LiveLog
from orchestrator.toolforge import JobLine

#: What Toolforge is asked for at once: a page of logs-api (contract 3.6).
LINES = 500
_PAUSE_SECONDS = 3.0

#: The newest lines of a job, the oldest first; None when it does not run any more.
Read = Callable[[], Sequence[JobLine] | None]


def poll(live: LiveLog, token: str, read: Read) -> None:
    """Pass on what is new, while the place is ours and somebody looks. Raises what `read` raises."""
    known = {_moment_of(line) for line in live.newest(LINES)}
    try:
        while live.keep_place(token):
            found = read()
            if found is None:
                return
            live.add_on([_as_line(one) for one in found if one.moment not in known])
            known = {one.moment for one in found} or known
            time.sleep(_PAUSE_SECONDS)
    finally:
        live.leave_place(token)


def _as_line(one: JobLine) -> str:
    """A line as it is shown. Its moment, to the nanosecond, tells it from all others.

    Its words do not: that they are masked can depend on lines before, which a later page does not have.
    """
    return f"{one.moment} {one.message}"[:LONGEST_LINE]


def _moment_of(line: str) -> str:
    return line.partition(" ")[0]
