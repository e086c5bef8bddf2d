"""A pool in which a lot goes on: every page has something of everything to show."""

from __future__ import annotations

import base64
import time

from orchestrator import outcome as out
from orchestrator.outcome import CheckResult, Failure, KeptLog
from orchestrator.pictures import AFTER_SECONDS
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import B, World
from tests.web.scene import WebScene

HOSTILE = '<script>alert("x")</script> \u202e gnp.exe <img src=x onerror=alert(1)>'
#: A picture of one point.
WEBP = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA="
LOG = "\n".join(
    [
        "[step-build] \x1b[1;32m-----> Python app detected\x1b[0m",
        *(f"[step-build] Collecting package-{number}" for number in range(40)),
        "[step-build] \x1b[31mERROR: No matching distribution found for <b>flask==99</b>\x1b[0m",
        "[step-build] " + "x" * 5000,
    ]
)


def busy(web: WebScene, *, hours_ago: float = 0.9) -> World:
    """Five accounts and ten merge requests in all states, the oldest an hour old."""
    world = World(web.parts, accounts=4, limits=Limits(max_concurrent_builds=3))
    world.now = time.time() - hours_ago * 3600
    for account_id in range(1, 5):
        with world.store.write() as tx:
            tx.put_store_use(account_id, 90 * 2**20 * account_id, 2**30)
    world.sees(1)
    world.goes_live(1)
    world.later(600)
    world.sees(2)
    failure = Failure(
        stage="build",
        summary="a package could not be installed",
        remedy="Correct its version in `requirements.txt`.",
        excerpt="ERROR: No matching distribution found for flask==99",
    )
    world.steps(out.BuildStarted("b2"), out.StageFailed(failure, KeptLog(LOG)), iid=2)
    world.step(out.Tidied(), 2)
    world.later(500)
    world.sees(3)
    world.steps(out.BuildStarted("b3"), out.BuildSucceeded("i3"), out.JobStarted(), out.JobReady(), iid=3)
    world.later(700)
    world.step(out.ChecksDone((CheckResult("GET /", False, "500 in 3 ms"),)), 3)
    world.later(300)
    world.sees(1, B)
    world.goes_live(1)
    pictures = web.parts.pictures
    wanted = pictures.next(world.now + AFTER_SECONDS)
    assert wanted is not None
    pictures.keep(wanted, base64.b64decode(WEBP), world.now)
    world.now = time.time() - 300
    world.sees(4, title=HOSTILE, source_branch=HOSTILE)
    world.step(out.BuildStarted("b4"), 4)
    for iid in range(5, 9):
        world.sees(iid, fork=iid == 8)
    world.lifecycle.freeze("olga", "maintenance of the registry until 14:00", world.now)
    return world
