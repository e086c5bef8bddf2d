"""What people may do is asked once in a while; and a GitLab that does not answer is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.gitlab import GitLab, GitLabBusy
from orchestrator.rights import Rights
from tests.orchestrator.scripted import Answer, Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as made:
        made.answer = Answer({"access_level": 30})
        yield made


@pytest.fixture
def gitlab(server: Scripted) -> Iterator[GitLab]:
    client = GitLab(server.url, "token", user_agent="tests")
    yield client
    client.close()


def test_a_level_is_asked_once_for_each_person_and_project(server: Scripted, gitlab: GitLab) -> None:
    rights = Rights(gitlab)
    for project_id, user_id in ((1, 5), (1, 5), (1, 6), (2, 5), (1, 5)):
        assert rights.level(project_id, user_id) == 30
    assert len(server.asked) == 3


@pytest.mark.parametrize(("rest_seconds", "asked"), [(0.0, 4), (600.0, 2)])
def test_a_gitlab_that_does_not_answer_is_left_alone_where_people_wait(
    server: Scripted, gitlab: GitLab, rest_seconds: float, asked: int
) -> None:
    rights = Rights(gitlab, rest_seconds=rest_seconds)
    assert rights.level(1, 5) == 30
    server.answer = Answer({"message": "away"}, 500)
    for _ in range(3):
        with pytest.raises(GitLabBusy):
            rights.level(1, 6)
        assert rights.level(1, 5) == 30, "what is known still counts"
    assert len(server.asked) == asked
