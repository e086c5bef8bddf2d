"""The clock of a machine was put forward or back: that is no passing of time.

Times in the database are times of day. Without this, everything would rest for an hour after a clock was put
back by an hour, and builds that have only just begun would end as if they took too long after it was put
forward. Until when a preview stays up was told to people by the time of day, and stays as it is.

Only ``lifecycle.py`` calls this, within its transaction. See ``docs/adr/0022``.
"""

from __future__ import annotations

import logging

from orchestrator.store import Tx

log = logging.getLogger(__name__)

#: Less is what clocks are set right by now and then, and what every wait has patience for.
LEAST_SECONDS = 15.0
#: How far the time of day was ahead of the time since the machine was started, by the machine's start.
_SWITCH = "clocks"
_MOST_STARTS = 50


def mind(tx: Tx, start: str, ahead: float, now: float) -> bool:
    """Let no jump of a clock count as time, whoever notices it first; whether there was one.

    `start` names a start of a machine; `ahead` is by how many seconds its time of day, which is `now`, is
    ahead of the time since then. Machines have clocks of their own: where one of several is wrong, something
    is at worst looked at too early.
    """
    known: dict[str, float] = tx.switch(_SWITCH) or {}
    before = known.pop(start, None)
    if before is not None and abs(ahead - before) < LEAST_SECONDS:
        return False
    newest = list(known.items())[1 - _MOST_STARTS :]
    tx.put_switch(_SWITCH, {**dict(newest), start: ahead})
    if before is None:
        return False
    jump = ahead - before
    log.warning("the clock was put %s by %.0f seconds", "forward" if jump > 0 else "back", abs(jump))
    tx.count_anew(now)
    if jump < 0:
        tx.bring_nearer(now, -jump)
    return True
