"""What a lease and a release cost, in larger pools and in older databases. Flat is the aim.

Run with ``make bench-pool``. Through the lifecycle, on a SQLite file, without network: a merge request
arrives and is planned onto an account; it is closed, its build is cancelled, and the cleaning of the account
recorded. Half of the accounts hold a live preview meanwhile. While a second merge request waits for the only
build slot, the sweep of every second goes by, and the report on its place in the queue is made. The finished
deployments each have a preview, a lease, a delivery and a timeline of their own, as months of service leave
them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, event, insert

from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.lifecycle import Lifecycle
from orchestrator.merge_request import MergeRequest
from orchestrator.policy import Policy
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Claim, Due, Kind
from orchestrator.scheduler import Limits
from orchestrator.settings import load_settings

#: Seconds of CPU time, and by the clock.
_Spent = tuple[float, float]
_NOW = 1_000_000_000.0
#: What a preview that is leased and released takes.
_PARTS = ("lease", "close", "tidy", "clean")
#: What goes on beside it while somebody waits.
_BESIDE = ("sweep", "report")
#: Accounts and finished deployments.
_SIZES = (
    (10, 0),
    (100, 0),
    (1_000, 0),
    (10_000, 0),
    (10, 1_000),
    (10, 10_000),
    (10, 100_000),
    (10_000, 100_000),
)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=60)
    options.add_argument("--slowest", type=int, default=0, help="Show so many of the slowest statements.")
    given = options.parse_args()
    print(
        "Milliseconds of CPU time, each part's median; a preview that is leased and released takes all four."
    )
    print("A second: how many of those, by the clock, the waits for the disk included.")
    print("Beside it, while somebody waits: the sweep of every second, the report on a place in the queue.")
    heads = " ".join(f"{name:>7}" for name in (*_PARTS, "sum", "ratio", *_BESIDE))
    print(f"accounts  finished {heads}  a second")
    first = 0.0
    for accounts, finished in _SIZES:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rig = Rig(f"sqlite:///{Path(folder) / 'pool.db'}", accounts, finished)
            spent = rig.measure(given.times)
            each, clock = (
                [statistics.median(one[kind] for one in spent[part]) for part in _PARTS] for kind in (0, 1)
            )
            beside = [statistics.median(one[0] for one in spent[part]) for part in _BESIDE]
            first = first or sum(each)
            cells, more = (
                " ".join(f"{seconds * 1000:7.2f}" for seconds in part)
                for part in ([*each, sum(each)], beside)
            )
            counts = f"{accounts:8} {finished:9}"
            print(f"{counts} {cells} {sum(each) / first:7.2f} {more} {1 / sum(clock):9.1f}", flush=True)
            for statement, seconds in rig.slowest(given.slowest):
                print(f"    {seconds / given.times * 1000:7.2f} ms  {' '.join(statement.split())[:200]}")
            rig.close()


class Rig:
    """A database of some size, and the lifecycle on it. `url` is that of an empty database."""

    def __init__(self, url: str, accounts: int, finished: int) -> None:
        self._parts = Parts(load_settings(database_url=url, gitlab_token="none"))
        self._parts.migrate()
        self.store = self._store = self._parts.store
        # The settings' own limits are those of the views.
        self._lifecycle = Lifecycle(self._store, Policy(limits=Limits(max_concurrent_builds=1)))
        self._now = _NOW
        self._keys = itertools.count(1)
        self._statements: defaultdict[str, float] = defaultdict(float)
        with self._store.write() as tx:
            self._project_id = tx.put_project(
                gitlab_id=77,
                path="group/tool",
                web_url="http://gitlab/group/tool",
                git_url="http://gitlab/group/tool.git",
                secret_digests=[],
                checks=[],
                now=_NOW,
            )
        with self._store.engine.begin() as connection:
            _fill(connection, self._project_id, accounts, finished)
            if connection.dialect.name == "postgresql":
                _settle(connection)
        self._iids = itertools.count(accounts + finished + 1)

    def close(self) -> None:
        """Let go of the database."""
        self._parts.close()

    def once(self) -> None:
        """One preview, leased and released, not timed."""
        self._once({part: [] for part in (*_PARTS, *_BESIDE)})

    def measure(self, times: int) -> Mapping[str, list[_Spent]]:
        """What each part took, so many times."""
        spent: dict[str, list[_Spent]] = {part: [] for part in (*_PARTS, *_BESIDE)}
        self.once()
        self._watch()
        for _ in range(times):
            self._once(spent)
        return spent

    def slowest(self, most: int) -> list[tuple[str, float]]:
        """The statements that took the longest, all times together, the reading of their rows not counted."""
        return sorted(self._statements.items(), key=lambda one: -one[1])[:most]

    def _watch(self) -> None:
        begun = [0.0]

        @event.listens_for(self._store.engine, "before_cursor_execute")
        def _begin(*_: object) -> None:
            begun[0] = time.perf_counter()

        @event.listens_for(self._store.engine, "after_cursor_execute")
        def _end(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            self._statements[statement] += time.perf_counter() - begun[0]

    def _once(self, spent: Mapping[str, list[_Spent]]) -> None:
        """One preview, leased and released."""
        iid = next(self._iids)
        self._now += 10.0
        preview_id, reads = self._opened(iid)
        self._timed(spent["lease"], reads)
        self._wait(spent)
        with self._store.read() as tx:
            account = tx.account_of(preview_id)
        assert account is not None, "it was planned onto an account at once"
        self._timed(spent["close"], self._see(iid, "closed"))
        with self._store.read() as tx:
            closed = tx.deployments_of(preview_id)[0]
        claim = self._claim(Kind.DEPLOYMENT, closed.id)
        self._timed(spent["tidy"], lambda: self._lifecycle.record(claim, closed, out.Tidied(), self._now))
        with self._store.read() as tx:
            account = tx.account(account.id)
        assert account.state is AccountState.CLEANING
        cleaning = self._claim(Kind.ACCOUNT, account.id)
        self._timed(
            spent["clean"],
            lambda: self._lifecycle.record_cleaning(
                cleaning, account, out.Cleaned(0, 0), self._now, bytes_seen=0
            ),
        )

    def _wait(self, spent: Mapping[str, list[_Spent]]) -> None:
        """Somebody else comes, waits, and goes."""
        iid = next(self._iids)
        preview_id, reads = self._opened(iid)
        reads()
        self._timed(spent["sweep"], lambda: self._lifecycle.sweep(self._now))
        told: list[int | None] = []
        views = self._parts.views
        self._timed(spent["report"], lambda: told.append(views.subject(preview_id, self._now)[1].position))
        assert told == [1], "it is the next in the queue"
        self._see(iid, "closed")()

    def _opened(self, iid: int) -> tuple[int, Callable[[], object]]:
        """A merge request that was opened, and the reading of its repository's file, to be called."""
        self._see(iid, "opened")()
        with self._store.read() as tx:
            present = tx.preview_of(self._project_id, iid)
            assert present is not None
            waiting = tx.deployments_of(present.id)[0]
        claim = self._claim(Kind.DEPLOYMENT, waiting.id)
        return present.id, lambda: self._lifecycle.record(claim, waiting, out.FileRead({}), self._now)

    def _timed(self, spent: list[_Spent], happens: Callable[[], object]) -> None:
        cpu, clock = time.process_time(), time.perf_counter()
        happens()
        spent.append((time.process_time() - cpu, time.perf_counter() - clock))

    def _see(self, iid: int, state: str) -> Callable[[], list[Due]]:
        """GitLab says so of the merge request; to be called."""
        with self._store.read() as tx:
            project = tx.project(self._project_id)
        key = f"key-{next(self._keys)}"
        dues = self._lifecycle.receive(project, key, kind="merge_request", iid=iid, facts={}, now=self._now)
        claim = self._claim(Kind.DELIVERY, dues[0].id)
        with self._store.read() as tx:
            delivery = tx.delivery(claim.id)
        seen = MergeRequest(
            iid=iid,
            state=state,
            sha="a" * 40,
            title="A change",
            author="bob",
            web_url="http://gitlab/mr",
            source_branch="change",
            target_branch="main",
            source_project_id=77,
            target_project_id=77,
        )
        return lambda: self._lifecycle.observe(claim, delivery, seen, self._now, as_of=self._now)

    def _claim(self, kind: Kind, row_id: int) -> Claim:
        with self._store.write() as tx:
            claim = tx.claim(kind, row_id, now=self._now, seconds=60.0)
        assert claim is not None
        return claim


