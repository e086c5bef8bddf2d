"""The states of an account, its fencing number, and what cleanings make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import IllegalMove
from orchestrator.outcome import Cleaned, CleaningFailed, CleaningGoesOn, FoundForeign
from orchestrator.pool import (
    FAILURES_BEFORE_QUARANTINE,
    TRANSITIONS,
    Account,
    AccountState,
    apply,
    doubt,
    drain,
    lease,
    refuse,
    release,
    undrain,
)

NOW = 1_000_000.0
FAILED = CleaningFailed("it would not")


def an_account(state: AccountState = AccountState.FREE, **changes: object) -> Account:
    values: dict[str, object] = {"id": 1, "name": "dev-1", "state": state, "since": NOW, "due_at": None}
    return Account(**(values | changes))  # type: ignore[arg-type]


def test_a_leased_account_belongs_to_one_preview_until_it_was_cleaned() -> None:
    leased = lease(an_account(), 7, NOW)
    assert (leased.state, leased.preview_id, leased.due_at) == (AccountState.LEASED, 7, None)
    given_back = release(leased, NOW + 1)
    assert (given_back.state, given_back.preview_id) == (AccountState.CLEANING, None)
    assert given_back.due_at == NOW + 1, "it is cleaned at once"
    assert apply(given_back, Cleaned(5, 0), NOW + 2).state is AccountState.FREE


def test_an_account_in_use_or_to_be_had_is_inspected_and_a_lease_does_not_put_that_off() -> None:
    free = apply(an_account(AccountState.CLEANING), Cleaned(5, 0), NOW, inspect_seconds=120.0)
    assert free.due_at == NOW + 120
    assert lease(free, 7, NOW + 100).due_at == NOW + 120
    drained = apply(an_account(AccountState.CLEANING, drain=True), Cleaned(5, 0), NOW)
    assert (drained.state, drained.due_at) == (AccountState.DRAINED, None)


def test_a_free_account_in_which_something_was_found_is_cleaned_before_anybody_gets_it() -> None:
    doubted = doubt(an_account(bytes_before=7), NOW)
    assert (doubted.state, doubted.due_at, doubted.bytes_before) == (AccountState.CLEANING, NOW, None)
    with pytest.raises(IllegalMove):
        doubt(an_account(AccountState.DRAINED), NOW)


def test_an_account_that_somebody_else_uses_is_put_away_at_once() -> None:
    put_away = apply(an_account(AccountState.CLEANING, clean_all=True), FoundForeign("job x"), NOW)
    assert (put_away.state, put_away.reason) == (AccountState.QUARANTINED, "job x")
    assert put_away.clean_all
    cleaned = apply(put_away, Cleaned(9, 0, 100), NOW)
    assert (cleaned.clean_all, cleaned.bytes_used, cleaned.bytes_limit) == (False, 0, 100)


@pytest.mark.parametrize("state", [state for state in AccountState if state is not AccountState.FREE])
def test_only_a_free_account_is_leased(state: AccountState) -> None:
    with pytest.raises(IllegalMove):
        lease(an_account(state), 7, NOW)


@pytest.mark.parametrize("state", [AccountState.FREE, AccountState.CLEANING, AccountState.QUARANTINED])
def test_only_a_leased_account_is_given_back(state: AccountState) -> None:
    with pytest.raises(IllegalMove):
        release(an_account(state), NOW)


def test_each_lease_has_a_higher_number_than_the_one_before() -> None:
    account, fences = an_account(), []
    for preview_id in range(4):
        account = lease(account, preview_id, NOW)
        fences.append(account.fence)
        account = apply(release(account, NOW), Cleaned(0, 0), NOW)
    assert fences == [1, 2, 3, 4]


def test_a_cleaning_that_goes_on_says_what_remains_and_is_looked_at_again() -> None:
    account = an_account(AccountState.CLEANING, attempts=3)
    later = apply(account, CleaningGoesOn("1 jobs"), NOW, poll_seconds=2.5)
    assert (later.state, later.reason, later.due_at) == (AccountState.CLEANING, "1 jobs", NOW + 2.5)
    assert later.attempts == 0, "it gets on"


def test_a_cleaning_that_keeps_failing_ends_in_quarantine_with_its_reason() -> None:
    account = an_account(AccountState.CLEANING)
    for _ in range(FAILURES_BEFORE_QUARANTINE - 1):
        account = apply(account, FAILED, NOW)
        assert account.state is AccountState.CLEANING
        assert account.due_at is not None
        assert NOW < account.due_at <= NOW + 30
    account = apply(account, FAILED, NOW)
    assert (account.state, account.reason) == (AccountState.QUARANTINED, "it would not")


def test_refused_credentials_end_in_quarantine_at_once() -> None:
    account = apply(an_account(AccountState.CLEANING), CleaningFailed("403", refused=True), NOW)
    assert (account.state, account.reason) == (AccountState.QUARANTINED, "403")


def test_a_quarantined_account_is_tried_ever_more_slowly_but_always_again() -> None:
    account = refuse(an_account(AccountState.LEASED, preview_id=7), "403", NOW)
    assert account.preview_id is None
    pauses = []
    for _ in range(12):
        account = apply(account, FAILED, NOW)
        assert account.state is AccountState.QUARANTINED
        assert account.due_at is not None
        pauses.append(account.due_at - NOW)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3600.0
    assert apply(account, Cleaned(0, 0), NOW).state is AccountState.FREE


def test_a_free_account_is_drained_at_once_and_one_in_use_when_it_is_clean() -> None:
    assert drain(an_account(), NOW).state is AccountState.DRAINED
    leased = drain(an_account(AccountState.LEASED, preview_id=7), NOW)
    assert (leased.state, leased.preview_id) == (AccountState.LEASED, 7)
    assert apply(release(leased, NOW), Cleaned(0, 0), NOW).state is AccountState.DRAINED


def test_a_drained_account_comes_back_by_way_of_a_cleaning() -> None:
    back = undrain(drain(an_account(), NOW), NOW)
    assert (back.state, back.drain, back.due_at) == (AccountState.CLEANING, False, NOW)
    assert undrain(drain(an_account(AccountState.LEASED), NOW), NOW) == an_account(AccountState.LEASED)


_acts = st.sampled_from(
    [
        lambda account: lease(account, 7, NOW),
        lambda account: release(account, NOW),
        lambda account: refuse(account, "403", NOW),
        lambda account: doubt(account, NOW),
        lambda account: drain(account, NOW),
        lambda account: undrain(account, NOW),
        lambda account: apply(account, Cleaned(1, 0), NOW),
        lambda account: apply(account, CleaningGoesOn("1 jobs"), NOW),
        lambda account: apply(account, FAILED, NOW),
        lambda account: apply(account, FoundForeign("job x"), NOW),
        lambda account: apply(account, CleaningFailed("403", refused=True), NOW),
    ]
)


@given(st.lists(_acts, max_size=40))
def test_whatever_happens_an_account_stays_on_legal_ways(acts: list[object]) -> None:
    account = an_account()
    for act in acts:
        try:
            after: Account = act(account)  # type: ignore[operator]
        except IllegalMove:
            continue
        assert after.state is account.state or (account.state, after.state) in TRANSITIONS
        assert after.fence >= account.fence
        assert (after.preview_id is not None) <= (after.state is AccountState.LEASED)
        if after.state in {AccountState.CLEANING, AccountState.QUARANTINED}:
            assert after.due_at is not None, "it would never come back"
        account = after
