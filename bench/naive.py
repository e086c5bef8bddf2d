"""What one would write first: a Celery task that waits for its build, its job and its reviewer.

Each task takes an account from a list in Redis, builds, runs and checks there, and puts the account back.
As many tasks run at once as there are accounts, or builds that may run: more could not do anything. A push
queues another task; the one before it runs on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from typing import cast

import redis
from celery import Celery

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings
from orchestrator.toolforge import AccountClient, Busy, JobSpec

REDIS_VARIABLE = "BENCH_REDIS"
POLL_VARIABLE = "BENCH_POLL"
ACCOUNTS, VERDICTS = "accounts", "verdicts"

app = Celery("bench.naive", broker=os.environ.get(REDIS_VARIABLE, "redis://"))
app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True, task_ignore_result=True)


@cache
def _parts() -> Parts:
    return Parts(load_settings())


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(os.environ[REDIS_VARIABLE])


@app.task(name="bench.naive.preview")  # type: ignore[untyped-decorator]
def preview(source_url: str, iid: int, name: str, review_seconds: float) -> None:
    """One merge request from its commit to a clean account."""
    packed = cast(tuple[bytes, bytes], _redis().blpop([ACCOUNTS]))[1]
    account = json.loads(packed)
    try:
        with _parts().toolforge.account(account["name"], account["credentials"]) as client:
            image = _built(client, source_url, iid, name)
            if image is not None:
                client.put_job(JobSpec(name="preview", image=image, command="web", port=8000, publish=True))
                _wait(lambda: client.job("preview").is_ready)
            _redis().rpush(VERDICTS, json.dumps([name, time.time()]))
            if image is not None:
                time.sleep(review_seconds)
                client.delete_job("preview")
            for build in client.builds():
                client.delete_build(build.id)
            client.delete_images()
    finally:
        _redis().rpush(ACCOUNTS, packed)


def _built(client: AccountClient, source_url: str, iid: int, name: str) -> str | None:
    """The image, None when the build fails; refused ones are asked for again."""
    while True:
        try:
            build_id = client.start_build(
                source_url=source_url, ref=f"refs/merge-requests/{iid}/head", image_name=name
            ).id
            break
        except Busy:
            _pause()
    _wait(lambda: client.build(build_id).has_ended)
    return client.build(build_id).image


def _wait(is_so: Callable[[], bool]) -> None:
    while not is_so():
        _pause()


def _pause() -> None:
    time.sleep(float(os.environ[POLL_VARIABLE]))
