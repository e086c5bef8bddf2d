"""Pages in a real browser: at every width, in both colours, for screen readers, and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.orchestrator.scene import World
from tests.web.browser import CHROMIUM, chromium, opened
from tests.web.busy import busy
from tests.web.scene import WebScene

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    # A browser that goes away in the middle of an answer leaves the file to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Busy = tuple[WebScene, World]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def filled(shared_web: WebScene) -> Busy:
    """A pool in which a lot goes on."""
    shared_web.forget()
    return shared_web, busy(shared_web)


@pytest.fixture
def look(browser: Browser, filled: Busy) -> Iterator[Callable[..., Page]]:
    """Open a page of ours; options are Playwright's."""
    contexts = []

    def start(path: str, **options: Any) -> Page:
        context = opened(browser, base_of(filled[0]), **options)
        contexts.append(context)
        page = context.__enter__()
        page.goto(path)
        return page

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def base_of(web: WebScene) -> str:
    return str(web.client.base_url).rstrip("/")


def paths(world: World) -> dict[str, str]:
    """Every kind of page."""
    return {
        "overview": "/",
        "project": "/group/tool/-/",
        "preview": "/group/tool/-/1",
        "failed preview": "/group/tool/-/2",
        "waiting preview": "/group/tool/-/8",
        "hostile preview": "/group/tool/-/4",
        "log": f"/group/tool/-/2/{world.deployment(2).id}/build",
        "search": f"/group/tool/-/2/{world.deployment(2).id}/build?q=error",
        "running log": f"/group/tool/-/4/{world.deployment(4).id}/build",
        "account": "/accounts/dev-0",
        "audit": "/audit",
        "API": "/api/v1/",
    }


NAMES = [
    "overview",
    "project",
    "preview",
    "failed preview",
    "waiting preview",
    "hostile preview",
    "log",
    "search",
    "running log",
    "account",
    "audit",
    "API",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_on_any_page(
    look: Callable[..., Page], filled: Busy, name: str, scheme: str
) -> None:
    page = look(paths(filled[1])[name], color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


def test_axe_would_find_something(look: Callable[..., Page]) -> None:
    # A page that does not put itself right while it is looked at.
    page = look("/audit")
    page.evaluate("document.querySelector('h1').style.color = 'silver'")
    page.evaluate("document.querySelector('main').append(new Image())")
    found = {one["id"] for one in Axe().run(page).response["violations"]}
    assert {"image-alt", "color-contrast"} <= found


@pytest.mark.parametrize("width", [320, 800, 1440, 3840])
@pytest.mark.parametrize("name", NAMES)
def test_no_page_scrolls_sideways(look: Callable[..., Page], filled: Busy, name: str, width: int) -> None:
    page = look(paths(filled[1])[name], viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["overview", "preview", "log", "audit"])
def test_right_to_left_nothing_leaves_the_page(look: Callable[..., Page], filled: Busy, name: str) -> None:
    page = look(paths(filled[1])[name], viewport={"width": 320, "height": 900})
    page.evaluate("document.documentElement.dir = 'rtl'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_times_are_in_the_readers_zone_with_the_exact_time_on_hover(look: Callable[..., Page]) -> None:
    page = look("/audit")
    shown = page.locator("time").first
    told = shown.get_attribute("datetime") or ""
    there = page.evaluate(
        "told => new Date(told).toLocaleTimeString('en-GB', {timeZone: 'Europe/Berlin'})", told
    )
    assert there[:5] in (shown.text_content() or "")
    assert "CE" in (shown.get_attribute("title") or "")


def test_without_javascript_times_are_in_utc_and_all_is_there(
    look: Callable[..., Page], filled: Busy
) -> None:
    for path in paths(filled[1]).values():
        page = look(path, java_script_enabled=False)
        assert page.locator("h1").count() == 1
        for text in page.locator("time").all_text_contents():
            assert text.endswith(" UTC")


def test_a_page_follows_what_happens_without_being_asked(look: Callable[..., Page], filled: Busy) -> None:
    web, world = filled
    page = look("/group/tool/-/7")
    assert page.locator("#now").get_by_text("queued").count()
    page.wait_for_timeout(1500)
    world.sees(7, state="closed")
    page.locator("#now").get_by_text("cancelled").wait_for(timeout=15_000)
    assert web.get("/group/tool/-/7").status_code == 200


def test_the_keyboard_reaches_the_content_first(look: Callable[..., Page]) -> None:
    page = look("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")


def test_hostile_words_run_nothing(look: Callable[..., Page], filled: Busy) -> None:
    for name in ("overview", "project", "hostile preview", "running log"):
        page = look(paths(filled[1])[name])
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        assert page.locator("img[src=x]").count() == 0
        assert page.locator("main script").count() == 0
        assert page.get_by_text('<script>alert("x")</script>').count() >= 1
