"""How long GitLab waits for the answer to a delivery while a storm of them comes.

Run with ``make bench-webhook``. The whole stack of processes, so that workers handle the deliveries at the
same time, on the same cores; each delivery is about a merge request that exists.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from bench.repository import Repository
from deploy.follow import connect, pool_is_clean, wait_for
from deploy.stack import Stack
from orchestrator.signing import digest

#: All of them come from one project.
_OVERRIDES = {"deliveries_per_minute": 1_000_000}
_TOKEN = "the token of the benchmark"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--deliveries", type=int, default=1000)
    options.add_argument("--at-once", type=int, default=4, help="connections that deliver")
    given = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Stack(Path(folder) / "state", tools=["bench-1"], overrides=_OVERRIDES) as stack,
        Repository(stack.seeder, "storm", branches=1) as repository,
    ):
        connect(stack, repository.project.path)
        wait_for("the pool", lambda: pool_is_clean(stack))
        event = _event(repository.project.id, repository.open(1))
        with stack.parts.store.write() as tx:
            tx.put_project(
                gitlab_id=repository.project.id, secret_digests=[digest(_TOKEN)], signing=[], now=time.time()
            )
        print(f"{given.deliveries} requests by {given.at_once} connections on {os.cpu_count()} cores:")
        with httpx.Client(base_url=stack.places.web_url, trust_env=False, timeout=30.0) as client:
            _storm("GET /healthz, for comparison", given, lambda _: client.get("/healthz"))
            _storm("deliveries", given, lambda number: _deliver(client, event, number))


def _event(project_id: int, iid: int) -> dict[str, object]:
    return {
        "object_kind": "merge_request",
        "user": {"id": 1, "username": "dana"},
        "project": {"id": project_id},
        "object_attributes": {"iid": iid, "action": "update"},
    }


def _deliver(client: httpx.Client, event: dict[str, object], number: int) -> httpx.Response:
    headers = {"X-Gitlab-Token": _TOKEN, "Idempotency-Key": f"bench-{number}"}
    return client.post("/webhook/gitlab", json=event, headers=headers)


def _storm(what: str, given: argparse.Namespace, ask: Callable[[int], httpx.Response]) -> None:
    def timed(number: int) -> float:
        begun = time.perf_counter()
        ask(number).raise_for_status()
        return (time.perf_counter() - begun) * 1000

    begun = time.perf_counter()
    with ThreadPoolExecutor(given.at_once) as pool:
        took = sorted(pool.map(timed, range(given.deliveries)))
    seconds = time.perf_counter() - begun
    shares = {share: took[-(-len(took) * share // 100) - 1] for share in (95, 99)}
    print(
        f"  {what}: {given.deliveries / seconds:.0f} a second; half were answered within "
        f"{statistics.median(took):.1f} ms, 95 of 100 within {shares[95]:.1f} ms, "
        f"99 within {shares[99]:.1f} ms, all within {took[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
