"""Who counts as a bot, and what a bot's merge request gets."""

from __future__ import annotations

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.merge_request import Verb, is_bot
from orchestrator.policy import Policy
from orchestrator.preview import Deployment, State
from orchestrator.quiet import Quiet
from orchestrator.report import desired
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import PASSED, A, B, World

BOT = "project_77_bot_1a2b3c"
NO_QUIET = Quiet(0.0, 0.0)


@pytest.fixture
def world(parts: Parts) -> World:
    return World(parts, accounts=2, policy=Policy(quiet=NO_QUIET))


def kind(deployment: Deployment) -> tuple[bool, bool]:
    return deployment.is_bot, deployment.check_only


@pytest.mark.parametrize(
    "name", ["project_77_bot", "project_1_bot_4", "group_12_bot_0a1b2c", BOT, "renovate-bot"]
)
def test_the_users_of_access_tokens_and_those_that_are_named_are_bots(name: str) -> None:
    assert is_bot(name, {"renovate-bot"})


@pytest.mark.parametrize(
    "name", ["", "alice", "robot", "my_project_77_bot", "project_x_bot", "project_77_bot-fan", "dependabot"]
)
def test_others_are_people(name: str) -> None:
    assert not is_bot(name, {"renovate-bot"})


def test_a_bots_merge_request_is_only_checked(world: World) -> None:
    world.sees(author=BOT)
    assert kind(world.deployment()) == (True, True)
    world.sees(2, author=BOT, who=BOT)
    assert kind(world.deployment(2)) == (True, True)


def test_a_person_who_pushes_to_a_bots_merge_request_counts_as_a_person(world: World) -> None:
    world.sees(author=BOT, who="alice")
    assert kind(world.deployment()) == (False, False)


def test_a_bot_that_pushes_to_a_persons_merge_request_makes_it_no_bots(world: World) -> None:
    world.sees(author="alice", who=BOT)
    assert kind(world.deployment()) == (False, False)


def test_bots_get_whole_previews_where_the_operators_say_so(parts: Parts) -> None:
    world = World(parts, policy=Policy(quiet=NO_QUIET, check_only_bots=False))
    world.sees(author=BOT)
    assert kind(world.deployment()) == (True, False)


def test_a_check_that_passed_says_so_and_how_to_get_a_preview(world: World) -> None:
    world.sees(author=BOT)
    world.steps(out.BuildStarted("b"), out.BuildSucceeded("i"), out.JobStarted(), out.JobReady(), PASSED)
    assert world.deployment().state is State.STOPPED
    report = desired(world.views.subject(world.preview().id, world.now)[1])
    assert report.statuses[0].state == "success"
    assert "Preview was checked" in report.note
    assert "only checked" in report.note
    assert "`/preview`" in report.note
    assert world.comments(Verb.PREVIEW, author=BOT)
    assert kind(world.deployment()) == (False, False)


def test_a_command_makes_a_whole_preview_of_a_check_that_still_waits(parts: Parts) -> None:
    world = World(parts, accounts=0, policy=Policy(quiet=NO_QUIET))
    world.sees(author=BOT)
    assert world.comments(Verb.PREVIEW, author=BOT)
    assert kind(world.deployment()) == (False, False)
    assert world.states() == ["queued"]


def test_a_command_during_a_check_brings_a_preview_in_its_place(world: World) -> None:
    world.sees(author=BOT)
    assert world.deployment().state is State.BUILDING
    assert world.comments(Verb.PREVIEW, author=BOT)
    assert world.states() == ["superseded", "building"]
    assert kind(world.deployment()) == (False, False)
    assert world.goes_live().state is State.LIVE


def test_an_approval_of_a_bots_commit_from_a_fork_brings_a_whole_preview(world: World) -> None:
    world.sees(author=BOT, fork=True)
    assert kind(world.deployment()) == (True, True)
    assert world.comments(Verb.PREVIEW, author=BOT, fork=True)
    assert kind(world.deployment()) == (False, False)
    assert world.goes_live().state is State.LIVE


def test_people_go_before_bots(parts: Parts) -> None:
    world = World(parts, policy=Policy(quiet=NO_QUIET, limits=Limits(max_concurrent_builds=1)))
    world.sees(1)
    world.sees(2, author=BOT)
    world.sees(3)
    position = [world.views.subject(world.preview(iid).id, world.now)[1].position for iid in (2, 3)]
    assert position == [2, 1]
    world.sees(2, sha=B, author=BOT, who="alice")
    assert world.deployment(2).sha == B
    assert A not in {d.sha for d in world.deployments(2) if d.is_pending}
