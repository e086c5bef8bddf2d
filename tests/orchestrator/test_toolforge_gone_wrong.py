"""The client of Toolforge at a gateway that answers anything, breaks off, is silent, or refuses to talk."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import json
import re
import ssl
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.toolforge import (
    AccountClient,
    AnswerLost,
    Api,
    Busy,
    JobSpec,
    NotAllowed,
    Toolforge,
    ToolforgeError,
    Unreachable,
    Waits,
)
from tests.orchestrator.raw_gateway import Behaviour, RawGateway, writes
from tests.orchestrator.scripted import Authority, an_authority

SPEC = JobSpec("preview", "tool-dev-1/mr1-d1:latest@sha256:1", "web", 8000, publish=True)
#: Nothing here takes long but what is meant to.
HASTY = Waits(connect=2.0, read=0.4, followed=5.0, answer=2.0, pauses=(0.01, 0.02))
CALLS: dict[str, Callable[[AccountClient], object]] = {
    "health": lambda account: account.health(Api.JOBS),
    "start_build": lambda account: account.start_build(source_url="u", ref="r", image_name="i"),
    "builds": lambda account: account.builds(),
    "build": lambda account: account.build("b"),
    "latest_build": lambda account: account.latest_build(),
    "build_log": lambda account: list(account.build_log("b", follow=True)),
    "cancel_build": lambda account: account.cancel_build("b"),
    "delete_build": lambda account: account.delete_build("b"),
    "store_use": lambda account: account.store_use(),
    "delete_images": lambda account: account.delete_images(),
    "put_job": lambda account: account.put_job(SPEC),
    "jobs": lambda account: account.jobs(),
    "job": lambda account: account.job("j"),
    "restart_job": lambda account: account.restart_job("j"),
    "delete_job": lambda account: account.delete_job("j"),
    "delete_all_jobs": lambda account: account.delete_all_jobs(),
    "job_lines": lambda account: account.job_lines("j", lines=5),
    "job_quotas": lambda account: account.job_quotas(),
    "job_images": lambda account: account.job_images(),
    "set_envvar": lambda account: account.set_envvar("NAME", "value"),
    "envvars": lambda account: account.envvars(),
    "delete_envvar": lambda account: account.delete_envvar("NAME"),
}
POSTS = ("start_build", "delete_images", "restart_job", "set_envvar")
CHANGES = (
    *POSTS,
    "cancel_build",
    "delete_build",
    "put_job",
    "delete_job",
    "delete_all_jobs",
    "delete_envvar",
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return an_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def running_gateway(authority: Authority) -> Iterator[RawGateway]:
    with RawGateway(authority.context) as server:
        yield server


@pytest.fixture
def gateway(running_gateway: RawGateway) -> RawGateway:
    """A gateway that has not been asked anything."""
    assert running_gateway.is_left()
    running_gateway.behave = writes()
    running_gateway.resets = False
    running_gateway.requests.clear()
    return running_gateway


@pytest.fixture(scope="module")
def account(running_gateway: RawGateway, authority: Authority) -> Iterator[AccountClient]:
    toolforge = Toolforge(running_gateway.url, user_agent="tests", ca_file=authority.ca_file, waits=HASTY)
    with toolforge.account("dev-1", authority.credentials) as opened:
        yield opened
    toolforge.close()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """One answer, with a length unless the headers say otherwise."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(re.match("transfer-encoding|content-length", line, re.IGNORECASE) for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def is_typed(value: object) -> bool:
    """Whether it consists of our types alone, and of texts that can be stored."""
    if dataclasses.is_dataclass(value):
        return all(is_typed(getattr(value, one.name)) for one in dataclasses.fields(value))
    if isinstance(value, list | tuple):
        return all(is_typed(one) for one in value)
    if isinstance(value, str):
        return bool(value.encode("utf-8") or True)
    return value is None or isinstance(value, int)


def outcome(call: str, account: AccountClient) -> object:
    """What a call gave, or its named error; everything else is a failure of the test."""
    result: object
    try:
        result = CALLS[call](account)
    except ToolforgeError as error:
        result = error
    assert str(result) if isinstance(result, ToolforgeError) else is_typed(result), result
    return result


def test_every_call_of_the_client_is_tried_here() -> None:
    methods = {name for name, _ in inspect.getmembers(AccountClient, inspect.isfunction)}
    assert {name for name in methods if not name.startswith("_")} - {"close"} == CALLS.keys()


