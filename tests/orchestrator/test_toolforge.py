"""The client of Toolforge: whatever is answered becomes a typed object or a named error."""

from __future__ import annotations

import itertools
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.credentials import find_certificate
from orchestrator.errors import BadInput, TryLater
from orchestrator.toolforge import (
    AccountClient,
    AlreadySo,
    AnswerLost,
    BadRequest,
    BuildStatus,
    Busy,
    Gone,
    JobSpec,
    NotAllowed,
    QuotaFull,
    StoreUse,
    Toolforge,
    ToolforgeError,
    TooManyBuilds,
    Unreachable,
)
from orchestrator.toolforge_answers import parse_bytes
from tests.orchestrator.scripted import Answer, Authority, Scripted, an_authority

SPEC = JobSpec("preview", "tool-dev-1/mr1-d1:latest@sha256:1", "web", 8000, publish=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return an_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def running_gateway(authority: Authority) -> Iterator[Scripted]:
    with Scripted(tls=authority.context) as server:
        yield server


@pytest.fixture
def gateway(running_gateway: Scripted) -> Scripted:
    """A gateway that has not been asked anything."""
    running_gateway.answer, running_gateway.answer_to = Answer(), None
    running_gateway.asked.clear()
    return running_gateway


@pytest.fixture(scope="module")
def account(running_gateway: Scripted, authority: Authority) -> Iterator[AccountClient]:
    """A client of tool dev-1 at that gateway."""
    toolforge = Toolforge(running_gateway.url, user_agent="tests (a@b.example)", ca_file=authority.ca_file)
    with toolforge.account("dev-1", authority.credentials) as opened:
        yield opened
    toolforge.close()


def refused(account: AccountClient) -> ToolforgeError:
    with pytest.raises(ToolforgeError) as caught:
        account.jobs()
    return caught.value


# --- what is asked ------------------------------------------------------------------------------------


def test_a_build_is_asked_for_by_its_full_ref(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer({"new_build": {"name": "b1", "resolved_ref": "a" * 40}, "messages": {}})
    ref = "refs/merge-requests/1/head"
    assert account.start_build(source_url="https://x/y.git", ref=ref, image_name="mr1-d1") == ("b1", "a" * 40)
    ((method, path, headers, body),) = gateway.asked
    assert (method, path) == ("POST", "/builds/v1/tool/dev-1/builds")
    assert b'"ref": "refs/merge-requests/1/head"' in body
    assert "tests (a@b.example)" in headers["User-Agent"]


def test_a_job_is_asked_for_without_a_home_and_without_keys_that_are_not_set() -> None:
    assert set(SPEC.body()) == {"name", "imagename", "cmd", "job_type", "port", "mount", "publish"}
    assert SPEC.body()["mount"] == "none"
    assert "publish" not in JobSpec("c", "i", "web", 8000, publish=False).body()


@pytest.mark.parametrize("name", ["", "/", ".", "..", "a/b", "a?b", "a#b", "-a", " ", "a b", "a%2Fb", "a\n"])
def test_a_name_that_would_address_something_else_is_refused_before_any_request(
    gateway: Scripted, account: AccountClient, name: str
) -> None:
    for call in (account.delete_job, account.job, account.build, account.cancel_build, account.delete_build):
        with pytest.raises(BadRequest):
            call(name)
    assert gateway.asked == []


# --- what is answered ---------------------------------------------------------------------------------


def test_a_build_is_read(gateway: Scripted, account: AccountClient) -> None:
    build = {
        "build_id": "b1",
        "status": "BUILD_SUCCESS",
        "message": "done",
        "end_time": "2026-01-01T00:00:00Z",
        "parameters": {"image_name": "mr1-d1"},
        "resolved_ref": "a" * 40,
        "destination_image": "harbor/tool-dev-1/mr1-d1:latest@sha256:1",
        "new_field": 1,
    }
    gateway.answer = Answer({"build": build})
    seen = account.build("b1")
    assert (seen.id, seen.status, seen.has_ended) == ("b1", BuildStatus.SUCCESS, True)
    assert seen.image == "harbor/tool-dev-1/mr1-d1:latest@sha256:1"
    assert (seen.image_name, seen.resolved_ref) == ("mr1-d1", "a" * 40)


@pytest.mark.parametrize(
    ("word", "status"),
    [(f"BUILD_{status.name}", status) for status in BuildStatus]
    + [("BUILD_PONDERING", BuildStatus.UNKNOWN), ("", BuildStatus.UNKNOWN), (None, BuildStatus.UNKNOWN)],
)
def test_a_status_that_is_not_known_is_unknown(
    gateway: Scripted, account: AccountClient, word: str | None, status: BuildStatus
) -> None:
    gateway.answer = Answer({"build": {"status": word, "end_time": ""}})
    seen = account.build("b1")
    assert (seen.status, seen.has_ended, seen.image) == (status, False, None)


@pytest.mark.parametrize(
    ("status_short", "status", "ready", "restarts", "exit_code"),
    [
        ("Running", {"short": "running", "messages": [], "up_to_date": True}, True, 0, None),
        ("Running", {"short": "running"}, True, 0, None),
        ("Running", {"short": "running", "up_to_date": False}, False, 0, None),
        ("Not running", {"short": "running", "messages": []}, False, 0, None),
        ("Running", {"short": "pending", "messages": ["scheduling"]}, False, 0, None),
        ("x", {"short": "pending", "messages": ["restarted (3)", "exitcode 127"]}, False, 3, 127),
        ("x", {"short": "pending", "messages": ["exitcode -9"]}, False, 0, -9),
        ("Unknown", None, False, 0, None),
    ],
)
def test_a_job_is_ready_only_when_everything_says_so(
    gateway: Scripted,
    account: AccountClient,
    status_short: str,
    status: object,
    ready: bool,
    restarts: int,
    exit_code: int | None,
) -> None:
    gateway.answer = Answer({"job": {"name": "preview", "status_short": status_short, "status": status}})
    job = account.job("preview")
    assert (job.is_ready, job.restarts, job.exit_code) == (ready, restarts, exit_code)
    assert job.has_crashed is (restarts > 0 or exit_code is not None)


def test_a_log_is_read_line_by_line_whatever_is_in_it(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer(b'{"line": "one"}\n\n{"line": "tw\nnot json\n[1]\n{"error": ["it", "broke"]}\n')
    assert list(account.build_log("b1")) == ["one", "[toolforge] it; broke"]


def test_the_log_of_a_job_is_the_oldest_line_first_and_empty_when_there_is_none(
    gateway: Scripted, account: AccountClient
) -> None:
    gateway.answer = Answer({"data": {"logs": [{"message": "new"}, {"message": "old"}]}})
    assert [line.message for line in account.job_lines("preview", lines=2)] == ["old", "new"]
    moment = "1970-01-02T00:00:00.500000001Z"
    gateway.answer = Answer({"data": {"logs": [{"message": "odd", "datetime": "now"}, {"datetime": moment}]}})
    first, second = account.job_lines("preview", lines=2)
    assert (first.moment, first.at) == (moment, 86400.5)
    assert (second.message, second.at) == ("odd", 0.0)
    gateway.answer = Answer({"error": ["Job 'preview' does not have any logs available"]}, 404)
    assert [line.message for line in account.job_lines("preview", lines=2)] == []


def test_whatever_a_build_or_a_job_says_comes_without_secrets(
    gateway: Scripted, account: AccountClient
) -> None:
    leak, shown = "redis://:hunter2@redis", "redis://:[masked]@redis"
    gateway.answer = Answer(b'{"line": "%s"}\n' % leak.encode())
    assert list(account.build_log("b1")) == [shown]
    gateway.answer = Answer({"data": {"logs": [{"message": leak}]}})
    assert [line.message for line in account.job_lines("preview", lines=2)] == [shown]
    build = {"build_id": "b1", "status": "BUILD_FAILURE", "message": leak}
    gateway.answer = Answer({"build": build})
    assert account.build("b1").message == shown
    gateway.answer = Answer({"builds": [build]})
    assert [one.message for one in account.builds()] == [shown]
    job = {"name": "preview", "status_short": "failed", "status": {"messages": [leak]}}
    gateway.answer = Answer({"job": job})
    assert shown in account.job("preview").reason
    gateway.answer = Answer({"jobs": [job]})
    assert shown in account.jobs()[0].reason


@pytest.mark.parametrize(
    "spec", [SPEC, replace(SPEC, publish=False), replace(SPEC, port=None, schedule="@daily")]
)
def test_no_job_sees_the_home_of_its_account(spec: JobSpec) -> None:
    assert spec.body()["mount"] == "none"


def test_toolforges_own_envvars_are_left_out(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer({"envvars": [{"name": "TOOL_TOOLSDB_USER"}, {"name": "SECRET"}]})
    assert account.envvars() == ["SECRET"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0B", 0),
        ("1.00Gi", 2**30),
        ("512.50Mi", 537395200),
        ("1.50Ki", 1536),
        ("2Ti", 2 * 2**40),
        ("-1234B", -1234),
    ],
)
def test_quota_texts_are_read_as_bytes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "Unlimited", "1 GB", "1e3B", "1.00Pi"])
def test_a_quota_that_cannot_be_read_is_not_taken_for_nothing(text: str) -> None:
    with pytest.raises(Busy):
        parse_bytes(text)


def quota(used: object, limit: object) -> Answer:
    items = [{"name": "Other"}, {"name": "Storage", "used": used, "limit": limit}]
    return Answer({"quota": {"categories": [{"name": "Registry", "items": items}]}})


def test_the_image_stores_use_is_read(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = quota("512.00Mi", "1.00Gi")
    assert account.store_use() == StoreUse(2**29, 2**30)
    gateway.answer = quota("0B", "Unlimited")
    assert account.store_use() == StoreUse(0, None)


def test_a_quota_that_is_not_there_is_not_taken_for_an_empty_store(
    gateway: Scripted, account: AccountClient
) -> None:
    with pytest.raises(Busy):
        account.store_use()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_build_keys = ["build_id", "status", "message", "end_time", "parameters", "resolved_ref", "destination_image"]
_build = st.fixed_dictionaries({}, optional=dict.fromkeys(_build_keys, _json))
_status = st.fixed_dictionaries(
    {},
    optional={"short": _json, "up_to_date": _json, "messages": st.none() | st.lists(_json, max_size=3)},
)
_job = st.fixed_dictionaries(
    {},
    optional={
        "name": _json,
        "image": _json,
        "status_short": _json,
        "status_long": _json,
        "status": _status | st.none() | st.text(max_size=3),
    },
)
_item = _build | _job | _json
_answers = st.one_of(
    _json,
    st.fixed_dictionaries(
        {},
        optional={
            "builds": st.lists(_item, max_size=3) | _json,
            "jobs": st.lists(_item, max_size=3) | _json,
            "build": _item,
            "job": _item,
            "new_build": _json,
            "envvars": _json,
            "quota": _json,
            "data": _json,
            "messages": _json,
            "new_field": _json,
        },
    ),
)


def calls(account: AccountClient) -> list[Callable[[], object]]:
    return [
        account.builds,
        account.jobs,
        account.envvars,
        account.store_use,
        account.delete_images,
        lambda: account.build("b"),
        lambda: account.job("j"),
        lambda: account.job_lines("j", lines=5),
        lambda: list(account.build_log("b")),
        lambda: account.start_build(source_url="u", ref="r", image_name="i"),
        lambda: account.put_job(SPEC),
        lambda: account.delete_job("j"),
    ]


_often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_often
@given(body=_answers, call=st.integers(0, 11))
def test_any_json_becomes_a_typed_object_or_a_named_error(
    gateway: Scripted, account: AccountClient, body: object, call: int
) -> None:
    gateway.answer = Answer(body)
    try:
        result = calls(account)[call]()
    except ToolforgeError:
        return
    for item in result if isinstance(result, list) else [result]:
        if hasattr(item, "__dataclass_fields__"):
            assert all(isinstance(v, str | int | bool | None) for v in asdict(item).values())


@_often
@given(
    body=_json | st.binary(max_size=50), status=st.sampled_from([400, 401, 403, 404, 409, 422, 429, 500, 503])
)
def test_any_error_body_becomes_a_named_error_in_one_short_line(
    gateway: Scripted, account: AccountClient, body: object, status: int
) -> None:
    gateway.answer = Answer(body, status)
    words = str(refused(account))
    assert words
    assert len(words) <= 500
    assert "\n" not in words


# --- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": ["No such image 'x'"]}, BadRequest, "No such image 'x'"),
        (400, {"messages": {"error": ["one", "two"]}}, BadRequest, "one; two"),
        (400, {"message": "bad path"}, BadRequest, "bad path"),
        (400, "Bad parameters passed: x", BadRequest, "Bad parameters passed: x"),
        (
            422,
            {"detail": [{"loc": ["body", "port"], "msg": "too big"}]},
            BadRequest,
            "['body', 'port']: too big",
        ),
        (400, {"detail": "no"}, BadRequest, "no"),
        (401, {"message": "Unauthorized"}, NotAllowed, "Unauthorized"),
        (403, b"Forbidden", NotAllowed, "HTTP 403 Forbidden"),
        (403, {"error": ["missing 'x-toolforge-tool' header"]}, NotAllowed, "missing"),
        (401, {"error": ["Build 'x' does not exist or belong to tool 'y'. Double check"]}, Gone, "Build 'x'"),
        (404, {"error": ["Job 'x' does not exist"]}, Gone, "Job 'x' does not exist"),
        (404, b"<html>not found</html>", Gone, "HTTP 404"),
        (
            409,
            {"error": ["Got too many builds running (4 out of 4 max), cancel some"]},
            TooManyBuilds,
            "4 out of 4",
        ),
        (409, {"error": ["A job with the name x already exists"]}, AlreadySo, "already exists"),
        (
            409,
            {"error": ["Build x cannot be cancelled because it has already completed"]},
            AlreadySo,
            "completed",
        ),
        (429, b"slow down", Busy, "HTTP 429"),
        (500, {"error": ["Out of quota for this kind of job."]}, QuotaFull, "Out of quota"),
        (502, b"<html>Bad Gateway</html>", Busy, "HTTP 502"),
        (503, {"error": ["Failed to create harbor project for tool x"]}, Busy, "harbor project"),
        (504, b"", Busy, "HTTP 504"),
        (500, {"error": []}, Busy, "HTTP 500"),
        (500, {"error": [5, None]}, Busy, ""),
        (500, None, Busy, "HTTP 500"),
    ],
)
def test_every_shape_of_error_has_its_name_and_the_apis_own_words(
    gateway: Scripted, account: AccountClient, status: int, body: object, kind: type[Exception], words: str
) -> None:
    gateway.answer = Answer(body, status)
    error = refused(account)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("\u00b2", None),
        ("-5", None),
    ],
)
def test_the_pause_that_is_asked_for_is_told(
    gateway: Scripted, account: AccountClient, value: str, seconds: float | None
) -> None:
    gateway.answer = Answer({}, 429, {"Retry-After": value})
    error = refused(account)
    assert isinstance(error, TryLater)
    assert error.seconds == seconds


