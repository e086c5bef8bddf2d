"""How long a storm of merge requests takes, as ratios to the least possible and to other ways of working.

Run with ``make bench-makespan``. Eleven projects with ten merge requests each, opened at once; see
``bench/storm.py``. The same storm goes

1. through the product: all of its processes, on a local Toolforge whose builds take the storm's times;
2. through a plain Celery task that waits for everything (``bench/naive.py``), really run, without GitLab;
3. by reckoning through CI jobs with resource groups, which is what people do today.

All are held against a lower bound that no plan can beat, not even one that knows the future. Real builds
take minutes: one second of Toolforge's is `--scale` seconds here, and what the product waits for is scaled
alike. The smaller the scale, the more the product's own CPU time counts, which is not scaled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import redis
from sqlalchemy import select

from bench import naive
from bench.site import Given, Site
from bench.storm import Bound, Job, bound, one_after_the_other, storm
from deploy.follow import pool_is_clean, wait_for
from deploy.stack import settings_environment
from orchestrator import tables as t

_VERDICTS = ("live", "stopped", "failed")


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    #: Toolforge's, from the first merge request to the last verdict.
    seconds: float
    #: Share of the build slots in which a build ran meanwhile.
    slots_used: float
    #: The same from the first to the last moment at which all were used.
    slots_used_when_busy: float
    #: Calls that Toolforge refused as too many.
    refused: int
    builds: int


def main() -> None:
    """Measure and print."""
    given = _given()
    jobs = storm(given.projects, given.each, seed=given.seed)
    with Site(given, jobs) as site:
        came, run = through_the_product(site)
    least = bound(came, slots=given.builds, accounts=given.accounts, review_seconds=given.review)
    _print_storm(given, came, least)
    _print_run("The product", run, least)
    with Site(given, jobs, only_twins=True) as site:
        _print_run("A Celery task that waits", through_waiting_tasks(site), least)
    for lanes, how in (
        (min(given.accounts, given.builds), "as many as builds may run at once"),
        (given.accounts, "one for each account, so that more builds run than the product may"),
    ):
        serial = one_after_the_other(came, lanes, review_seconds=given.review)
        print(f"CI jobs with {lanes} resource groups (reckoned; {how}): {serial:.0f} s")
        print(f"  {serial / least.seconds:.2f} times the least, {serial / run.seconds:.2f} times the product")


def _given() -> Given:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--projects", type=int, default=11)
    options.add_argument("--each", type=int, default=10, help="merge requests of each project")
    options.add_argument("--accounts", type=int, default=12)
    options.add_argument("--builds", type=int, default=6, help="builds that may run at once")
    options.add_argument("--scale", type=float, default=0.05, help="seconds here for one of Toolforge's")
    options.add_argument("--review", type=float, default=120.0, help="seconds that people look at a preview")
    options.add_argument("--seed", type=int, default=20261125)
    return Given(**vars(options.parse_args()))


# --- the product --------------------------------------------------------------------------------------

_Key = tuple[int, int]


class _Progress:
    """What has come of the storm so far, read from the product's database."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.came: dict[_Key, Job] = {}
        self._newest: dict[_Key, str] = {}
        self._closed: set[_Key] = set()
        self._begun = time.time()

    def _at(self) -> float:
        return (time.time() - self._begun) / self._site.given.scale

    def opens(self, job: Job) -> None:
        """Open it, and note when."""
        at = self._at()
        self._site.repositories[job.project].open(job.iid, token=self._site.token(job))
        self.came[job.project, job.iid] = replace(job, opens_at=at, pushes_at=None)

    def pushes(self, job: Job) -> None:
        """Push to it, and note when."""
        key = (job.project, job.iid)
        if key in self._closed:
            return
        at = self._at()
        self._newest[key] = self._site.repositories[job.project].push_again(
            job.iid, token=self._site.token(job)
        )
        self.came[key] = replace(self.came[key], pushes_at=at)

    def verdicts(self) -> dict[_Key, float]:
        """When the newest commit of each had its verdict, in seconds since the epoch."""
        query = select(t.preview.c.project_id, t.preview.c.iid, t.deployment.c.sha, t.deployment.c.entered)
        query = query.join(t.deployment, t.deployment.c.preview_id == t.preview.c.id)
        with self._site.stack.parts.store.engine.connect() as connection:
            rows = connection.execute(query).all()
        found = {}
        for project, iid, sha, entered in rows:
            at = min((entered[state] for state in _VERDICTS if state in entered), default=None)
            if at is not None and self._newest.get((project, iid), sha) == sha:
                found[project, iid] = at
        return found

    def close_reviewed(self, verdicts: Mapping[_Key, float], *, at_once: bool = False) -> None:
        """People close what they have looked at for long enough."""
        review = 0.0 if at_once else self._site.given.review * self._site.given.scale
        for key, at in verdicts.items():
            if key not in self._closed and time.time() - at >= review:
                self._closed.add(key)
                self._site.repositories[key[0]].close(key[1])


