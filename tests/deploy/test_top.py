"""The terminal shows what the first page shows, whatever strangers have written."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from deploy.screen import overview_table
from deploy.top import picture
from orchestrator.bootstrap import Parts
from orchestrator.preview import State
from orchestrator.settings import PREFIX, load_settings
from tests.web.busy import busy
from tests.web.scene import WebScene


def shown(parts: Parts, width: int = 140) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system="truecolor")
    console.print(picture(parts.pages.pool(time.time())))
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 140])
def test_accounts_queue_failures_and_what_is_stopped_are_shown(parts: Parts, width: int) -> None:
    with WebScene(parts) as web:
        busy(web)
    text = shown(parts, width)
    assert "builds running" in text
    assert "dev-0" in text
    assert "Queue" in text
    assert "Failed in 24 hours" in text
    if width == 140:
        assert "builds are frozen by olga: maintenance of the registry until 14:00" in text
        assert "a package could not be installed" in text
        assert "group/tool!1 " in text


def test_a_title_can_neither_colour_nor_turn_nor_move_anything(parts: Parts) -> None:
    with WebScene(parts) as web:
        world = busy(web)
    world.sees(30, title="[bold]not markup[/bold] \x1b[2J\x1b[31m\u202e\nnew line")
    text = shown(parts)
    assert "[bold]not markup[/bold]" in text
    for forbidden in ("\x1b[2J", "\x1b[31m", "\u202e"):
        assert forbidden not in text
    (line,) = [line for line in text.splitlines() if "not markup" in line]
    assert "new line" in line


def test_the_state_of_each_merge_request_is_seen_on_a_narrow_terminal(parts: Parts) -> None:
    with WebScene(parts) as web:
        busy(web)
    stream = io.StringIO()
    Console(file=stream, width=60).print(overview_table(parts.views.overview(time.time())))
    for state in (State.LIVE, State.FAILED, State.BUILDING):
        assert state in stream.getvalue().partition("Merge requests")[2]


def test_an_empty_installation_has_something_to_show(parts: Parts) -> None:
    assert "0 of 3 builds running, 0 waiting, 0 of 0 accounts free" in shown(parts)


def environment(database_url: str) -> dict[str, str]:
    settings = {f"{PREFIX}DATABASE_URL": database_url, f"{PREFIX}GITLAB_TOKEN": "none"}
    return os.environ | settings | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}


COMMAND = [sys.executable, "-m", "deploy", "top"]


def test_once_ends_by_itself(parts: Parts, database_url: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--once"], env=environment(database_url), capture_output=True, text=True, check=True
    )
    assert "builds running" in done.stdout


def test_on_a_terminal_it_goes_on_while_the_database_is_away_and_ends_quietly(tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path / 'test.db'}"
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--every", "0.2"], env=environment(database_url), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    try:
        seen = _read_until(ours, b"The database does not answer")
        made = Parts(load_settings(database_url=database_url, gitlab_token="none"))
        made.migrate()
        made.close()
        seen += _read_until(ours, b"0 of 0 accounts free")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the end of a terminal whose other side is gone
            while more := _read(ours):
                seen += more
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(ours)
    assert b"Traceback" not in seen


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        seen += _read(terminal)
    return seen


def _read(terminal: int) -> bytes:
    assert select.select([terminal], [], [], 60.0)[0], "nothing more is shown"
    return os.read(terminal, 4096)
