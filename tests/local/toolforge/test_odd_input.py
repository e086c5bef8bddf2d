"""Whatever is sent, the answer is one of the documented ones, and what was started comes to an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.local.toolforge import job_schema
from deploy.local.toolforge.job_schema import BadJob
from tests.local.toolforge.rig import Account, until

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
KEYS = [
    "name",
    "cmd",
    "imagename",
    "job_type",
    "port",
    "publish",
    "health_check",
    "memory",
    "cpu",
    "mount",
    "retry",
]
KINDS = st.sampled_from(["continuous", "one-off", "scheduled", "webservice"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), VALUES), KINDS)
def test_any_job_body_is_taken_or_refused_properly(odd: dict[str, Any], kind: str) -> None:
    body = {"name": "a", "cmd": "x", "imagename": "y", "job_type": kind, **odd}
    try:
        spec = job_schema.parse(body, publish=True)
    except (ValidationError, BadJob):
        return
    assert job_schema.normalised(job_schema.completed(spec))["name"] == spec["name"]


@pytest.mark.parametrize("text", ["\0", "\ud800", "-x", "a" * 10_000, "\n"])
def test_odd_texts_never_break_the_server(account: Account, text: str) -> None:
    assert account.start(text, image_name=text, ref=text).status_code in (200, 400)
    assert account.envvars("POST", json={"name": "ODD_VALUE", "value": text}).status_code == 200
    assert account.builds("GET").status_code == 200
    name = account.builds("GET").json()["builds"][:1]
    if name:
        assert account.builds("GET", f"/builds/{name[0]['build_id']}/logs").status_code == 200


def test_what_this_machine_cannot_take_fails_the_build_or_the_job(serve, repository) -> None:
    account, text = serve(engine="real"), "\0"
    source = repository({"public/index.html": "x"})
    build = account.ended(account.started(source.url, envvars={"ODD": text}))
    assert build["status"] == "BUILD_FAILURE"
    assert account.start(text).status_code == 400
    account.envvars("POST", json={"name": "ODD_VALUE", "value": text})
    account.run(account.built(source.url))
    job = until(lambda: (j := account.job())["status_short"] == "Specified command fails to run" and j)
    assert "exitcode 128" in job["status"]["messages"]
    assert "cannot be started here" in account.jobs("GET", "/jobs/web/logs").text
