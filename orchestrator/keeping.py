"""What the inspection of an account means for its row and for what it serves.

Only ``lifecycle.py`` calls this, within its transaction.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from orchestrator import inspection, pool
from orchestrator import outcome as out
from orchestrator.change import Change
from orchestrator.policy import Policy
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State
from orchestrator.records import Claim
from orchestrator.store import Tx

log = logging.getLogger(__name__)

#: An account that could not be inspected is tried again after this time, or after a round if that is shorter.
_AGAIN_SECONDS = 60.0
#: The switch that remembers when previews were taken down, and that several workers share.
_TAKEN_DOWN = "taken_down"


def record_inspection(
    change: Change,
    tx: Tx,
    policy: Policy,
    claim: Claim,
    before: Account,
    current: Account,
    outcome: out.InspectionOutcome,
    now: float,
) -> None:
    """Write down what came of a comparison of `current`, which was `before` when it began."""
    match outcome:
        case out.NotInspected(reason, refused):
            _not_inspected(change, policy, claim, current, reason, refused, now)
        case out.Inspected():
            going = tx.unsettled_on(current)
            seen = _seen(policy, before, current, going, outcome, now)
            why = f"something was found on it: {outcome.left}" if outcome.left else ""
            change.put_account(current, seen, claim=claim, why=why)
            for sentence in outcome.removed:
                change.note(current, sentence, preview_id=current.preview_id)
            if outcome.foreign and outcome.foreign != current.reason:
                change.note(current, outcome.foreign, preview_id=current.preview_id)
            _see_to_the_address(change, tx, policy, going, outcome, now)


def _not_inspected(
    change: Change, policy: Policy, claim: Claim, current: Account, reason: str, refused: bool, now: float
) -> None:
    log.warning("account %s could not be inspected: %s", current.name, reason)
    if refused and current.state is AccountState.FREE:
        # Nobody is to get it; the cleaning finds out whether that lasts.
        change.put_account(current, pool.doubt(current, now), claim=claim, why=reason)
        return
    due_at = now + min(_AGAIN_SECONDS, policy.janitor_seconds)
    change.put_account(current, replace(current, due_at=due_at), claim=claim)


def _seen(
    policy: Policy,
    before: Account,
    current: Account,
    going: list[Deployment],
    outcome: out.Inspected,
    now: float,
) -> Account:
    # What a build adds to the store is measured when it ends, against what was known before it began.
    is_measured = before.bytes_used != current.bytes_used or any(d.holds_build_slot for d in going)
    used = current.bytes_used if is_measured else outcome.bytes_used
    # While it is leased there may be envvars that were set for a deployment.
    knows_better = current.state is AccountState.FREE or current.own_envvars is None
    own = outcome.envvars if knows_better else current.own_envvars
    seen = replace(
        current, bytes_used=used, bytes_limit=outcome.bytes_limit, inspected_at=now, own_envvars=own
    )
    if outcome.left:
        return pool.doubt(seen, now)
    return replace(seen, due_at=now + policy.janitor_seconds, reason=outcome.foreign)


def _see_to_the_address(
    change: Change, tx: Tx, policy: Policy, going: list[Deployment], outcome: out.Inspected, now: float
) -> None:
    live = {d.id: d for d in going if d.state is State.LIVE}
    back = live.get(outcome.put_back) if outcome.put_back is not None else None
    if back is not None:
        change.note(back, "its job was gone and was put back", preview_id=back.preview_id)
    lost = live.get(outcome.lost) if outcome.lost is not None else None
    if lost is None:
        return
    recently = [at for at in tx.switch(_TAKEN_DOWN) or [] if at > now - policy.janitor_seconds]
    if inspection.may_take_down(len(recently), tx.live_count(), policy.most_taken_down_share):
        tx.put_switch(_TAKEN_DOWN, [*recently, now])
        change.take_down(lost, inspection.LOST)
    else:
        log.warning("deployment %s is held back: too many previews seem to be gone at once", lost.id)
