"""The one issue about a default branch: opened once, whatever becomes of the answers, and kept true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLab, GitLabBusy, NotPermitted
from orchestrator.mainline import Issue, marker
from orchestrator.records import Project
from worker import branch_issue

NOW = 1_000_000.0
_numbers = itertools.count(1)
OPENED = "POST /projects/:id/issues"
CHANGED = "PUT /projects/:id/issues/:issue_iid"


class Scene:
    """A project on a local GitLab, and what it was told."""

    def __init__(self, lab: LocalGitLab, seeder: Seeder, gitlab: GitLab, name: str) -> None:
        self.lab, self.gitlab, self._seeder = lab, gitlab, seeder
        made = seeder.project(name)
        self.project = Project(5, made.id, made.path, "", "", (), (), NOW)
        self.told: Mapping[str, Any] = {}
        self.now = NOW
        lab.faults.clear()
        lab.faults.reset_calls()

    def tells(self, wanted: Issue | None) -> None:
        """A worker tells GitLab."""

        def keep(news: Mapping[str, Any]) -> None:
            self.told = dict(news)

        branch_issue.send(
            self.gitlab, self.project, wanted, self.told, keep=keep, guard=lambda: None, now=self.now
        )

    def issues(self) -> list[tuple[str, str]]:
        """State and text of all issues of the project."""
        found = self._seeder.api("GET", f"/projects/{self.project.gitlab_id}/issues")
        return [(one["state"], one["description"].partition("\n")[2]) for one in found]

    def somebody(self, event: str) -> None:
        """A person closes or opens the issue."""
        self._seeder.api("PUT", f"/projects/{self.project.gitlab_id}/issues/1", state_event=event)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as running:
        yield running


@pytest.fixture
def scene(lab: LocalGitLab) -> Iterator[Scene]:
    with Seeder(lab.url, lab.root_token) as seeder:
        gitlab = GitLab(lab.url, seeder.service.token, user_agent="tests (a@b.example)")
        yield Scene(lab, seeder, gitlab, f"tool-{next(_numbers)}")
        gitlab.close()


BROKEN = Issue("main does not deploy", f"{marker(5)}\nbroken", is_open=True)
MENDED = Issue("main does not deploy", f"{marker(5)}\nmended", is_open=False)


def test_it_is_opened_changed_closed_and_opened_again_and_stays_one(scene: Scene) -> None:
    scene.tells(None)
    scene.tells(MENDED)
    assert scene.issues() == [], "there is nothing to say"
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]
    scene.tells(replace(BROKEN, description=f"{marker(5)}\nworse"))
    assert scene.issues() == [("opened", "worse")]
    scene.tells(MENDED)
    assert scene.issues() == [("closed", "mended")]
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]


def test_what_is_told_already_is_not_told_again(scene: Scene) -> None:
    scene.tells(BROKEN)
    calls = scene.lab.faults.calls()
    scene.tells(BROKEN)
    assert scene.lab.faults.calls() == calls


def test_what_people_closed_stays_closed_until_it_breaks_once_more(scene: Scene) -> None:
    scene.tells(BROKEN)
    scene.somebody("close")
    scene.tells(replace(BROKEN, description=f"{marker(5)}\nworse"))
    assert scene.issues() == [("closed", "worse")]
    scene.tells(MENDED)
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]


@pytest.mark.parametrize("kind", ["lost", "cut_mid"])
def test_one_whose_answer_was_lost_is_found_again(scene: Scene, kind: str) -> None:
    scene.lab.faults.add(OPENED, kind)
    with pytest.raises(GitLabBusy):
        scene.tells(BROKEN)
    scene.now += 5
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]
    assert scene.told["issue_iid"] == 1


def test_one_that_may_still_appear_is_waited_for(scene: Scene) -> None:
    scene.lab.faults.add(OPENED, "cut_before")
    with pytest.raises(GitLabBusy):
        scene.tells(BROKEN)
    scene.now += 5
    with pytest.raises(TryLater) as later:
        scene.tells(BROKEN)
    assert later.value.seconds == 55.0
    assert scene.issues() == []
    scene.now += 55
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]


def test_a_worker_that_is_killed_after_it_was_opened_leaves_one(scene: Scene) -> None:
    scene.tells(BROKEN)
    scene.told = {"issue_unsure_until": NOW + branch_issue.UNSURE_SECONDS}
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]
    scene.told = {}
    scene.tells(MENDED)
    assert scene.issues() == [("closed", "mended")]


def test_where_gitlab_refuses_it_the_next_try_need_not_wait(scene: Scene) -> None:
    scene.lab.faults.add(OPENED, "status", status=403)
    with pytest.raises(NotPermitted):
        scene.tells(BROKEN)
    scene.tells(BROKEN)
    assert scene.issues() == [("opened", "broken")]


def test_one_that_was_deleted_is_opened_anew_while_there_is_something_to_say(scene: Scene) -> None:
    scene.tells(BROKEN)
    scene.told = {**scene.told, "issue_iid": 99}
    scene.tells(MENDED)
    assert scene.told.get("issue_iid") is None
    assert scene.lab.faults.count(CHANGED) == 1