# --- anything -----------------------------------------------------------------------------------------

_words = st.sampled_from(
    [
        *("", "OK", "BUILD_SUCCESS", "Running", "running", "Storage", "1.00Gi", "\ud800", "\x00", "a\u0085b"),
        *("restarted (²)", f"restarted ({10**4000})", f"exitcode {10**4000}", f"{10**400}Ti"),
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def _some(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """An object with some of the fields, each as it should be or anything."""
    return st.fixed_dictionaries({}, optional={name: one | _json for name, one in fields.items()}) | _json


_status = _some(short=_words, up_to_date=_json, messages=st.lists(_words, max_size=3))
_job = _some(name=_words, status_short=_words, status_long=_words, status=_status)
_build = _some(
    build_id=_words,
    status=_words,
    end_time=_words,
    destination_image=_words,
    parameters=_some(image_name=_words),
)
#: As it is, with one of its two words that may be anything.
_new_build = st.fixed_dictionaries(
    {"name": st.just("b") | _json, "resolved_ref": st.just("a" * 40)}
) | st.fixed_dictionaries({"name": st.just("b"), "resolved_ref": st.just("a" * 40) | _json})
_limit = _some(name=_words, limit=_words, used=_words)
_full = st.fixed_dictionaries(
    {"name": st.just("Storage"), "used": st.sampled_from(["0B", "1.00Gi"]), "limit": _words | _json}
)
_categories = st.lists(_some(name=_words, items=st.lists(_limit, max_size=2)), max_size=2)
#: A store as it is, with a name or an amount that may be anything.
_store = st.fixed_dictionaries(
    {
        "categories": st.lists(
            st.fixed_dictionaries({"items": st.lists(_limit | _full, min_size=1, max_size=2)}),
            min_size=1,
            max_size=2,
        )
    }
)
_messages = _some(warning=st.lists(_words, max_size=2), error=st.lists(_words, max_size=2))
_body = _some(
    builds=st.lists(_build, max_size=2),
    build=_build,
    new_build=_some(name=_words, resolved_ref=_words),
    jobs=st.lists(_job, max_size=2),
    job=_job,
    images=st.lists(_some(shortname=_words, image=_words), max_size=2),
    quota=_some(categories=_categories),
    envvars=st.lists(_some(name=_words, value=_words), max_size=2),
    data=_some(logs=st.lists(_some(message=_words), max_size=2)),
    status=_words,
    health=_some(status=_words),
    messages=_messages,
    error=st.lists(_words, max_size=2),
    detail=st.lists(_some(loc=_json, msg=_words), max_size=2),
    message=_words,
    line=_words,
)
_headers = st.lists(
    st.sampled_from(
        [
            "Content-Type: application/json; charset=nonsense",
            "Content-Type: text/html; charset=utf-16",
            "Content-Encoding: gzip",
            "Content-Encoding: deflate",
            "Transfer-Encoding: chunked",
            "Content-Length: 5",
            "Content-Length: 5000",
            "Retry-After: ²",
            "Retry-After: 99999999999999999999",
            "Retry-After: Wed, 21 Oct 99999 07:28:00 GMT",
            "Location: http://[::1",
            "Location: /",
            "Set-Cookie: a=b; expires=Nonsense; max-age=x",
            "Date: never",
        ]
    ),
    max_size=3,
)
_often = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_often
@given(
    call=st.sampled_from(sorted(CALLS)),
    status=st.sampled_from([200, 201, 200, 204, 301, 304]) | st.integers(200, 599),
    headers=_headers,
    body=_body.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
)
def test_any_answer_becomes_a_typed_object_or_a_named_error(
    gateway: RawGateway, account: AccountClient, call: str, status: int, headers: list[str], body: bytes
) -> None:
    gateway.behave = writes(answer(body, *headers, status=f"{status} Whatever"))
    outcome(call, account)


@pytest.mark.parametrize("header", ["Content-Length: -1, 7", "Location: \xe9\xff"])
@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_header_that_breaks_the_libraries_is_an_error(
    gateway: RawGateway, account: AccountClient, call: str, header: str
) -> None:
    gateway.behave = writes(answer(b"{}", header, status="301 Whatever"))
    with warnings.catch_warnings():
        # urllib3 and requests leave the connection to the garbage collection then.
        warnings.simplefilter("ignore", ResourceWarning)
        assert isinstance(outcome(call, account), ToolforgeError)
        gc.collect()


@settings(_often, max_examples=60)
@given(
    call=st.sampled_from(sorted(CALLS)),
    data=st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest),
)
def test_any_bytes_become_a_named_error(
    gateway: RawGateway, account: AccountClient, call: str, data: bytes
) -> None:
    gateway.behave = writes(data)
    outcome(call, account)


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize("size", ["f" * 400, f"-{'f' * 20}", "-1", "0x5", ""])
def test_a_chunk_of_an_impossible_size_is_an_error(
    gateway: RawGateway, account: AccountClient, call: str, size: str
) -> None:
    gateway.behave = writes(answer(size.encode() + b"\r\n{}\r\n", "Transfer-Encoding: chunked"))
    assert isinstance(outcome(call, account), ToolforgeError)


_job_log = _some(logs=st.lists(_some(datetime=_words, message=_words), max_size=3))
#: Where a call looks in its answer, and what is nearly right there.
NEARLY_RIGHT: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "health": {"status": _words},
    "start_build": {"new_build": _new_build},
    "builds": {"builds": st.lists(_build, max_size=3)},
    "build": {"build": _build},
    "latest_build": {"build": _build},
    "build_log": {"line": _words},
    "store_use": {"quota": _store},
    "put_job": {"job_changed": _json},
    "jobs": {"jobs": st.lists(_job, max_size=3)},
    "job": {"job": _job},
    "job_lines": {"data": _job_log},
    "job_quotas": {"quota": _some(categories=_categories)},
    "job_images": {"images": st.lists(_some(shortname=_words, image=_words), max_size=3)},
    "envvars": {"envvars": st.lists(_some(name=_words, value=_words), max_size=3)},
}


@pytest.mark.parametrize("call", sorted(CALLS))
def test_what_is_nearly_right_is_read_as_far_as_it_can_be(
    gateway: RawGateway, account: AccountClient, call: str
) -> None:
    seen: list[object] = []

    @settings(_often, max_examples=40, derandomize=True, database=None)
    @given(body=st.fixed_dictionaries(NEARLY_RIGHT.get(call, {}), optional={"messages": _messages}))
    def is_typed_or_named(body: dict[str, object]) -> None:
        gateway.behave = writes(answer(json.dumps(body).encode()))
        seen.append(outcome(call, account))

    is_typed_or_named()
    assert any(not isinstance(one, ToolforgeError) for one in seen), "none was near enough"


@pytest.mark.parametrize("call", sorted(CALLS))
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"jobs": ' + b"9" * 5000 + b"}",
        b"null",
        b"[]",
        b"\xff\xfe{",
        b"",
    ],
    ids=["lists", "objects", "a long number", "null", "a list", "not UTF-8", "nothing"],
)
def test_a_body_that_no_parser_likes_is_an_error(
    gateway: RawGateway, account: AccountClient, call: str, body: bytes
) -> None:
    gateway.behave = writes(answer(body))
    seen = outcome(call, account)
    if call == "build_log":
        assert seen == []
    else:
        assert type(seen) is (AnswerLost if call in CHANGES else Unreachable)


