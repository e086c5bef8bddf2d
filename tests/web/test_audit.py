"""Who did what: filtered on the page, taken away as CSV or JSON."""

from __future__ import annotations

import csv
import io

import pytest

from tests.orchestrator.scene import World
from tests.web.scene import WebScene
from tests.web.test_pages import words_in


def rows_of(web: WebScene, query: str = "") -> list[dict[str, str]]:
    answer = web.get(f"/audit.csv{query}")
    assert answer.headers["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_page_shows_what_fits_and_offers_the_same_to_take_away(web: WebScene) -> None:
    world = World(web.parts)
    world.sees(1, who="dana")
    world.goes_live(1)
    page = web.get("/audit?after=live")
    assert "every smoke check passed" in page.text
    assert "it was looked at and is empty" not in page.text
    assert 'href="/audit.csv?after=live"' in page.text
    assert [row["after"] for row in rows_of(web, "?after=live")] == ["live"]
    assert {row["who"] for row in rows_of(web, "?who=dana")} <= {"dana"}
    assert web.get("/audit.json?after=live").json()[0]["merge_request"] == "group/tool!1"


def test_nothing_that_fits_and_nothing_at_all_are_told_apart(web: WebScene) -> None:
    assert "Nothing has happened yet" in words_in(web.get("/audit").text)
    World(web.parts)
    assert "Nothing fits" in words_in(web.get("/audit?text=zebra").text)
    assert web.get("/audit.json?text=zebra").json() == []


def test_a_day_is_in_utc_and_its_end_belongs_to_it(web: WebScene) -> None:
    World(web.parts).sees(1)
    all_rows = rows_of(web)
    day = all_rows[0]["at"][:10]
    assert rows_of(web, f"?since={day}&until={day}") == all_rows
    assert rows_of(web, "?until=1970-01-01") == []


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "until=2026-13-01",
        "subject=secrets",
        "project=no/such",
        "until=9999-12-31",
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_what_was_expected(web: WebScene, query: str) -> None:
    for path in ("/audit", "/audit.csv"):
        answer = web.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert "That cannot be answered" in answer.text


def test_a_reason_does_not_become_a_formula_in_a_spreadsheet(web: WebScene) -> None:
    world = World(web.parts)
    world.lifecycle.freeze("=cmd()", "=HYPERLINK(\x1b[31m)", world.now)
    (row,) = rows_of(web, "?subject=switch")
    assert row["why"] == "'=HYPERLINK()"
    assert row["who"] == "'=cmd()"
