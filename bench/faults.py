"""What goes wrong in a soak: faults of all kinds at random moments, each over after some seconds at most."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import make_url

from deploy.stack import Stack

#: Processes of the product that are killed and frozen.
PROCESSES = ("worker-builds", "worker-builds-2", "worker-gitlab", "beat", "web")
#: Toolforge's seconds are those of the stack's time scale.
_GATEWAY: tuple[Mapping[str, Any], ...] = (
    {"kind": "slow", "seconds": 100},
    *({"kind": "status", "status": status} for status in (409, 429, 500, 502, 503)),
    {"kind": "cut_before"},
    {"kind": "cut_middle"},
    {"kind": "lost"},
)
_SERVICES = (
    *("build_vanishes", "build_fails", "build_pending", "build_never_ends", "registry_away", "log_broken"),
    *("log_cut", "limit_race", "harbor_down", "quota_full", "clean_fails", "job_crash", "job_late"),
    *("job_not_ready", "image_pull_error", "publish_taken", "runtime_fails", "certificate_expired"),
)
#: What the product asks of GitLab, and the authors of the merge requests do not.
_GITLAB_CALLS = (
    "POST /projects/:id/statuses/:sha",
    "* /projects/:id/merge_requests/:iid/notes*",
    "* /projects/:id/environments*",
    "* /projects/:id/deployments*",
    "GET /projects/:id/merge_requests*",
    "GET /projects/:id/repository/*",
    "GET /projects/:id/members/*",
)
_GITLAB: tuple[Mapping[str, Any], ...] = (
    {"kind": "slow", "seconds": 2.0},
    *({"kind": "status", "status": status} for status in (429, 500, 502, 503)),
    {"kind": "cut_before"},
    {"kind": "lost"},
    {"kind": "cut_mid"},
)
_DELIVERIES: tuple[Mapping[str, Any], ...] = (
    {"kind": "twice"},
    {"kind": "late", "seconds": 3.0},
    {"kind": "reorder"},
    {"kind": "drop"},
)
_CALLS_STRUCK = 5
_FROZEN_SECONDS = (1.0, 14.0)
_LOCKED_SECONDS = (0.5, 6.0)


class Faults:
    """Lets things go wrong in a stack on SQLite, by the choice of `moments`; counts what it did."""

    def __init__(self, stack: Stack, moments: random.Random) -> None:
        self._stack = stack
        self._moments = moments
        self._threads: list[threading.Thread] = []
        self._frozen: set[str] = set()
        #: How often each kind was begun.
        self.done: Counter[str] = Counter()
        #: From a disturbance of processes, the queue or the database to the next sweep.
        self.seconds_to_go_on: list[float] = []

    def strike(self, *, kills: bool) -> None:
        """Let one thing go wrong; processes are killed only with `kills`."""
        kinds: list[tuple[Callable[[], str], int]] = [
            (self._gateway, 4),
            (self._service, 4),
            (self._gitlab, 4),
            (self._delivery, 3),
            (self._freeze, 2),
            (self._empty_redis, 1),
            (self._lock_database, 2),
        ]
        if kills:
            kinds += [(self._kill, 4), (self._kill_redis, 1)]
        chosen = self._moments.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        self.done[chosen()] += 1

    def end(self) -> None:
        """Everything works again."""
        for thread in self._threads:
            thread.join()
        self._send("DELETE", f"{self._stack.places.toolforge_admin_url}/faults", None)
        self._send("DELETE", f"{self._stack.places.gitlab_url}/-/local/faults", None)

    # --- the other side -------------------------------------------------------------------------------

    def _gateway(self) -> str:
        fault = dict(self._moments.choice(_GATEWAY))
        self._arm_toolforge(fault | {"count": self._moments.randint(1, _CALLS_STRUCK)})
        return f"Toolforge: {_named(fault)}"

    def _service(self) -> str:
        kind = self._moments.choice(_SERVICES)
        self._arm_toolforge({"kind": kind, "count": 1, "seconds": 5})
        return f"Toolforge: {kind.replace('_', ' ')}"

    def _gitlab(self) -> str:
        fault = dict(self._moments.choice(_GITLAB))
        count = self._moments.randint(1, _CALLS_STRUCK)
        self._arm_gitlab(fault | {"operation": self._moments.choice(_GITLAB_CALLS), "count": count})
        return f"GitLab: {_named(fault)}"

    def _delivery(self) -> str:
        fault = dict(self._moments.choice(_DELIVERIES))
        event = self._moments.choice(("merge_request", "note"))
        self._arm_gitlab(fault | {"operation": event, "count": self._moments.randint(1, 3)})
        return f"delivery: {fault['kind']}"

    def _arm_toolforge(self, fault: Mapping[str, Any]) -> None:
        self._send("POST", f"{self._stack.places.toolforge_admin_url}/faults", fault)

    def _arm_gitlab(self, fault: Mapping[str, Any]) -> None:
        self._send("POST", f"{self._stack.places.gitlab_url}/-/local/faults", fault)

    def _send(self, method: str, url: str, body: Mapping[str, Any] | None) -> None:
        headers = {"Content-Type": "application/json", "PRIVATE-TOKEN": self._stack.places.gitlab_root_token}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            answer.read()

    # --- our own side ---------------------------------------------------------------------------------

    def _kill(self) -> str:
        name = self._moments.choice(PROCESSES)
        self._stack.kill(name)
        self._measure()
        return f"kill -9: {name}"

    def _kill_redis(self) -> str:
        self._stack.kill("redis")
        self._measure()
        return "kill -9: redis, which forgets everything"

    def _empty_redis(self) -> str:
        with suppress(RedisError):
            self._stack.parts.redis.flushall()
        self._measure()
        return "Redis emptied"

    def _freeze(self) -> str:
        name = self._moments.choice((*PROCESSES, "redis"))
        seconds = self._moments.uniform(*_FROZEN_SECONDS)
        pid = self._stack.pid(name)

        def freeze() -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(pid, signal.SIGCONT)
            self._measure()

        self._begin(freeze)
        return f"SIGSTOP for up to 14 s: {name}"

    def _lock_database(self) -> str:
        path = str(make_url(self._stack.parts.settings.database_url).database)
        seconds = self._moments.uniform(*_LOCKED_SECONDS)

        def lock() -> None:
            connection = sqlite3.connect(path, timeout=20.0, isolation_level=None)
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(seconds)
                connection.execute("ROLLBACK")
            connection.close()
            self._measure()

        self._begin(lock)
        return "database locked for up to 6 s"

    def _begin(self, run: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _measure(self) -> None:
        """How long it takes until somebody sweeps again."""
        pulse, begun = self._stack.parts.pulse, time.monotonic()

        def watch() -> None:
            is_forgotten = False
            while time.monotonic() - begun < 60.0:
                with suppress(RedisError):
                    if not is_forgotten:
                        pulse.forget()
                        is_forgotten = True
                    elif pulse.is_felt():
                        break
                time.sleep(0.1)
            self.seconds_to_go_on.append(time.monotonic() - begun)

        self._begin(watch)


def _named(fault: Mapping[str, Any]) -> str:
    return str(fault.get("status") or fault["kind"]).replace("_", " ")