def test_an_answer_without_end_is_left(gateway: RawGateway, account: AccountClient) -> None:
    def drip(connection: ssl.SSLSocket) -> None:
        connection.sendall(answer(b"", length=10**9))
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    gateway.behave = drip
    begun = time.monotonic()
    with pytest.raises(AnswerLost):
        account.put_job(SPEC)
    assert time.monotonic() - begun < 4.0
    assert gateway.is_left()


# --- what is repeated ---------------------------------------------------------------------------------


def cut_at_first(times: int, then: Behaviour) -> Behaviour:
    left = [times]

    def behave(connection: ssl.SSLSocket) -> None:
        left[0] -= 1
        if left[0] < 0:
            then(connection)

    return behave


def test_a_question_whose_answer_was_cut_is_asked_again(gateway: RawGateway, account: AccountClient) -> None:
    gateway.behave = cut_at_first(2, writes(answer(b'{"jobs": []}')))
    assert account.jobs() == []
    assert len(gateway.requests) == 3


def test_it_is_not_asked_without_end(gateway: RawGateway, account: AccountClient) -> None:
    with pytest.raises(Unreachable):
        account.jobs()
    assert len(gateway.requests) == 1 + len(HASTY.pauses)


@pytest.mark.parametrize("call", CHANGES)
def test_what_may_have_happened_is_lost_and_not_repeated(
    gateway: RawGateway, account: AccountClient, call: str
) -> None:
    assert isinstance(outcome(call, account), AnswerLost)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("call", ["start_build", "put_job"])
