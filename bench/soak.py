"""Storms of merge requests through all processes while everything fails; then: is all true and clean?

Run with ``make soak``, or ``python -m bench.soak --minutes 30``. Local Toolforge and GitLab, all on loopback;
it ends by itself. The first half kills processes, too; in the second half they live, so that one sees whether
they grow. Exit code 1 when anything was found, or the storm did not end.

GitLab and Toolforge themselves are asked in the end, never our own records alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from bench.faults import PROCESSES, Faults
from bench.repository import Repository
from deploy.follow import TookTooLong, connect, get, pool_is_clean, toolforge_state, wait_for
from deploy.local.seed_git import SeedError
from deploy.stack import Stack
from orchestrator import tables as t
from orchestrator.errors import BadInput, Conflict
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.report import STATUS_NAME

_SCENARIO = {
    "builds": [
        {"match": {"source_url": "*soak-3*"}, "duration": 20, "size": "20Mi", "outcome": "failure"},
        {"duration": {"distribution": "uniform", "low": 5, "high": 60}, "size": "20Mi"},
    ],
    "jobs": [{"start_delay": 5}],
}
_SETTINGS: Mapping[str, Any] = {
    "stable_seconds": 0.2,
    "check_seconds": 2.0,
    "min_live_seconds": 5.0,
    "build_seconds": 30.0,
    "start_seconds": 15.0,
    # What GitLab did not deliver is made good, and what the janitor is for is met often.
    "janitor_seconds": 5.0,
    "catch_up_seconds": 5.0,
}
_PROJECTS, _BRANCHES, _ACCOUNTS = 3, 12, 4
_TIME_SCALE = 0.02
_SETTLE_SECONDS = 420.0
_SAMPLE_SECONDS = 5.0
#: Processes are young for so long, and grow for that reason.
_WARM_SECONDS = 60.0
_STUCK_SECONDS = 60.0
#: What a process may grow by in the second half. Connections are kept: for each of its 12 threads one to
#: Redis, GitLab and Toolforge at most, and they are opened only when so many threads are busy at once.
MOST_MIB, MOST_FILES = 32.0, 36.0
#: What GitLab has to show of a commit whose deployment is in that state.
_TRUE = {
    State.LIVE: "success",
    State.STOPPED: "success",
    State.CANCELLED: "success",
    State.REFUSED: "success",
    State.FAILED: "failed",
}


@dataclass(frozen=True)
class Sample:
    """A process at one moment."""

    at: float
    pid: int
    mib: float
    files: int


@dataclass
class Found:
    """What a soak has found out; written as JSON, for the report."""

    seed: int
    minutes: float
    cores: int
    faults: dict[str, int] = field(default_factory=dict)
    acted: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds_to_go_on: list[float] = field(default_factory=list)
    #: From the end of the faults until all was settled, and until all was clean.
    settled_seconds: float = 0.0
    cleaned_seconds: float = 0.0
    #: MiB and files a minute by process.
    growth: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: What is not as it has to be.
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    """Soak, print, and tell by the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0, help="how long things go wrong")
    options.add_argument("--seed", type=int, default=None, help="of all choices; without one it is chosen")
    options.add_argument("--json", type=Path, default=None, help="file for what was found")
    given = options.parse_args()
    seed = random.SystemRandom().randrange(2**31) if given.seed is None else given.seed
    print(f"seed {seed}, {given.minutes:g} minutes", flush=True)
    found = soak(given.minutes, seed)
    tell(found)
    if given.json is not None:
        given.json.write_text(json.dumps(found.__dict__, indent=1) + "\n")
    return 1 if found.wrong else 0


