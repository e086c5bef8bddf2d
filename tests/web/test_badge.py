"""The badge: right in words, colour and width; kept for seconds; and silent about what is not known."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from orchestrator import outcome as out
from orchestrator.outcome import Failure
from orchestrator.preview import State
from tests.orchestrator.scene import World
from tests.web.scene import WebScene
from web.badge import _COLOURS, drawn, width


def words(svg: str) -> str:
    """The text that is drawn."""
    found: list[str] = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return " ".join(found)


def test_a_badge_says_the_newest_state(serve: Callable[..., WebScene]) -> None:
    web = serve()
    world = World(web.parts, accounts=2)
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    world.steps(out.BuildStarted("b"), out.StageFailed(Failure("build", "no", "do")), iid=2)
    assert words(web.get("/badge/group/tool/1.svg").text) == "preview live"
    assert words(web.get("/badge/group/tool/2.svg").text) == "preview failed"
    assert words(web.get("/badge/group/tool.svg").text) == "preview failed"
    answer = web.get("/badge/group/tool/1.svg")
    assert answer.headers["Content-Type"].startswith("image/svg+xml")
    assert "public, max-age=5" in answer.headers["Cache-Control"]


def test_a_badge_that_is_still_right_is_not_sent_again(serve: Callable[..., WebScene]) -> None:
    web = serve()
    World(web.parts).sees(1)
    first = web.get("/badge/group/tool.svg")
    known = {"If-None-Match": first.headers["ETag"]}
    again = web.client.get("/badge/group/tool.svg", headers=known)
    assert (again.status_code, again.content) == (304, b"")


def test_shields_io_gets_what_it_takes(serve: Callable[..., WebScene]) -> None:
    web = serve()
    World(web.parts).sees(1)
    for path in ("/badge/group/tool.json", "/badge/group/tool/1.json"):
        assert web.get(path).json() == {
            "schemaVersion": 1,
            "label": "preview",
            "message": "building",
            "color": "#3056a9",
        }


@pytest.mark.parametrize(
    "path", ["group/unknown", "group/tool", "group/tool/99", f"group/tool/{10**30}", "%3Cscript%3E", "%00"]
)
def test_what_is_not_known_gets_a_grey_badge_that_says_no_more(web: WebScene, path: str) -> None:
    answer = web.get(f"/badge/{path}.svg")
    assert answer.status_code == 404
    assert answer.content == drawn("unknown")
    assert web.get(f"/badge/{path}.json").json()["message"] == "unknown"


def test_where_pages_are_not_public_every_project_is_unknown(serve: Callable[..., WebScene]) -> None:
    web = serve(public_pages=False)
    World(web.parts).sees(1)
    known, unknown = web.get("/badge/group/tool.svg"), web.get("/badge/group/nothing.svg")
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert set(known.headers) == set(unknown.headers)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class _Drawn(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.colours: set[str] = set()
        self.boxes: list[tuple[int, int]] = []
        self.total = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "svg":
            self.total = int(given["width"] or 0)
        if tag == "rect" and given.get("fill"):
            self.colours.add(str(given["fill"]))
        if tag == "text":
            self.boxes.append((int(given["x"] or 0), int(given["textlength"] or 0)))


@pytest.mark.parametrize("state", [*State, "unknown"])
def test_every_state_can_be_read(state: str) -> None:
    picture = _Drawn()
    picture.feed(drawn(state).decode())
    assert all(1.05 / (_luminance(colour) + 0.05) >= 4.5 for colour in picture.colours)
    (left, left_width), (right, right_width) = picture.boxes
    assert left + left_width < right
    assert right + right_width < picture.total
    assert state in words(drawn(state).decode())


def test_wider_words_get_more_room_and_unknown_letters_the_most() -> None:
    assert width("mmm") > width("iii")
    assert width("\u0416") == width("m")
    assert set(_COLOURS) <= set(State)
