"""What GitLab is told of a preview, for every state, and that foreign text in it does nothing."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis import explain_build
from orchestrator.outcome import CheckResult, Evidence, Failure
from orchestrator.preview import STEPS, Deployment, State, Step
from orchestrator.records import Preview
from orchestrator.report import (
    Status,
    Subject,
    desired,
    marker,
    must_send,
    note,
    refusal,
    refusal_marker,
    size,
)
from tests.orchestrator.scene import A, B
from tests.orchestrator.test_markdown import hostile

NOW = 1_000_000.0
ADDRESS = "https://dev-1.toolforge.org/"
PAGE = "https://previews.toolforge.org/group/tool/-/12"
FAILURE = Failure(stage="build", summary="it broke", remedy="Mend it.", excerpt="line one\nline two")


def a_preview(**changes: object) -> Preview:
    values: dict[str, object] = {
        "id": 3,
        "project_id": 2,
        "iid": 12,
        "title": "A change",
        "author": "alice",
        "web_url": "https://gitlab/group/tool/-/merge_requests/12",
        "source_branch": "change",
        "target_branch": "main",
        "mr_state": "opened",
        "head_sha": A,
        "expires_at": None,
        "stop_reason": "",
        "created_at": NOW,
        "is_from_project": True,
        "seen_at": NOW,
    }
    return Preview(**(values | changes))  # type: ignore[arg-type]


def a_deployment(state: State = State.QUEUED, step: Step | None = None, **changes: object) -> Deployment:
    values: dict[str, object] = {
        "id": 7,
        "preview_id": 3,
        "iid": 12,
        "sha": A,
        "state": state,
        "step": step or (Step.AWAIT_SLOT if state is State.QUEUED else min(STEPS[state])),
        "created_at": NOW,
        "since": NOW,
        "step_since": NOW,
        "due_at": None,
        "trigger": "test",
        "actor": "alice",
        "failure": FAILURE if state is State.FAILED else None,
        "entered": {State.QUEUED: NOW},
    }
    return Deployment(**(values | changes))  # type: ignore[arg-type]


def a_subject(*deployments: Deployment, **changes: object) -> Subject:
    values: dict[str, object] = {
        "preview": a_preview(),
        "deployments": deployments,
        "address": ADDRESS if any(d.state is State.LIVE for d in deployments) else None,
        "page_url": PAGE,
        "account": "dev-1",
        "position": None,
        "receipt": None,
    }
    return Subject(**(values | changes))  # type: ignore[arg-type]


# --- statuses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "told", "words"),
    [
        (State.QUEUED, "pending", "Waits for a Toolforge dev account"),
        (State.BUILDING, "running", "Being built"),
        (State.STARTING, "running", "Being built"),
        (State.CHECKING, "running", "Being built"),
        (State.LIVE, "success", ADDRESS),
        (State.STOPPED, "success", "taken down since"),
        (State.FAILED, "failed", "build failed: it broke"),
        (State.SUPERSEDED, "canceled", "newer commit"),
        (State.CANCELLED, "canceled", "the merge request was closed"),
        (State.REFUSED, "success", "Refused"),
    ],
)
def test_every_state_has_its_status(state: State, told: str, words: str) -> None:
    closed = a_preview(mr_state="closed", stop_reason="the merge request was closed")
    (status,) = desired(a_subject(a_deployment(state), preview=closed)).statuses
    assert (status.sha, status.state) == (A, told)
    assert words in status.description


def test_the_status_of_what_is_live_leads_to_its_address_and_others_to_our_page() -> None:
    for state in State:
        (status,) = desired(a_subject(a_deployment(state))).statuses
        assert status.target_url == (ADDRESS if state is State.LIVE else PAGE)


def test_a_commit_that_waits_for_approval_says_what_a_developer_has_to_do() -> None:
    (status,) = desired(a_subject(a_deployment(step=Step.AWAIT_APPROVAL))).statuses
    assert status.state == "pending"
    assert "/preview" in status.description


def test_a_place_in_the_queue_is_told() -> None:
    subject = a_subject(a_deployment(), position=3)
    assert "(number 3 in the queue)" in desired(subject).statuses[0].description
    assert "(number 3 in the queue)" in note(subject)


def test_a_time_of_arrival_is_told_in_steps_of_five_minutes() -> None:
    noon = datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()
    for moment in (noon - 299, noon - 1, noon):
        subject = a_subject(a_deployment(), position=3, expected_at=moment)
        assert "number 3 in the queue, a verdict at about 12:00 UTC" in note(subject)


def test_a_pool_without_a_usable_account_is_told() -> None:
    subject = a_subject(a_deployment(), pool_is_usable=False, position=1)
    assert "no usable Toolforge dev account" in desired(subject).statuses[0].description
    assert "operators" in note(subject)


def test_a_commit_tried_twice_has_the_status_of_its_newest_try() -> None:
    report = desired(a_subject(a_deployment(State.BUILDING, id=8), a_deployment(State.FAILED, id=7)))
    assert [(status.sha, status.state) for status in report.statuses] == [(A, "running")]


def test_each_commit_keeps_a_status_of_its_own() -> None:
    report = desired(a_subject(a_deployment(State.FAILED, id=8, sha=B), a_deployment(State.LIVE, id=7)))
    assert [(status.sha, status.state) for status in report.statuses] == [(B, "failed"), (A, "success")]


@given(st.sampled_from(State), hostile, st.text(max_size=2000))
def test_a_description_fits_into_gitlabs_limit(state: State, summary: str, reason: str) -> None:
    failure = Failure(stage="check", summary=summary * 30, remedy="")
    subject = a_subject(a_deployment(state, failure=failure), preview=a_preview(stop_reason=reason))
    assert len(desired(subject).statuses[0].description) <= 255


@pytest.mark.parametrize(
    ("told", "state", "sent"),
    [
        (None, "pending", True),
        (None, "running", True),
        (None, "success", True),
        ("pending", "pending", False),
        ("pending", "running", True),
        ("running", "running", False),
        ("running", "pending", False),
        ("running", "success", True),
        ("running", "failed", True),
        ("running", "canceled", True),
        ("success", "success", False),
        ("success", "pending", True),
        ("failed", "running", True),
        ("canceled", "pending", True),
    ],
)
def test_a_status_is_sent_when_it_is_news_and_never_goes_backwards(
    told: str | None, state: str, sent: bool
) -> None:
    before = None if told is None else Status(A, told, "before", PAGE)
    assert must_send(before, Status(A, state, "now", PAGE)) is sent


def test_an_end_is_told_again_when_its_address_is_not_its_own_any_more() -> None:
    assert must_send(Status(A, "success", "", ADDRESS), Status(A, "success", "", PAGE))
    assert not must_send(Status(A, "running", "", ADDRESS), Status(A, "running", "", PAGE))


def test_a_head_that_can_still_be_merged_is_not_left_canceled() -> None:
    (status,) = desired(a_subject(a_deployment(State.CANCELLED))).statuses
    assert status.state == "success"


# --- environment and deployments ----------------------------------------------------------------------


def test_the_environment_has_an_address_only_while_something_is_live() -> None:
    for state in State:
        report = desired(a_subject(a_deployment(state)))
        assert report.environment_url == (ADDRESS if state is State.LIVE else None)


def test_a_bad_push_leaves_the_environment_where_the_good_one_is() -> None:
    report = desired(a_subject(a_deployment(State.FAILED, id=8, sha=B), a_deployment(State.LIVE, id=7)))
    assert report.environment_url == ADDRESS


def test_deployments_are_told_with_their_verdict_the_oldest_first() -> None:
    tries = [a_deployment(state, id=20 - number) for number, state in enumerate(State)]
    told = desired(a_subject(*tries)).deployments
    assert [d.deployment_id for d in told] == sorted(d.deployment_id for d in told)
    verdicts = {d.id: d.state for d in tries}
    assert {(verdicts[d.deployment_id].value, d.status) for d in told} == {
        ("live", "success"),
        ("stopped", "success"),
        ("failed", "failed"),
    }


# --- the note -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "headline"),
    [
        (State.QUEUED, "Preview is queued"),
        (State.BUILDING, "Preview is being built"),
        (State.STARTING, "Preview is starting"),
        (State.CHECKING, "Preview is being checked"),
        (State.LIVE, "Preview is live"),
        (State.STOPPED, "Preview was taken down"),
        (State.FAILED, "Preview failed"),
        (State.SUPERSEDED, "Preview was superseded"),
        (State.CANCELLED, "Preview was cancelled"),
        (State.REFUSED, "No preview"),
    ],
)
def test_every_state_has_its_note(state: State, headline: str) -> None:
    text = note(a_subject(a_deployment(state)))
    assert text.startswith(marker(a_preview()))
    assert headline in text
    assert f"[Timeline and logs]({PAGE})" in text


def test_a_preview_without_a_deployment_has_a_note_too() -> None:
    assert note(a_subject()).startswith(marker(a_preview()))


def test_a_live_note_names_address_commit_account_and_end() -> None:
    text = note(a_subject(a_deployment(State.LIVE), preview=a_preview(expires_at=86400.0)))
    for wanted in (ADDRESS, f"`{A[:12]}`", "`dev-1`", "until 1970-01-02 00:00 UTC"):
        assert wanted in text


def test_a_failed_note_names_the_stage_the_cause_the_remedy_and_the_log() -> None:
    text = note(a_subject(a_deployment(State.FAILED)))
    for wanted in ("the build stage failed", "`it broke`", "**What to do:** Mend it.", "line one\nline two"):
        assert wanted in text


def test_a_failed_push_beside_a_good_one_says_that_the_good_one_is_up() -> None:
    text = note(a_subject(a_deployment(State.FAILED, id=8, sha=B), a_deployment(State.LIVE, id=7)))
    assert f"The preview of `{A[:12]}` is still up" in text
    assert ADDRESS in text


def test_checks_are_listed_with_their_answers() -> None:
    checks = (CheckResult("GET /", True, "200 in 3 ms"), CheckResult("GET /x", False, "404, expected 200"))
    text = note(a_subject(a_deployment(State.LIVE, checks=checks)))
    assert "| \u2705 | `GET /` | `200 in 3 ms` |" in text
    assert "| \u274c | `GET /x` | `404, expected 200` |" in text


def test_stages_are_told_with_the_time_they_took() -> None:
    times = {State.STARTING: 60.0, State.QUEUED: 0.0, State.BUILDING: 4.25, State.LIVE: 400.0}
    entered = {state.value: NOW + seconds for state, seconds in times.items()}
    text = note(a_subject(a_deployment(State.LIVE, entered=entered)))
    assert "Took: queued 4.2 s, building 56 s, starting 6 min." in text


def test_a_cleaned_account_is_told_with_what_it_held() -> None:
    stopped = a_deployment(State.STOPPED)
    assert "is being cleaned" in note(a_subject(stopped, is_cleaning=True))
    assert "5.0 MiB of images before, 0 bytes after" in note(a_subject(stopped, receipt=(5 * 2**20, 0)))


def test_the_same_subject_has_the_same_report() -> None:
    for state in State:
        assert desired(a_subject(a_deployment(state))) == desired(a_subject(a_deployment(state)))


def test_each_merge_request_has_a_marker_of_its_own() -> None:
    places = itertools.product((1, 11), (1, 11))
    markers = [marker(a_preview(project_id=project, iid=iid)) for project, iid in places]
    assert not any(one in other for one, other in itertools.permutations(markers, 2))


# --- foreign text -------------------------------------------------------------------------------------


_OUR_HTML = re.compile(r"^(<details><summary>[A-Za-z :,]+</summary>|</details>)$")


def outside_of_code(markdown: str) -> list[str]:
    """The lines of a note outside its fences, with what stands in code spans left out."""
    lines, fence = [], ""
    for line in markdown.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            if line == fence:
                fence = ""
        elif ticks:
            fence = ticks[0]
        else:
            lines.append(re.sub(r"`[^`]*`", "", line))
    assert not fence, "a fence is left open"
    return lines


def test_a_cause_is_told_with_its_lines_and_their_places_in_the_log() -> None:
    failure = Failure(
        "build",
        "flask==99 is not to be had",
        "Correct its version.",
        "the last words",
        cause="python-dependency-not-found",
        confidence="certain",
        evidence=(Evidence(12, "ERROR: no flask==99"), Evidence(0, "exit code 1")),
        log="build",
    )
    text = note(a_subject(a_deployment(State.FAILED, failure=failure)))
    assert "**What happened:** `flask==99 is not to be had`" in text
    assert f"- [build log, line 12]({PAGE}/7/build?line=12#L12): `ERROR: no flask==99`" in text
    assert "- Toolforge: `exit code 1`" in text
    assert "<details><summary>The last lines that say something</summary>" in text


def test_what_is_not_sure_is_told_so() -> None:
    failure = Failure("build", "it may be this", "Try that.", cause="node-memory", confidence="likely")
    text = note(a_subject(a_deployment(State.FAILED, failure=failure)))
    assert "**What probably happened:** `it may be this`" in text


@given(words=hostile)
def test_what_a_log_names_stays_code_in_the_remedy(words: str) -> None:
    line = " ".join(words.split())
    sign = "ext.c:1:10: fatal error: nosuch.h: No such file or directory"
    log = f"{sign} {line}\nERROR: Failed to build '{line}'"
    failure = explain_build(f"{log}\n[Error: Unable to install dependencies using pip]", words)
    text = note(a_subject(a_deployment(State.FAILED, failure=failure)))
    for told in outside_of_code(text):
        assert "@" not in told
        assert "![" not in told
        assert "<" not in _OUR_HTML.sub("", told.replace(marker(a_preview()), ""))


@given(username=hostile)
def test_the_answer_to_an_outsider_does_what_no_name_says(username: str) -> None:
    text = refusal(5, username)
    for line in outside_of_code(text.replace(refusal_marker(5), "")):
        assert not line.lstrip().startswith("/"), "GitLab would carry it out"
        assert "@" not in line, "GitLab would notify somebody"
        assert "<" not in line
        assert "![" not in line


@given(state=st.sampled_from(State), texts=st.tuples(*[hostile] * 6), live_too=st.booleans())
def test_hostile_text_cannot_leave_its_code(state: State, texts: tuple[str, ...], live_too: bool) -> None:
    summary, excerpt, check_name, check_message, account, image = texts
    newest = a_deployment(
        state,
        id=8,
        sha=B,
        failure=Failure(
            stage="check",
            summary=summary,
            remedy="Mend it.",
            excerpt=excerpt,
            evidence=(Evidence(3, check_message), Evidence(0, account)),
            log="job",
        ),
        checks=(CheckResult(check_name, False, check_message),),
        image=image,
    )
    tries = [newest, a_deployment(State.LIVE)] if live_too else [newest]
    foreign = a_preview(title=summary, author=account, source_branch=excerpt, target_branch=check_name)
    text = note(a_subject(*tries, account=account, preview=foreign))
    assert text.count("<!--") - sum(words.count("<!--") for words in texts) <= 1
    for line in outside_of_code(text):
        assert not line.lstrip().startswith("/"), "GitLab would carry it out"
        assert "@" not in line, "GitLab would notify somebody"
        theirs = _OUR_HTML.sub("", line.replace(marker(a_preview()), ""))
        assert "<" not in theirs, "GitLab would take it for HTML"
        assert "![" not in line


def test_a_size_is_said_in_the_unit_that_fits_it() -> None:
    counts = (1023, 2**10, 2**20, 2**30 - 2**20, 2**30, 5 * 2**29)
    assert [size(count) for count in counts] == [
        "1023 bytes",
        "1.0 KiB",
        "1.0 MiB",
        "1023.0 MiB",
        "1.0 GiB",
        "2.5 GiB",
    ]
