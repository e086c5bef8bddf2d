"""What those who wait are told to expect."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.forecast import (
    CLEANING_SECONDS,
    UNKNOWN_SECONDS,
    VERDICT_SECONDS,
    Turn,
    forecast,
)
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.scheduler import Limits, take_snapshot

NOW = 1_000_000.0
LIMITS = Limits(max_concurrent_builds=2, min_live_seconds=1000.0)


def a_deployment(
    number: int, state: State = State.QUEUED, account: int | None = None, **changes: object
) -> Deployment:
    steps = {State.QUEUED: Step.AWAIT_SLOT, State.BUILDING: Step.WATCH_BUILD, State.LIVE: Step.NONE}
    values: dict[str, object] = {
        "id": number,
        "preview_id": number,
        "iid": number,
        "sha": "a" * 40,
        "state": state,
        "step": steps[state],
        "created_at": NOW,
        "since": NOW + number / 1000,
        "step_since": NOW,
        "due_at": None,
        "trigger": "test",
        "actor": "alice",
        "account_id": account,
    }
    return Deployment(**(values | changes))  # type: ignore[arg-type]


def an_account(number: int, state: AccountState, preview_id: int | None = None) -> Account:
    return Account(number, f"dev-{number}", state, NOW, None, preview_id=preview_id)


def turns_of(
    deployments: list[Deployment],
    accounts: list[Account],
    seconds: Mapping[int, float] | None = None,
    *,
    kept_until: Mapping[int, float] | None = None,
    frozen: bool = False,
) -> Mapping[int, Turn]:
    going = [(deployment, 1) for deployment in deployments]
    snapshot = take_snapshot(going, accounts, None, frozen=frozen)
    return forecast(snapshot, going, accounts, seconds or {}, LIMITS, NOW, kept_until or {})


def test_whoever_is_next_waits_for_its_own_build_alone() -> None:
    found = turns_of([a_deployment(1)], [an_account(1, AccountState.FREE)], {1: 60.0})
    assert found == {1: Turn(1, NOW + 60.0 + VERDICT_SECONDS)}


def test_before_anything_is_known_a_usual_build_is_assumed() -> None:
    found = turns_of([a_deployment(1)], [an_account(1, AccountState.FREE)])
    assert found[1].verdict_at == NOW + UNKNOWN_SECONDS + VERDICT_SECONDS


def test_the_third_waits_for_a_slot() -> None:
    accounts = [an_account(number, AccountState.FREE) for number in range(3)]
    found = turns_of([a_deployment(number) for number in (1, 2, 3)], accounts, {1: 60.0})
    assert [found[number].position for number in (1, 2, 3)] == [1, 2, 3]
    assert found[3].verdict_at == NOW + 120.0 + VERDICT_SECONDS


def test_without_an_account_one_waits_until_the_live_preview_has_had_its_time() -> None:
    live = a_deployment(1, State.LIVE, account=1, since=NOW - 400.0)
    held = an_account(1, AccountState.LEASED, preview_id=1)
    found = turns_of([live, a_deployment(2)], [held], {1: 60.0})
    assert found[2].verdict_at == NOW + 600.0 + CLEANING_SECONDS + 60.0 + VERDICT_SECONDS


def test_a_preview_that_is_kept_does_not_give_way_before_that_is_over() -> None:
    live = a_deployment(1, State.LIVE, account=1, since=NOW - 400.0)
    held = an_account(1, AccountState.LEASED, preview_id=1)
    found = turns_of([live, a_deployment(2)], [held], {1: 60.0}, kept_until={1: NOW + 7000.0})
    assert found[2].verdict_at == NOW + 7000.0 + CLEANING_SECONDS + 60.0 + VERDICT_SECONDS


def test_while_builds_are_frozen_everybody_keeps_the_turn_and_no_time_is_promised() -> None:
    free = an_account(1, AccountState.FREE)
    found = turns_of([a_deployment(1), a_deployment(2)], [free], frozen=True)
    assert found == {1: Turn(1, None), 2: Turn(2, None)}


def test_where_no_account_will_come_free_no_time_is_promised() -> None:
    found = turns_of([a_deployment(1)], [an_account(1, AccountState.QUARANTINED)])
    assert found == {1: Turn(1, None)}


def test_a_build_that_is_over_its_time_is_expected_to_end_now() -> None:
    building = [a_deployment(n, State.BUILDING, account=n, since=NOW - 500.0) for n in (1, 2)]
    accounts = [an_account(n, AccountState.LEASED, preview_id=n) for n in (1, 2)]
    accounts.append(an_account(3, AccountState.FREE))
    found = turns_of([*building, a_deployment(3)], accounts, {1: 60.0})
    assert found[3].verdict_at == NOW + 60.0 + VERDICT_SECONDS


@given(st.integers(0, 8), st.lists(st.sampled_from(list(AccountState)), max_size=5), st.floats(1, 500))
def test_everybody_has_a_turn_and_nobody_behind_expects_less(
    count: int, states: list[AccountState], seconds: float
) -> None:
    accounts = [an_account(number, state) for number, state in enumerate(states)]
    found = turns_of([a_deployment(number) for number in range(count)], accounts, {1: seconds})
    ordered = [found[number] for number in range(count)]
    assert [turn.position for turn in ordered] == list(range(1, count + 1))
    times = [turn.verdict_at for turn in ordered if turn.verdict_at is not None]
    assert times == sorted(times)
    assert all(time >= NOW + seconds for time in times)
