"""What one preview costs us: previews a second, CPU time, and calls, with a Toolforge that answers at once.

Run with ``make bench``. The local Toolforge's synthetic engine has every build and job ready at once, so that
what is measured is the product (and, on the same cores, the two twins and git).

1. Calls: one preview, from webhook to clean account, in one process; every SQL statement is counted there,
   and the twins count the calls that reach them.
2. Load: many merge requests opened at once through the whole stack of processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bench.repository import Repository
from deploy.follow import connect, pool_is_clean, wait_for
from deploy.stack import Stack
from orchestrator.bootstrap import Parts
from orchestrator.records import Due
from worker.runner import Runner

_OVERRIDES: Mapping[str, Any] = {
    "poll_min_seconds": 0.05,
    "stable_seconds": 0.0,
    "max_concurrent_builds": 100,
    "min_live_seconds": 3600.0,
    "deliveries_per_minute": 1_000_000,
    "waiting_per_project": 100_000,
}
_OURS = ("web", "worker-builds", "worker-gitlab", "beat")
_TWINS = ("toolforge", "gitlab", "redis")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--previews", type=int, default=100)
    options.add_argument("--accounts", type=int, default=25)
    given = options.parse_args()
    count_calls()
    load(given.previews, given.accounts)


def _stack(folder: str, accounts: int) -> Stack:
    scenario = Path(folder) / "instant.json"
    scenario.write_text(json.dumps({"instant": True}))
    return Stack(
        Path(folder) / "state",
        tools=[f"bench-{number}" for number in range(accounts)],
        overrides=_OVERRIDES,
        toolforge_options=("--engine", "synthetic", "--scenario", str(scenario), "--time-scale", "0.01"),
    )


# --- calls --------------------------------------------------------------------------------------------


class _Inline:
    """A queue within this process, in place of Celery: what is due is looked at in turn."""

    def __init__(self, parts: Parts) -> None:
        self._waiting: list[Due] = []
        self._runner = Runner(parts, self._waiting.extend)

    def close(self) -> None:
        self._runner.close()

    def run_until(self, is_so: Any) -> None:
        deadline = time.monotonic() + 30.0
        while not is_so() and time.monotonic() < deadline:
            # As with the real queue, what is due much later is left to the sweep.
            soon = time.time() + 5.0
            self._waiting[:] = sorted((d for d in self._waiting if d.at < soon), key=lambda due: due.at)
            if not self._waiting:
                self._runner.sweep()
                time.sleep(0.01)
                continue
            due = self._waiting.pop(0)
            time.sleep(max(due.at - time.time(), 0.0))
            self._runner.look(due.kind, due.id)


def count_calls() -> None:
    """One preview's calls and SQL statements."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _stack(folder, 1) as stack,
        Repository(stack.seeder, "overhead", branches=1) as repository,
    ):
        path = repository.project.path
        connect(stack, path)
        wait_for("the pool", lambda: pool_is_clean(stack))
        for name in ("worker-builds", "worker-gitlab", "beat"):
            stack.kill(name, and_keep_down=True)
        parts = Parts(stack.parts.settings)
        statements: Counter[str] = Counter()

        @event.listens_for(parts.store.engine, "before_cursor_execute")
        def _count(_c: object, _cur: object, statement: str, *_: object) -> None:
            statements[statement.split()[0].lower()] += 1

        before = _calls(stack)
        iid = repository.open(1)
        queue = _Inline(parts)
        started = time.process_time()
        queue.run_until(lambda: _is_live(parts, path, iid))
        repository.close(iid)
        queue.run_until(lambda: pool_is_clean(stack))
        cpu = time.process_time() - started
        after = _calls(stack)
        print("One preview, from its webhook to a clean account:")
        for twin in ("toolforge", "gitlab"):
            made = {name: after[twin][name] - before[twin].get(name, 0) for name in after[twin]}
            made = {name: count for name, count in made.items() if count}
            shown = ", ".join(f"{name} {count}" for name, count in sorted(made.items()))
            print(f"  {sum(made.values())} calls to {twin}: {shown}")
        print(f"  {sum(statements.values())} SQL statements: {dict(statements.most_common())}")
        print(f"  {cpu * 1000:.0f} ms of CPU time in one process (the polling of this benchmark included)")
        queue.close()
        parts.close()


