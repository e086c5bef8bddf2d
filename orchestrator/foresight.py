"""What earlier builds have shown of the versions that a commit asks for, and what later ones are told of it.

Only ``change.py`` calls this, within its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator import opinion, preview, runtimes
from orchestrator import outcome as out
from orchestrator.outcome import Failure, Pin, Says
from orchestrator.preview import Deployment
from orchestrator.rules import RefusedVersions
from orchestrator.runtimes import LATEST, RuntimeSeen
from orchestrator.store import Tx


def forewarned(tx: Tx, current: Deployment, read: Deployment, now: float) -> Deployment:
    """`read`, whose files have just been read, with what is known of the versions that it asks for.

    Where its project wants that, it fails at once, unless somebody asked for it.
    """
    builder = opinion.builder_of(read)
    expected = runtimes.warning(read.pins, tx.runtimes(builder), now) if read.pins else None
    decided = tx.project(tx.preview(read.preview_id).project_id).rules
    is_built = decided.refused_versions is RefusedVersions.BUILD or read.trigger in preview.ASKED_FOR
    if expected is None or is_built:
        return replace(read, warning=expected)
    failure = replace(expected, remedy=f"{expected.remedy} `/preview` builds it all the same.")
    return preview.refuse(replace(current, config=read.config, pins=read.pins), failure, now)


def learn(tx: Tx, current: Deployment, outcome: out.Outcome, now: float) -> None:
    """Write down what a build shows of the versions that it asked for, and of the builder that built it.

    A stranger's commit teaches nothing: what its log says would be told to all projects.
    """
    says_something = isinstance(outcome, out.StageFailed | out.BuildSucceeded | out.OpinionGiven)
    if not says_something or not tx.preview(current.preview_id).is_from_project:
        return
    match outcome:
        case out.StageFailed(failure, _, pins):
            _learn_refused(tx, opinion.builder_of(current), pins, failure.cause, now)
        case out.BuildSucceeded(log=log) if log is not None:
            _learn_used(tx, opinion.builder_of(current), current, log.text, now)
        case out.OpinionGiven(Says.BUILDS, log):
            _learn_used(tx, LATEST, current, log.text, now)
        case out.OpinionGiven(Says.LACKS, _, failure) if failure is not None:
            missing = [pin for pin in current.pins if pin.runtime == runtimes.MISSING[failure.cause]]
            _learn_refused(tx, LATEST, missing, failure.cause, now)
        case _:
            pass


def newest(tx: Tx, failure: Failure, now: float) -> str:
    """The newest version that is known of the language of which one is missing; empty: none is."""
    return opinion.newest(runtimes.MISSING[failure.cause], tx.runtimes(None), now)


def _learn_refused(tx: Tx, builder: str, pins: Iterable[Pin], cause: str, now: float) -> None:
    for pin in pins:
        refused = replace(_known(tx, builder, pin.runtime, pin.wanted), refused_at=now, cause=cause)
        tx.put_runtime(refused, now)


def _learn_used(tx: Tx, builder: str, current: Deployment, log: str, now: float) -> None:
    used = set(runtimes.versions(log).items())
    used |= {(pin.runtime, pin.wanted) for pin in current.pins if runtimes.was_used(pin.runtime, log)}
    for runtime, wanted in sorted(used):
        tx.put_runtime(replace(_known(tx, builder, runtime, wanted), seen_at=now), now)


def _known(tx: Tx, builder: str, runtime: str, wanted: str) -> RuntimeSeen:
    seen = (one for one in tx.runtimes(builder) if (one.runtime, one.wanted) == (runtime, wanted))
    return next(seen, RuntimeSeen(runtime, wanted, builder=builder))
