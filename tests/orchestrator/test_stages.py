"""How long something took for what."""

from __future__ import annotations

from orchestrator.preview import Deployment, State, Step
from orchestrator.stages import build_seconds, record, stages


def a_deployment(state: State, *, build_id: str | None = "b", **entered: float) -> Deployment:
    return Deployment(
        id=1,
        preview_id=1,
        iid=1,
        sha="a" * 40,
        state=state,
        step=Step.NONE,
        created_at=0.0,
        since=0.0,
        step_since=0.0,
        due_at=None,
        trigger="test",
        actor="bob",
        build_id=build_id,
        entered=entered,
    )


def test_each_stage_lasts_until_the_next_and_the_last_until_now() -> None:
    going = a_deployment(State.BUILDING, queued=10.0, building=15.0)
    assert [(one.state, one.seconds(21.0)) for one in stages(going)] == [("queued", 5.0), ("building", 6.0)]


def test_what_it_is_after_the_verdict_is_no_stage() -> None:
    ended = a_deployment(State.LIVE, queued=0.0, building=1.0, starting=4.0, checking=5.0, live=9.0)
    assert [(one.state, one.seconds(100.0)) for one in stages(ended)][-1] == ("checking", 4.0)


def test_an_image_that_was_there_already_is_no_build() -> None:
    assert build_seconds(a_deployment(State.LIVE, building=1.0, starting=4.0)) == 3.0
    assert build_seconds(a_deployment(State.LIVE, build_id=None, building=1.0, starting=1.1)) is None
    assert build_seconds(a_deployment(State.FAILED, building=1.0, failed=2.0)) is None


def test_only_verdicts_count_for_the_record() -> None:
    none = record([a_deployment(State.SUPERSEDED), a_deployment(State.CANCELLED), a_deployment(State.QUEUED)])
    assert (none.rate, none.median_seconds) == (None, None)
    some = record(
        [
            a_deployment(State.FAILED, building=0.0, starting=9.0),
            a_deployment(State.LIVE, building=0.0, starting=3.0),
            a_deployment(State.STOPPED, building=0.0, starting=1.0),
        ]
    )
    assert some.rate == 2 / 3
    assert [built.seconds for built in some.builds] == [1.0, 3.0, 9.0], "the oldest first"
    assert some.median_seconds == 3.0
