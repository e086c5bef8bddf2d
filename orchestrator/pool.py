"""States of a dev tool account and the one table of their transitions.

Pure. An account is free, then leased to one preview, then cleaned, and only after a look that found it
empty it is free again. The fencing number grows with each lease, so that whoever still acts under an
older lease can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.errors import IllegalMove
from orchestrator.outcome import Cleaned, CleaningFailed, CleaningGoesOn, CleaningOutcome, FoundForeign


class AccountState(StrEnum):
    """What an account of the pool is doing."""

    #: Verified empty, to be had.
    FREE = "free"
    #: Used by one preview.
    LEASED = "leased"
    #: Being emptied after a lease, or before its first.
    CLEANING = "cleaning"
    #: Its cleaning or its credentials keep failing, or somebody else uses it; tried again ever more slowly.
    QUARANTINED = "quarantined"
    #: Taken out of use by an operator.
    DRAINED = "drained"
    #: Not in the pool any more; kept for what was served by it.
    REMOVED = "removed"


#: Every legal change of state, with the sentence that the timeline and the documents show for it.
TRANSITIONS: Mapping[tuple[AccountState, AccountState], str] = {
    (AccountState.FREE, AccountState.LEASED): "a preview was given the account",
    (AccountState.FREE, AccountState.DRAINED): "an operator took it out of use",
    (AccountState.FREE, AccountState.CLEANING): "something was found on it",
    (AccountState.LEASED, AccountState.CLEANING): "the preview does not need it any more",
    (AccountState.LEASED, AccountState.QUARANTINED): "Toolforge refused its credentials",
    (AccountState.CLEANING, AccountState.FREE): "it was looked at and is empty",
    (AccountState.CLEANING, AccountState.DRAINED): "it is empty, and an operator wants it out of use",
    (AccountState.CLEANING, AccountState.QUARANTINED): "it could not be emptied, or somebody else uses it",
    (AccountState.QUARANTINED, AccountState.FREE): "a later cleaning found or made it empty",
    (AccountState.QUARANTINED, AccountState.DRAINED): "a later cleaning emptied it; an operator wants it out",
    (AccountState.DRAINED, AccountState.CLEANING): "an operator put it back into use",
    (AccountState.DRAINED, AccountState.REMOVED): "an operator took it out of the pool",
    (AccountState.QUARANTINED, AccountState.REMOVED): "an operator took it out of the pool",
    (AccountState.REMOVED, AccountState.CLEANING): "an operator added it to the pool again",
}

#: How often an account in use, or to be had, is compared with what is known of it.
INSPECT_SECONDS = 300.0
#: Cleanings that may fail in a row before the account is shown as quarantined.
FAILURES_BEFORE_QUARANTINE = 5
#: A cleaning that gets nowhere for this long has failed.
_GOES_ON_SECONDS = 900.0
_QUARANTINE_FIRST_SECONDS = 60.0
_QUARANTINE_LAST_SECONDS = 3600.0


@dataclass(frozen=True)
class Account:
    """A dev tool account: credentials, build slots, an image store and one address."""

    id: int
    #: The tool's name on Toolforge.
    name: str
    state: AccountState
    since: float
    #: When to look again: to clean it, or to compare it with what is known of it.
    due_at: float | None
    #: Fencing number of the newest lease.
    fence: int = 0
    version: int = 0
    #: The preview that may act on it; none while it is cleaned, though the lease ends only after that.
    preview_id: int | None = None
    attempts: int = 0
    #: Why it is quarantined or what the cleaning waits for, for people.
    reason: str = ""
    #: An operator wants it out of use as soon as it is free.
    drain: bool = False
    #: What its image store held when the present cleaning began.
    bytes_before: int | None = None
    #: Leased to many check-only deployments of any project, which take turns at its address.
    shared: bool = False
    #: An operator wants what is not ours to be deleted, too, by the next cleaning.
    clean_all: bool = False
    #: Its image store when it was last looked at; None: not known, or no limit.
    bytes_used: int | None = None
    bytes_limit: int | None = None
    #: When it was last compared with what we know.
    inspected_at: float | None = None
    #: Names of the envvars that its operators have set; None: not known yet.
    own_envvars: tuple[str, ...] | None = None
    #: Names of those that deployments under its lease asked for, and that may have been set.
    lent_envvars: tuple[str, ...] = ()
    #: Deployments of greater numbers, which the database has forgotten by being put back, may have left
    #: things in it; None: none has.
    forgotten_after: int | None = None

    @property
    def our_envvars(self) -> frozenset[str]:
        """Names of envvars that are there for deployments only; none is before it is known what else is."""
        return frozenset() if self.own_envvars is None else frozenset(self.lent_envvars) - {*self.own_envvars}

    def forgotten_envvars(self, held: Iterable[str]) -> frozenset[str]:
        """Those of the names `held` that may be there for deployments that are not known any more.

        What came in that time may as well be the operators' own: but nobody's may reach the next preview.
        """
        if self.forgotten_after is None or self.own_envvars is None:
            return frozenset()
        return frozenset(held) - {*self.own_envvars}


def _only(account: Account, state: AccountState) -> None:
    """Raise where the way to cleaning is another's: several states lead there, each for its own reason."""
    if account.state is not state:
        raise IllegalMove(f"account {account.name}: it is {account.state}, not {state}")


