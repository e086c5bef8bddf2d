"""What programs do to previews by the API: the same as people on the pages, and with the same rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator import rights
from tests.orchestrator.scene import A, B
from tests.web.house import House
from tests.web.test_api import conforms, operation_of
from tests.web.test_tokens import made
from web.api import OPERATIONS

AT = "/api/v1/projects/group/tool/-/previews/1"


class Program:
    """Something that has a token and nothing else."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def does(self, verb: str, at: str = AT, **body: str) -> httpx.Response:
        """Asks for something; without anything in it the body is empty."""
        return self.client.post(f"{at}/{verb}", json=body) if body else self.client.post(f"{at}/{verb}")


@contextmanager
def program_of(house: House, who: str, scope: str = "act") -> Iterator[Program]:
    with house.visitor(who) as visitor:
        headers = {"Authorization": f"Bearer {made(visitor, scope=scope)}"}
    with httpx.Client(base_url=house.url, headers=headers, trust_env=False) as client:
        yield Program(client)


@pytest.fixture
def program(house: House) -> Iterator[Program]:
    with program_of(house, "developer") as made_one:
        yield made_one


def test_what_a_program_does_is_done_by_its_person(house: House, program: Program) -> None:
    world = house.world
    assert program.does("keep", duration="48h").json()["message"] == "It is kept."
    assert world.preview().keep_until is not None
    answer = program.does("release")
    assert answer.json()["preview"]["keep_until"] is None
    assert program.does("redeploy", sha=A).status_code == 200
    assert (world.deployment().trigger, world.deployment().actor) == ("command", "dana")
    answer = program.does("stop")
    assert answer.json()["message"] == "It is being taken down."
    assert answer.json()["preview"]["address"] is None
    assert answer.json()["preview"]["stop_reason"] == "stopped by dana"
    assert program.client.get(AT).json() == answer.json()["preview"]


def test_rebuild_wants_no_image_that_is_there(house: House, program: Program) -> None:
    assert program.does("rebuild", sha=A).status_code == 200
    assert house.world.deployment().trigger == "rebuild"


def test_a_strangers_commit_is_approved_and_no_other(house: House, program: Program) -> None:
    at = "/api/v1/projects/group/tool/-/previews/2"
    house.world.sees(2, B, fork=True)
    answer = program.does("redeploy", at, sha=A)
    assert answer.status_code == 400
    assert "is not the head" in answer.json()["detail"]
    assert program.does("redeploy", at).status_code == 400, "which commit has to be said"
    assert house.world.deployment(2).step == "await approval"
    assert program.does("redeploy", at, sha=B).status_code == 200
    assert house.world.deployment(2).step == "read file"


