"""What a project's next build will take, by what its builds took before. Pure."""

from __future__ import annotations

from orchestrator.outcome import Failure

#: How much of the difference the newest build makes.
_NEWEST = 0.3
#: Sizes are forgotten slowly: to expect too little fails a build, to expect too much waits for room.
_FORGET = 0.9


def expected_bytes(before: int | None, newest: int | None) -> int | None:
    """The expected bytes of the next image, after the newest took `newest` (None: not measured)."""
    if newest is None:
        return before
    return newest if before is None else max(newest, int(before * _FORGET))


def expected_seconds(before: float | None, newest: float) -> float:
    """The expected seconds of the next build, after the newest took `newest`."""
    return newest if before is None else before + _NEWEST * (newest - before)


def does_not_fit(needs_bytes: int, largest_store: int) -> Failure:
    """The failure of a deployment whose image would fit into no account."""
    needs, largest = (f"{count / 2**20:.0f} MiB" for count in (needs_bytes, largest_store))
    return Failure(
        stage="store",
        summary=f"the image is expected to take {needs}, the largest image store of the pool holds {largest}",
        remedy=(
            "Make the image smaller (fewer or lighter dependencies, no data in the repository), or ask the "
            "operators for an account with a larger store. `/preview` tries this commit all the same."
        ),
    )
