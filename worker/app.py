"""The Celery application that workers and beat run: ``celery --app worker.app worker``.

Settings are read here, once a process; everything else is made when it is first needed.
"""

from __future__ import annotations

import logging
import time
from functools import cache

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_shutdown
from kombu.exceptions import OperationalError

from orchestrator import logs, sentry
from orchestrator.bootstrap import Parts
from orchestrator.engines import AWAY
from orchestrator.errors import Conflict, TryLater
from orchestrator.hints import CLOCK_QUEUE, FOLLOW, LOOK, SWEEP, Hints
from orchestrator.records import Kind
from orchestrator.settings import load_settings
from worker.clock import Clock
from worker.follow import Followers
from worker.pictures import Photographer
from worker.runner import Runner

log = logging.getLogger(__name__)
parts = Parts(load_settings())
sentry.install(parts.settings)

app = Celery("toolforge_preview", broker=parts.settings.redis_url)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": f"{parts.settings.queue_prefix}:"},
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # A message is only a hint, so a worker keeps none in reserve that another could take.
    worker_prefetch_multiplier=1,
    beat_scheduler="worker.clock:Scheduler",
    beat_schedule={
        "sweep": {"task": SWEEP, "schedule": 1.0, "options": {"queue": CLOCK_QUEUE, "expires": 5.0}}
    },
)


def send(task: str, args: tuple[str, int], *, queue: str, countdown: float | None) -> None:
    """Put one task on a queue."""
    try:
        app.send_task(task, args=args, queue=queue, countdown=countdown, retry=False)
    except OperationalError as error:
        raise TryLater(f"the queue cannot be reached: {error}") from None


@cache
def hints() -> Hints:
    """This process's way to the queue."""
    return Hints(send, parts.redis, parts.settings.queue_prefix)


@cache
def runner() -> Runner:
    """This process's runner."""
    return Runner(parts, hints().say)


@app.task(name=LOOK)
def look(kind: str, row_id: int) -> None:
    """Look at one row."""
    hints().taken(Kind(kind), row_id)
    runner().look(Kind(kind), row_id)


@cache
def followers() -> Followers:
    """The logs that this process follows."""
    return Followers(parts)


@app.task(name=FOLLOW)
def follow(_: str, row_id: int) -> None:
    """Follow the log of a running build or of a tool that is live, for those who look at it."""
    with logs.about(deployment=row_id):
        followers().follow(row_id)


@cache
def photographer() -> Photographer:
    """Who takes pictures in this process."""
    return Photographer(parts)


@cache
def clock() -> Clock:
    """This machine's clock."""
    return Clock(parts.lifecycle)


@app.task(name=SWEEP)
def sweep() -> None:
    """Put everything that is due on the queue; what nobody waits for comes last."""
    try:
        clock().look()
    except AWAY as error:
        log.warning("the clock is not looked at: the database: %s", type(error).__name__)
    if runner().sweep():
        parts.pulse.beat()
        photographer().look()


@beat_init.connect
def _look_at_everything(**_: object) -> None:
    """What happened while the clock stood still is found now, not when its next round comes."""
    now = time.time()
    try:
        parts.lifecycle.inspect_all(now)
        parts.lifecycle.compare_by(now)
        parts.lifecycle.set_probes(parts.settings.public_url, now)
    except (*AWAY, Conflict) as error:
        log.warning("nothing is looked at before its time: %s", type(error).__name__)


@worker_shutdown.connect
def _close(**_: object) -> None:
    """What was counted last is written down."""
    parts.counting.close()


@setup_logging.connect
def _log(**_: object) -> None:
    """Celery's own way of logging is not set up."""
    logs.install(parts.settings.log_format)
