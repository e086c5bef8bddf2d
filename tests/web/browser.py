"""Debian's Chromium, driven by Playwright, and axe to look for what keeps people out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
#: No request but ours: neither updates nor what a browser asks its maker.
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, base: str, *others: str, **options: Any) -> Iterator[Page]:
    """A page of its own, with cookies and zone of its own; what it logs as an error fails the block.

    So does a request to anybody but `base` and the `others`.
    """
    context = browser.new_context(base_url=base, timezone_id="Europe/Berlin", locale="en-GB", **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((base, *others, "data:")) else wrong.append(request.url)
        ),
    )
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong


def sign_in(page: Page, who: str) -> None:
    """Follow the page's link to GitLab, be `who` there, and agree where GitLab asks.

    It does not wait for the way back.
    """
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Who are you?").select_option(who)
    page.get_by_role("button", name="Sign in").click()
    agree = page.get_by_role("button", name=re.compile("^Authorize"))
    if agree.count():
        agree.click()