# --- rows ---------------------------------------------------------------------------------------------


#: What is live has been so for long enough to give way.
_AGES_AGO = _NOW - 10_000.0


def _fill(connection: Connection, project_id: int, accounts: int, finished: int) -> None:
    """Half of the accounts with a live preview, and what so many finished deployments leave behind."""
    live = accounts // 2
    rows = range(1, live + finished + 1)
    _insert(connection, t.preview, (_preview(project_id, row, row <= live) for row in rows))
    _insert(connection, t.report_state, ({"preview_id": row, "told": {}, "error": ""} for row in rows))
    _insert(
        connection, t.account, (_account(row, row if row <= live else None) for row in range(1, accounts + 1))
    )
    _insert(
        connection, t.lease, (_lease(row, row if row <= live else 1 + row % accounts, live) for row in rows)
    )
    _insert(connection, t.deployment, (_deployment(row, row <= live, 1 + row % accounts) for row in rows))
    _insert(connection, t.delivery, (_delivery(project_id, row) for row in rows))
    _insert(connection, t.event, (_event(row) for row in rows for _ in range(6)))


def _settle(connection: Connection) -> None:
    """PostgreSQL goes on after the ids that it was given, and knows how many rows there are."""
    for table in (t.preview, t.account, t.deployment):
        last = f"SELECT max(id) FROM {table.name}"
        sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
        connection.exec_driver_sql(f"SELECT setval({sequence}, ({last}))")
    connection.exec_driver_sql("ANALYZE")


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    waiting = iter(rows)
    while some := list(itertools.islice(waiting, 5000)):
        connection.execute(insert(table), some)


