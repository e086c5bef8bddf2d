"""A smoke check asks the preview's own address and nothing else, and is not held up by what answers."""

from __future__ import annotations

import itertools
import socket
import time

import pytest

from orchestrator.outcome import CheckResult
from tests.worker.servers import Answer, WebServer, talking
from worker.smoke import check_path


def check(address: str, path: str = "/", expected: int | None = None, *, timeout: float = 3.0) -> CheckResult:
    return check_path(address, path, expected, timeout=timeout, user_agent="tests (tests@example.org)")


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