def _moved(account: Account, state: AccountState, now: float, *, due_at: float | None) -> Account:
    if (account.state, state) not in TRANSITIONS:
        raise IllegalMove(f"account {account.name}: {account.state} -> {state}")
    return replace(account, state=state, since=now, due_at=due_at, attempts=0, reason="")


def lease(account: Account, preview_id: int | None, now: float) -> Account:
    """`account` given to `preview_id`, or to be shared (None), under a new, higher fencing number."""
    leased = _moved(account, AccountState.LEASED, now, due_at=account.due_at)
    return replace(
        leased,
        preview_id=preview_id,
        shared=preview_id is None,
        fence=account.fence + 1,
        bytes_before=None,
    )


def lend(account: Account, envvars: Iterable[str]) -> Account:
    """`account` on which envvars of these names, too, may be set from now on."""
    return replace(account, lent_envvars=tuple(sorted({*account.lent_envvars, *envvars})))


def release(account: Account, now: float) -> Account:
    """`account` given back; it is cleaned under the same lease before anybody else may have it."""
    _only(account, AccountState.LEASED)
    cleaning = _moved(account, AccountState.CLEANING, now, due_at=now)
    return replace(cleaning, preview_id=None, shared=False, bytes_before=None)


def doubt(account: Account, now: float) -> Account:
    """A free `account` that may not be empty: it is cleaned before anybody gets it."""
    _only(account, AccountState.FREE)
    return replace(_moved(account, AccountState.CLEANING, now, due_at=now), bytes_before=None)


def refuse(account: Account, reason: str, now: float) -> Account:
    """`account` shown as unusable for `reason`; it is tried again after a while."""
    quarantined = _moved(account, AccountState.QUARANTINED, now, due_at=now + _QUARANTINE_FIRST_SECONDS)
    return replace(quarantined, reason=reason, preview_id=None, shared=False)


def drain(account: Account, now: float) -> Account:
    """`account` taken out of use: at once when free, else when its cleaning is over."""
    if account.state is AccountState.FREE:
        return replace(_moved(account, AccountState.DRAINED, now, due_at=None), drain=True)
    return replace(account, drain=True)


def undrain(account: Account, now: float) -> Account:
    """`account` put back into use, by way of a cleaning."""
    if account.state is AccountState.DRAINED:
        return replace(_moved(account, AccountState.CLEANING, now, due_at=now), drain=False)
    return replace(account, drain=False)


#: Of these an operator can ask for a cleaning at once.
BEING_CLEANED = frozenset({AccountState.CLEANING, AccountState.QUARANTINED})
#: Of these an operator can take the account out of the pool.
REMOVABLE = frozenset({AccountState.DRAINED, AccountState.QUARANTINED})


def look_again(account: Account, now: float, *, everything: bool = False) -> Account:
    """`account`, being cleaned or quarantined, tried again at once; of `everything` if so ordered."""
    return replace(account, due_at=now, attempts=0, clean_all=account.clean_all or everything)


def remove(account: Account, now: float) -> Account:
    """`account` taken out of the pool for good."""
    removed = _moved(account, AccountState.REMOVED, now, due_at=None)
    return replace(removed, drain=False, clean_all=False, bytes_used=None, bytes_limit=None)


def restore(account: Account, now: float) -> Account:
    """`account`, which was removed, back in the pool, by way of a cleaning."""
    _only(account, AccountState.REMOVED)
    return replace(_moved(account, AccountState.CLEANING, now, due_at=now), bytes_before=None)


def apply(
    account: Account,
    outcome: CleaningOutcome,
    now: float,
    *,
    poll_seconds: float = 1.0,
    inspect_seconds: float = INSPECT_SECONDS,
) -> Account:
    """The account after one try at cleaning it; a free one is inspected after `inspect_seconds`."""
    match outcome:
        case Cleaned(_, bytes_after, bytes_limit, envvars):
            state = AccountState.DRAINED if account.drain else AccountState.FREE
            limit = account.bytes_limit if bytes_limit is None else bytes_limit
            empty = replace(
                account,
                clean_all=False,
                forgotten_after=None,
                bytes_used=bytes_after,
                bytes_limit=limit,
                own_envvars=envvars,
                lent_envvars=(),
            )
            due_at = now + inspect_seconds if state is AccountState.FREE else None
            return _moved(empty, state, now, due_at=due_at)
        case CleaningGoesOn(remaining) if now - account.since > _GOES_ON_SECONDS:
            return _failed(account, f"it does not get empty: {remaining}", False, now)
        case CleaningGoesOn(remaining):
            return replace(account, due_at=now + poll_seconds, attempts=0, reason=remaining)
        case CleaningFailed(reason, refused):
            return _failed(account, reason, refused, now)
        case FoundForeign(reason):
            return _failed(account, reason, True, now)


def _failed(account: Account, reason: str, is_final: bool, now: float) -> Account:
    attempts = account.attempts + 1
    if account.state is AccountState.QUARANTINED:
        pause = min(_QUARANTINE_FIRST_SECONDS * 2.0 ** min(attempts, 10), _QUARANTINE_LAST_SECONDS)
        return replace(account, attempts=attempts, reason=reason, due_at=now + pause)
    if is_final or attempts >= FAILURES_BEFORE_QUARANTINE:
        quarantined = _moved(account, AccountState.QUARANTINED, now, due_at=now + _QUARANTINE_FIRST_SECONDS)
        return replace(quarantined, reason=reason, preview_id=None, shared=False)
    return replace(
        account, attempts=attempts, reason=reason, due_at=now + min(2.0 ** min(attempts, 10), 30.0)
    )
