"""Merge requests with the same change, within a transaction: who joins, and what one build tells the others.

It is decided in ``cohorts.py``. Only ``change.py`` calls this.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator import cohorts, foresight, preview
from orchestrator.journal import Journal
from orchestrator.outcome import PinChange
from orchestrator.preview import Deployment, State, Step
from orchestrator.store import Tx


def joined(tx: Tx, read: Deployment, seconds: float, now: float) -> Deployment:
    """`read`, whose files have just been read, with its change only where others may have to be waited for.

    What a build has shown within the last `seconds` is its answer, too. A stranger's change neither waits nor
    tells anything: an answer goes to other projects.
    """
    change = read.change
    if change is None or read.state is not State.QUEUED:
        return read
    is_theirs = not read.is_bot or read.trigger in preview.ASKED_FOR
    if is_theirs or seconds <= 0 or not tx.preview(read.preview_id).is_from_project:
        return replace(read, change=None)
    if read.warning is not None and _was_refused(tx, change, now - seconds):
        failure = cohorts.answer(change, read.warning, "")
        return read if failure is None else foresight.answered(tx, read, change, failure, now)
    return read if cohorts.is_open(change, tx.runtimes(), now) else replace(read, change=None)


def _was_refused(tx: Tx, change: PinChange, since: float) -> bool:
    wanted = (change.runtime, change.after)
    return any(
        one.refused_at is not None and one.refused_at >= since
        for one in tx.runtimes()
        if (one.runtime, one.wanted) == wanted
    )


def tell(journal: Journal, tx: Tx, after: Deployment, now: float) -> None:
    """Something is known of a deployment whose change others have, too: answer them, or let them go.

    Where that says nothing of their change they go on waiting: for it, or when it has ended for the next.
    """
    change = after.change
    if change is None:
        return
    failure = None
    if after.state in {State.FAILED, State.BLOCKED} and after.build_id is not None:
        # What failed by what was known before, without a build, has shown nothing new.
        present = tx.preview(after.preview_id)
        name = f"{tx.project(present.project_id).path}{present.reference}"
        failure = cohorts.answer(change, after.failure, name)
    is_good = after.state in {State.LIVE, State.STOPPED} or not cohorts.is_open(change, tx.runtimes(), now)
    if failure is None and not is_good:
        return
    for one in (going.deployment for going in tx.unfinished()):
        if one.id == after.id or one.change != change or one.step is not Step.AWAIT_SLOT:
            continue
        if failure is not None:
            why = f"{failure.summary}; it is not built"
            journal.put_deployment(one, foresight.answered(tx, one, change, failure, now), why=why)
        else:
            journal.put_deployment(one, replace(one, change=None), is_news=True)
            journal.plan_again = True
