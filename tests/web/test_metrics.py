"""What monitoring is told: true, the same by every process, and nobody else's business."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from tests.web.busy import HOSTILE, busy
from tests.web.scene import WebScene, merge_request_event

TOKEN = "a-token-of-some-length"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name.removeprefix("toolforge_preview_"), frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_the_metrics_are_those_of_the_pool(web: WebScene) -> None:
    busy(web)
    found = samples(web.get("/metrics").text)
    assert value(found, "deployments", state="live", step="none") == 1
    assert value(found, "deployments", state="queued", step="await approval") == 1
    assert value(found, "accounts", state="leased") >= 2
    assert value(found, "build_slots_limit") == 3
    assert value(found, "switches", stop="freeze") == 1
    assert value(found, "redis_up") == 0
    assert value(found, "failures_total", stage="build", by="person") == 1
    assert value(found, "stage_seconds_count", stage="building", by="person") == 4
    assert value(found, "stage_seconds_bucket", stage="building", by="person", le="+Inf") == 4
    assert value(found, "deployments_entered_total", state="live", by="person") == 2


def test_nothing_of_a_merge_request_becomes_a_label(web: WebScene) -> None:
    busy(web)
    text = web.get("/metrics").text
    for foreign in (HOSTILE, "script", "group/tool", "dev-0", "bob", "change-4"):
        assert foreign not in text


def test_a_prometheus_that_prefers_openmetrics_gets_it(web: WebScene) -> None:
    busy(web)
    answer = web.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.text)}
    assert "toolforge_preview_stage_seconds" in names


def test_every_name_and_label_is_there_before_anything_has_happened(web: WebScene) -> None:
    found = samples(web.get("/metrics").text)
    assert value(found, "accounts", state="quarantined") == 0
    assert value(found, "oldest_due_seconds", kind="report") == 0
    assert value(found, "stage_seconds_count", stage="queued", by="bot") == 0
    for status in ("401", "500", "503"):
        assert value(found, "webhooks_total", status=status) == 0
    assert value(found, "failures_total", stage="toolforge", by="person") == 0
    assert value(found, "deployments_entered_total", state="live", by="bot") == 0


def test_answers_to_deliveries_are_counted(web: WebScene) -> None:
    web.parts.counting.flush()
    before = samples(web.get("/metrics").text)
    web.delivers(merge_request_event())
    web.delivers(merge_request_event(), secret="wrong")
    web.delivers(merge_request_event(project=12345))
    web.parts.counting.flush()
    after = samples(web.get("/metrics").text)
    for status in ("202", "401", "404"):
        which = ("webhooks_total", frozenset({("status", status)}))
        assert after[which] == before.get(which, 0) + 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_without_a_token_only_this_machine_may_read_and_not_by_way_of_a_proxy(
    web: WebScene, header: str
) -> None:
    assert web.get("/metrics").status_code == 200
    answer = web.client.get("/metrics", headers={header: "203.0.113.7"})
    assert answer.status_code == 403
    assert "toolforge_preview" not in answer.text
    elsewhere = web.app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": "203.0.113.7"})
    assert elsewhere.status_code == 403


def test_with_a_token_only_its_holder_may_read_from_wherever(serve: Callable[..., WebScene]) -> None:
    web = serve(metrics_token=TOKEN)

    def asks(**headers: str) -> httpx.Response:
        return web.client.get("/metrics", headers=headers)

    assert asks().status_code == 401
    assert asks(Authorization="Bearer wrong").status_code == 401
    assert asks(Authorization="Bearer").status_code == 401
    assert asks(Authorization=f"Basic {TOKEN}").headers["WWW-Authenticate"].startswith("Bearer")
    assert asks(Authorization=f"Bearer {TOKEN}", Via="1.1 proxy").status_code == 200


def test_without_its_database_it_is_no_success(serve: Callable[..., WebScene]) -> None:
    web = serve()
    t.tally.drop(web.parts.store.engine)
    answer = web.get("/metrics")
    assert answer.status_code == 503, "so that Prometheus calls it down"
    assert "toolforge_preview_" not in answer.text


def test_two_processes_tell_the_same(web: WebScene) -> None:
    busy(web)
    other_parts = Parts(web.parts.settings)
    with WebScene(other_parts) as other:
        ours, theirs = (samples(one.get("/metrics").text) for one in (web, other))
    other_parts.close()
    moving = {"oldest_due_seconds", "oldest_waiting_seconds"}
    assert {key: n for key, n in ours.items() if key[0] not in moving} == {
        key: n for key, n in theirs.items() if key[0] not in moving
    }
