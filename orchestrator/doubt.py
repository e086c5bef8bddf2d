"""What is doubted when an old copy of the database was put back: things have happened that it does not know.

Nothing is thrown away: what is still so stays. Only ``lifecycle.py`` calls this, within its transaction.

* Accounts that are free by the copy are looked through before anybody gets them; those in use are inspected
  at once. What deployments have left in them that the copy does not know is ours to remove.
* What GitLab was told since is not known: it is told again how things are.
* Open merge requests are compared with GitLab's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator import pool
from orchestrator.change import Change
from orchestrator.pool import AccountState
from orchestrator.store import Tx

#: Why everything is paused meanwhile; another pause, which the copy had, is left.
IS_BEING_PUT_BACK = "a copy of the database is being put back"
_WHY = "the database was put back from a copy, so that it may not be empty"


def everything(change: Change, tx: Tx, now: float) -> None:
    """Doubt all that may have changed since the copy was made."""
    last = tx.last_deployment_id()
    for account in tx.accounts():
        if account.state is AccountState.REMOVED:
            continue
        marked = replace(account, forgotten_after=last)
        if account.state is AccountState.FREE:
            change.put_account(account, pool.doubt(marked, now), why=_WHY)
        else:
            change.put_account(account, marked)
    tx.inspect_all(now)
    tx.compare_by(now)
    tx.doubt_reports(doubted, now)


def doubted(told: Mapping[str, Any]) -> dict[str, Any]:
    """What of that which GitLab was `told` is certain all the same: which things of ours there are.

    Another state of a commit, another text of the note and another address may have been told since; an
    environment may have been made.
    """
    certain = {name: told[name] for name in ("note_id", "has_environment", "deployments") if name in told}
    return {**certain, "environment_url": ""}
