"""Promises of the line: kept from plan to plan, it is the line that would be made anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.line import Line, Manners, Waiting
from orchestrator.scheduler import Limits, MakeRoom, Place, Showing, Snapshot, Start, plan

NOW = 10_000.0


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Waiting], list[int]]:
    """Those who come, in their order, and which of them leave before the end."""
    gaps = draw(st.lists(st.floats(0, 900), max_size=12))
    came = [
        Waiting(
            number,
            100 + number,
            draw(st.integers(1, 3)),
            since=sum(gaps[: number + 1]),
            is_bot=draw(st.booleans()),
            needs_bytes=draw(st.integers(0, 9)),
            is_asked_for=draw(st.booleans()),
        )
        for number in range(len(gaps))
    ]
    left = draw(st.lists(st.sampled_from(range(len(came))), unique=True)) if came else []
    return came, left


manners = st.builds(
    Manners,
    ageing_seconds=st.floats(0, 10_000),
    starving_seconds=st.floats(0, 10_000),
    weights=st.dictionaries(st.integers(1, 3), st.floats(0.5, 4.0)),
)


def kept(came: list[Waiting], left: list[int]) -> Line:
    line = Line(came)
    for number in left:
        line.leave(number)
    return line


@given(histories(), manners, st.dictionaries(st.integers(1, 3), st.integers(0, 4)))
def test_a_line_that_some_have_left_is_the_line_of_those_who_stayed(
    history: tuple[list[Waiting], list[int]], how: Manners, building: dict[int, int]
) -> None:
    came, left = history
    line, anew = kept(came, left), Line(one for one in came if one.deployment_id not in left)
    assert list(line.turns(building, how, NOW)) == list(anew.turns(building, how, NOW))
    assert (list(line), len(line)) == (list(anew), len(anew))
    assert [line.of_preview(one.preview_id) for one in came] == [anew.of_preview(o.preview_id) for o in came]


@given(histories(), st.integers(0, 9))
def test_whoever_is_too_large_is_found_wherever_in_the_line_it_is(
    history: tuple[list[Waiting], list[int]], size: int
) -> None:
    line = kept(*history)
    too_large = {one.deployment_id for one in line if one.needs_bytes > size and not one.is_asked_for}
    for _ in range(2):
        assert {one.deployment_id for one in line.larger_than(size)} == too_large, "looking changes nothing"


def test_of_two_that_came_together_people_go_first() -> None:
    bot, person = Waiting(1, 1, 1, since=0.0, is_bot=True), Waiting(2, 2, 1, since=0.0)
    aged = Manners(ageing_seconds=10.0, starving_seconds=1e9)
    assert list(Line([bot, person]).turns({}, aged, NOW)) == [person, bot]


class _Watched(Line):
    """Counts how many were looked at."""

    looked_at = 0

    def turns(self, *arguments: object) -> Iterator[Waiting]:
        for waiting in super().turns(*arguments):  # type: ignore[arg-type]
            self.looked_at += 1
            yield waiting


def test_a_plan_does_not_walk_a_long_line() -> None:
    line = _Watched(Waiting(number, number, number % 7, since=float(number)) for number in range(5000))
    showing = [Showing(9000 + number, 0.0) for number in range(3)]
    places = [*(Place(number, 9000 + number) for number in range(3)), Place(3, 4999), Place(4, None)]
    limits = Limits(max_concurrent_builds=9, starving_seconds=1e9)
    decided = plan(Snapshot(line, places, showing), limits, NOW)
    first = next(iter(Line(islice(line, 7)).turns({}, limits, NOW))).deployment_id
    assert {(d.deployment_id, d.account_id) for d in decided if isinstance(d, Start)} == {
        (first, 4),
        (4999, 3),
    }, "the last in the line has an account of its own"
    assert sum(isinstance(d, MakeRoom) for d in decided) == 3
    assert line.looked_at < 10