def _preview(project_id: int, row: int, is_live: bool) -> dict[str, Any]:
    return {
        "id": row,
        "project_id": project_id,
        "iid": row,
        "title": "A change",
        "author": "bob",
        "web_url": "http://gitlab/mr",
        "source_branch": "change",
        "target_branch": "main",
        "mr_state": "opened" if is_live else "merged",
        "head_sha": "b" * 40,
        "is_from_project": True,
        "seen_at": _NOW,
        "expires_at": _NOW + 1_000_000.0 if is_live else None,
        "stop_reason": "",
        "created_at": _NOW,
    }


def _account(row: int, preview_id: int | None) -> dict[str, Any]:
    return {
        "id": row,
        "name": f"dev-{row}",
        "state": AccountState.FREE if preview_id is None else AccountState.LEASED,
        "since": _NOW,
        # The leases of the past have the numbers below.
        "fence": 1_000_000,
        "preview_id": preview_id,
        "reason": "",
        "drain": False,
        "credentials": {},
        "bytes_used": 0,
        "bytes_limit": 2**30,
    }


def _lease(row: int, account_id: int, live: int) -> dict[str, Any]:
    is_live = row <= live
    return {
        "account_id": account_id,
        "fence": 1_000_000 if is_live else row,
        "preview_id": row,
        "taken_at": _NOW,
        "ended_at": None if is_live else _NOW,
        "bytes_before": None if is_live else 0,
        "bytes_after": None if is_live else 0,
    }


def _deployment(row: int, is_live: bool, account_id: int) -> dict[str, Any]:
    return {
        "id": row,
        "preview_id": row,
        "sha": "b" * 40,
        "state": State.LIVE if is_live else State.STOPPED,
        "step": Step.NONE,
        "created_at": _NOW,
        "since": _AGES_AGO if is_live else _NOW,
        "step_since": _NOW,
        "trigger": "merge_request",
        "actor": "bob",
        "is_bot": False,
        "had_candidate": False,
        "account_id": row if is_live else account_id,
        "fence": 1_000_000 if is_live else row,
        "image": "tool-a/image:latest@sha256:1",
        "checks": [],
        "entered": {State.QUEUED: _NOW, State.BUILDING: _NOW, State.STARTING: _NOW, State.LIVE: _NOW},
    }


def _delivery(project_id: int, row: int) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "key": f"old-{row}",
        "kind": "merge_request",
        "iid": row,
        "facts": {},
        "received_at": _AGES_AGO,
        "handled_at": _AGES_AGO,
        "result": "",
    }


def _event(row: int) -> dict[str, Any]:
    return {
        "at": _NOW,
        "subject": "deployment",
        "subject_id": row,
        "preview_id": row,
        "before": "queued",
        "after": "building",
        "who": "bob",
        "why": "an account and a build slot are there",
    }


if __name__ == "__main__":
    main()