def test_what_is_gone_already_need_not_be_deleted(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer({"error": ["gone"]}, 404)
    account.delete_job("j")
    account.delete_build("b")
    account.delete_envvar("NAME")
    account.cancel_build("b")


def test_what_has_ended_already_need_not_be_cancelled(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer({"error": ["Build b cannot be cancelled again."]}, 409)
    account.cancel_build("b")


def test_an_image_project_that_does_not_exist_has_no_images(
    gateway: Scripted, account: AccountClient
) -> None:
    words = "Error cleaning up: the project tool-dev-1 does not exist, have you started a build yet?"
    gateway.answer = Answer({"error": [words]}, 500)
    account.delete_images()


def test_a_cleaning_that_aborts_half_way_is_told(gateway: Scripted, account: AccountClient) -> None:
    gateway.answer = Answer({"error": ["Error cleaning up: error trying to delete artifact sha256:1"]}, 500)
    with pytest.raises(Busy, match="delete artifact"):
        account.delete_images()


def test_an_answer_that_is_no_json_is_lost_for_what_changes_something(
    gateway: Scripted, account: AccountClient
) -> None:
    gateway.answer = Answer(b"<html>welcome</html>")
    with pytest.raises(Unreachable):
        account.jobs()
    with pytest.raises(AnswerLost):
        account.start_build(source_url="u", ref="r", image_name="i")


def test_a_gateway_that_is_not_there_is_unreachable_even_for_what_changes_something(
    authority: Authority,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    toolforge = Toolforge(f"https://127.0.0.1:{port}", user_agent="tests", ca_file=authority.ca_file)
    with toolforge.account("dev-1", authority.credentials) as account, pytest.raises(Unreachable):
        account.put_job(SPEC)
    toolforge.close()


# --- certificates -------------------------------------------------------------------------------------


def test_a_gateway_with_a_certificate_of_an_unknown_authority_is_refused(
    gateway: Scripted, authority: Authority
) -> None:
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=None)
    with toolforge.account("dev-1", authority.credentials) as account, pytest.raises(Unreachable):
        account.jobs()
    toolforge.close()
    assert gateway.asked == []


def test_the_environment_cannot_switch_the_authority(
    gateway: Scripted, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=None)
    with toolforge.account("dev-1", authority.credentials) as account, pytest.raises(Unreachable):
        account.jobs()
    toolforge.close()


def test_a_key_that_cannot_be_used_is_bad_input_and_its_text_is_nowhere(
    gateway: Scripted, authority: Authority, tmp_path: Path
) -> None:
    secret = "MIIhunter2hunter2hunter2"
    key = tmp_path / "client.key"
    key.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n")
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file)
    credentials = {"cert": authority.credentials["cert"], "key": str(key)}
    with pytest.raises(BadInput) as caught, toolforge.account("dev-1", credentials):
        pass
    toolforge.close()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert secret not in told


def test_a_missing_certificate_is_bad_input(gateway: Scripted, authority: Authority) -> None:
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file)
    credentials = {"cert": "/nothing.crt", "key": "/nothing.key"}
    with pytest.raises(BadInput, match=r"/nothing\.crt"), toolforge.account("dev-1", credentials):
        pass