@pytest.mark.parametrize(
    ("verb", "sent", "words"),
    [
        ("keep", b"", "'duration': Field required."),
        ("keep", b'{"duration": "forever"}', "Say for how long"),
        ("keep", b'{"duration": 5}', "'duration'"),
        ("keep", b"duration=48h", "Invalid JSON"),
        ("keep", b"[]", "JSON: Input should be an object."),
        ("keep", b"\xff", "Invalid JSON"),
        ("stop", b'{"please": true}', "'please': Extra inputs are not permitted."),
        ("release", b"", "is not kept"),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_is_done(
    house: House, program: Program, verb: str, sent: bytes, words: str
) -> None:
    answer = program.client.post(f"{AT}/{verb}", content=sent)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert house.world.states() == ["live"]
    assert house.world.preview().keep_until is None


def test_what_is_not_there_is_not_found(program: Program) -> None:
    for iid in (99, 10**30):
        assert program.does("stop", f"/api/v1/projects/group/tool/-/previews/{iid}").status_code == 404


def test_a_token_that_may_only_read_does_nothing(house: House) -> None:
    with program_of(house, "operator", scope="read") as program:
        assert program.client.get(AT).status_code == 200
        answer = program.does("stop")
        assert answer.status_code == 403
        assert "the scope 'act'" in answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="act"'
    assert house.world.states() == ["live"]


@pytest.mark.parametrize("who", ["stranger", "guest", "reporter"])
def test_a_token_gives_nobody_more_than_they_may_themselves(house: House, who: str) -> None:
    with program_of(house, who) as program:
        assert program.does("stop").status_code == 403
    assert house.world.states() == ["live"]


@pytest.mark.parametrize(("who", "status"), [("stranger", 403), ("reporter", 200), ("operator", 200)])
def test_where_pages_are_not_public_a_token_reads_what_its_person_may(
    closed_house: House, who: str, status: int
) -> None:
    closed_house.begins_anew()
    deployment = closed_house.world.deployment()
    with program_of(closed_house, who, scope="read") as program:
        assert program.client.get(AT).status_code == status
        assert program.client.get(f"/api/v1/deployments/{deployment.id}").status_code == status


def test_rights_that_are_taken_away_in_gitlab_are_gone_for_tokens_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "REMEMBERED_SECONDS", 0.0)
    house.becomes("gerda", 30)
    with house.visitor() as visitor:
        visitor.signs_in("gerda")
        headers = {"Authorization": f"Bearer {made(visitor)}"}
    with httpx.Client(base_url=house.url, headers=headers, trust_env=False) as client:
        assert Program(client).does("keep", duration="4h").status_code == 200
        house.leaves("gerda")
        assert Program(client).does("stop").status_code == 403
    assert house.world.states() == ["live"]


def test_what_comes_with_a_cookie_needs_the_token_of_a_form(house: House, program: Program) -> None:
    with house.visitor("developer") as visitor:
        token = visitor.token()
        assert visitor.client.post(f"{AT}/stop").status_code == 400
        foreign = {"X-CSRFToken": token, "Origin": "https://elsewhere.example"}
        assert visitor.client.post(f"{AT}/stop", headers=foreign).status_code == 400
        # Not the header decides, but that its token counts.
        for odd in ("Bearer tfp_wrong", "Basic ZGFuYTp4", "Bearer", "tfp_wrong"):
            answer = visitor.client.post(f"{AT}/stop", headers={"Authorization": odd})
            assert answer.status_code in {400, 401}, odd
        assert house.world.states() == ["live"]
        assert visitor.client.post(f"{AT}/stop", headers={"X-CSRFToken": token}).status_code == 200
    assert house.world.states() == ["stopped"]


@pytest.mark.parametrize("name", [one.name for one in OPERATIONS if one.method == "post"])
def test_whatever_is_sent_the_answer_is_as_described(house: House, name: str) -> None:
    described = house.web.get("/api/v1/openapi.json").json()
    operation = operation_of(described, name)
    statuses: set[int] = set()

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), is_there=st.booleans(), odd=st.booleans())
    def ask(case: Any, is_there: bool, odd: bool) -> None:
        path = there if is_there else f"/api/v1{case.formatted_path}"
        body = b"{" if odd else json.dumps(case.body, default=lambda _: None).encode()
        answer = program.client.post(path, content=body)
        statuses.add(answer.status_code)
        assert answer.status_code < 500
        assert answer.headers["Content-Type"] in {"application/json", "application/problem+json"}
        # Any path may lead to another thing that is not there, or not by POST.
        if answer.status_code != 405:
            conforms(described, operation.path, answer.status_code, answer.json(), "post")

    secret = "/api/v1/projects/group/tool/-/secrets/API_KEY"
    there = {"put_secret": secret, "remove_secret": f"{secret}/remove"}.get(name, f"{AT}/{name}")
    right = {"redeploy": {"sha": A}, "rebuild": {"sha": A}, "put_secret": {"value": "hunter2-hunter2"}}
    with program_of(house, "operator", "set") as program:
        if name == "release":
            program.does("keep", duration="4h")
        if name == "remove_secret":
            program.client.post(secret, json=right["put_secret"])
        answer = program.client.post(there, json={"keep": {"duration": "4h"}, **right}.get(name, {}))
        assert answer.status_code == 200
        conforms(described, operation.path, 200, answer.json(), "post")
        ask()
    assert statuses
