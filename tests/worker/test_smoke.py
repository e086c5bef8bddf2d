"""A smoke check asks the preview's own address and nothing else, and is not held up by what answers."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator import outcome as out
from orchestrator.masking import Mask
from orchestrator.outcome import CheckResult
from orchestrator.preview import State, Step
from orchestrator.records import Project
from orchestrator.repoconfig import Check
from orchestrator.repofile import parse
from orchestrator.repovalues import Bounds
from tests.worker.scene import a_deployment, a_site
from tests.worker.servers import Answer, WebServer, talking
from worker import smoke
from worker.smoke import try_check


def check(address: str, path: str = "/", expected: int | None = None, *, timeout: float = 3.0) -> CheckResult:
    wanted = Check.model_construct(path=path, status=() if expected is None else (expected,))
    return try_check(address, wanted, seconds=timeout, user_agent="tests (tests@example.org)")


def redirect(target: str, status: int = 302) -> Answer:
    return Answer(status, {"Location": target})


@pytest.mark.parametrize(
    ("status", "expected", "passed"),
    [
        (200, None, True),
        (404, None, True),
        (499, None, True),
        (500, None, False),
        (503, None, False),
        (200, 200, True),
        (204, 200, False),
        (404, 404, True),
        (500, 500, True),
    ],
)
def test_a_check_passes_with_its_status_or_with_anything_below_500(
    status: int, expected: int | None, passed: bool
) -> None:
    with WebServer({"/": Answer(status)}) as server:
        result = check(server.address, expected=expected)
    assert result.passed is passed
    assert result.name == "GET /"
    assert result.message.startswith(str(status))


def test_what_was_expected_is_said_when_a_check_fails() -> None:
    with WebServer({"/": Answer(500)}) as server:
        assert check(server.address).message.endswith("expected below 500")
        assert check(server.address, expected=204).message.endswith("expected 204")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_on_the_same_host_are_followed(status: int) -> None:
    answers = {
        "/": redirect("/next", status),
        "/next": redirect("deeper/?q=1", status),
        "/deeper/?q=1": Answer(),
    }
    with WebServer(answers) as server:
        assert check(server.address).passed
        assert [path for _, path in server.asked] == ["/", "/next", "/deeper/?q=1"]


def test_a_redirect_to_its_own_full_address_is_followed() -> None:
    answers = {"/next": Answer(204)}
    with WebServer(answers) as server:
        answers["/"] = redirect(f"{server.address}next")
        assert check(server.address, expected=204).passed


def test_a_redirect_to_the_same_place_by_https_is_asked_for_where_the_preview_is() -> None:
    answers = {"/next": Answer(204)}
    with WebServer(answers) as server:
        answers["/"] = redirect(f"https://127.0.0.1:{server.port}/next")
        assert check(server.address, expected=204).passed


def test_a_redirect_that_was_expected_is_not_followed() -> None:
    with WebServer({"/": redirect("https://elsewhere.example.org/")}) as server:
        assert check(server.address, expected=302).passed
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://localhost:{other}/",
        "http://127.0.0.1:{other}/",
        "http://127.0.0.1/",
        "//127.0.0.1:{other}/",
        "http://user@127.0.0.1:{own}/",
        "http://127.0.0.1:{own}@127.0.0.1:{other}/",
        "ftp://127.0.0.1:{own}/",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{other}/",
        "http://2130706433:{other}/",
        "http://0.0.0.0:{other}/",
        "http://0.0.0.0:{own}/",
        "http://127.1:{own}/",
        "http://0x7f000001:{own}/",
        "http://[::ffff:127.0.0.1]:{own}/",
        "http://[::]:{own}/",
        "http://127.0.0.1.:{own}/",
        "http://other.127.0.0.1:{own}/",
        "http://:secret@127.0.0.1:{own}/",
        "gopher://127.0.0.1:{own}/",
        "\\\\127.0.0.1:{other}\\",
    ],
)
def test_a_redirect_anywhere_else_is_refused_and_not_asked(target: str) -> None:
    with WebServer({"/": Answer()}) as other:
        answers: dict[str, Answer] = {}
        with WebServer(answers) as server:
            answers["/"] = redirect(target.format(own=server.port, other=other.port))
            result = check(server.address, expected=200)
            asked = len(server.asked)
    assert not result.passed
    assert other.asked == []
    assert asked <= 2, "a path with backslashes may be a path"


@pytest.mark.parametrize("path", ["//127.0.0.1:{other}/", "http://127.0.0.1:{other}/"])
def test_a_path_that_is_an_address_elsewhere_is_refused(path: str) -> None:
    with WebServer({"/": Answer()}) as other, WebServer({"/": Answer()}) as server:
        result = check(server.address, path.format(other=other.port))
    assert not result.passed
    assert "away from the preview" in result.message
    assert other.asked == []


@pytest.mark.parametrize("target", ["http://[", "http://:x/", "http://127.0.0.1:99999/", "\x01", "http://"])
def test_a_redirect_to_nonsense_fails_the_check(target: str) -> None:
    with WebServer({"/": redirect(target)}) as server:
        assert not check(server.address, expected=200).passed


def test_a_redirect_loop_fails_after_a_few_rounds() -> None:
    with WebServer({"/": redirect("/a"), "/a": redirect("/")}) as server:
        result = check(server.address)
        assert not result.passed
        assert "more than 5 redirects" in result.message
        assert len(server.asked) == 6


def test_a_slow_answer_within_its_time_passes() -> None:
    with WebServer({"/": Answer(after_seconds=0.2)}) as server:
        assert check(server.address, timeout=2.0).passed


def test_an_answer_that_takes_too_long_fails_in_time() -> None:
    with WebServer({"/": Answer(after_seconds=5.0)}) as server:
        started = time.monotonic()
        result = check(server.address, timeout=0.2)
        assert time.monotonic() - started < 1.0
    assert not result.passed
    assert result.message == "no answer within 0.2 seconds"


def test_the_time_is_for_all_redirects_together() -> None:
    slow = {f"/{n}": Answer(302, {"Location": f"/{n + 1}"}, after_seconds=0.15) for n in range(9)}
    with WebServer(slow) as server:
        result = check(server.address, "/0", timeout=0.4)
        assert len(server.asked) <= 4
    assert result.message == "no answer within 0.4 seconds"


def test_a_body_without_end_is_not_read() -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in itertools.count():
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with talking(speak) as address:
        started = time.monotonic()
        assert check(address).passed
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        b"HTTP/1.1 99999 Odd\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
def test_an_answer_that_is_no_http_fails_the_check(words: bytes) -> None:
    with talking(lambda connection: connection.sendall(words)) as address:
        result = check(address)
    assert not result.passed
    assert result.message.startswith("no usable answer")


def test_nothing_that_listens_fails_the_check() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    assert not check(address).passed


def test_a_name_under_localhost_is_this_machine_and_is_told_to_the_server() -> None:
    with WebServer({"/": Answer()}) as server:
        assert check(f"http://dev-1.localhost:{server.port}/").passed
        assert server.asked == [(f"dev-1.localhost:{server.port}", "/")]


def test_cookies_of_one_preview_are_not_shown_to_another() -> None:
    heard: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=secret\r\nContent-Length: 0\r\n\r\n")

    with talking(speak, heard) as address, talking(speak, heard) as other:
        assert check(address).passed
        assert check(other).passed
    assert b"secret" not in heard[1]


def test_an_answer_that_comes_drop_by_drop_fails_in_time() -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            connection.sendall(b"y")
            time.sleep(0.02)

    with talking(speak) as address:
        started = time.monotonic()
        assert not check(address, timeout=0.2).passed
        assert time.monotonic() - started < 1.0


# --- what a repository asks for -----------------------------------------------------------------------


def ask(server: WebServer, **asked: object) -> CheckResult:
    return try_check(server.address, a_check(**asked), seconds=3.0, user_agent="tests (tests@example.org)")


def a_check(**asked: object) -> Check:
    return parse(json.dumps({"checks": [asked]}).encode(), Bounds()).checks[0]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_a_check_asks_by_its_method(method: str) -> None:
    with WebServer({"/": Answer()}) as server:
        result = ask(server, method=method)
        assert server.methods == [method]
    assert (result.name, result.passed) == (f"{method} /", True)


@pytest.mark.parametrize(("method", "then"), [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "GET")])
def test_where_a_redirect_leads_to_is_only_looked_at(method: str, then: str) -> None:
    with WebServer({"/": redirect("/next", 307), "/next": Answer()}) as server:
        assert ask(server, method=method).passed
        assert server.methods == [method, then]


def test_all_that_a_check_names_has_to_be_so() -> None:
    body = json.dumps({"state": "ok", "items": [{"n": 3}]}).encode()
    with WebServer({"/": Answer(201, {"Content-Type": "application/json; charset=utf-8"}, body)}) as server:
        wanted: dict[str, object] = {
            "status": [200, 201],
            "headers": {"content-type": "application/json"},
            "contains": '"state": "ok"',
            "regex": '"n": [0-9]',
            "json": {"$.items[0].n": 3},
        }
        assert ask(server, **wanted).passed
        for key, other in {
            "status": 200,
            "headers": {"content-type": "text/html"},
            "contains": "bad",
            "regex": "n: [0-9]",
            "json": {"$.items[0].n": 4},
        }.items():
            result = ask(server, **{**wanted, key: other})
            assert not result.passed, key
            assert ", expected " in result.message


def test_of_a_body_without_end_the_beginning_is_judged() -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in itertools.count():
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with talking(speak) as address:
        user_agent = "tests (tests@example.org)"
        assert try_check(address, a_check(contains="xxx"), seconds=30.0, user_agent=user_agent).passed
        result = try_check(address, a_check(contains="y"), seconds=30.0, user_agent=user_agent)
    assert result.message.endswith("expected 'y' in the body's first 128 KiB")


def test_a_body_is_not_unpacked() -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    with WebServer({"/": Answer(200, {"Content-Encoding": "gzip"}, bomb)}) as server:
        assert not ask(server, contains="xxx").passed


# --- the checks of one deployment ---------------------------------------------------------------------


def a_round(server: WebServer, config: Mapping[str, object] | None, **changes: Any) -> out.ChecksDone:
    """One round of the checks, `before` being what the round before it brought."""
    before = changes.pop("before", ())
    deployment = a_deployment(state=State.CHECKING, step=Step.CHECK, config=config, checks=before)
    site = a_site(NO_ACCOUNT, deployment, address=server.address, **changes)
    done = smoke.check(site)
    assert isinstance(done, out.ChecksDone)
    return done


class _NoLog:
    """An account whose job has said nothing, and whose tool has one secret."""

    mask = Mask(["hunter2-hunter2"])

    def job_lines(self, name: str, *, lines: int) -> list[str]:
        return []


NO_ACCOUNT: Any = _NoLog()


def test_what_an_answer_says_of_a_secret_is_masked() -> None:
    away = {"Location": "https://login.example.org/?client_secret=hunter2-hunter2&x=y"}
    said = Answer(body=b'{"key": "hunter2-hunter2"}')
    with WebServer({"/": Answer(302, away), "/json": said}) as server:
        checks = [{}, {"path": "/json", "json": {"$.key": "none"}}]
        results = a_round(server, {"checks": checks}).results
    assert [result.message.count("[masked]") for result in results] == [1, 1]
    assert "hunter2" not in repr(results)


def test_the_checks_of_the_repository_take_the_place_of_those_of_the_project() -> None:
    project = Project(1, 77, "group/tool", "", "", (), (("/of-the-project", 200),), 0.0)
    with WebServer({"/": Answer(), "/mine": Answer()}) as server:
        done = a_round(server, {"checks": [{"path": "/mine"}, {}]}, project=project)
        assert [result.name for result in done.results] == ["GET /mine", "GET /"]
        assert [result.name for result in a_round(server, {}, project=project).results] == [
            "GET /of-the-project"
        ]


def test_a_check_of_a_project_may_have_a_path_that_no_repository_may_ask_for() -> None:
    path = "/" + "x" * 600
    project = Project(1, 77, "group/tool", "", "", (), ((path, None),), 0.0)
    with WebServer({path: Answer()}) as server:
        assert a_round(server, None, project=project).results[0].passed


def test_a_check_has_as_many_tries_as_it_asks_for() -> None:
    config = {"checks": [{"path": "/bad", "retries": 2, "status": 200}, {"path": "/good", "retries": 0}]}
    results: tuple[CheckResult, ...] = ()
    tries = []
    with WebServer({"/good": Answer()}) as server:
        for _ in range(3):
            results = a_round(server, config, before=results).results
            tries.append((results[0].tries, results[0].is_last))
    assert tries == [(1, False), (2, False), (3, True)]
    assert results[1].passed


def test_without_a_number_of_tries_none_is_the_last() -> None:
    with WebServer({}) as server:
        (result,) = a_round(server, {"checks": [{"status": 200}]}, before=()).results
    assert not result.is_last


def test_a_check_takes_its_own_time() -> None:
    with WebServer({"/": Answer(after_seconds=30.0)}) as server:
        (result,) = a_round(server, {"checks": [{"seconds": 0.2}]}).results
    assert result.message == "no answer within 0.2 seconds"


def test_a_round_has_an_end_however_many_checks_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "_ROUND_SECONDS", 0.3)
    with WebServer({"/": Answer(after_seconds=30.0)}) as server:
        done = a_round(server, {"checks": [{"seconds": 30}] * 20})
    assert len(done.results) == 20
    assert not any(result.passed for result in done.results)