def test_nothing_of_the_key_is_in_the_text_of_any_error(
    gateway: Scripted, account: AccountClient, authority: Authority
) -> None:
    secret = Path(authority.credentials["key"]).read_text().splitlines()[1]
    for status, body in itertools.product((400, 401, 404, 409, 500), ({"error": ["x"]}, b"x")):
        gateway.answer = Answer(body, status)
        error = refused(account)
        assert secret not in repr(error) + "".join(traceback.format_exception(error))


# --- connections --------------------------------------------------------------------------------------


def test_a_client_is_used_again_and_never_by_two_at_once(gateway: Scripted, authority: Authority) -> None:
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file)
    opened = [toolforge.account("dev-1", authority.credentials) for _ in range(2)]
    with opened[0] as first, opened[1] as second:
        assert first is not second
    with toolforge.account("dev-1", authority.credentials) as third:
        assert third in {first, second}
    toolforge.close()


def test_a_client_of_one_tool_is_never_used_for_another(gateway: Scripted, authority: Authority) -> None:
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file)
    with toolforge.account("dev-1", authority.credentials) as first:
        pass
    with toolforge.account("dev-2", authority.credentials) as other:
        assert other is not first
        assert other.tool == "dev-2"
    toolforge.close()


def test_a_renewed_certificate_gets_a_client_of_its_own(
    gateway: Scripted, authority: Authority, tmp_path: Path
) -> None:
    paths: dict[str, Any] = {name: tmp_path / name for name in ("cert", "key")}
    for name, path in paths.items():
        path.write_bytes(Path(authority.credentials[name]).read_bytes())
    credentials = {name: str(path) for name, path in paths.items()}
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file)
    with toolforge.account("dev-1", credentials) as before:
        pass
    os.utime(paths["cert"], ns=(1, 1))
    with toolforge.account("dev-1", credentials) as after:
        assert after is not before
    toolforge.close()


