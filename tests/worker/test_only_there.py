"""The browser's way out leads to one host and port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from tests.worker.servers import Answer, WebServer
from worker.only_there import OnlyThere

_GREETING, _WELCOME = b"\x05\x01\x00", b"\x05\x00"


def _named(host: str, port: int, *, command: int = 1) -> bytes:
    return bytes([5, command, 0, 3, len(host)]) + host.encode() + port.to_bytes(2, "big")


def _numbered(host: str, port: int) -> bytes:
    family, kind = (socket.AF_INET6, 4) if ":" in host else (socket.AF_INET, 1)
    return bytes([5, 1, 0, kind]) + socket.inet_pton(family, host) + port.to_bytes(2, "big")


def _through(there: OnlyThere, *said: bytes) -> bytes:
    """All that is answered to who says this, in pieces, and then nothing more."""

    async def speak() -> bytes:
        async with there.proxy() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in said:
                writer.write(piece)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    return asyncio.run(speak())


def _request(host: str) -> bytes:
    return f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()


def test_its_own_host_is_reached_by_its_name() -> None:
    with WebServer({"/": Answer(body=b"hello")}) as server:
        there = OnlyThere(f"http://tool.localhost:{server.port}/", most_bytes=10_000)
        said = (_GREETING, _named("Tool.localhost", server.port), _request("tool.localhost"))
        answer = _through(there, *said)
    assert answer.startswith(_WELCOME + b"\x05\x00\x00")
    assert answer.endswith(b"hello")
    assert there.refused == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda port: _numbered("127.0.0.1", port),
        lambda port: _numbered("::1", port),
        lambda port: _named("127.0.0.1", port),
        lambda port: _named("localhost", port),
        lambda port: _named("other.localhost", port),
        lambda port: _named("tool.localhost.example.org", port),
        lambda port: _named("tool.localhost", port + 1),
        lambda port: _named("", port),
    ],
)
def test_anything_else_is_refused_and_not_asked(ask: Callable[[int], bytes]) -> None:
    with WebServer({"/": Answer()}) as server:
        there = OnlyThere(f"http://tool.localhost:{server.port}/", most_bytes=10_000)
        answer = _through(there, _GREETING, ask(server.port), _request("tool.localhost"))
        assert answer[:4] == _WELCOME + b"\x05\x02"
        assert server.asked == []
    assert there.refused == 1


@pytest.mark.parametrize(
    "said",
    [
        (b"GET / HTTP/1.1\r\n\r\n",),
        (b"\x04\x01",),
        (b"\x05\x01\x02",),
        (_GREETING, _named("tool.localhost", 80, command=3)),
        (_GREETING, b"\x05\x01\x00\x09"),
        (_GREETING, _named("t\xf6ol", 80)),
        (_GREETING, b"\x05"),
        (),
    ],
)
def test_what_is_no_request_gets_no_connection(said: tuple[bytes, ...]) -> None:
    there = OnlyThere("http://tool.localhost/", most_bytes=10_000)
    answer = _through(there, *said)
    assert answer in (b"", _WELCOME) or answer[:4] == _WELCOME + b"\x05\x02"


def test_no_more_than_so_many_bytes_pass() -> None:
    with WebServer({"/": Answer(body=b"x" * 5_000_000)}) as server:
        there = OnlyThere(f"http://tool.localhost:{server.port}/", most_bytes=200_000)
        answer = _through(there, _GREETING, _named("tool.localhost", server.port), _request("x"))
    assert 0 < len(answer) <= 200_100


def test_where_nothing_listens_is_said_so() -> None:
    with WebServer({}) as server:
        port = server.port
    there = OnlyThere(f"http://tool.localhost:{port}/", most_bytes=1000)
    assert _through(there, _GREETING, _named("tool.localhost", port))[:4] == _WELCOME + b"\x05\x01"


@pytest.mark.parametrize(
    ("address", "url", "is_there"),
    [
        ("https://tool.example.org/", "https://tool.example.org/page?x#y", True),
        ("https://tool.example.org/", "http://tool.example.org/", True),
        ("https://tool.example.org/", "https://tool.example.org:443/", True),
        ("https://tool.example.org/", "https://tool.example.org:8443/", False),
        ("https://tool.example.org/", "https://other.example.org/", False),
        ("http://tool.localhost:8080/", "http://tool.localhost:8080/", True),
        ("http://tool.localhost:8080/", "http://tool.localhost/", False),
        ("http://tool.localhost:8080/", "chrome-error://chromewebdata/", False),
        ("http://tool.localhost:8080/", "about:blank", False),
        ("http://tool.localhost:8080/", "data:text/html,x", False),
        ("http://tool.localhost:8080/", "http://tool.localhost:99999/", False),
        ("http://tool.localhost:8080/", "", False),
    ],
)
def test_what_may_be_shown(address: str, url: str, is_there: bool) -> None:
    assert OnlyThere(address, most_bytes=1).is_at(url) is is_there