def test_a_gateway_that_gave_up_waiting_may_have_passed_it_on(
    gateway: RawGateway, account: AccountClient, call: str
) -> None:
    gateway.behave = writes(answer(b"<html>504</html>", status="504 Gateway Time-out"))
    assert type(outcome(call, account)) is AnswerLost
    assert type(outcome("jobs", account)) is Busy
    assert len(gateway.requests) == 2, "who is busy is not asked again at once"


def test_only_what_may_be_repeated_is_when_the_gateway_is_not_there(authority: Authority) -> None:
    """The pauses tell: a gateway that is away cannot count."""
    with RawGateway(authority.context) as server:
        url = server.url
    waits = dataclasses.replace(HASTY, pauses=(0.3,))
    toolforge = Toolforge(url, user_agent="tests", ca_file=authority.ca_file, waits=waits)
    with toolforge.account("dev-1", authority.credentials) as account:
        for call in ("put_job", "delete_job", "cancel_build", "jobs", *POSTS):
            begun = time.monotonic()
            assert isinstance(outcome(call, account), Unreachable)
            assert (time.monotonic() - begun < 0.15) is (call in POSTS)
    toolforge.close()


@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_reset_is_a_lost_connection_and_not_called_a_refusal(
    gateway: RawGateway, account: AccountClient, call: str
) -> None:
    """While the request is sent or after it, in whichever words the system says so."""
    gateway.resets = True
    assert type(outcome(call, account)) is (AnswerLost if call in CHANGES else Unreachable)


def test_a_reset_while_a_long_request_is_sent_is_a_lost_answer(
    gateway: RawGateway, account: AccountClient
) -> None:
    gateway.resets = True
    with pytest.raises(AnswerLost):
        account.set_envvar("NAME", "v" * 2**24)


@pytest.mark.parametrize(
    "words", ["alert unknown ca", "SSLV3_ALERT_BAD_CERTIFICATE", "NewConnectionError", "WRONG_VERSION_NUMBER"]
)
def test_words_of_the_other_side_are_not_taken_for_ours(
    gateway: RawGateway, account: AccountClient, words: str
) -> None:
    """The libraries put what they cannot read into their errors."""
    gateway.behave = writes(words.encode() + b"\r\n\r\n")
    assert type(outcome("start_build", account)) is AnswerLost


def test_a_redirect_is_not_followed(gateway: RawGateway, account: AccountClient) -> None:
    gateway.behave = writes(answer(b"", "Location: https://elsewhere.example.org/", status="302 Found"))
    with pytest.raises(Unreachable, match="302"):
        account.start_build(source_url="u", ref="r", image_name="i")
    assert len(gateway.requests) == 1


# --- followed logs ------------------------------------------------------------------------------------


def stream(*pieces: bytes, pause: float = 0.0, is_whole: bool = True) -> Behaviour:
    """A chunked log."""
    head = answer(b"", "Transfer-Encoding: chunked", "Content-Type: text/plain")
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return writes(head + chunks[0], *chunks[1:], *([b"0\r\n\r\n"] if is_whole else []), pause=pause)


def line(text: str) -> bytes:
    return json.dumps({"line": text}, ensure_ascii=False).encode() + b"\n"


def test_a_silence_before_the_first_line_is_waited_out_when_following(
    gateway: RawGateway, account: AccountClient
) -> None:
    def behave(connection: ssl.SSLSocket) -> None:
        time.sleep(2 * HASTY.read)
        stream(line("one"), line("two"))(connection)

    gateway.behave = behave
    assert list(account.build_log("b", follow=True)) == ["one", "two"]
    assert gateway.requests[0].startswith(b"GET /builds/v1/tool/dev-1/builds/b/logs?follow=true ")
    with pytest.raises(Unreachable):
        list(account.build_log("b"))


