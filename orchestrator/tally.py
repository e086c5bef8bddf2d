"""What is counted over the whole life of an installation: names, labels, histograms. Pure.

A count is known by a name and by its labels, each a word of ours (a state, an endpoint, a class of errors):
nothing that a merge request brings becomes a label, so that there are never more than a few hundred.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import StrEnum

from orchestrator.preview import PENDING, Deployment, State, Step

#: By name and labels; the labels in their order with a bar between.
Counts = Mapping[tuple[str, str], float]

#: Upper ends of the buckets of a histogram, in seconds; what takes longer is in one without an end.
BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
_WITHOUT_END = "inf"


class Count(StrEnum):
    """What is counted."""

    #: By api, endpoint and outcome.
    API_CALLS = "api_calls"
    #: By the status of the answer.
    WEBHOOKS = "webhooks"
    #: Deployments that entered a state, by state and whom they are for.
    ENTERED = "entered"
    #: By the stage that failed and whom it was for.
    FAILED = "failed"
    #: A histogram, by state and whom it was for.
    STAGE_SECONDS = "stage_seconds"


def key(count: Count, *labels: str) -> tuple[str, str]:
    """What a count is kept under."""
    return str(count), "|".join(labels)


def by(deployment: Deployment) -> str:
    """Whom a deployment is for: ``bot`` or ``person``."""
    return "bot" if deployment.is_bot else "person"


def of_change(before: Deployment, after: Deployment, now: float) -> Counts:
    """What is counted when a deployment enters another state."""
    counts = {key(Count.ENTERED, after.state, by(after)): 1.0}
    if after.state is State.FAILED and after.failure is not None:
        counts[key(Count.FAILED, after.failure.stage, by(after))] = 1.0
    seconds = _stage_seconds(before, after, now)
    if seconds is not None:
        counts.update(observed(Count.STAGE_SECONDS, seconds, before.state, by(before)))
    return counts


def _stage_seconds(before: Deployment, after: Deployment, now: float) -> float | None:
    """How long the state that ended has lasted; None where it was cut off, or waited for people."""
    if before.state is State.QUEUED:
        # From when nothing but an account and a slot was awaited: no approval, no freeze, no outage.
        is_turn = before.step is Step.AWAIT_SLOT and after.state is State.BUILDING
        begin = max(before.step_since, before.ready_at or 0.0)
        return max(now - begin, 0.0) if is_turn else None
    came_to_its_end = before.state in PENDING and after.state in {*PENDING, State.LIVE, State.FAILED}
    was_enough = before.state in PENDING and after.state is State.STOPPED
    went_on = after.state is not State.QUEUED and (came_to_its_end or was_enough)
    return max(now - before.since, 0.0) if went_on else None


def observed(count: Count, seconds: float, *labels: str) -> Counts:
    """One value of a histogram."""
    position = bisect_left(BUCKETS, seconds)
    bucket = str(BUCKETS[position]) if position < len(BUCKETS) else _WITHOUT_END
    name, words = key(count, *labels)
    return {(f"{name}:sum", words): seconds, (f"{name}:{bucket}", words): 1.0}


def histogram(counts: Counts, count: Count, *labels: str) -> tuple[Sequence[tuple[str, float]], float]:
    """The buckets, each with what it and all before it hold, as Prometheus has them, and the sum.

    What was counted with other buckets than those of today is in the next larger one.
    """
    name, words = key(count, *labels)
    held = [0.0] * (len(BUCKETS) + 1)
    for (kept, kept_words), number in counts.items():
        kind, _, end = kept.partition(":")
        if (kind, kept_words) == (name, words) and end not in {"", "sum"}:
            held[bisect_left(BUCKETS, float(end))] += number
    buckets, sofar = [], 0.0
    for end, number in zip([*map(str, BUCKETS), "+Inf"], held, strict=True):
        sofar += number
        buckets.append((end, sofar))
    return buckets, counts.get((f"{name}:sum", words), 0.0)


def labelled(counts: Counts, count: Count) -> Mapping[tuple[str, ...], float]:
    """The numbers of one count by their labels."""
    return {tuple(words.split("|")): number for (name, words), number in counts.items() if name == count}
