"""When a pushed commit is built: at once, or when no further push has come for a while. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Whoever pushes without a pause is built after so many times the quiet that is waited for.
_AT_MOST = 10.0


@dataclass(frozen=True)
class Quiet:
    """How long, in seconds, no further push has to come before a commit is built."""

    #: After a push that followed another one as closely.
    people_seconds: float = 10.0
    #: After every push of a bot: they rebase all that is open, again and again.
    bot_seconds: float = 60.0


@dataclass(frozen=True)
class Push:
    """An earlier push to the same merge request."""

    at: float
    #: Its build was begun.
    was_built: bool


def ready_at(now: float, earlier: Sequence[Push], *, is_bot: bool, quiet: Quiet) -> float | None:
    """When a commit that is pushed `now` may be built; None: at once.

    `earlier` are the pushes before it, the newest first.
    """
    seconds = quiet.bot_seconds if is_bot else quiet.people_seconds
    is_close = bool(earlier) and now - earlier[0].at < seconds
    if not is_bot and not is_close:
        return None
    at = min(now + seconds, _first_unbuilt(now, earlier) + _AT_MOST * seconds)
    return at if at > now else None


def _first_unbuilt(now: float, earlier: Sequence[Push]) -> float:
    """When the first of the pushes came that wait in a row for a build."""
    first = now
    for push in earlier:
        if push.was_built:
            break
        first = min(first, push.at)
    return first