# --- what operators are told ----------------------------------------------------------------------------


def opened_once(gateway: Scripted, authority: Authority, days: float, *, times: int = 1) -> None:
    """Use an account, `days` before its certificate ends."""
    reference = authority.credentials
    now = find_certificate("dev-1", reference).not_after() - days * 86400.0
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=authority.ca_file, clock=lambda: now)
    for _ in range(times):
        with toolforge.account("dev-1", reference) as account:
            account.jobs()
    toolforge.close()


def test_a_certificate_that_ends_within_two_weeks_is_warned_of_once_a_day(
    gateway: Scripted, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    opened_once(gateway, authority, days=15)
    assert caplog.messages == []
    opened_once(gateway, authority, days=13, times=3)
    end = datetime.fromtimestamp(find_certificate("dev-1", authority.credentials).not_after(), UTC)
    warning = f"Toolforge account dev-1: its certificate ends on {end:%Y-%m-%d}: renew it"
    assert caplog.messages == [warning]


def test_what_an_api_warns_of_is_logged_in_one_line_and_not_again_that_day(
    gateway: Scripted, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.answer = Answer({"jobs": [], "messages": {"warning": ["This goes\nsoon.", "", None]}})
    opened_once(gateway, authority, days=100, times=2)
    assert caplog.messages == ["Toolforge account dev-1: This goes soon."]
