"""Errors are pages that say why, and to machines problem details."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.web.scene import WebScene
from tests.web.test_pages import words_in


def test_without_a_database_the_pages_say_so_and_that_nothing_is_lost(serve: Callable[..., WebScene]) -> None:
    web = serve()
    with web.parts.store.engine.begin() as connection:
        connection.execute(text("DROP TABLE event"))
        connection.execute(text("DROP TABLE switch"))
    for path in ("/", "/audit"):
        answer = web.get(path)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "the database does not answer" in words_in(answer.text)
        assert "no such table" not in answer.text
    answer = web.get("/api/v1/queue")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("path", "endpoint"), [("/audit", "audit.show"), ("/api/v1/projects", "api.projects")]
)
def test_a_bug_gets_a_page_without_its_words(
    serve: Callable[..., WebScene], path: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    web = serve()

    def bug(**_: object) -> None:
        raise RuntimeError("the secret words of a bug")

    web.app.view_functions[endpoint] = bug
    answer = web.get(path)
    assert answer.status_code == 500
    assert "secret words" not in answer.text
    assert "This is a bug" in answer.text
    assert "secret words" in caplog.text, "the operators' log has them"


def test_over_https_the_browser_is_told_to_stay_with_it(serve: Callable[..., WebScene]) -> None:
    web = serve(public_url="https://preview.toolforge.org")
    assert "max-age=31536000" in web.get("/").headers["Strict-Transport-Security"]


def test_over_plain_http_it_is_not(web: WebScene) -> None:
    assert "Strict-Transport-Security" not in web.get("/").headers