def test_lines_come_as_they_are_written(gateway: RawGateway, account: AccountClient) -> None:
    goes_on = threading.Event()

    def behave(connection: ssl.SSLSocket) -> None:
        stream(line("one"), is_whole=False)(connection)
        assert goes_on.wait(5.0)
        connection.sendall(b"0\r\n\r\n")

    gateway.behave = behave
    lines = account.build_log("b", follow=True)
    assert next(lines) == "one"
    goes_on.set()
    assert list(lines) == []


def test_a_log_that_is_cut_gives_what_arrived_and_then_says_so(
    gateway: RawGateway, account: AccountClient
) -> None:
    gateway.behave = stream(line("one"), line("two")[:8], is_whole=False)
    lines = account.build_log("b", follow=True)
    assert next(lines) == "one"
    with pytest.raises(Unreachable, match="did not arrive"):
        next(lines)


def test_an_error_after_the_first_line_is_the_last_one(gateway: RawGateway, account: AccountClient) -> None:
    gateway.behave = stream(line("one"), b'{"error": ["Error getting the logs for b: unexpected EOF"]}\n')
    lines = list(account.build_log("b", follow=True))
    assert lines == ["one", "[toolforge] Error getting the logs for b: unexpected EOF"]


def test_a_line_in_pieces_and_with_odd_characters_is_one_line(
    gateway: RawGateway, account: AccountClient
) -> None:
    whole = line("a\u0085b\u2028c é")
    gateway.behave = stream(whole[:12], whole[12:13], whole[13:] + b"\r\n\n", b'{"line": "\xff"}')
    assert list(account.build_log("b")) == ["a\u0085b\u2028c é", "\ufffd"]


def test_closing_a_log_without_end_frees_its_connection(gateway: RawGateway, account: AccountClient) -> None:
    def behave(connection: ssl.SSLSocket) -> None:
        stream(line("one"), is_whole=False)(connection)
        while True:
            connection.sendall(b"%x\r\n%s\r\n" % (len(line("more")), line("more")))

    gateway.behave = behave
    lines = account.build_log("b", follow=True)
    assert [next(lines), next(lines)] == ["one", "more"]
    assert gateway.open_connections == 1
    lines.close()  # type: ignore[attr-defined]
    assert gateway.is_left()


def test_a_line_without_end_does_not_fill_the_memory(gateway: RawGateway, account: AccountClient) -> None:
    gateway.behave = stream(b"x" * (3 * 2**20), b"\n" + line("after"))
    assert list(account.build_log("b")) == ["after"]


def test_a_log_that_may_not_be_read_is_a_named_error(gateway: RawGateway, account: AccountClient) -> None:
    body = b'{"error": ["Error getting the logs for b: pipelineRun not yet started"]}'
    gateway.behave = writes(answer(body, status="500 Internal Server Error"))
    with pytest.raises(Busy, match="not yet started"):
        next(account.build_log("b"))


# --- certificates in the handshake --------------------------------------------------------------------


def certificate(folder: Path, issuer: trustme.CA) -> dict[str, str]:
    issued = issuer.issue_cert("dev-1")
    folder.mkdir()
    issued.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    return {"cert": str(folder / "client.crt"), "key": str(folder / "client.key")}


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_the_gateway_does_not_accept_is_no_permission(
    tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    ours, strangers = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    ours.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = newest
    good, bad = certificate(tmp_path / "good", ours), certificate(tmp_path / "bad", strangers)
    waits = dataclasses.replace(HASTY, read=5.0)
    with RawGateway(context) as gateway:
        gateway.behave = writes(answer(b'{"jobs": []}'))
        toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=tmp_path / "ca.pem", waits=waits)
        with toolforge.account("dev-1", good) as account:
            assert account.jobs() == []
        with toolforge.account("dev-1", bad) as account, pytest.raises(NotAllowed) as caught:
            account.jobs()
        toolforge.close()
    told = "".join(traceback.format_exception(caught.value))
    assert Path(bad["key"]).read_text().splitlines()[1] not in told


def test_a_missing_authority_is_not_held_against_the_account(
    gateway: RawGateway, authority: Authority, tmp_path: Path
) -> None:
    missing = tmp_path / "nothing.pem"
    toolforge = Toolforge(gateway.url, user_agent="tests", ca_file=missing, waits=HASTY)
    with toolforge.account("dev-1", authority.credentials) as account, pytest.raises(Unreachable):
        account.jobs()
    toolforge.close()
