"""Hands on the pages, in a real browser: sign in through GitLab's own pages, and do things."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator import outcome as out
from orchestrator.preview import Step
from orchestrator.project_secrets import ProjectSecrets
from orchestrator.sealing import Vault
from orchestrator.tokens import Scope
from tests.orchestrator.scene import B
from tests.web.browser import CHROMIUM, chromium, opened, sign_in
from tests.web.house import House
from tests.web.scene import WebScene

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    # A browser that goes away in the middle of an answer leaves the file to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PAGE = "/group/tool/-/1"
PHONE = {"viewport": {"width": 320, "height": 640}}
WITHOUT_SCRIPT = {"java_script_enabled": False}
Look = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Open a page of a house, signed in as somebody; options are Playwright's."""
    with ExitStack() as stack:

        def start(house: House, who: str, path: str, **options: Any) -> Page:
            page = stack.enter_context(opened(browser, house.url, house.gitlab.url, **options))
            page.goto(path)
            sign_in(page, who)
            page.wait_for_url(f"**{path}")
            return page

        yield start


def accessible(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found]


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def is_used_by_others(house: House) -> None:
    """The second account is quarantined."""
    house.world.lifecycle.drain("dev-1", "carol", house.world.now)
    house.world.lifecycle.drain("dev-1", "carol", house.world.now, undo=True)
    house.world.cleaning(2, out.FoundForeign("a job of somebody else"))


def test_a_developer_keeps_redeploys_and_stops(look: Look, house: House) -> None:
    page = look(house, "dana", PAGE)
    page.get_by_label("Keep it for").select_option("24h")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="It is kept.")).to_be_visible()
    page.get_by_role("button", name="Redeploy").click()
    expect(page.get_by_role("status").filter(has_text="is to be built")).to_be_visible()
    assert house.world.states() == ["live", "queued"]
    stop = page.get_by_role("button", name="Stop it")
    expect(stop).to_be_hidden()
    page.get_by_text("Stop…").click()
    stop.click()
    expect(page.get_by_text("Nothing is up: stopped by dana")).to_be_visible()
    assert house.world.states() == ["stopped", "cancelled"]


def test_without_a_script_on_a_phone_a_strangers_commit_is_approved_and_stopped(
    look: Look, house: House
) -> None:
    house.world.sees(2, B, fork=True)
    page = look(house, "dana", "/group/tool/-/2", **WITHOUT_SCRIPT, **PHONE)
    page.get_by_role("button", name=f"Approve {B[:12]}").click()
    expect(page.get_by_role("status").filter(has_text="is to be built")).to_be_visible()
    assert house.world.deployment(2).step is Step.READ_FILE
    page.get_by_text("Stop…").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("It is being taken down.")).to_be_visible()
    assert house.world.states(2) == ["cancelled"]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out here.")).to_be_visible()


def test_a_page_that_is_brought_up_to_date_can_still_be_used(
    look: Look, gitlab: LocalGitLab, seeder: Seeder, serve: Callable[..., WebScene]
) -> None:
    # Its own, since changes have numbers that never begin anew.
    house = House(gitlab, seeder, serve)
    page = look(house, "dana", PAGE)
    page.get_by_text("Stop…").click()
    page.get_by_label("Keep it for").select_option("12h")
    page.get_by_label("Keep it for").focus()
    page.wait_for_timeout(1500)
    # What is offered becomes another thing, and nothing that somebody has begun is lost.
    house.world.lifecycle.keep(house.world.preview().id, 3600.0, "carol", house.world.now)
    expect(page.get_by_role("button", name="Let it give way again")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("button", name="Stop it")).to_be_visible()
    expect(page.get_by_label("Keep it for")).to_have_value("12h")
    expect(page.get_by_label("Keep it for")).to_be_focused()
    page.get_by_role("button", name="Let it give way again").click()
    expect(page.get_by_role("status").filter(has_text="It may give way")).to_be_visible()