def _is_live(parts: Parts, path: str, iid: int) -> bool:
    view = parts.views.preview(path, iid)
    return view is not None and view.newest is not None and view.newest.state == "live"


def _calls(stack: Stack) -> dict[str, dict[str, int]]:
    urls = {
        "toolforge": f"{stack.places.toolforge_admin_url}/calls",
        "gitlab": f"{stack.places.gitlab_url}/-/local/calls",
    }
    found = {}
    for twin, url in urls.items():
        request = urllib.request.Request(url, headers={"PRIVATE-TOKEN": stack.places.gitlab_root_token})
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        counts = answer.get("by_operation", answer)
        found[twin] = {
            name: count if isinstance(count, int) else count["count"] for name, count in counts.items()
        }
    return found


# --- load ---------------------------------------------------------------------------------------------


def load(previews: int, accounts: int) -> None:
    """Many merge requests at once; each is closed as soon as it is live."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _stack(folder, accounts) as stack,
        Repository(stack.seeder, "overhead", branches=previews + 1) as repository,
    ):
        path = repository.project.path
        connect(stack, path)
        wait_for("the pool", lambda: pool_is_clean(stack))
        _one_alone(stack, repository, previews + 1)
        before = {name: _cpu(stack, name) for name in (*_OURS, *_TWINS)}
        started = time.monotonic()
        opened = {repository.open(number) for number in range(1, previews + 1)}
        waiting = set(opened)
        while waiting:
            with stack.parts.store.read() as tx:
                live = {deployment.iid for deployment, _ in tx.unsettled() if deployment.state == "live"}
            for iid in live & waiting:
                repository.close(iid)
            waiting -= live
            time.sleep(0.1)
        wait_for("the pool", lambda: pool_is_clean(stack))
        seconds = time.monotonic() - started
        used = {name: _cpu(stack, name) - before[name] for name in before}
        _print_load(stack, path, opened, seconds, used)


def _one_alone(stack: Stack, repository: Repository, number: int) -> None:
    """How long a merge request waits for its verdict when nothing else is going on."""
    started = time.time()
    path, iid = repository.project.path, repository.open(number)
    wait_for("the verdict", lambda: _is_live(stack.parts, path, iid))
    view = stack.parts.views.preview(path, iid)
    assert view is not None
    verdict = (view.deployments[0].entered or {})["live"]
    repository.close(iid)
    wait_for("the pool", lambda: pool_is_clean(stack))
    print(f"One preview on an idle machine: {verdict - started:.2f} s from opening it to the verdict")


def _print_load(stack: Stack, path: str, opened: set[int], seconds: float, used: Mapping[str, float]) -> None:
    previews = len(opened)
    waits = []
    for iid in opened:
        view = stack.parts.views.preview(path, iid)
        assert view is not None
        entered = view.deployments[0].entered or {}
        waits.append(entered["live"] - entered["building"])
    ours = sum(used[name] for name in _OURS)
    twins = sum(used[name] for name in _TWINS)
    print(f"{previews} previews, opened at once, each closed when live, all accounts clean: {seconds:.1f} s")
    print(f"  {previews / seconds:.1f} previews a second on {os.cpu_count()} cores")
    each = 1000 / previews
    print(f"  {ours * each:.0f} ms of our CPU time a preview, {twins * each:.0f} ms of the twins'")
    print("  by process: " + ", ".join(f"{name} {used[name] * each:.0f} ms" for name in used))
    print(f"  from account to live: median {statistics.median(waits):.2f} s, most {max(waits):.2f} s")


def _cpu(stack: Stack, name: str) -> float:
    """CPU seconds of a process and its children."""
    ticks = os.sysconf("SC_CLK_TCK")
    pids = [stack.pid(name)]
    children = Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()
    pids += [int(child) for child in children]
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:13]) / ticks
    return total


if __name__ == "__main__":
    main()
