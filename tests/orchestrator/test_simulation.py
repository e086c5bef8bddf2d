"""Promises of the simulation: small traces by hand, and invariants over any load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.scheduler import Limits
from orchestrator.simulation.arrivals import OUTCOMES, Arrival, read_csv, write_csv
from orchestrator.simulation.figures import Figures, Waits, waits
from orchestrator.simulation.loads import Load, made_up
from orchestrator.simulation.run import Pool, Simulation

MIB = 2**20
POOL = Pool(
    accounts=1,
    limits=Limits(max_concurrent_builds=4, min_live_seconds=500.0),
    check_seconds=10.0,
    cleaning_seconds=20.0,
)


def a_commit(at: float, merge_request: int, **changes: object) -> Arrival:
    values: dict[str, object] = {
        "project": "tool",
        "is_bot": False,
        "check_only": False,
        "build_seconds": 100.0,
        "image_bytes": 100 * MIB,
    }
    return Arrival(at=at, merge_request=merge_request, **(values | changes))  # type: ignore[arg-type]


def a_check(at: float, merge_request: int, **changes: object) -> Arrival:
    return a_commit(at, merge_request, **({"is_bot": True, "check_only": True} | changes))


def run(pool: Pool, *arrivals: Arrival) -> Figures:
    return Simulation(pool).run(arrivals)


def exactly(seconds: float) -> Waits:
    """The waits of one."""
    return Waits(seconds, seconds, seconds)


# --- small traces, by hand ----------------------------------------------------------------------------


def test_one_alone_waits_for_its_build_and_its_checks() -> None:
    figures = run(POOL, a_commit(5.0, 1))
    assert figures.to_build["people"] == exactly(0.0)
    assert figures.to_verdict["people"] == exactly(110.0)
    assert (figures.makespan, figures.bound) == (110.0, 110.0)
    assert (figures.slots_used, figures.accounts_used) == (100 / (4 * 110), 1.0)


def test_the_next_waits_for_the_build_the_checks_and_the_cleaning() -> None:
    figures = run(POOL, a_commit(0.0, 1, open_seconds=111.0), a_commit(1.0, 2))
    assert figures.to_build["people"] == Waits(0.0, 130.0, 130.0)
    assert figures.makespan == 241.0
    assert figures.bound == 240.0, "had the first been closed at its verdict"


def test_a_live_preview_gives_way_when_it_has_had_its_time() -> None:
    figures = run(POOL, a_commit(0.0, 1), a_commit(1000.0, 2))
    assert figures.to_build["people"] == Waits(0.0, 20.0, 20.0)
    assert figures.made_room == 1
    early = run(POOL, a_commit(0.0, 1), a_commit(300.0, 2))
    # Live at 110, ripe at 610; seen by the sweep of every 15 seconds since 300, cleaned 20 seconds later.
    assert early.to_build["people"] == Waits(0.0, 335.0, 335.0)


def test_check_only_deployments_build_at_once_and_take_turns_at_the_address() -> None:
    three = [a_check(0.0, number, image_bytes=10 * MIB) for number in range(3)]
    # What the first of a project takes is expected to be 300 MiB: two fit into 70 % of a GiB.
    shared = run(POOL, *three)
    assert shared.to_verdict["bots"] == Waits(120.0, 210.0, 210.0)
    assert shared.for_address == Waits(0.0, 10.0, 10.0)
    alone = run(replace(POOL, shares=False), *three)
    assert alone.to_verdict["bots"] == Waits(240.0, 370.0, 370.0)


def test_a_push_is_built_in_place_of_the_one_that_still_builds() -> None:
    figures = run(POOL, a_commit(0.0, 1), a_commit(50.0, 1))
    assert figures.ends == {"superseded": 1, "passed": 1}
    assert figures.makespan == 160.0


def test_a_push_is_built_beside_what_is_live() -> None:
    figures = run(POOL, a_commit(0.0, 1), a_commit(200.0, 1))
    assert figures.to_verdict["people"] == exactly(110.0)
    full = replace(POOL, store_bytes=500 * MIB)
    large = [a_commit(at, 1, image_bytes=300 * MIB) for at in (0.0, 200.0)]
    cleaned = run(full, *large)
    assert cleaned.cleaned_first == 1
    assert cleaned.to_verdict["people"] == Waits(110.0, 130.0, 130.0)


@pytest.mark.parametrize(("outcome", "seconds"), [("build", 100.0), ("start", 110.0), ("check", 110.0)])
def test_a_failure_ends_where_it_happens_and_gives_the_account_back(outcome: str, seconds: float) -> None:
    figures = run(POOL, a_commit(0.0, 1, outcome=outcome), a_commit(1.0, 2))
    assert figures.ends == {outcome: 1, "passed": 1}
    assert figures.to_build["people"] == Waits(0.0, seconds + 19.0, seconds + 19.0)


def test_what_fits_nowhere_is_refused_and_what_turns_out_too_large_fails() -> None:
    small = replace(POOL, store_bytes=350 * MIB)
    assert run(small, a_commit(0.0, 1, image_bytes=400 * MIB)).ends == {"full": 1}
    tiny = replace(POOL, store_bytes=200 * MIB)
    assert run(tiny, a_commit(0.0, 1)).ends == {"refused": 1}, "of an unknown project 300 MiB are expected"


def test_a_closed_merge_request_leaves_the_line() -> None:
    figures = run(POOL, a_commit(0.0, 1), a_commit(1.0, 2, open_seconds=9.0), a_commit(2.0, 3))
    assert figures.ends == {"passed": 2, "closed": 1}


# --- any load -----------------------------------------------------------------------------------------


@st.composite
def traces(draw: st.DrawFn) -> list[Arrival]:
    arrivals, at = [], 0.0
    for _ in range(draw(st.integers(0, 25))):
        at += draw(st.sampled_from([0.0, 1.0, 40.0, 700.0]))
        arrivals.append(
            Arrival(
                at,
                f"project-{draw(st.integers(1, 3))}",
                draw(st.integers(1, 5)),
                is_bot=draw(st.booleans()),
                check_only=draw(st.booleans()),
                build_seconds=draw(st.sampled_from([0.0, 10.0, 100.0, 2000.0])),
                image_bytes=draw(st.sampled_from([0, 100, 400, 900, 1100])) * MIB,
                outcome=draw(st.sampled_from(OUTCOMES)),
                open_seconds=draw(st.sampled_from([None, 0.0, 50.0, 5000.0])),
            )
        )
    return arrivals


pools = st.builds(
    Pool,
    accounts=st.integers(1, 4),
    limits=st.builds(
        Limits,
        max_concurrent_builds=st.integers(1, 6),
        builds_per_account=st.integers(1, 4),
        min_live_seconds=st.sampled_from([0.0, 500.0]),
        look_ahead=st.sampled_from([0, 32]),
    ),
    store_bytes=st.sampled_from([None, 1024 * MIB]),
    live_seconds=st.sampled_from([100.0, 5000.0]),
    check_seconds=st.sampled_from([0.0, 10.0]),
    cleaning_seconds=st.sampled_from([0.0, 20.0]),
    shares=st.booleans(),
)


@given(traces(), pools)
@settings(deadline=None)
def test_nothing_is_lost(arrivals: list[Arrival], pool: Pool) -> None:
    figures = run(pool, *arrivals)
    assert figures.arrived == len(arrivals)
    assert figures.bound <= figures.makespan + 1e-6
    assert figures.slots_used <= 1 + 1e-9
    assert figures.accounts_used <= 1 + 1e-9


@given(traces(), pools)
@settings(deadline=None)
def test_at_most_the_allowed_builds_run_and_an_account_has_one_holder(
    arrivals: list[Arrival], pool: Pool
) -> None:
    simulation = Simulation(pool)
    for _ in simulation.steps(arrivals):
        snapshot = simulation.snapshot()
        builds = Counter({place.account_id: place.builds for place in snapshot.places})
        assert sum(builds.values()) == sum(snapshot.building.values())
        assert sum(builds.values()) <= pool.limits.max_concurrent_builds
        assert all(count <= pool.limits.builds_per_account for count in builds.values())
        holders = [place.preview_id for place in snapshot.places if place.preview_id is not None]
        assert len(holders) == len(set(holders))
        assert not any(place.is_shared and place.preview_id is not None for place in snapshot.places)
        assert all(place.builds == 0 and not place.is_serving for place in snapshot.places if place.is_free)
        assert len(snapshot.places) + snapshot.cleaning == pool.accounts
        shown = [show.preview_id for show in snapshot.showing]
        assert set(shown) <= set(holders), "what is live has an account of its own"


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_same_seed_makes_the_same_figures(seed: int) -> None:
    load = Load(days=1.5)
    first, again = (list(made_up(load, seed)) for _ in range(2))
    assert first == again != list(made_up(load, seed + 1))
    assert [arrival.at for arrival in first] == sorted(arrival.at for arrival in first)
    assert Simulation(POOL).run(first) == Simulation(POOL).run(again)


def test_more_bots_do_not_change_what_people_do() -> None:
    def people(load: Load) -> list[Arrival]:
        return [arrival for arrival in made_up(load, 1) if not arrival.is_bot]

    assert people(Load(days=3)) == people(Load(days=3, storms_a_day=50, storm_size=3)) != []


def test_a_made_up_load_is_as_much_as_was_asked_for() -> None:
    load = Load(days=70, people_a_day=40, storms_a_day=3, storm_size=7)
    arrivals = list(made_up(load, 1))
    storms = Counter(arrival.at for arrival in arrivals if arrival.is_bot)
    assert set(storms.values()) == {7}
    assert 150 < len(storms) < 270
    people = {arrival.merge_request for arrival in arrivals if not arrival.is_bot}
    # Fifty working days and twenty of weekends, on which there is less to do.
    assert 0.85 < len(people) / (40 * (50 + 20 * 0.3)) < 1.15
    pushes = sum(not arrival.is_bot for arrival in arrivals) / len(people)
    assert 2.2 < pushes < 2.8


# --- traces and figures -------------------------------------------------------------------------------

HEADER = "at,project,merge_request,who,check_only,build_seconds,image_bytes,outcome,open_seconds"
LINE = "1.5,tool,7,bot,yes,100,1000,build,60"


def read(*lines: str) -> Sequence[Arrival]:
    return list(read_csv(lines, "t.csv"))


def test_a_trace_is_read_as_it_was_written() -> None:
    assert read(HEADER, LINE, "", "2,tool,8,person,no,1,2,,") == [
        Arrival(1.5, "tool", 7, True, True, 100.0, 1000, "build", 60.0),
        Arrival(2.0, "tool", 8, False, False, 1.0, 2, "ok", None),
    ]


@given(traces())
def test_what_is_written_is_read_again(arrivals: list[Arrival]) -> None:
    def lines(rows: Iterable[Sequence[str]]) -> Iterable[str]:
        return (",".join(row) for row in rows)

    assert read(*lines(write_csv(arrivals))) == arrivals


def test_columns_may_stand_in_any_order_and_some_be_left_out() -> None:
    header = "who,at,merge_request,project,image_bytes,build_seconds,check_only"
    assert read(header, "bot,1.5,7,tool,1000,100,yes") == [Arrival(1.5, "tool", 7, True, True, 100.0, 1000)]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "t.csv, line 1: the header lacks at, project"),
        ([HEADER + ",colour"], "t.csv, line 1: the header has columns that are unknown or given twice"),
        ([HEADER + ",at"], "t.csv, line 1: the header has columns that are unknown or given twice"),
        ([HEADER, LINE, "1,2"], "t.csv, line 3: 2 values, but the header names 9 columns."),
        ([HEADER, LINE.replace("1.5", "soon")], "t.csv, line 2: at is 'soon'; it has to be a number"),
        ([HEADER, LINE.replace("1.5", "nan")], "t.csv, line 2: at is 'nan'"),
        ([HEADER, LINE.replace("bot", "cat")], "t.csv, line 2: who is 'cat'; it has to be person or bot."),
        ([HEADER, LINE.replace("yes", "1")], "check_only is '1'; it has to be yes or no."),
        ([HEADER, LINE.replace("tool", " ")], "project is ''; it has to be a name."),
        ([HEADER, LINE.replace(",1000,", ",-1,")], "image_bytes is '-1'"),
        ([HEADER, LINE.replace(",1000,", ",1e999,")], "image_bytes is '1e999'"),
        (
            [HEADER, LINE.replace("build", "crash")],
            "outcome is 'crash'; it has to be empty or one of ok, build",
        ),
        ([HEADER, LINE.replace("60", "never")], "open_seconds is 'never'; it has to be empty or"),
        ([HEADER, LINE, "", "1" + LINE[3:]], "t.csv, line 4: at is 1, but the line before is of 1.5; sort"),
        ([HEADER, '"' + LINE], "t.csv, line 2: this is no CSV"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(lines: list[str], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(*lines)
    assert says in str(caught.value)


def test_waits_are_what_so_many_did_not_exceed() -> None:
    assert waits([]) == exactly(0.0)
    assert waits([3.0]) == exactly(3.0)
    assert waits([float(number) for number in range(100, 0, -1)]) == Waits(50.0, 95.0, 99.0)
