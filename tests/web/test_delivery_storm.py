"""A storm of deliveries: nothing is lost, nothing counts twice, whatever their order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.web.scene import SECRET, WebScene, merge_request_event

_DELIVERIES = 1000


def test_of_a_thousand_deliveries_a_fifth_of_them_doubled_each_counts_once(
    serve: Callable[..., WebScene],
) -> None:
    web = serve(deliveries_per_minute=10 * _DELIVERIES)
    moments = random.Random(20261125)
    keys = [f"storm-{number}" for number in range(_DELIVERIES)]
    sent = [*keys, *moments.sample(keys, _DELIVERIES // 5)]
    moments.shuffle(sent)

    def deliver(key: str) -> int:
        number = int(key.split("-")[1])
        action = ("open", "update", "close", "reopen")[number % 4]
        headers = {"X-Gitlab-Token": SECRET, "Idempotency-Key": key}
        event = merge_request_event(action, iid=1 + number % 50)
        return client.post("/webhook/gitlab", json=event, headers=headers).status_code

    with (
        httpx.Client(base_url=web.client.base_url, trust_env=False, timeout=30.0) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = Counter(pool.map(deliver, sent))
    assert answers == {202: len(sent)}
    assert sorted(delivery.key for delivery in web.taken()) == sorted(keys)
