"""Whether the process says truly that it can do its work."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import tables as t
from tests.web.scene import WebScene


def test_a_process_without_redis_is_alive_but_not_ready_and_names_redis(web: WebScene) -> None:
    assert web.get("/healthz").status_code == 200
    answer = web.get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["problems"]) == ["redis"]


def test_a_process_without_its_tables_is_not_ready_and_names_the_database(
    serve: Callable[..., WebScene], redis_url: str
) -> None:
    web = serve(redis_url=redis_url, queue_prefix="without-tables")
    web.parts.pulse.beat()
    assert web.get("/readyz").status_code == 200
    t.switch.drop(web.parts.store.engine)
    answer = web.get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["problems"]) == ["database"]


def test_a_process_with_both_and_a_worker_is_ready(serve: Callable[..., WebScene], redis_url: str) -> None:
    web = serve(redis_url=redis_url, queue_prefix="with-both")
    answer = web.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == {"worker": "no sweep for half a minute"}
    web.parts.pulse.beat()
    answer = web.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "problems": {}}


def test_what_is_wrong_is_named_without_addresses_or_passwords(serve: Callable[..., WebScene]) -> None:
    web = serve(redis_url="redis://:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in web.get("/readyz").text
    assert "127.0.0.1" not in web.get("/readyz").text
