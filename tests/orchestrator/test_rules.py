"""Which merge requests get a preview, by the rules of their project; and the commands in comments."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.merge_request import Command, MergeRequest, Verb, command_in
from orchestrator.preview import State
from orchestrator.records import Kind
from orchestrator.report import desired
from orchestrator.rules import Drafts, Forks, Rules, check, from_json, why_not
from tests.orchestrator.scene import A, B, World

SEEN = MergeRequest(
    iid=1,
    state="opened",
    sha=A,
    title="A change",
    author="bob",
    web_url="http://gitlab/1",
    source_branch="change",
    target_branch="main",
    source_project_id=77,
    target_project_id=77,
    labels=("ui", "wip"),
    paths=("docs/a.md", "src/app.py"),
)


def reason(seen: dict[str, Any] | None = None, **rules: Any) -> str | None:
    return why_not(Rules(**rules), replace(SEEN, **(seen or {})))


def test_without_rules_everything_gets_one() -> None:
    assert reason() is None
    assert reason({"is_draft": True, "source_project_id": 99, "labels": (), "paths": None}) is None


def test_a_fork_can_be_left_out() -> None:
    assert reason(forks=Forks.NEVER) is None
    assert "forks" in str(reason({"source_project_id": 99}, forks=Forks.NEVER))
    assert "forks" in str(reason({"source_project_id": None}, forks=Forks.NEVER)), "a fork that was deleted"


def test_a_draft_can_be_waited_for() -> None:
    assert reason(drafts=Drafts.WAIT) is None
    assert "draft" in str(reason({"is_draft": True}, drafts=Drafts.WAIT))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"labels": ("ui", "web")}, None),
        ({"labels": ("web", "db")}, "it needs the label web or db"),
        ({"no_labels": ("wip",)}, "it has the label wip"),
        ({"labels": ("ui",), "no_labels": ("wip",)}, "it has the label wip"),
        ({"targets": ("ma*",)}, None),
        ({"targets": ("release-*",)}, "it does not go to release-*"),
        ({"paths": ("src/*",)}, None),
        ({"paths": ("lib/*",)}, "it changes nothing in lib/*"),
        ({"ignored_paths": ("*.md",)}, None),
        ({"ignored_paths": ("*.md", "src/*")}, "it changes nothing but *.md or src/*"),
        ({"paths": ("*.md",), "ignored_paths": ("docs/*",)}, "it changes nothing in *.md"),
    ],
)
def test_labels_targets_and_paths(rules: dict[str, Any], words: str | None) -> None:
    assert reason(**rules) == words


@pytest.mark.parametrize("paths", [None, ()])
def test_paths_that_are_not_known_are_no_reason(paths: tuple[str, ...] | None) -> None:
    assert reason({"paths": paths}, paths=("lib/*",), ignored_paths=("*",)) is None


@given(
    st.builds(
        Rules,
        forks=st.sampled_from(Forks),
        drafts=st.sampled_from(Drafts),
        labels=st.lists(st.text(max_size=9), max_size=3).map(tuple),
        paths=st.lists(st.text(max_size=9), max_size=3).map(tuple),
        check_only_bots=st.sampled_from([True, False, None]),
        life=st.sampled_from(["", "90m", "2d"]),
    )
)
def test_rules_come_back_as_they_were_written(rules: Rules) -> None:
    assert from_json({**asdict(rules), "of_a_newer_version": 1}) == rules
    why_not(rules, SEEN)


def test_rules_that_make_no_sense_are_refused() -> None:
    for wrong in (
        *({"labels": ("",)}, {"paths": ("x" * 256,)}, {"bots": ("b",) * 51}),
        *({"life": "long"}, {"life": "0h"}, {"life": "25h"}, {"life": "-1h"}, {"life": "1h\n"}),
    ):
        with pytest.raises(BadInput):
            check(Rules(**wrong), 86400.0)
    check(Rules(life="24h"), 86400.0)


# --- in the life of a merge request -------------------------------------------------------------------


@pytest.fixture
def world(parts: Parts) -> World:
    return World(parts)


@pytest.mark.parametrize(
    ("decided", "by_file", "hours"), [("", {}, 1), ("5h", {}, 5), ("5h", {"life": {"max": "3h"}}, 3)]
)
def test_a_preview_stays_up_by_its_file_or_its_project_or_as_usual(
    world: World, decided: str, by_file: dict[str, object], hours: float
) -> None:
    world.lifecycle.set_rules(world.project_id, Rules(life=decided), "dana", world.now)
    world.sees(reads=False)
    world.step(out.FileRead(by_file))
    world.goes_live()
    assert world.preview().expires_at == pytest.approx(world.deployment().since + hours * 3600.0)


def test_no_project_keeps_its_previews_longer_than_the_operators_allow(world: World) -> None:
    with pytest.raises(BadInput, match="336h"):
        world.lifecycle.set_rules(world.project_id, Rules(life="15d"), "dana", world.now)


def decided(world: World, **rules: Any) -> None:
    world.lifecycle.set_rules(world.project_id, Rules(**rules), "olga", world.now)


def told(world: World) -> tuple[str, str, str]:
    """State and description of the head's commit status, and the note."""
    _, subject = world.views.subject(world.preview().id, world.now)
    report = desired(subject)
    return report.statuses[0].state, report.statuses[0].description, report.note


def test_what_the_rules_leave_out_is_told_neutrally_and_takes_nothing(world: World) -> None:
    decided(world, no_labels=("wip",))
    world.sees(labels=("wip",))
    assert world.deployment().state is State.REFUSED
    assert world.account().preview_id is None
    state, description, note = told(world)
    assert state == "success", "it must not hold the merge request up"
    assert description == "Does not apply here: it has the label wip"
    assert "no preview: `it has the label wip`." in note
    world.sees(labels=("wip",))
    assert world.states() == ["refused"], "seen again it is left out once"