def soak(minutes: float, seed: int) -> Found:
    """One soak of so many minutes; what it has found out."""
    found = Found(seed, minutes, os.cpu_count() or 1)
    with ExitStack() as stacked:
        folder = Path(stacked.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        (folder / "scenario.json").write_text(json.dumps(_SCENARIO))
        stack = stacked.enter_context(
            Stack(
                folder / "state",
                tools=[f"soak-{number}" for number in range(1, _ACCOUNTS + 1)],
                overrides=_SETTINGS,
                toolforge_options=(
                    *("--engine", "synthetic", "--scenario", str(folder / "scenario.json")),
                    *("--time-scale", str(_TIME_SCALE)),
                ),
                builders=2,
            )
        )
        authors = stacked.enter_context(_authors(stack, random.Random(seed)))
        faults = Faults(stack, random.Random(seed + 1))
        with watched(stack) as samples:
            second_half = _storm(minutes * 60.0, authors, faults, random.Random(seed + 2))
            end = time.time()
            faults.end()
        found.faults, found.acted = dict(sorted(faults.done.items())), dict(authors.done)
        found.seconds_to_go_on = [round(seconds, 1) for seconds in faults.seconds_to_go_on]
        found.growth = {
            name: growth([s for s in samples[name] if second_half + _WARM_SECONDS <= s.at <= end])
            for name in PROCESSES
        }
        _judge(stack, authors, found)
    return found


def _storm(seconds: float, authors: Authors, faults: Faults, moments: random.Random) -> float:
    """Let people act and things go wrong for so long; when the second half began."""
    begun = time.time()
    next_fault, half = begun, begun + seconds / 2
    while (now := time.time()) < begun + seconds:
        authors.act()
        if now >= next_fault:
            faults.strike(kills=now < half)
            next_fault = now + moments.uniform(0.5, 4.0)
        time.sleep(moments.uniform(0.05, 0.6))
    return half


# --- people -------------------------------------------------------------------------------------------


class Authors:
    """People who open, push, comment, close and reopen, as fast as it goes."""

    def __init__(self, stack: Stack, repositories: Sequence[Repository], moments: random.Random) -> None:
        self.stack = stack
        self.repositories = repositories
        self._moments = moments
        #: Numbers of open merge requests by project and branch.
        self._open: dict[tuple[int, int], int] = {}
        self.done: Counter[str] = Counter()

    def act(self) -> None:
        """One thing that somebody does; where GitLab stumbles over it, it was not done, or unheard."""
        repository = self._moments.choice(self.repositories)
        branch = self._moments.randint(1, _BRANCHES)
        key = (repository.project.id, branch)
        with suppress(SeedError, subprocess.CalledProcessError):
            if key not in self._open:
                self._open[key] = repository.open(branch)
                self.done["opened"] += 1
                return
            iid = self._open[key]
            what = self._moments.choices(("push", "close", "comment", "reopen"), (3, 3, 2, 1))[0]
            if what == "push":
                repository.push_again(branch)
            elif what == "close":
                repository.close(iid)
                del self._open[key]
            elif what == "comment":
                words = self._moments.choice(
                    ("/preview", "/preview rebuild", "/preview stop", "/preview help")
                )
                self._note(repository, iid, words)
            else:
                repository.close(iid)
                self._state(repository, iid, "reopen")
            self.done[what] += 1

    def close_all(self) -> None:
        """Close whatever GitLab says is open."""
        for repository in self.repositories:
            for one in self.merge_requests(repository, "opened"):
                repository.close(one["iid"])

    def merge_requests(self, repository: Repository, state: str) -> list[dict[str, Any]]:
        """GitLab's own list."""
        found: list[dict[str, Any]] = []
        for page in range(1, 1000):
            path = f"/projects/{repository.project.id}/merge_requests?state={state}&per_page=100&page={page}"
            part = self.stack.seeder.api("GET", path)
            found += part
            if len(part) < 100:
                break
        return found

    def _note(self, repository: Repository, iid: int, words: str) -> None:
        path = f"/projects/{repository.project.id}/merge_requests/{iid}/notes"
        self.stack.seeder.api("POST", path, token=self.stack.seeder.developer.token, body=words)

    def _state(self, repository: Repository, iid: int, event: str) -> None:
        path = f"/projects/{repository.project.id}/merge_requests/{iid}"
        self.stack.seeder.api("PUT", path, state_event=event)


@contextmanager
def _authors(stack: Stack, moments: random.Random) -> Iterator[Authors]:
    with ExitStack() as stacked:
        repositories = []
        for number in range(1, _PROJECTS + 1):
            repository = Repository(stack.seeder, f"soak-{number}", branches=_BRANCHES)
            repositories.append(stacked.enter_context(repository))
            connect(stack, repository.project.path)
        wait_for("the pool", lambda: pool_is_clean(stack))
        yield Authors(stack, repositories, moments)


# --- processes ----------------------------------------------------------------------------------------


@contextmanager
def watched(stack: Stack) -> Iterator[dict[str, list[Sample]]]:
    """Memory and files of the product's processes, by name, while the block runs."""
    samples: dict[str, list[Sample]] = {name: [] for name in PROCESSES}
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_SAMPLE_SECONDS):
            for name in PROCESSES:
                # It may be gone, or just about to be started again.
                with suppress(OSError, KeyError, ValueError):
                    samples[name].append(sample(stack.pid(name)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def sample(pid: int) -> Sample:
    """The process just now."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return Sample(time.time(), pid, int(kib) / 1024, len(os.listdir(f"/proc/{pid}/fd")))


def growth(samples: Sequence[Sample]) -> tuple[float, float]:
    """MiB and files a minute, by least squares over the newest process of these; 0 for too few."""
    same = [one for one in samples if one.pid == samples[-1].pid] if samples else []
    minutes = [one.at / 60.0 for one in same]
    return (slope(minutes, [one.mib for one in same]), slope(minutes, [float(one.files) for one in same]))


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """How much `ys` grow with `xs`; 0 for fewer than three points."""
    if len(xs) < 3:
        return 0.0
    middle, mean = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - middle) ** 2 for x in xs)
    return sum((x - middle) * (y - mean) for x, y in zip(xs, ys, strict=True)) / across if across else 0.0


# --- is all true and clean? ---------------------------------------------------------------------------


def _judge(stack: Stack, authors: Authors, found: Found) -> None:
    end = time.monotonic()
    found.wrong += _waits(stack, "everything to settle", lambda: _is_settled(stack, authors))
    found.settled_seconds = round(time.monotonic() - end, 1)
    found.wrong += _untrue(stack, authors)
    begun = time.monotonic()
    authors.close_all()
    found.wrong += _waits(stack, "every account to be free and empty", lambda: _is_clean(stack))
    found.cleaned_seconds = round(time.monotonic() - begun, 1)
    found.wrong += _waits(stack, "GitLab to be told of it", lambda: not _due(stack, ("delivery", "report")))
    found.wrong += [*_unclean(stack), *_stuck(stack), *_untrue_afterwards(stack, authors)]
    found.counts = _counts(stack)
    for name, (mib, files) in found.growth.items():
        if mib * found.minutes / 2 > MOST_MIB or files * found.minutes / 2 > MOST_FILES:
            found.wrong.append(f"{name} grows by {mib:.1f} MiB and {files:.1f} files a minute")


def _waits(stack: Stack, what: str, is_so: Callable[[], bool]) -> list[str]:
    try:
        wait_for(what, is_so, seconds=_SETTLE_SECONDS)
    except TookTooLong as error:
        return [str(error)]
    return []


def _is_settled(stack: Stack, authors: Authors) -> bool:
    """Every open merge request has the verdict on its head, and GitLab was told everything."""
    _see_to_quarantined(stack)
    if _due(stack, ("delivery", "report")):
        return False
    for repository in authors.repositories:
        for one in authors.merge_requests(repository, "opened"):
            view = stack.parts.views.preview(repository.project.path, one["iid"])
            if view is None or view.newest is None or view.newest.sha != one["sha"] or view.newest.is_pending:
                return False
    return True


def _see_to_quarantined(stack: Stack) -> None:
    """What an operator does about an account that Toolforge has mistreated, instead of waiting."""
    with stack.parts.store.read() as tx:
        accounts = [account for account in tx.accounts() if account.state is AccountState.QUARANTINED]
    for account in accounts:
        if (account.due_at or 0.0) > time.time() + 1.0:
            with suppress(BadInput, Conflict):
                stack.parts.lifecycle.clean(account.name, "operator", time.time())


def _due(stack: Stack, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """What of these kinds is not done, now or later."""
    with stack.parts.store.read() as tx:
        return [
            (str(one.kind), one.id) for one in tx.due(time.time() + 3600.0, limit=1000) if one.kind in kinds
        ]


def _untrue(stack: Stack, authors: Authors) -> Iterator[str]:
    """Open merge requests of which GitLab shows what is not so, or whose address does not answer."""
    for repository in authors.repositories:
        for one in authors.merge_requests(repository, "opened"):
            name = f"{repository.project.path}!{one['iid']}"
            view = stack.parts.views.preview(repository.project.path, one["iid"])
            if view is None or view.newest is None:
                yield f"{name} has no preview"
                continue
            shown = _status(stack, repository, one["sha"])
            if shown != _TRUE.get(view.newest.state):
                yield f"{name}: the status is {shown}, and the deployment {view.newest.state}"
            if view.newest.state is State.LIVE and (
                view.address is None or get(view.address).status_code != 200
            ):
                yield f"{name}: it is live, and its address does not answer"
            yield from _notes(stack, repository, one["iid"])


def _untrue_afterwards(stack: Stack, authors: Authors) -> Iterator[str]:
    for repository in authors.repositories:
        for one in authors.merge_requests(repository, "all"):
            view = stack.parts.views.preview(repository.project.path, one["iid"])
            name = f"{repository.project.path}!{one['iid']}"
            if view is not None and view.newest is not None and view.newest.sha == one["sha"]:
                shown = _status(stack, repository, one["sha"])
                if shown not in {"success", "failed", "canceled"}:
                    yield f"{name} is closed, and its last status is {shown}"
                yield from _notes(stack, repository, one["iid"])
        path = f"/projects/{repository.project.id}/environments?states=available&per_page=100"
        for environment in stack.seeder.api("GET", path):
            if environment["state"] == "available":
                yield f"{repository.project.path}: environment {environment['name']} was not stopped"


def _notes(stack: Stack, repository: Repository, iid: int) -> Iterator[str]:
    path = f"/projects/{repository.project.id}/merge_requests/{iid}/notes?per_page=100"
    ours = [note for note in stack.seeder.api("GET", path) if "<!-- toolforge-preview:" in note["body"]]
    if len(ours) != 1:
        yield f"{repository.project.path}!{iid} has {len(ours)} notes of ours"


def _status(stack: Stack, repository: Repository, sha: str) -> str | None:
    path = f"/projects/{repository.project.id}/repository/commits/{sha}/statuses?per_page=100"
    ours = [one for one in stack.seeder.api("GET", path) if one["name"] == STATUS_NAME]
    return str(max(ours, key=lambda one: one["id"])["status"]) if ours else None


def _is_clean(stack: Stack) -> bool:
    _see_to_quarantined(stack)
    return pool_is_clean(stack)


def _unclean(stack: Stack) -> Iterator[str]:
    """What Toolforge itself still has."""
    for name, tool in toolforge_state(stack)["tools"].items():
        envvars = [one for one in tool["envvars"] if not one.startswith("TOOL_")]
        if tool["builds"] or tool["jobs"] or tool["images"] or envvars or tool["quota"]["used_bytes"]:
            yield f"account {name} is not empty at Toolforge"


def _stuck(stack: Stack) -> Iterator[str]:
    """Rows that are due and nobody looks at, deployments that never ended, leases that are still open."""
    now = time.time()
    with stack.parts.store.read() as tx:
        for one in tx.due(now - _STUCK_SECONDS, limit=100):
            yield f"{one.kind} {one.id} is due since {now - one.at:.0f} seconds"
        for deployment, _ in tx.unsettled():
            yield f"deployment {deployment.id} is {deployment.state} ({deployment.step})"
        open_leases = select(func.count()).select_from(t.lease).where(t.lease.c.ended_at.is_(None))
        if count := tx.connection.scalar(open_leases):
            yield f"{count} leases are open"


def _counts(stack: Stack) -> dict[str, int]:
    tables = (t.preview, t.deployment, t.delivery, t.lease, t.event)
    with stack.parts.store.read() as tx:
        rows = {one.name: tx.connection.scalar(select(func.count()).select_from(one)) for one in tables}
        live = select(func.count()).where(t.event.c.after == State.LIVE, t.event.c.before != State.LIVE)
        return {name: int(count or 0) for name, count in rows.items()} | {
            "live": int(tx.connection.scalar(live) or 0)
        }


def tell(found: Found) -> None:
    """Print what was found out."""
    print(f"faults: {sum(found.faults.values())}")
    for name, count in found.faults.items():
        print(f"  {count:4} {name}")
    print(f"people: {found.acted}")
    print(f"rows: {found.counts}")
    slow = sorted(found.seconds_to_go_on)
    if slow:
        print(f"seconds to go on: half within {slow[len(slow) // 2]}, all within {slow[-1]}")
    print(f"settled after {found.settled_seconds} s, clean {found.cleaned_seconds} s after all was closed")
    for name, (mib, files) in found.growth.items():
        print(f"  {name}: {mib:+.2f} MiB and {files:+.2f} files a minute")
    for sentence in found.wrong:
        print(f"WRONG: {sentence}")
    print("all is true and clean" if not found.wrong else f"{len(found.wrong)} things are wrong")


if __name__ == "__main__":
    sys.exit(main())
