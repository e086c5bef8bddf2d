"""Whose the things in an account are: by their names and by what our database knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.belongings import Holdings, deployment_ids, forgotten, own_images, refusal, sort
from orchestrator.preview import Deployment, State, Step
from orchestrator.toolforge_answers import Build, BuildStatus, Job

OURS = Deployment(
    id=7,
    preview_id=3,
    iid=12,
    sha="a" * 40,
    state=State.LIVE,
    step=Step.NONE,
    created_at=0.0,
    since=0.0,
    step_since=0.0,
    due_at=None,
    trigger="push",
    actor="alice",
)
#: Number 9 runs the image that was built for number 7.
KNOWN = {7: OURS, 9: replace(OURS, id=9)}


def a_job(name: str = "preview", image: str = "tool-dev-1/mr12-d7:latest@sha256:0") -> Job:
    return Job(name, True, 0, None, "", image)


def a_build(image_name: str = "mr12-d7", build_id: str = "dev-1-buildpacks-pipelinerun-x") -> Build:
    return Build(build_id, BuildStatus.SUCCESS, "", True, image_name, "", "")


def whose(**held: object) -> tuple[bool, bool]:
    """Whether anything is ours, and whether anything is foreign, in an account that was leased before."""
    found = sort("dev-1", Holdings(**held), KNOWN, was_leased=True)  # type: ignore[arg-type]
    return bool(found.ours), bool(found.foreign)


@pytest.mark.parametrize(
    "held",
    [
        {"jobs": [a_job()]},
        {"jobs": [a_job("candidate-d7")]},
        {"jobs": [a_job("candidate-d9")]},  # it runs an image that was built before
        {"jobs": [a_job(image="tools-harbor.wmcloud.org/tool-dev-1/mr12-d7:latest")]},
        {"builds": [a_build()]},
        {"images": ["mr12-d7"], "bytes_used": 5},
        {"bytes_used": 5},
        {"envvars": ["PREVIEW_URL"]},
        {"envvars": ["PREVIEW_OF_SOMETHING_OLD"]},
    ],
)
def test_what_we_made_is_ours(held: dict[str, object]) -> None:
    assert whose(**held) == (True, False)


@pytest.mark.parametrize(
    "held",
    [
        {"jobs": [a_job("cronjob")]},  # our image, but no job of ours
        {"jobs": [a_job(image="python3.11")]},
        {"jobs": [a_job(image="")]},
        {"jobs": [a_job(image="tool-dev-2/mr12-d7:latest")]},  # another account's
        {"jobs": [a_job(image="tool-dev-1/mr13-d7:latest")]},  # another merge request's
        {"jobs": [a_job(image="tool-dev-1/mr12-d8:latest")]},  # of no deployment that was here
        {"jobs": [a_job("candidate-d7x")]},
        {"jobs": [a_job("candidate-d8")]},
        {"jobs": [a_job("candidate-d07", "")]},
        {"builds": [a_build("tool-dev-1")]},
        {"builds": [a_build("mr12-d07")]},
        {"builds": [a_build("mr12-d8")]},
        {"builds": [a_build("")]},
        {"images": ["tool-dev-1"], "bytes_used": 5},
        {"images": ["mr12-d7-old"], "bytes_used": 5},
    ],
)
def test_what_others_made_is_foreign(held: dict[str, object]) -> None:
    assert whose(**held) == (False, True)


def test_envvars_of_the_operators_are_nobodys_business() -> None:
    assert whose(envvars=["DATABASE_PASSWORD", "PREVIEWER", "MY_PREVIEW_URL"]) == (False, False)


def test_bytes_that_nothing_explains_are_foreign_where_we_never_were() -> None:
    found = sort("dev-1", Holdings(bytes_used=5), {}, was_leased=False)
    assert (found.ours, found.foreign.bytes_used) == (Holdings(), 5)
    assert refusal(found.foreign) == "somebody else uses it: found 5 bytes of images"


def test_a_store_with_images_of_both_holds_something_of_both() -> None:
    assert whose(images=["mr12-d7", "theirs"], bytes_used=5) == (True, True)


def test_an_operator_can_have_everything_taken_for_ours_but_their_own_envvars() -> None:
    held = Holdings((a_job("x"),), (a_build("x"),), ("mr12-d7", "x"), ("PREVIEW_URL", "SECRET"), 5, 9)
    found = sort("dev-1", held, KNOWN, was_leased=True).taken_over()
    assert not found.foreign
    assert found.ours == replace(held, envvars=("PREVIEW_URL",))


def test_only_the_tools_own_images_are_its_own() -> None:
    listed = [
        "bookworm",
        "tools-harbor.wmcloud.org/toolforge-bookworm:latest",
        "tool-dev-1/mr1-d2:latest",
        "tools-harbor.wmcloud.org/tool-dev-1/mr1-d2:latest",
        "tool-dev-1/other:latest@sha256:00",
        "tool-dev-2/mr1-d3:latest",
        "tool-dev-1/",
        "",
    ]
    assert own_images("dev-1", listed) == ("mr1-d2", "other")


def test_the_words_name_some_and_count_the_rest() -> None:
    jobs = [a_job(f"job-{number}") for number in range(5)]
    words = refusal(Holdings(jobs=jobs, builds=[a_build()], images=["x" * 300]))
    assert "5 jobs job-0, job-1, job-2 and 2 more" in words
    assert "build dev-1-buildpacks-pipelinerun-x" in words
    assert f"image {'x' * 60}" in words
    assert len(words) < 300


_names = st.one_of(
    st.sampled_from(["mr12-d7", "mr12-d8", "mr1-d7", "theirs", "mr12-d7 ", "mr99999999999-d99999999999"]),
    st.text(max_size=12),
)
_references = st.builds("tool-{}/{}:latest".format, st.sampled_from(["dev-1", "dev-2"]), _names)
_holdings = st.builds(
    Holdings,
    jobs=st.lists(st.builds(a_job, st.sampled_from(["preview", "candidate-d7", "x"]), _references)),
    builds=st.lists(st.builds(a_build, _names, _names)),
    images=st.lists(_names, unique=True),
    envvars=st.lists(st.sampled_from(["PREVIEW_URL", "PREVIEW_X", "SECRET"]), unique=True),
    bytes_used=st.integers(0, 2**40),
)


@given(_holdings, st.booleans(), st.booleans())
def test_everything_is_somebodys_and_only_what_we_know_is_ours(
    held: Holdings, knows: bool, was_leased: bool
) -> None:
    found = sort("dev-1", held, KNOWN if knows else {}, was_leased=was_leased)
    for kind in ("jobs", "builds", "images"):
        ours, foreign = getattr(found.ours, kind), getattr(found.foreign, kind)
        assert sorted([*ours, *foreign], key=repr) == sorted(getattr(held, kind), key=repr)
        assert not [thing for thing in ours if thing in foreign]
    assert max(found.ours.bytes_used, found.foreign.bytes_used) == held.bytes_used
    if not knows:
        assert (found.ours.jobs, found.ours.builds, found.ours.images) == ((), (), ())
    assert set(found.ours.images) <= {"mr12-d7"}
    assert all(number < 10**9 for number in deployment_ids("dev-1", held))
    assert len(refusal(found.foreign)) < 1500


# --- what a database that was put back has forgotten --------------------------------------------------


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"images": ["mr3-d8"], "bytes_used": 5}, (True, False)),
        ({"images": ["mr3-d8-worker"], "bytes_used": 5}, (True, False)),
        ({"builds": [a_build("mr3-d8")]}, (True, False)),
        ({"jobs": [a_job(image="tool-dev-1/mr3-d8:latest@sha256:0")]}, (True, False)),
        ({"jobs": [a_job("worker", "tool-dev-1/mr3-d8-worker:latest")]}, (True, False)),
        ({"jobs": [a_job("candidate-d11", "tool-dev-1/mr3-d8:latest")]}, (True, False)),
        # Number 6 is not newer than what the copy knows, and was never here.
        ({"images": ["mr3-d6"], "bytes_used": 5}, (False, True)),
        ({"images": ["somebody-elses"], "bytes_used": 5}, (False, True)),
        ({"jobs": [a_job("worker", "tool-dev-1/somebody-elses:latest")]}, (False, True)),
        ({"jobs": [a_job(image="tool-other/mr3-d8:latest")]}, (False, True)),
    ],
)
def test_things_of_forgotten_deployments_are_ours(
    held: dict[str, object], expected: tuple[bool, bool]
) -> None:
    holdings = Holdings(**held)  # type: ignore[arg-type]
    known = {**forgotten("dev-1", holdings, after=7), 7: OURS}
    found = sort("dev-1", holdings, known, was_leased=True)
    assert (bool(found.ours), bool(found.foreign)) == expected
