"""What earlier builds have shown of the versions that a commit asks for, and what later ones are told of it.

Only ``change.py`` calls this, within its transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from orchestrator import builder, preview, runtimes, watching
from orchestrator import outcome as out
from orchestrator.components import own_source
from orchestrator.outcome import Pin
from orchestrator.preview import Deployment, Step
from orchestrator.repoconfig import restored
from orchestrator.rules import RefusedVersions
from orchestrator.runtimes import RuntimeSeen
from orchestrator.store import Tx


def forewarned(tx: Tx, current: Deployment, read: Deployment, now: float) -> Deployment:
    """`read`, whose files have just been read, with what is known of the versions that it asks for.

    Where its project wants that, it fails at once, unless somebody asked for it.
    """
    expected = runtimes.warning(read.pins, tx.runtimes(), now) if read.pins else None
    decided = tx.project(tx.preview(read.preview_id).project_id).rules
    is_asked_for = read.trigger in preview.ASKED_FOR or read.is_spare
    is_built = decided.refused_versions is RefusedVersions.BUILD or is_asked_for
    if expected is None or is_built:
        return replace(read, warning=expected)
    failure = replace(expected, remedy=f"{expected.remedy} `/preview` builds it all the same.")
    return preview.refuse(replace(current, config=read.config, pins=read.pins), failure, now)


def learn(tx: Tx, current: Deployment, outcome: out.Outcome, now: float) -> None:
    """Write down what a build shows of the versions that it asked for.

    A stranger's commit teaches nothing: what its log says would be told to all projects.
    """
    says_something = isinstance(outcome, out.StageFailed | out.BuildSucceeded)
    if not says_something or not tx.preview(current.preview_id).is_from_project:
        return
    seen = {(one.runtime, one.wanted): one for one in tx.runtimes()}

    def known(runtime: str, wanted: str) -> RuntimeSeen:
        return seen.get((runtime, wanted), RuntimeSeen(runtime, wanted))

    match outcome:
        case out.StageFailed(failure, log, pins):
            _notice(tx, current, log, pins, (), seen, now)
            for pin in pins:
                refused = replace(known(pin.runtime, pin.wanted), refused_at=now, cause=failure.cause)
                tx.put_runtime(refused, now)
        case out.BuildSucceeded(log=log) if log is not None:
            used = set(runtimes.versions(log.text).items())
            used |= {(p.runtime, p.wanted) for p in current.pins if runtimes.was_used(p.runtime, log.text)}
            _notice(tx, current, log, (), used, seen, now)
            for runtime, wanted in sorted(used):
                tx.put_runtime(replace(known(runtime, wanted), seen_at=now), now)
        case _:
            pass


def _notice(
    tx: Tx,
    current: Deployment,
    log: out.KeptLog | None,
    refused: Sequence[Pin],
    used: Collection[tuple[str, str]],
    known: Mapping[tuple[str, str], RuntimeSeen],
    now: float,
) -> None:
    """Write down when the build shows that the builder is another one than before."""
    if current.step is not Step.WATCH_BUILD or own_source(restored(current.config).components).latest:
        # What was asked of the newest builder says nothing about the usual one.
        return
    before = watching.builder(tx)
    text = log.text if log is not None else ""
    after = builder.noticed(before, text, refused, used, known, now)
    if after != before:
        watching.put_builder(tx, after)
    if after.changed_at > before.changed_at:
        tx.compare_by(now)