def test_a_draft_that_becomes_ready_is_built(world: World) -> None:
    decided(world, drafts=Drafts.WAIT)
    world.sees(is_draft=True)
    assert world.deployment().state is State.REFUSED
    world.sees()
    assert world.deployment().state is State.BUILDING


def test_what_is_up_stays_up_when_the_rules_leave_the_next_commit_out(world: World) -> None:
    world.sees()
    world.goes_live()
    decided(world, paths=("src/*",))
    world.sees(sha=B, paths=("README.md",))
    assert world.states() == ["live", "refused"]


def test_whoever_may_ask_for_one_gets_one(world: World) -> None:
    decided(world, labels=("ui",))
    world.sees()
    assert world.comments(Verb.PREVIEW)
    assert world.deployment().state is State.BUILDING


def test_an_approval_is_still_needed_for_a_fork(world: World) -> None:
    decided(world, labels=("ui",))
    world.sees(fork=True, labels=("ui",))
    assert world.deployment().state is State.QUEUED
    assert world.account().preview_id is None


def test_a_project_has_bots_of_its_own_and_may_want_to_look_at_what_they_do(world: World) -> None:
    decided(world, bots=("libup",))
    world.sees(1, author="libup", who="libup")
    assert world.deployment(1).check_only
    decided(world, bots=("libup",), check_only_bots=False)
    world.sees(2, author="libup", who="libup")
    assert (world.deployment(2).is_bot, world.deployment(2).check_only) == (True, False)


def test_what_gitlab_refuses_to_be_told_is_shown(world: World) -> None:
    world.sees()
    assert world.views.untold() == []
    claim = world.claim(Kind.REPORT, world.preview().id)
    with world.store.write() as tx:
        tx.close_report(claim, tx.told(claim.id)[1], error="POST /projects/77/environments: 403")
    assert world.views.untold() == ["group/tool!1: POST /projects/77/environments: 403"]
    assert world.views.overview(world.now).untold == world.views.untold()


# --- commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "command"),
    [
        ("/preview", Command(Verb.PREVIEW)),
        ("  /preview\n", Command(Verb.PREVIEW)),
        ("/preview redeploy", Command(Verb.REDEPLOY)),
        ("/preview rebuild", Command(Verb.REBUILD)),
        ("/preview stop", Command(Verb.STOP)),
        ("/preview logs", Command(Verb.LOGS)),
        ("/preview help", Command(Verb.HELP)),
        ("/preview keep 48h", Command(Verb.KEEP, 48 * 3600.0)),
        ("/preview keep 3d", Command(Verb.KEEP, 3 * 86400.0)),
        ("/preview keep", Command(Verb.UNKNOWN)),
        ("/preview keep long", Command(Verb.UNKNOWN)),
        ("/preview stop now", Command(Verb.UNKNOWN)),
        ("/preview unknown", Command(Verb.UNKNOWN)),
        ("/preview preview", Command(Verb.UNKNOWN)),
        ("/preview now please", None),
        ("    /preview", None),
        ("\n\t/preview stop", None),
        ("   /preview", Command(Verb.PREVIEW)),
        ("/previews", None),
        ("Please /preview", None),
        ("/preview\n/preview stop", None),
        ("> /preview", None),
        ("`/preview`", None),
        ("```\n/preview\n```", None),
        ("/preview stop and merge this", None),
        ("/preview keep 1h; rm", None),
        ("", None),
    ],
)
def test_a_comment_that_is_nothing_but_a_command_is_one(comment: str, command: Command | None) -> None:
    assert command_in(comment) == command


def test_a_rebuild_does_not_use_the_image_that_is_there(world: World) -> None:
    world.sees()
    world.goes_live()
    assert world.comments(Verb.REBUILD)
    assert world.deployment().trigger == "rebuild"
    assert world.deployment().state is State.BUILDING


def test_a_preview_is_kept_by_a_comment(world: World) -> None:
    world.sees()
    assert not world.comments(Command(Verb.KEEP, 7200.0)), "nothing is up yet"
    world.goes_live()
    assert world.comments(Command(Verb.KEEP, 7200.0))
    assert world.preview().keep_until == world.now + 7200.0
    assert not world.comments(Command(Verb.KEEP, 1e9)), "longer than anybody may"
    assert "A preview can be kept for 168 hours at most." in told(world)[2]
    assert world.comments(Command(Verb.KEEP, 7200.0))
    assert "not carried out" not in told(world)[2], "one that could be clears it"


def test_logs_are_shown_in_the_note_until_the_next_deployment(world: World) -> None:
    world.sees()
    with world.store.write() as tx:
        tx.put_log(
            world.deployment().id, "build", "first\n" * 50 + "@all /merge", is_truncated=False, now=1.0
        )
    assert world.comments(Verb.LOGS)
    note = told(world)[2]
    assert "Log: build" in note
    assert note.count("first\n") == 39
    assert "```text" in note
    world.sees(sha=B)
    assert "Log: build" not in told(world)[2]


def test_help_and_what_is_no_command_change_nothing_but_are_answered(world: World) -> None:
    world.sees()
    assert world.comments(Verb.HELP)
    assert not world.comments(Verb.UNKNOWN)
    assert world.states() == ["building"]
    assert "`/preview keep 48h`" in told(world)[2]
    assert "not carried out: `no command is called so" in told(world)[2]
    world.sees(sha=B)
    assert "not carried out" not in told(world)[2]
