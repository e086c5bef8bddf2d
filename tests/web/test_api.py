"""The API answers as it is described, whatever it is asked, and leaks nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, validate

from tests.orchestrator.scene import World
from tests.web.busy import HOSTILE, LOG, busy
from tests.web.scene import WebScene
from web.api import OPERATIONS


@pytest.fixture(scope="module")
def filled(shared_web: WebScene) -> tuple[WebScene, World]:
    """A pool in which a lot goes on."""
    shared_web.forget()
    return shared_web, busy(shared_web)


def api(web: WebScene, path: str) -> Any:
    answer = web.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def conforms(described: dict[str, Any], path: str, status: int, value: object, method: str = "get") -> None:
    """An answer is as the description says."""
    responses = described["paths"][path][method]["responses"]
    (content,) = responses[str(status)]["content"].values()
    schema = {**content["schema"], "components": described["components"]}
    validate(value, schema, cls=OAS31Validator)


def operation_of(described: dict[str, Any], name: str) -> Any:
    """What schemathesis makes of an operation of the description."""
    found = [one.ok() for one in schemathesis.openapi.from_dict(described).get_all_operations()]
    (operation,) = (one for one in found if one and one.definition.raw["operationId"] == name)
    return operation


def test_what_runs_is_told_as_on_the_pages(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    previews = {one["iid"]: one for one in api(web, "/previews?project=group/tool")["items"]}
    assert previews[1]["address"] == "https://dev-0.toolforge.org/"
    assert previews[1]["state"] == "live"
    assert "<script>" in previews[4]["title"], "JSON needs no escape of HTML's"
    assert "\u202e" not in previews[4]["title"]
    failed = api(web, "/deployments?project=group/tool&iid=2")["items"][0]
    assert failed["failure"]["summary"] == "a package could not be installed"
    assert [stage["state"] for stage in failed["stages"]] == ["queued", "building"]
    assert api(web, f"/deployments/{failed['id']}") == failed
    queue = api(web, "/queue")
    assert queue["is_frozen"]
    assert [one["position"] for one in queue["items"]] == [1, 2, 3]
    assert [one["name"] for one in api(web, "/accounts")["items"]] == ["dev-0", "dev-1", "dev-2", "dev-3"]
    assert api(web, "/accounts/dev-0")["merge_requests"] == ["group/tool!1"]
    assert api(web, "/projects")["items"][0]["path"] == "group/tool"
    assert api(web, "/events?after=live")["items"][0]["merge_request"] == "group/tool!1"


def test_lists_are_read_part_by_part(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    for path in ("/previews", "/deployments", "/events"):
        whole = api(web, f"{path}?limit=200")["items"]
        parts: list[Any] = []
        following = None
        while True:
            page = api(web, f"{path}?limit=3" + (f"&before={following}" if following else ""))
            parts += page["items"]
            following = page["next"]
            if following is None:
                break
        assert parts == whole


def test_a_log_comes_line_by_line(filled: tuple[WebScene, World]) -> None:
    web, world = filled
    answer = web.get(f"/api/v1/deployments/{world.deployment(2).id}/logs/build")
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == len(LOG.split("\n"))
    assert lines[0] == {"number": 1, "text": "[step-build] -----> Python app detected"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/previews?limit=0", 400),
        ("/previews?limit=many", 400),
        ("/previews?colour=red", 400),
        ("/previews?project=no/such", 404),
        ("/deployments?iid=1", 400),
        ("/deployments?state=happy", 400),
        ("/deployments/999999", 404),
        (f"/deployments/{10**30}", 404),
        ("/deployments/1/logs/other", 404),
        ("/events?since=yesterday", 400),
        ("/accounts/nobody", 404),
        ("/nothing", 404),
    ],
)
def test_errors_are_problem_details_that_say_what_was_wrong(
    filled: tuple[WebScene, World], path: str, status: int
) -> None:
    web, _ = filled
    answer = web.get(f"/api/v1{path}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


def test_what_may_only_be_read_cannot_be_written(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    answer = web.client.post("/api/v1/previews")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_answer_that_is_still_right_is_not_sent_again(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    known = {"If-None-Match": web.get("/api/v1/projects").headers["ETag"]}
    assert web.client.get("/api/v1/projects", headers=known).status_code == 304


def test_where_pages_are_not_public_the_api_is_not_either(serve: Callable[..., WebScene]) -> None:
    web = serve(public_pages=False)
    for path in ("/api/v1/projects", "/api/v1/openapi.json"):
        answer = web.get(path)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
    assert web.get("/").status_code == 403
    assert "not public" in web.get("/group/tool/-/1").text
    assert web.get("/healthz").status_code == 200


def test_no_secret_is_in_any_answer(serve: Callable[..., WebScene]) -> None:
    web = serve(secret_key="k" * 40, gitlab_token="glpat-secret")
    with web.parts.store.write() as tx:
        account_id = tx.add_account("dev-9", {"cert": "/secret/client.crt"}, 1.0)
    assert account_id
    with web.parts.store.read() as tx:
        digest = tx.project(web.project_id).secret_digests[0]
    paths = ["/", "/group/tool/-/", "/accounts/dev-9", "/audit", "/audit.csv", "/api/v1/accounts"]
    for path in [*paths, "/api/v1/projects", "/api/v1/openapi.json", "/api/v1/"]:
        text = web.get(path).text
        for secret in (digest, "/secret/", "glpat", "k" * 40):
            assert secret not in text


def test_the_page_of_the_api_names_every_path(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    page = web.get("/api/v1/").text
    for path in web.get("/api/v1/openapi.json").json()["paths"]:
        assert path in page


@pytest.mark.parametrize("name", [one.name for one in OPERATIONS if one.method == "get"])
def test_whatever_is_asked_the_answer_is_as_described(filled: tuple[WebScene, World], name: str) -> None:
    web, _ = filled
    described = web.get("/api/v1/openapi.json").json()
    operation = operation_of(described, name)

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), odd=st.booleans())
    def ask(case: Any, odd: bool) -> None:
        query = {name: value for name, value in (case.query or {}).items() if value is not None}
        query |= {"limit": "-1"} if odd else {}
        answer = web.client.get(f"/api/v1{case.formatted_path}", params=query)
        assert answer.status_code < 500
        if answer.headers["Content-Type"] == "application/x-ndjson":
            return
        if answer.status_code in {200, 400} or operation.path in described["paths"]:
            conforms(described, operation.path, answer.status_code, answer.json())

    ask()


def test_hostile_text_is_json_and_nothing_else(filled: tuple[WebScene, World]) -> None:
    web, _ = filled
    answer = web.get("/api/v1/previews")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert HOSTILE.replace("\u202e", "") in [one["title"] for one in answer.json()["items"]]