def through_the_product(site: Site) -> tuple[list[Job], Run]:
    """The storm through the product; also its jobs with the times at which they really came."""
    progress, begun = _Progress(site), time.time()
    with site.watched() as running:
        storm_thread = site.hit(progress.opens, progress.pushes)
        verdicts: Mapping[_Key, float] = {}
        while storm_thread.is_alive() or len(verdicts) < len(site.jobs):
            time.sleep(0.1)
            verdicts = progress.verdicts()
            progress.close_reviewed(verdicts)
        storm_thread.join()
    run = _run(site, begun, max(progress.verdicts().values()), running)
    progress.close_reviewed(verdicts, at_once=True)
    wait_for("every account to be free and empty", lambda: pool_is_clean(site.stack))
    return list(progress.came.values()), run


def _run(site: Site, begun: float, ended: float, running: Sequence[tuple[float, int]]) -> Run:
    calls = site.calls()
    slots = site.given.builds
    during = [count for at, count in running if begun <= at <= ended]
    full = [number for number, count in enumerate(during) if count >= slots]
    busy = during[full[0] : full[-1] + 1] if full else []
    return Run(
        seconds=(ended - begun) / site.given.scale,
        slots_used=sum(during) / max(len(during), 1) / slots,
        slots_used_when_busy=sum(busy) / max(len(busy), 1) / slots,
        refused=sum(calls["by_status"].get(status, 0) for status in ("409", "429")),
        builds=calls["by_operation"].get("builds.start", 0),
    )


# --- a task that waits --------------------------------------------------------------------------------


def through_waiting_tasks(site: Site) -> Run:
    """The storm through ``bench/naive.py``."""
    settings = site.stack.parts.settings
    queue = redis.Redis.from_url(settings.redis_url)
    with site.stack.parts.store.read() as tx:
        for account in tx.accounts():
            credentials = dict(tx.credentials(account.id))
            queue.rpush(naive.ACCOUNTS, json.dumps({"name": account.name, "credentials": credentials}))
    environment = os.environ | settings_environment(settings)
    environment |= {
        naive.REDIS_VARIABLE: settings.redis_url,
        naive.POLL_VARIABLE: str(2.0 * site.given.scale),
    }
    at_once = min(site.given.accounts, site.given.builds)
    command = [
        sys.executable,
        "-m",
        "celery",
        "--app",
        "bench.naive",
        "--quiet",
        "worker",
        "--pool",
        "threads",
    ]
    worker = subprocess.Popen(
        [*command, "--concurrency", str(at_once), "--loglevel", "ERROR"], env=environment
    )
    try:
        return _send_storm(site, queue)
    finally:
        worker.terminate()
        worker.wait()


def _send_storm(site: Site, queue: redis.Redis) -> Run:
    naive.app.conf.broker_url = site.stack.parts.settings.redis_url
    names: dict[_Key, str] = {}

    def send(job: Job, commit: int) -> None:
        names[job.project, job.iid] = name = f"p{job.project}-mr{job.iid}-c{commit}"
        url = site.repositories[job.project].project.clone_url
        review = 0.0 if job.is_bot else site.given.review * site.given.scale
        naive.preview.delay(url, job.iid, name, review)

    def opens(job: Job) -> None:
        site.repositories[job.project].open(job.iid, token=site.token(job))
        send(job, 1)

    def pushes(job: Job) -> None:
        site.repositories[job.project].push_again(job.iid, token=site.token(job))
        send(job, 2)

    begun = time.time()
    with site.watched() as running:
        storm_thread = site.hit(opens, pushes)
        verdicts: dict[str, float] = {}
        while storm_thread.is_alive() or not set(names.values()) <= verdicts.keys():
            time.sleep(0.1)
            verdicts = dict(json.loads(item) for item in queue.lrange(naive.VERDICTS, 0, -1))
        storm_thread.join()
    return _run(site, begun, max(verdicts[name] for name in names.values()), running)


# --- words --------------------------------------------------------------------------------------------


def _print_storm(given: Given, jobs: Sequence[Job], least: Bound) -> None:
    bots, pushed = sum(job.is_bot for job in jobs), sum(job.pushes_at is not None for job in jobs)
    failing = sum(not job.is_good for job in jobs)
    print(
        f"{len(jobs)} merge requests in {given.projects} projects at once, {bots} of them a bot's; "
        f"{pushed} are pushed to, {failing} fail.\n{given.accounts} accounts, {given.builds} builds at once; "
        f"{given.scale} seconds here for one of Toolforge's, on {os.cpu_count()} cores.\n"
        f"The least: {least.seconds:.0f} s (build slots {least.slots:.0f} s, addresses {least.places:.0f} s, "
        f"the longest alone {least.alone:.0f} s)"
    )


def _print_run(what: str, run: Run, least: Bound) -> None:
    print(f"{what}: {run.seconds:.0f} s for {run.builds} builds")
    print(
        f"  {run.seconds / least.seconds:.3f} times the least, {run.slots_used:.0%} of the build slots used "
        f"({run.slots_used_when_busy:.1%} until the queue ends), {run.refused} calls refused as too many",
        flush=True,
    )


if __name__ == "__main__":
    main()