def test_an_operator_freezes_lets_go_on_and_empties_an_account(look: Look, house: House) -> None:
    is_used_by_others(house)
    page = look(house, "olga", "/")
    page.get_by_text("Freeze the builds…").click()
    page.get_by_label("Why, for everybody who waits").first.fill("maintenance")
    page.get_by_role("button", name="Freeze the builds").click()
    expect(page.get_by_text("Builds are frozen.")).to_be_visible()
    page.get_by_role("button", name="Let it go on").click()
    expect(page.get_by_text("Everything goes on.")).to_be_visible()
    page.get_by_role("link", name="dev-1").click()
    page.get_by_text("Empty it…").click()
    page.get_by_label("Write dev-1 to say that you mean it").fill("dev-1")
    page.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_text("dev-1 is being emptied.")).to_be_visible()
    assert house.account().clean_all


@pytest.mark.parametrize("scripted", [True, False], ids=["with scripts", "without"])
def test_a_token_is_made_and_revoked(look: Look, house: House, scripted: bool) -> None:
    page = look(house, "dana", "/", java_script_enabled=scripted, **PHONE)
    page.get_by_role("link", name="Tokens").click()
    page.get_by_label("What uses it").fill("my script")
    page.get_by_label("It may").select_option("read and act")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator("#secret").inner_text()
    assert not scrolls_sideways(page)
    headers = {"Authorization": f"Bearer {secret}"}
    assert page.request.get(f"{house.url}/api/v1/projects", headers=headers).status == 200
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("You have none.")).to_be_visible()
    assert page.request.get(f"{house.url}/api/v1/projects", headers=headers).status == 401


@pytest.mark.parametrize("scripted", [True, False], ids=["with scripts", "without"])
def test_a_maintainer_sets_a_secret_and_takes_it_away(look: Look, house: House, scripted: bool) -> None:
    page = look(house, "max", "/group/tool/-/", java_script_enabled=scripted, **PHONE)
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Name", exact=True).fill("API_KEY")
    page.get_by_label("Value", exact=True).fill("first line\nsecond line")
    page.get_by_role("button", name="Set the secret").click()
    expect(page.get_by_text("API_KEY is set, and counts from the next deployment")).to_be_visible()
    assert house.web.parts.secrets.opened(house.world.preview()).values == {
        "API_KEY": "first line\nsecond line"
    }
    assert "second line" not in page.content()
    assert not scrolls_sideways(page)
    page.get_by_text("Remove…").click()
    page.get_by_role("button", name="Remove API_KEY").click()
    expect(page.get_by_text("There are none.")).to_be_visible()
    assert house.web.parts.secrets.of(house.web.project_id) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_something_can_be_done(look: Look, house: House, scheme: str) -> None:
    house.world.sees(2, B, fork=True)
    is_used_by_others(house)
    house.world.lifecycle.freeze("olga", "maintenance", house.world.now)
    house.world.lifecycle.keep(house.world.preview().id, 3600.0, "carol", house.world.now)
    house.web.parts.tokens.make(
        house.user_id("olga"), "olga", name="x" * 100, scopes=set(Scope), seconds=9.0, now=time.time()
    )
    for vault in (Vault(["k" * 40]), Vault(["x" * 40])):
        secrets = ProjectSecrets(house.web.parts.store, vault)
        secrets.put(house.web.project_id, f"KEY_{'X' * 95}{len(secrets.of(1))}", "x" * 8, "max", 1.0)
    page = look(house, "olga", "/", color_scheme=scheme, **PHONE)
    for path in ("/", PAGE, "/group/tool/-/2", "/accounts/dev-1", "/group/tool/-/settings", "/tokens"):
        page.goto(path)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert accessible(page) == [], path
        assert not scrolls_sideways(page), path


def test_pages_that_say_no_are_readable_and_lead_on(browser: Browser, closed_house: House) -> None:
    context = browser.new_context(base_url=closed_house.url, **PHONE)
    page = context.new_page()
    for path in (PAGE, "/sign-in/gitlab?error=access_denied"):
        page.goto(path)
        assert accessible(page) == [], path
        assert not scrolls_sideways(page), path
        assert page.get_by_role("link", name=re.compile("^Sign in")).count() >= 1
    context.close()
