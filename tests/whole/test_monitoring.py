"""What the alerts stand on is so when a part of a running service is stopped, and over when it is back."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.follow import wait_for
from deploy.stack import Stack


def metrics(stack: Stack) -> Mapping[tuple[str, str], float]:
    """By name, and by the value of their first label."""
    text = httpx.get(f"{stack.places.web_url}/metrics", trust_env=False, timeout=30).text
    return {
        (sample.name.removeprefix("toolforge_preview_"), next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_without_redis_the_metrics_say_so(stack: Stack) -> None:
    assert metrics(stack)["redis_up", ""] == 1
    stack.kill("redis", and_keep_down=True)
    try:
        assert metrics(stack)["redis_up", ""] == 0
    finally:
        stack.start_again("redis")
    wait_for("redis to be back", lambda: metrics(stack)["redis_up", ""] == 1)


def test_without_workers_work_is_late_and_with_them_it_is_done(stack: Stack) -> None:
    stopped = ("beat", "worker-builds", "worker-gitlab")
    for name in stopped:
        stack.kill(name, and_keep_down=True)
    try:
        # As at every start.
        stack.parts.lifecycle.inspect_all(time.time())
        wait_for("the accounts to be late", lambda: metrics(stack)["due_rows", "account"] == 3)
        earlier = metrics(stack)["oldest_due_seconds", "account"]
        wait_for("them to be later", lambda: metrics(stack)["oldest_due_seconds", "account"] > earlier)
    finally:
        for name in reversed(stopped):
            stack.start_again(name)
    wait_for("the accounts to be looked at", lambda: metrics(stack)["due_rows", "account"] == 0)
