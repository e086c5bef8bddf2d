"""What failures in several projects have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.incidents import Affected, incidents
from orchestrator.outcome import Failure
from orchestrator.preview import Deployment, State, Step
from orchestrator.runtimes import with_pin

FAILURE = Failure(
    stage="build",
    summary="Toolforge's builder does not have Python 3.14, which .python-version asks for",
    remedy="Set it back.",
    cause="python-version-missing",
    facts={"version": "3.14", "file": ".python-version"},
)


def failed(project: int, failure: Failure | None = FAILURE, *, iid: int = 1, since: float = 5.0) -> Affected:
    """A merge request whose newest deployment failed."""
    deployment = Deployment(
        id=project * 100 + iid,
        preview_id=project * 100 + iid,
        iid=iid,
        sha="a" * 40,
        state=State.FAILED,
        step=Step.NONE,
        created_at=0.0,
        since=since,
        step_since=0.0,
        due_at=None,
        trigger="merge_request",
        actor="bot",
        failure=failure,
    )
    return Affected(project, f"tools/tool-{project}", iid, deployment)


def test_one_cause_in_several_projects_is_one_incident() -> None:
    other = replace(FAILURE, facts={"version": "3.14", "file": "runtime.txt"})
    (found,) = incidents([failed(1, since=3.0), failed(2), failed(3, other, since=9.0), failed(3, iid=2)])
    assert found.projects == ["tools/tool-1", "tools/tool-2", "tools/tool-3"]
    assert (found.since, found.affected[0].path, len(found.affected)) == (3.0, "tools/tool-3", 4)
    assert incidents([failed(number) for number in (4, 5, 6)])[0].id == found.id, "known by its cause"


@pytest.mark.parametrize(
    "failures",
    [
        [FAILURE, FAILURE],
        [FAILURE, FAILURE, replace(FAILURE, facts={"version": "3.15"})],
        [FAILURE, FAILURE, replace(FAILURE, cause="node-version-missing")],
        [replace(FAILURE, cause="")] * 3,
        [replace(FAILURE, facts={})] * 3,
        [replace(FAILURE, facts={"file": "app.py", "line": "3"})] * 3,
        [None] * 3,
    ],
)
def test_what_may_be_each_projects_own_affair_is_none(failures: list[Failure | None]) -> None:
    assert incidents(failed(number, one) for number, one in enumerate(failures)) == []


def test_three_merge_requests_of_one_project_are_none() -> None:
    assert incidents(failed(1, iid=iid) for iid in (1, 2, 3)) == []


def test_toolforges_own_failures_need_no_facts() -> None:
    away = Failure("toolforge", "the package index did not answer", "Try again.", cause="index-away")
    assert len(incidents(failed(number, away) for number in (1, 2, 3))) == 1


def test_the_widest_spread_comes_first() -> None:
    rare = replace(FAILURE, facts={"version": "3.15"})
    many = [failed(number) for number in range(5)] + [failed(number, rare, iid=2) for number in range(3)]
    assert [len(one.projects) for one in incidents(many)] == [5, 3]


@pytest.mark.parametrize(
    ("content", "before"),
    [(b"3.14\n", "3.14"), (b"# why\n3.14\n", "3.14"), (None, ""), (b"\xff\n1\n2\n", "")],
)
def test_a_pin_is_set_whatever_was_there(content: bytes | None, before: str) -> None:
    assert with_pin("Python", content, "3.13") == (before, "3.13\n")


def test_a_file_with_more_than_the_pin_is_left_to_people() -> None:
    with pytest.raises(ValueError, match=r"package\.json is to be changed by hand"):
        with_pin("Node.js", b"{}", "22")
