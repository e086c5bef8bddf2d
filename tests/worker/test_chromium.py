"""A real Chromium takes pictures of pages that wish us no good."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.pictures import HEIGHT, MOST_BYTES, WIDTH
from tests.web.browser import CHROMIUM
from tests.worker.scene import until
from tests.worker.servers import Answer, WebServer
from worker.chromium import NoPicture, take

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

_HTML = {"Content-Type": "text/html"}
#: Whatever a page can ask with; %(it)s is host and port of what it must not reach, %(udp)d a port of UDP.
_HOSTILE = """<!doctype html><title>x</title><h1>A page</h1>
<link rel="stylesheet" href="http://%(it)s/style"><link rel="preconnect" href="http://%(it)s">
<img src="http://%(it)s/img"><iframe src="http://%(it)s/frame"></iframe>
<iframe src="http://169.254.169.254/latest/meta-data/"></iframe><iframe src="file:///etc/passwd"></iframe>
<object data="http://%(it)s/object"></object><script src="http://%(it)s/script"></script>
<script>
navigator.sendBeacon("http://%(it)s/beacon", "x");
new WebSocket("ws://%(it)s/socket");
new EventSource("http://%(it)s/events");
window.open("http://%(it)s/window");
const to = new RTCPeerConnection({iceServers: [
  {urls: "stun:127.0.0.1:%(udp)d"}, {urls: "turn:%(it)s?transport=tcp", username: "a", credential: "b"}]});
to.createDataChannel("x");
to.createOffer().then(offer => to.setLocalDescription(offer));
try { new WebTransport("https://127.0.0.1:%(udp)d/").closed.catch(() => 0); } catch (error) {}
alert("wait for me");
fetch("http://%(it)s/fetch", {mode: "no-cors"}).catch(() => 0).then(() => fetch("/all-tried"));
</script>"""


def _page(html: str, **headers: str) -> Answer:
    return Answer(headers={**_HTML, **headers}, body=html.encode())


@contextmanager
def _site(pages: Mapping[str, Answer]) -> Iterator[tuple[WebServer, str]]:
    """A tool with these pages, and its address; it has a name, under which nothing else is."""
    with WebServer(pages) as server:
        yield server, f"http://tool.localhost:{server.port}"


def _size(webp: bytes) -> tuple[int, int]:
    """Width and height of a WebP in the extended form (RFC 9649, 2.7)."""
    assert webp[:4] + webp[8:16] == b"RIFFWEBPVP8X"
    width, height = (int.from_bytes(webp[at : at + 3], "little") + 1 for at in (24, 27))
    return width, height


def _running() -> list[str]:
    """What runs of browsers that were started here; who has ended and is not buried counts, too."""
    own = f"{tempfile.gettempdir()}/toolforge-preview-picture-".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            if own in (place / "cmdline").read_bytes() or parent == str(os.getpid()):
                found.append((place / "comm").read_text().strip())
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where temporary files are; of what is started, nothing stays there, and nothing runs on."""
    # The session's own folder is made when it is first asked for, and must not be within.
    tmp_path_factory.getbasetemp()
    # With a short name: Chromium makes a socket there.
    with tempfile.TemporaryDirectory(prefix="tests-") as made:
        monkeypatch.setattr(tempfile, "tempdir", made)
        before = Counter(_running())
        yield Path(made)
        until(lambda: not Counter(_running()) - before)
        assert list(Path(made).iterdir()) == []


def test_a_page_is_pictured_at_the_size_that_it_is_shown_in() -> None:
    with _site({"/": _page("<h1>Hello</h1><p>" + "word " * 5000)}) as (_, address):
        picture = take(str(CHROMIUM), address)
    assert _size(picture) == (WIDTH, HEIGHT)
    assert len(picture) <= MOST_BYTES


def test_what_a_page_makes_of_itself_when_it_is_loaded_is_there() -> None:
    draws = "<body><script>fetch('/data').then(() => document.body.style.background = '%s')</script>"
    pages = {"/": _page(draws % "gold"), "/plain": _page("<body>"), "/data": Answer()}
    with _site(pages) as (_, address):
        drawn, plain = (take(str(CHROMIUM), address + path) for path in ("/", "/plain"))
    assert drawn != plain


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "tool.localhost", "another.localhost"])
def test_a_hostile_page_reaches_nothing_but_its_own_host_and_port(host: str) -> None:
    pages: dict[str, Answer] = {"/all-tried": Answer()}
    inner = {path: _page("secret") for path in ("/frame", "/fetch", "/img", "/script", "/object", "/window")}
    with (
        WebServer(inner) as within,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        _site(pages) as (tool, address),
    ):
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        pages["/"] = _page(_HOSTILE % {"it": f"{host}:{within.port}", "udp": udp.getsockname()[1]})
        assert _size(take(str(CHROMIUM), address)) == (WIDTH, HEIGHT)
        assert "/all-tried" in [path for _, path in tool.asked]
        assert {asked for asked, _ in tool.asked} == {f"tool.localhost:{tool.port}"}
        assert within.asked == []
        with pytest.raises(BlockingIOError):
            udp.recv(1)


