"""Requests that schemathesis makes up out of the descriptions never break the local Toolforge.

It is asked what its own description and those of the real services allow, and what they do not allow. Every
answer is held to the description of the real service (see :mod:`tests.local.toolforge.contract`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from deploy.local.toolforge import LocalToolforge
from deploy.local.toolforge.settings import JobLimits
from tests.local.toolforge import contract
from tests.local.toolforge.rig import FAST, Account

#: What the descriptions call a tool in a path.
TOOL = {"tool", "toolname", "tool_name"}
#: The 500s that the services answer when nothing is broken, by their words.
DOCUMENTED = {
    "have you started a build yet?": "a clean before there is an image project (contract 2.7)",
    "pipelineRun not yet started": "the log of a build that waits (contract 2.4)",
}
_settings = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account that may run any number of jobs."""
    many = JobLimits(pods=10**6, continuous_jobs=10**6, cron_jobs=10**6, cpu=1e9, memory=10**18)
    state = tmp_path_factory.mktemp("toolforge")
    with (
        LocalToolforge(
            state, ["one"], "synthetic", scenario=FAST, time_scale=0.01, job_limits=many
        ) as toolforge,
        closing(Account(toolforge, "one")) as opened,
    ):
        yield opened


def operations(document: dict[str, Any]) -> list[APIOperation]:
    """All that a description describes."""
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


def described(account: Account) -> list[APIOperation]:
    """All that the local Toolforge says it serves."""
    return operations(account.call("GET", "/openapi.json").json())


def hold(account: Account) -> dict[str, str]:
    """A build, a job and an envvar that are there; their names by API, and the image that was built."""
    image = account.built(image_name="kept")
    assert account.run(image).ok
    assert account.envvars("POST", json={"name": "KEPT", "value": "x"}).ok
    builds = account.builds("GET").json()["builds"]
    return {"builds": builds[0]["build_id"], "jobs": "web", "logs": "web", "envvars": "KEPT", "image": image}


def can_be(operation: APIOperation, mode: GenerationMode) -> bool:
    """Whether there are such requests: without a body or query there is nothing to be wrong."""
    return mode.is_positive or bool(operation.body) or bool(operation.query.items)


def ask(account: Account, case: Case, prefix: str) -> requests.Response | None:
    """The answer, or None for a followed log in which nothing happens."""
    request = case.as_transport_kwargs(base_url=account.toolforge.gateway_url + prefix)
    query = {name: str(value).lower() for name, value in (case.query or {}).items()}
    follows = request["url"].endswith("/logs_stream") or query.get("follow") == "true"
    try:
        return account.session.request(**request, timeout=0.1 if follows else 20.0)
    except (requests.ReadTimeout, requests.ConnectionError):
        assert follows, case
        return None


def is_proper(answer: requests.Response) -> None:
    """Fail unless it is as described, and no break-down."""
    request = answer.request
    contract.check(str(request.method), urlsplit(str(request.url)).path, answer)
    assert "html" not in answer.headers["Content-Type"], "an answer of the gateway, which has no reason"
    if answer.status_code >= 500:
        assert any(words in answer.text for words in DOCUMENTED), answer.text


def try_out(
    account: Account, operation: APIOperation, mode: GenerationMode, prefix: str = "", examples: int = 10
) -> set[int]:
    """Make up requests of one operation, half of them about what is there; the statuses of the answers."""
    held, statuses = hold(account), set()
    api = (prefix + operation.path).split("/")[1]

    @settings(_settings, max_examples=examples)
    @given(case=operation.as_strategy(generation_mode=mode), is_held=st.booleans())
    def answers_are_proper(case: Case, is_held: bool) -> None:
        given = case.path_parameters or {}
        case.path_parameters = {
            name: "one" if name in TOOL else held[api] if is_held else value for name, value in given.items()
        }
        if is_held and isinstance(case.body, dict) and "imagename" in case.body:
            # jobs-api refuses nulls that its description allows (contract 3.2).
            set_ones = {name: value for name, value in case.body.items() if value is not None}
            case.body = set_ones | {"name": "made", "imagename": held["image"], "cmd": "web"}
        answer = ask(account, case, prefix)
        if answer is not None:
            is_proper(answer)
        statuses.add(answer.status_code if answer is not None else 200)

    answers_are_proper()
    return statuses


def is_reached(operation: APIOperation, mode: GenerationMode, statuses: set[int]) -> None:
    """Fail when the requests never came to the operation itself: they would show nothing."""
    if mode.is_positive:
        # What was built has ended, so that cancelling it is a conflict.
        # Made-up jobs mostly break a rule that no description tells, such as a limit of memory.
        refused_by_rule = {400, 422} if operation.path.endswith("/jobs") else set()
        assert statuses & ({200, 201, 409} | refused_by_rule), operation.label
    else:
        assert statuses & {400, 422}, operation.label


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_whatever_its_own_description_allows_or_not_is_answered_properly(
    account: Account, mode: GenerationMode
) -> None:
    for operation in described(account):
        if can_be(operation, mode):
            is_reached(operation, mode, try_out(account, operation, mode))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("prefix", contract.PREFIXES)
def test_whatever_the_services_descriptions_allow_or_not_is_answered_as_described(
    account: Account, prefix: str, mode: GenerationMode
) -> None:
    for operation in operations(contract.document(prefix)):
        if can_be(operation, mode):
            is_reached(operation, mode, try_out(account, operation, mode, prefix))


def test_no_path_of_another_tool_is_served(account: Account) -> None:
    for operation in described(account):

        @settings(_settings, max_examples=5)
        @given(case=operation.as_strategy())
        def it_is_forbidden(case: Case) -> None:
            assume((case.path_parameters or {})["tool"] != "one")
            answer = ask(account, case, "")
            assert answer is not None
            assert answer.status_code == 403, answer.text

        it_is_forbidden()


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({"status": 500}, "injected for builds.latest"),
        ({"status": 200, "body": '{"build": {"status": "BUILD_PONDERING"}}'}, "BUILD_PONDERING"),
        ({"status": 418, "body": '{"message": "a teapot"}'}, "does not describe 418"),
        ({"status": 403}, "an answer of the gateway"),
    ],
)
def test_an_answer_that_is_not_proper_is_noticed(
    account: Account, fault: dict[str, Any], complaint: str
) -> None:
    contract.require()
    (operation,) = [one for one in described(account) if one.path.endswith("/builds/latest")]
    rule = account.toolforge.faults.add("status", operation="builds.latest", count=None, **fault)
    try:
        with pytest.raises(AssertionError, match=complaint):
            try_out(account, operation, GenerationMode.POSITIVE)
    finally:
        account.toolforge.faults.remove(rule)
