"""What earlier builds have shown of the versions that a commit asks for, and what later ones are told of it.

Only ``change.py`` calls this, within its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from orchestrator import builder, opinion, preview, runtimes, watching
from orchestrator import outcome as out
from orchestrator.outcome import Failure, Pin, PinChange, Says
from orchestrator.preview import Deployment, Step
from orchestrator.rules import RefusedVersions
from orchestrator.runtimes import LATEST, RuntimeSeen
from orchestrator.store import Tx


def forewarned(tx: Tx, current: Deployment, read: Deployment, now: float) -> Deployment:
    """`read`, whose files have just been read, with what is known of the versions that it asks for.

    Where its project wants that, it fails at once, or waits for the builder, unless somebody asked for it.
    """
    expected = _expected(tx, read, read.pins, now)
    decided = tx.project(tx.preview(read.preview_id).project_id).rules.refused_versions
    is_asked_for = read.trigger in preview.ASKED_FOR or read.is_spare
    is_built = decided is RefusedVersions.BUILD or is_asked_for
    if expected is None or is_built:
        return replace(read, warning=expected)
    unbuilt = replace(current, config=read.config, pins=read.pins)
    if decided is RefusedVersions.FAIL:
        failure = replace(expected, remedy=f"{expected.remedy} `/preview` builds it all the same.")
        return preview.refuse(unbuilt, failure, now)
    if expected.cause not in runtimes.MISSING:
        # What was there once will not come back.
        return replace(read, warning=expected)
    return preview.block(unbuilt, _with_newest(tx, read, expected, read.pins, now), now)


def awaited(tx: Tx, current: Deployment, outcome: out.Outcome, now: float) -> Failure | None:
    """What is lacking to a build that has just failed, where its project waits for that; None: it does not.

    To be asked once it is written down that it was refused: what is not known to be, would be built at once.
    """
    if not isinstance(outcome, out.StageFailed) or not opinion.is_missing(outcome.failure):
        return None
    if current.is_spare:
        # Whether a default branch deploys is what is asked; it does not.
        return None
    decided = tx.project(tx.preview(current.preview_id).project_id).rules.refused_versions
    if decided is not RefusedVersions.WAIT or _expected(tx, current, outcome.refused, now) is None:
        return None
    return _with_newest(tx, current, outcome.failure, outcome.refused, now)


def answered(tx: Tx, waiting: Deployment, change: PinChange, failure: Failure, now: float) -> Deployment:
    """One that is not built, since the build of the same `change` elsewhere failed so (``cohorts.py``)."""
    decided = tx.project(tx.preview(waiting.preview_id).project_id).rules.refused_versions
    if decided is not RefusedVersions.WAIT or failure.cause not in runtimes.MISSING:
        return preview.refuse(waiting, failure, now)
    pins = waiting.pins or (Pin(change.runtime, change.after, change.file),)
    awaited = _with_newest(tx, waiting, failure, pins, now)
    return preview.block(replace(waiting, pins=pins), awaited, now)


def unblocked(tx: Tx, now: float) -> list[Deployment]:
    """Those that wait for their builder, and by what is known or decided now need not any more."""
    return [one for one in tx.blocked() if not _is_still_blocked(tx, one, now)]


def _is_still_blocked(tx: Tx, blocked: Deployment, now: float) -> bool:
    present = tx.preview(blocked.preview_id)
    if not present.is_open or present.head_sha != blocked.sha:
        # Whoever finds that out takes care of it.
        return True
    waits = tx.project(present.project_id).rules.refused_versions is RefusedVersions.WAIT
    return waits and _expected(tx, blocked, blocked.pins, now) is not None


def _expected(tx: Tx, asking: Deployment, pins: Sequence[Pin], now: float) -> Failure | None:
    known = tx.runtimes(opinion.builder_of(asking)) if pins else ()
    return runtimes.warning(pins, known, now)


def _with_newest(tx: Tx, blocked: Deployment, failure: Failure, pins: Sequence[Pin], now: float) -> Failure:
    """What is waited for, with the newest version that the builder has, as far as that is known."""
    runtime = runtimes.MISSING[failure.cause]
    newest = opinion.newest(runtime, tx.runtimes(opinion.builder_of(blocked)), now)
    wanted = next((pin.wanted for pin in pins if pin.runtime == runtime), "")
    facts = {"version": wanted, **failure.facts, "runtime": runtime, "newest": newest}
    return replace(failure, facts=facts)


def learn(tx: Tx, current: Deployment, outcome: out.Outcome, now: float) -> None:
    """Write down what a build shows of the versions that it asked for, and of the builder that built it.

    A stranger's commit teaches nothing: what its log says would be told to all projects.
    """
    says_something = isinstance(outcome, out.StageFailed | out.BuildSucceeded | out.OpinionGiven)
    if not says_something or not tx.preview(current.preview_id).is_from_project:
        return
    match outcome:
        case out.StageFailed(failure, log, pins):
            _notice(tx, current, log, pins, (), now)
            _learn_refused(tx, current, opinion.builder_of(current), pins, failure.cause, now)
        case out.BuildSucceeded(log=log) if log is not None:
            used = _used(current, log.text)
            _notice(tx, current, log, (), used, now)
            _learn_used(tx, current, opinion.builder_of(current), used, now)
        case out.OpinionGiven(Says.BUILDS, log):
            _learn_used(tx, current, LATEST, _used(current, log.text), now)
        case out.OpinionGiven(Says.LACKS, _, failure) if failure is not None:
            missing = [pin for pin in current.pins if pin.runtime == runtimes.MISSING[failure.cause]]
            _learn_refused(tx, current, LATEST, missing, failure.cause, now)
        case _:
            pass


def newest(tx: Tx, failure: Failure, now: float) -> str:
    """The newest version that is known of the language of which one is missing; empty: none is."""
    return opinion.newest(runtimes.MISSING[failure.cause], tx.runtimes(None), now)


def _learn_refused(tx: Tx, by: Deployment, builder: str, pins: Iterable[Pin], cause: str, now: float) -> None:
    for pin in pins:
        known = _known(tx, builder, pin.runtime, pin.wanted)
        tx.put_runtime(replace(known, refused_at=now, cause=cause, source=_source(by)), now)


def _learn_used(tx: Tx, by: Deployment, builder: str, used: Iterable[tuple[str, str]], now: float) -> None:
    for runtime, wanted in sorted(used):
        known = _known(tx, builder, runtime, wanted)
        tx.put_runtime(replace(known, seen_at=now, source=_source(by)), now)


def _source(by: Deployment) -> str:
    return runtimes.PROBE if by.is_probe else runtimes.PROJECT


def _used(current: Deployment, log: str) -> Collection[tuple[str, str]]:
    """Languages, and the versions and what was asked for, with which a build was made."""
    asked_for = {(pin.runtime, pin.wanted) for pin in current.pins if runtimes.was_used(pin.runtime, log)}
    return asked_for | set(runtimes.versions(log).items())


def _known(tx: Tx, builder: str, runtime: str, wanted: str) -> RuntimeSeen:
    seen = (one for one in tx.runtimes(builder) if (one.runtime, one.wanted) == (runtime, wanted))
    return next(seen, RuntimeSeen(runtime, wanted, builder=builder))


def _notice(
    tx: Tx,
    current: Deployment,
    log: out.KeptLog | None,
    refused: Sequence[Pin],
    used: Collection[tuple[str, str]],
    now: float,
) -> None:
    """Write down when the build shows that the builder is another one than before.

    To be asked before what it shows of versions is written down, which it is compared with.
    """
    if current.step is not Step.WATCH_BUILD or opinion.builder_of(current) == LATEST:
        # What was asked of the newest builder says nothing about the usual one.
        return
    known = {(one.runtime, one.wanted): one for one in tx.runtimes()}
    before = watching.builder(tx)
    text = log.text if log is not None else ""
    after = builder.noticed(before, text, refused, used, known, now)
    if after != before:
        watching.put_builder(tx, after)
    if after.changed_at > before.changed_at:
        tx.compare_by(now)
