"""Promises of the plan, for any snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.line import Waiting
from orchestrator.pool import Account, AccountState
from orchestrator.preview import STEPS, Deployment, State, Step
from orchestrator.scheduler import (
    Built,
    Ceiling,
    CleanFirst,
    GiveUp,
    Limits,
    MakeRoom,
    Place,
    Refuse,
    Serve,
    Showing,
    Snapshot,
    Start,
    plan,
    take_snapshot,
    turns,
)

NOW = 1_000_000.0
ALL_ALIKE = Limits(max_concurrent_builds=100)


def a_waiting(number: int, **changes: object) -> Waiting:
    values: dict[str, object] = {
        "deployment_id": number,
        "preview_id": 1000 + number,
        "project_id": 1,
        "since": NOW - 100 + number,
    }
    return Waiting(**(values | changes))  # type: ignore[arg-type]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Previews that wait, some on an account of theirs; free accounts; live previews; builds that run."""
    ages = st.floats(0, 5000)
    count = draw(st.integers(0, 8))
    waiting = [
        a_waiting(
            number,
            project_id=draw(st.integers(1, 3)),
            since=NOW - draw(ages),
            is_bot=draw(st.booleans()),
            check_only=draw(st.booleans()),
            needs_bytes=draw(st.integers(0, 12)),
            is_asked_for=draw(st.booleans()),
        )
        for number in range(count)
    ]
    owners = draw(st.lists(st.sampled_from([w.preview_id for w in waiting]), unique=True)) if waiting else []
    showing = [Showing(2000 + number, NOW - draw(ages)) for number in range(draw(st.integers(0, 4)))]
    previews = [*owners, *(show.preview_id for show in showing), *[None] * draw(st.integers(0, 4))]
    places = [
        Place(
            number,
            preview_id,
            0 if preview_id is None else draw(st.integers(0, 4)),
            bytes_used=0 if preview_id is None else draw(st.integers(0, 10)),
            bytes_limit=draw(st.sampled_from([None, 10])),
        )
        for number, preview_id in enumerate(draw(st.permutations(previews)))
    ]
    shared = [
        Place(
            100 + number,
            None,
            draw(st.integers(0, 4)),
            is_shared=True,
            since=NOW - draw(ages),
            bytes_used=draw(st.integers(0, 10)),
            bytes_limit=draw(st.sampled_from([None, 10])),
            is_serving=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    built = [
        Built(500 + number, draw(st.sampled_from([100, 101])), NOW - draw(ages))
        for number in range(draw(st.integers(0, 3)) if shared else 0)
    ]
    return Snapshot(
        waiting=waiting,
        places=places + shared,
        showing=showing,
        built=built,
        alone=frozenset(draw(st.lists(st.sampled_from(owners)))) if owners else frozenset(),
        largest_store=draw(st.sampled_from([None, 10])),
        building=draw(st.dictionaries(st.integers(1, 4), st.integers(0, 3), max_size=4)),
        cleaning=draw(st.integers(0, 3)),
        ceiling=draw(st.none() | st.builds(Ceiling, st.integers(1, 8))),
    )


limits = st.builds(
    Limits,
    max_concurrent_builds=st.integers(1, 8),
    builds_per_account=st.integers(1, 4),
    min_live_seconds=st.floats(0, 5000),
    ageing_seconds=st.floats(0, 5000),
    weights=st.dictionaries(st.integers(1, 3), st.floats(0.5, 4.0)),
)


def starts(snapshot: Snapshot, allowed: Limits) -> list[tuple[Waiting, Place]]:
    """What the plan starts, and where."""
    waiting = {w.deployment_id: w for w in snapshot.waiting}
    places = {place.account_id: place for place in snapshot.places}
    return [
        (waiting[d.deployment_id], places[d.account_id])
        for d in plan(snapshot, allowed, NOW)
        if isinstance(d, Start)
    ]


def makes_room(snapshot: Snapshot, allowed: Limits) -> list[int]:
    """The previews that give way."""
    return [d.preview_id for d in plan(snapshot, allowed, NOW) if isinstance(d, MakeRoom)]


# --- what may start -----------------------------------------------------------------------------------


@given(snapshots(), limits)
def test_at_most_the_allowed_builds_run(snapshot: Snapshot, allowed: Limits) -> None:
    begun = len(starts(snapshot, allowed))
    ceiling = allowed.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
    most = min(ceiling, allowed.max_concurrent_builds)
    assert begun == 0 or begun + sum(snapshot.building.values()) <= most


@given(snapshots(), limits)
def test_at_most_the_allowed_builds_run_on_one_account(snapshot: Snapshot, allowed: Limits) -> None:
    for place, begun in Counter(place for _, place in starts(snapshot, allowed)).items():
        assert place.builds + begun <= allowed.builds_per_account


@given(snapshots(), limits)
def test_no_account_is_given_to_two_previews_but_for_those_that_share_it(
    snapshot: Snapshot, allowed: Limits
) -> None:
    previews: dict[int, set[int]] = {}
    shared = {d.account_id for d in plan(snapshot, allowed, NOW) if isinstance(d, Start) and d.is_shared}
    for waiting, place in starts(snapshot, allowed):
        assert place.preview_id in {None, waiting.preview_id}
        if place.account_id in shared:
            assert waiting.check_only
            assert place.preview_id is None
        else:
            assert not place.is_shared
            previews.setdefault(place.account_id, set()).add(waiting.preview_id)
    assert all(len(users) == 1 for users in previews.values())


@given(snapshots(), limits)
def test_a_preview_is_built_on_the_account_that_it_has(snapshot: Snapshot, allowed: Limits) -> None:
    held = {place.preview_id: place for place in snapshot.places if place.preview_id is not None}
    for waiting, place in starts(snapshot, allowed):
        assert held.get(waiting.preview_id, place) == place


@given(snapshots(), limits)
def test_nothing_is_started_twice_and_nothing_that_does_not_wait(snapshot: Snapshot, allowed: Limits) -> None:
    begun = [waiting.deployment_id for waiting, _ in starts(snapshot, allowed)]
    assert len(begun) == len(set(begun))


@given(snapshots(), limits)
def test_nobody_waits_while_a_slot_and_an_account_are_free(snapshot: Snapshot, allowed: Limits) -> None:
    begun = starts(snapshot, allowed)
    ceiling = allowed.max_concurrent_builds if snapshot.ceiling is None else snapshot.ceiling.builds
    slots = min(ceiling, allowed.max_concurrent_builds) - sum(snapshot.building.values()) - len(begun)
    free = [p for p in snapshot.places if p.is_free and p not in {place for _, place in begun}]
    held = {place.preview_id for place in snapshot.places}
    left = {w.deployment_id for w in snapshot.waiting} - {w.deployment_id for w, _ in begun}
    left -= {d.deployment_id for d in plan(snapshot, allowed, NOW) if isinstance(d, Refuse)}
    homeless = [w for w in snapshot.waiting if w.deployment_id in left and w.preview_id not in held]
    assert not (slots > 0 and any(p.has_room(w.needs_bytes) for p in free for w in homeless))


@given(snapshots(), limits)
def test_the_same_snapshot_has_the_same_plan(snapshot: Snapshot, allowed: Limits) -> None:
    assert plan(snapshot, allowed, NOW) == plan(snapshot, allowed, NOW)


# --- whose turn it is ---------------------------------------------------------------------------------


@given(snapshots(), limits)
def test_everybody_who_waits_has_one_turn(snapshot: Snapshot, allowed: Limits) -> None:
    order = [w.deployment_id for w in turns(snapshot, allowed, NOW)]
    assert sorted(order) == sorted(w.deployment_id for w in snapshot.waiting)


@given(snapshots(), limits)
def test_within_a_project_people_go_before_bots_until_those_have_aged(
    snapshot: Snapshot, allowed: Limits
) -> None:
    order = list(turns(snapshot, allowed, NOW))
    for place, earlier in enumerate(order):
        for later in order[place + 1 :]:
            if earlier.project_id != later.project_id or NOW - earlier.since >= allowed.starving_seconds:
                continue
            earlier_is_young_bot = earlier.is_bot and NOW - earlier.since < allowed.ageing_seconds
            later_is_young_bot = later.is_bot and NOW - later.since < allowed.ageing_seconds
            assert earlier_is_young_bot <= later_is_young_bot
            if earlier_is_young_bot == later_is_young_bot:
                assert earlier.since <= later.since, "first come, first served"


@given(st.lists(st.integers(0, 6), min_size=2, max_size=4), st.integers(1, 12))
def test_projects_take_turns_however_many_they_bring(counts: list[int], slots: int) -> None:
    waiting = [
        a_waiting(100 * project + number, project_id=project)
        for project, count in enumerate(counts)
        for number in range(count)
    ]
    snapshot = Snapshot(waiting, [Place(number, None) for number in range(50)])
    begun = Counter(w.project_id for w, _ in starts(snapshot, Limits(max_concurrent_builds=slots)))
    unserved = [project for project, count in enumerate(counts) if begun[project] < count]
    for project in unserved:
        assert all(begun[other] <= begun[project] + 1 for other in range(len(counts)))


def test_a_project_with_builds_under_way_lets_others_go_first() -> None:
    waiting = [a_waiting(1, project_id=1), a_waiting(2, project_id=2)]
    snapshot = Snapshot(waiting, [], building={1: 1})
    assert [w.deployment_id for w in turns(snapshot, ALL_ALIKE, NOW)] == [2, 1]


def test_whoever_starves_goes_first_whatever_its_project_runs() -> None:
    waiting = [a_waiting(1, project_id=1, since=NOW - 3600), a_waiting(2, project_id=2)]
    snapshot = Snapshot(waiting, [], building={1: 9})
    assert [w.deployment_id for w in turns(snapshot, ALL_ALIKE, NOW)] == [1, 2]


def test_a_project_with_twice_the_weight_gets_twice_the_turns() -> None:
    waiting = [a_waiting(10 * project + n, project_id=project) for project in (1, 2) for n in range(6)]
    snapshot = Snapshot(waiting, [Place(number, None) for number in range(12)])
    heavy = Limits(max_concurrent_builds=6, weights={1: 2.0})
    assert Counter(w.project_id for w, _ in starts(snapshot, heavy)) == {1: 4, 2: 2}


# --- who gives way ------------------------------------------------------------------------------------


@given(snapshots(), limits)
def test_only_those_give_way_who_have_had_their_time(snapshot: Snapshot, allowed: Limits) -> None:
    showing = {show.preview_id: show for show in snapshot.showing}
    for preview_id in makes_room(snapshot, allowed):
        assert NOW - showing[preview_id].live_since >= allowed.min_live_seconds


@given(snapshots(), limits)
def test_never_more_give_way_than_accounts_are_wanted(snapshot: Snapshot, allowed: Limits) -> None:
    held = {place.preview_id for place in snapshot.places}
    homeless = {w.preview_id for w in snapshot.waiting} - held
    gone = makes_room(snapshot, allowed)
    assert len(gone) == len(set(gone))
    assert len(gone) <= max(len(homeless) - snapshot.cleaning, 0)


@given(snapshots(), limits)
def test_those_up_longest_give_way_first(snapshot: Snapshot, allowed: Limits) -> None:
    gone = set(makes_room(snapshot, allowed))
    ripe = [s for s in snapshot.showing if NOW - s.live_since >= allowed.min_live_seconds]
    for gives_way in (s for s in ripe if s.preview_id in gone):
        assert all(s.live_since >= gives_way.live_since for s in ripe if s.preview_id not in gone)


def test_a_preview_gives_way_when_somebody_waits_for_an_account() -> None:
    waiting, up = a_waiting(1), Showing(5, NOW - 5000)
    full = Snapshot([waiting], [Place(1, 5)], [up])
    assert makes_room(full, Limits()) == [5]
    assert makes_room(replace(full, cleaning=1), Limits()) == [], "an account is about to be free"
    assert makes_room(replace(full, places=[Place(1, 5), Place(2, None)]), Limits()) == []


# --- what nobody waits for ----------------------------------------------------------------------------


def a_spare(number: int, **changes: object) -> Waiting:
    return a_waiting(900 + number, **({"is_bot": True} | changes))


@st.composite
def with_spares(draw: st.DrawFn) -> Snapshot:
    """The same, with those that nobody waits for, one of which may be under way."""
    spares = [
        a_spare(number, needs_bytes=draw(st.integers(0, 12))) for number in range(draw(st.integers(1, 3)))
    ]
    going = draw(st.sampled_from([(), (990,)]))
    return replace(draw(snapshots()), spares=spares, spares_going=going)


@given(with_spares(), limits)
def test_what_nobody_waits_for_changes_nothing_for_those_who_wait(
    snapshot: Snapshot, allowed: Limits
) -> None:
    without = plan(replace(snapshot, spares=(), spares_going=()), allowed, NOW)
    ours = [d for d in plan(snapshot, allowed, NOW) if getattr(d, "deployment_id", 0) < 900]
    assert [d for d in ours if not isinstance(d, MakeRoom)] == [
        d for d in without if not isinstance(d, MakeRoom)
    ]
    gone = [d for d in ours if isinstance(d, MakeRoom)]
    assert gone == [d for d in without if isinstance(d, MakeRoom)][: len(gone)], "never more give way"


@given(with_spares(), limits)
def test_it_is_begun_only_when_everybody_has_what_they_wait_for(snapshot: Snapshot, allowed: Limits) -> None:
    decided = plan(snapshot, allowed, NOW)
    begun = [d for d in decided if isinstance(d, Start) and d.deployment_id >= 900]
    served = {d.deployment_id for d in decided if isinstance(d, Start | Refuse)}
    without = [w for w in snapshot.waiting if w.deployment_id not in served]
    given_up = [d.deployment_id for d in decided if isinstance(d, GiveUp)]
    assert given_up == (list(snapshot.spares_going) if without else [])
    assert len(begun) <= 1
    if begun:
        assert not without
        assert not snapshot.spares_going
        assert not any(isinstance(d, MakeRoom | CleanFirst) for d in decided)
        taken = {d.account_id for d in decided if isinstance(d, Start)}
        assert [p for p in snapshot.places if p.is_free and p.account_id not in taken], "one stays free"


def test_it_is_tried_while_the_pool_is_idle_and_gives_way_to_the_first_who_goes_without() -> None:
    idle = Snapshot([], [Place(1, None), Place(2, None)], spares=[a_spare(1), a_spare(2)])
    assert plan(idle, Limits(), NOW) == [Start(901, 1)]
    assert plan(replace(idle, places=[Place(1, None)]), Limits(), NOW) == [], "not on the last one"
    assert plan(replace(idle, building={1: 3}), Limits(), NOW) == [], "no slot"
    assert plan(replace(idle, spares_going=[990]), Limits(), NOW) == [], "one at a time"
    assert plan(replace(idle, frozen=True), Limits(), NOW) == []
    tidying = [Place(1, a_spare(1).preview_id), Place(2, None), Place(3, None)]
    assert plan(replace(idle, places=tidying), Limits(), NOW) == [Start(902, 2)], "it still has an account"

    going = Snapshot(
        [a_waiting(1)], [Place(1, 77, builds=1), Place(2, 5)], [Showing(5, NOW - 5000)], spares_going=[990]
    )
    assert plan(going, Limits(), NOW) == [GiveUp(990)], "nobody else gives way for that account"
    assert plan(replace(going, spares_going=[]), Limits(), NOW) == [MakeRoom(5)]
    no_slot = replace(going, places=[Place(1, 77, builds=1), Place(2, None)], building={2: 3})
    assert plan(no_slot, Limits(), NOW) == [GiveUp(990)]
    assert plan(replace(no_slot, building={2: 1}), Limits(), NOW) == [Start(1, 2)], "there is room for both"


# --- sharing an account -------------------------------------------------------------------------------


def a_check(number: int, **changes: object) -> Waiting:
    return a_waiting(number, **({"is_bot": True, "check_only": True} | changes))


def test_check_only_merge_requests_need_not_wait_for_one_anothers_builds() -> None:
    eleven = [a_check(number) for number in range(11)]
    snapshot = Snapshot(eleven, [Place(number, None) for number in range(3)])
    begun = Counter(place.account_id for _, place in starts(snapshot, ALL_ALIKE))
    assert begun == {0: 4, 1: 4, 2: 3}


def test_whoever_stays_live_is_built_on_an_account_of_its_own() -> None:
    shared = Place(1, None, is_shared=True, since=NOW)
    snapshot = Snapshot([a_waiting(1), a_check(2)], [shared])
    assert [w.deployment_id for w, _ in starts(Snapshot([a_check(2)], [shared]), ALL_ALIKE)] == [2]
    assert starts(snapshot, ALL_ALIKE) == [], "somebody waits for the account to be empty"


def test_a_shared_account_is_closed_when_it_is_full_or_old() -> None:
    def taken(**changes: object) -> bool:
        values: dict[str, object] = {"is_shared": True, "since": NOW, "bytes_used": 1, "bytes_limit": 100}
        place = Place(1, None, **(values | changes))  # type: ignore[arg-type]
        return bool(starts(Snapshot([a_check(1, needs_bytes=30)], [place]), ALL_ALIKE))

    assert taken(bytes_used=40)
    assert not taken(bytes_used=41), "70 % full"
    assert not taken(since=NOW - 3600), "an hour old"
    assert not taken(builds=4)


@given(snapshots(), limits)
def test_an_address_serves_one_at_a_time_the_first_built_first(snapshot: Snapshot, allowed: Limits) -> None:
    places = {place.account_id: place for place in snapshot.places}
    built = {one.deployment_id: one for one in snapshot.built}
    served = [built[d.deployment_id] for d in plan(snapshot, allowed, NOW) if isinstance(d, Serve)]
    assert len({one.account_id for one in served}) == len(served)
    for one in served:
        assert one.account_id not in places or not places[one.account_id].is_serving
        others = [other for other in built.values() if other.account_id == one.account_id]
        assert one.since == min(other.since for other in others)


# --- what fits ----------------------------------------------------------------------------------------


@given(snapshots(), limits)
def test_nothing_is_built_where_it_is_not_expected_to_fit(snapshot: Snapshot, allowed: Limits) -> None:
    used = {place.account_id: place.bytes_used for place in snapshot.places}
    for waiting, place in starts(snapshot, allowed):
        if not waiting.is_asked_for:
            assert (
                place.bytes_limit is None or used[place.account_id] + waiting.needs_bytes <= place.bytes_limit
            )
        used[place.account_id] += waiting.needs_bytes


def test_an_image_that_fits_nowhere_is_refused_unless_somebody_asked_for_it() -> None:
    small = [Place(1, None, bytes_limit=10)]
    snapshot = Snapshot([a_waiting(1, needs_bytes=11)], small, largest_store=10)
    assert plan(snapshot, ALL_ALIKE, NOW) == [Refuse(1, 11, 10)]
    asked_for = replace(snapshot, waiting=[a_waiting(1, needs_bytes=11, is_asked_for=True)])
    assert [w.deployment_id for w, _ in starts(asked_for, ALL_ALIKE)] == [1]


def test_an_account_is_cleaned_first_when_the_next_image_does_not_fit_beside_the_running_one() -> None:
    waiting = a_waiting(1, needs_bytes=4)
    beside = Place(1, waiting.preview_id, bytes_used=6, bytes_limit=10)
    full = replace(beside, bytes_used=7)
    assert [place for _, place in starts(Snapshot([waiting], [beside]), ALL_ALIKE)] == [beside]
    assert plan(Snapshot([waiting], [full], alone=frozenset({waiting.preview_id})), ALL_ALIKE, NOW) == [
        CleanFirst(waiting.preview_id)
    ]
    assert plan(Snapshot([waiting], [full]), ALL_ALIKE, NOW) == [], "not while something else is on it"


# --- the ceiling --------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_the_ceiling_stays_between_one_and_the_setting(complaints: list[bool], most: int) -> None:
    allowed, ceiling = Limits(max_concurrent_builds=most), Ceiling(most)
    for complains in complaints:
        before = ceiling
        ceiling = ceiling.lowered() if complains else ceiling.eased(allowed)
        assert 1 <= ceiling.builds <= most
        assert ceiling.builds <= before.builds + 1


@given(st.integers(1, 20))
def test_the_ceiling_is_halved_at_once_and_comes_back_after_a_run_of_successes(most: int) -> None:
    allowed = Limits(max_concurrent_builds=most)
    ceiling = Ceiling(most).lowered()
    assert ceiling.builds == max(most // 2, 1)
    successes = 0
    while ceiling.builds < most:
        ceiling = ceiling.eased(allowed)
        successes += 1
        assert successes <= 3 * most


# --- what the plan looks at ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One unsettled deployment."""

    state: State
    step: Step
    preview_id: int = 1
    account_id: int | None = None


def seen(rows: list[Row], *accounts: Account) -> Snapshot:
    way = (State.QUEUED, State.BUILDING, State.STARTING, State.CHECKING, State.LIVE)
    going = [
        (
            Deployment(
                id=number,
                preview_id=row.preview_id,
                iid=1,
                sha="a" * 40,
                state=row.state,
                step=row.step,
                created_at=NOW,
                since=NOW,
                step_since=NOW,
                due_at=NOW,
                trigger="test",
                actor="alice",
                account_id=row.account_id,
                entered=dict.fromkeys(way[: way.index(row.state) + 1] if row.state in way else way[:2], NOW),
            ),
            1,
        )
        for number, row in enumerate(rows)
    ]
    return take_snapshot(going, accounts, None)


def an_account(state: AccountState, preview_id: int | None = None, **changes: object) -> Account:
    values: dict[str, object] = {"id": 1, "name": "dev", "state": state, "since": NOW, "due_at": None}
    return Account(**(values | {"preview_id": preview_id} | changes))  # type: ignore[arg-type]


def test_only_what_waits_for_a_slot_waits() -> None:
    for state, steps in STEPS.items():
        for step in steps:
            expected = 1 if step is Step.AWAIT_SLOT else 0
            assert len(seen([Row(state, step)]).waiting) == expected


def test_a_build_that_is_being_cancelled_still_counts() -> None:
    cancelled = seen([Row(State.CANCELLED, Step.TIDY, account_id=1)], an_account(AccountState.LEASED, 1))
    assert sum(cancelled.building.values()) == 1
    assert cancelled.places[0].builds == 1


def test_accounts_that_are_drained_cleaned_or_quarantined_are_no_places() -> None:
    for state in (AccountState.CLEANING, AccountState.QUARANTINED, AccountState.DRAINED):
        assert seen([], an_account(state)).places == []
    assert seen([], an_account(AccountState.FREE, drain=True)).places == []
    assert len(seen([], an_account(AccountState.FREE)).places) == 1


def test_a_live_preview_with_a_push_on_the_way_does_not_give_way() -> None:
    live = Row(State.LIVE, Step.NONE)
    assert [show.preview_id for show in seen([live]).showing] == [1]
    assert seen([live, Row(State.BUILDING, Step.WATCH_BUILD)]).showing == []


def test_an_account_that_nobody_wants_any_more_is_about_to_be_free() -> None:
    tidying = [Row(State.CANCELLED, Step.TIDY, account_id=1)]
    assert seen(tidying, an_account(AccountState.LEASED, 1)).cleaning == 1
    assert seen([Row(State.LIVE, Step.NONE)], an_account(AccountState.LEASED, 1)).cleaning == 0
