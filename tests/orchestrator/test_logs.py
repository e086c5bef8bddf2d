"""Every line of the log says what it is about, in one form, and nobody can forge one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator import logs
from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.logs import about, being
from tests.orchestrator.scene import World

log = logging.getLogger("tests.logs")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], io.StringIO]]:
    """Install a form of logs; what is logged from then on."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    names = [*logs._NOISY, *logs._WITH_HANDLERS]
    levels = {name: logging.getLogger(name).level for name in names}

    def install(log_format: str) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        logs.install(log_format)
        return stream

    yield install
    root.handlers[:] = before
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_what_its_block_and_itself_are_about(said: Callable[[str], io.StringIO]) -> None:
    stream = said("json")
    with about(delivery=3):
        with about(deployment=17, account=None):
            log.info("within", extra=being({"who": "dana"}))
            logging.getLogger("another.library").warning("of its own")
        log.info("after")
    log.info("outside")
    within, other, after, outside = lines(stream)
    assert (within["delivery"], within["deployment"], within["who"]) == (3, 17, "dana")
    assert "account" not in within
    assert (other["delivery"], other["deployment"], other["level"]) == (3, 17, "warning")
    assert after["delivery"] == 3
    assert "deployment" not in after
    assert outside.keys() == {"time", "level", "logger", "message"}


def test_threads_do_not_share_what_their_lines_are_about(said: Callable[[str], io.StringIO]) -> None:
    stream = said("json")

    def work(number: int) -> None:
        with about(deployment=number):
            log.info("%s", number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(50)))
    assert len(lines(stream)) == 50
    assert all(line["message"] == str(line["deployment"]) for line in lines(stream))


HOSTILE = 'title\n2026-01-01 INFO: all is well\r\n{"level": "info"}\x1b[31m\u202e\x00\u2028'


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_foreign_text_cannot_begin_a_line(said: Callable[[str], io.StringIO], log_format: str) -> None:
    stream = said(log_format)
    with about(who=HOSTILE):
        log.info("the title is %s", HOSTILE)
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_an_error_is_one_line_of_json_with_its_place(said: Callable[[str], io.StringIO]) -> None:
    stream = said("json")
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        log.exception("that went wrong")
    (line,) = lines(stream)
    assert "ZeroDivisionError" in line["error"]
    assert "test_logs.py" in line["error"]


def test_without_a_terminal_logs_are_json_and_installing_twice_does_not_double_them(
    said: Callable[[str], io.StringIO],
) -> None:
    said("auto")
    stream = said("auto")
    log.info("once")
    assert [line["message"] for line in lines(stream)] == ["once"]


def test_a_merge_request_is_followed_from_its_webhook_to_the_cleaning(
    said: Callable[[str], io.StringIO], any_parts: Parts
) -> None:
    stream = said("json")
    world = World(any_parts)
    world.sees()
    world.goes_live()
    world.sees(state="closed")
    preview = world.preview().id
    told = [line["message"] for line in lines(stream) if line.get("preview") == preview]
    assert "deployment 1: queued: commit " + "a" * 40 in told
    for step in ("queued -> building", "building -> starting", "checking -> live", "live -> stopped"):
        assert any(message.startswith(f"deployment 1: {step}") for message in told)
    assert any("leased -> cleaning" in message for message in told)
    (built,) = [line for line in lines(stream) if "building -> starting" in line["message"]]
    assert (built["deployment"], built["account_id"]) == (1, 1)
    (taken, *_) = [line for line in lines(stream) if line["message"].startswith("taken")]
    assert taken["delivery"] == 1


def test_what_a_step_leads_to_is_not_told_as_if_it_were_about_that_step(
    said: Callable[[str], io.StringIO], any_parts: Parts
) -> None:
    stream = said("json")
    world = World(any_parts)
    world.sees(1)
    world.sees(2)
    with about(deployment=1, account="dev-0", delivery=9):
        world.sees(1, state="closed")
        world.step(out.Tidied(), 1)
        world.cleaning(1, out.Cleaned(0, 0))
    (line,) = [
        line for line in lines(stream) if line["message"].startswith("deployment 2: queued -> building")
    ]
    assert (line["deployment"], line["delivery"]) == (2, 9)
    assert "account" not in line


def test_what_is_rolled_back_is_not_told(said: Callable[[str], io.StringIO], any_parts: Parts) -> None:
    stream = said("json")

    def is_cut_off() -> None:
        with any_parts.store.write() as tx:
            tx.add_event("account", 1, "free", "leased", who="", why="no", now=0.0, preview_id=None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_cut_off()
    assert stream.getvalue() == ""