@pytest.mark.parametrize(
    "leads",
    [
        lambda there: Answer(302, {"Location": there}),
        lambda there: _page(f'<meta http-equiv="refresh" content="0;url={there}">'),
        lambda there: _page(f"<script>location = '{there}'</script>"),
        lambda there: _page("", Refresh=f"0;url={there}"),
    ],
    ids=["redirect", "meta", "script", "header"],
)
def test_a_page_that_leads_elsewhere_is_not_followed_and_there_is_no_picture(leads: object) -> None:
    pages: dict[str, Answer] = {}
    with WebServer({"/secret": _page("secret")}) as within, _site(pages) as (tool, address):
        pages["/"] = leads(f"http://127.0.0.1:{within.port}/secret")  # type: ignore[operator]
        with pytest.raises(NoPicture, match=r"leads away|could not be opened"):
            take(str(CHROMIUM), address)
        assert tool.asked
        assert within.asked == []


def test_a_redirect_within_the_tool_is_followed() -> None:
    pages = {"/": Answer(302, {"Location": "/home"}), "/home": _page("home")}
    with _site(pages) as (tool, address):
        take(str(CHROMIUM), address)
        assert "/home" in [path for _, path in tool.asked]


@pytest.mark.parametrize(
    "page",
    [
        _page("<script>while (true);</script>"),
        _page("<script>while (true) alert(1);</script>"),
        Answer(body=b"late", after_seconds=60.0),
    ],
    ids=["loops", "asks", "is silent"],
)
def test_a_page_without_end_is_given_up_in_time(page: Answer) -> None:
    with _site({"/": page}) as (_, address), pytest.raises(NoPicture, match="not there within"):
        take(str(CHROMIUM), address, seconds=6.0)


def test_what_is_no_page_has_no_picture() -> None:
    download = Answer(headers={"Content-Type": "application/zip", "Content-Disposition": "attachment"})
    with _site({"/": download}) as (_, address), pytest.raises(NoPicture, match="ERR_ABORTED"):
        take(str(CHROMIUM), address)


def test_where_nothing_listens_there_is_no_picture() -> None:
    with _site({}) as (_, address):
        pass
    with pytest.raises(NoPicture, match="could not be opened"):
        take(str(CHROMIUM), address)


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "sleep 60",
        "cat <&3 >&4",
        r"printf 'no JSON\0' >&4; sleep 60",
        r"printf '[1]\0' >&4; sleep 60",
        r"""printf '{"id": 1, "result": {}}\0' >&4; sleep 60""",
        r"""printf '{"id": 1, "error": "no"}\0' >&4; sleep 60""",
        "while true; do printf xxxxxxxx; done >&4",
    ],
)
def test_what_is_no_chromium_brings_no_picture(script: str, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    for path in (str(program), "/no/such/program"):
        with pytest.raises(NoPicture):
            take(path, "http://tool.localhost:1/", seconds=2.0)


def test_a_page_that_takes_memory_without_end_gets_no_more_than_its_share() -> None:
    takes = """<h1>x</h1><script>const all = [];
    while (all.length < 40) all.push(new Uint8Array(5e7));
    fetch("/got-2-GB");</script>"""
    with _site({"/": _page(takes)}) as (tool, address):
        with suppress(NoPicture):
            take(str(CHROMIUM), address, seconds=20.0)
        paths = [path for _, path in tool.asked]
    assert "/" in paths
    assert "/got-2-GB" not in paths


def test_no_setting_of_ours_is_known_to_the_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOLFORGE_PREVIEW_GITLAB_TOKEN", "glpat-secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    told = tmp_path / "told"
    program = tmp_path / "chromium"
    program.write_text(f'#!/bin/sh\nenv > {told}\necho "$@" >> {told}\n')
    program.chmod(0o755)
    with pytest.raises(NoPicture):
        take(str(program), "http://tool.localhost:1/", seconds=5.0)
    words = told.read_text()
    assert "--remote-debugging-pipe" in words
    assert "glpat-secret" not in words
    assert "http_proxy" not in words
    assert ("--no-sandbox" in words) is (os.getuid() == 0)


def test_a_worker_that_is_killed_takes_its_browser_along_and_its_folder_goes_with_a_later_one(
    folder: Path,
) -> None:
    script = f"from worker.chromium import take; take({CHROMIUM!r}, %r)"
    with _site({"/": Answer(after_seconds=60.0)}) as (tool, address):
        environment = os.environ | {"TMPDIR": str(folder)}
        worker = subprocess.Popen([sys.executable, "-c", script % address], env=environment)
        until(lambda: tool.asked, seconds=30.0)
        assert any("chrom" in name for name in _running())
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        until(lambda: not any("chrom" in name for name in _running()))
    (left,) = folder.iterdir()
    with _site({"/": _page("x")}) as (_, address):
        take(str(CHROMIUM), address)
        assert left.exists(), "it may still be used"
        os.utime(left, (time.time() - 3600,) * 2)
        take(str(CHROMIUM), address)
