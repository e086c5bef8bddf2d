"""A small world around a real database: merge requests are seen, steps bring outcomes, time passes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.lifecycle import Lifecycle
from orchestrator.merge_request import Command, MergeRequest, Verb
from orchestrator.outcome import CheckResult, CleaningOutcome, InspectionOutcome, Outcome
from orchestrator.policy import Policy
from orchestrator.pool import Account
from orchestrator.preview import Deployment, Step
from orchestrator.progress import Patience
from orchestrator.quiet import Quiet
from orchestrator.records import Claim, Due, Kind, Preview
from orchestrator.scheduler import Limits

A, B, C = "a" * 40, "b" * 40, "c" * 40
PASSED = out.ChecksDone((CheckResult("GET /", True, "200"),))
#: What a step brings when all is well.
GOOD: dict[Step, Outcome] = {
    Step.READ_FILE: out.FileRead({}),
    Step.START_BUILD: out.BuildStarted("b"),
    Step.WATCH_BUILD: out.BuildSucceeded("tool-a/i:latest@sha256:1"),
    Step.START_CANDIDATE: out.JobStarted(),
    Step.WATCH_CANDIDATE: out.JobReady(),
    Step.PUBLISH: out.JobStarted(),
    Step.WATCH_JOB: out.JobReady(),
    Step.CHECK: PASSED,
    Step.ROLL_BACK: out.RolledBack(),
    Step.TIDY: out.Tidied(),
}


class World:
    """Drives the lifecycle as GitLab and the workers would."""

    def __init__(
        self,
        parts: Parts,
        *,
        accounts: int = 1,
        limits: Limits | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.store = parts.store
        self.now = 1_000_000.0
        given = policy or Policy(limits=limits or Limits(), quiet=Quiet(0.0, 0.0))
        self.policy = replace(given, patience=Patience(stable_seconds=0.0), live_seconds=3600.0)
        self.lifecycle = Lifecycle(self.store, self.policy)
        self._deliveries = itertools.count(1)
        self.views = parts.views
        self.project_id = self.connects(77, "group/tool")
        with self.store.write() as tx:
            names = [f"dev-{number}" for number in range(accounts)]
            ids = [tx.add_account(name, {}, self.now) for name in names]
        for account_id in ids:
            self.cleaning(account_id, out.Cleaned(0, 0))

    def connects(self, gitlab_id: int, path: str) -> int:
        """A project is connected; our id of it."""
        with self.store.write() as tx:
            return tx.put_project(
                gitlab_id=gitlab_id,
                path=path,
                web_url=f"http://gitlab/{path}",
                git_url=f"http://gitlab/{path}.git",
                secret_digests=["0" * 64],
                checks=[],
                now=self.now,
            )

    @contextmanager
    def another_project(self) -> Iterator[int]:
        """What is said in the block is about a project of its own."""
        first = self.project_id
        self.project_id = self.connects(78, "group/other")
        yield self.project_id
        self.project_id = first

    # --- what comes from outside ---

    def sees(
        self,
        iid: int = 1,
        sha: str = A,
        state: str = "opened",
        *,
        fork: bool = False,
        as_of: float | None = None,
        author: str = "bob",
        who: str = "",
        reads: bool = True,
        **facts_of_it: Any,
    ) -> list[Due]:
        """GitLab shows the merge request by `author`; `who` acted, where a delivery says so.

        Unless told otherwise there is no repository file, and a worker has found that out.
        """
        facts: dict[str, object] = {"username": who} if who else {}
        claim, merge_request = self._delivery("merge_request", iid, sha, state, fork, facts, author)
        with self.store.read() as tx:
            delivery = tx.delivery(claim.id)
        merge_request = replace(merge_request, **facts_of_it)
        dues = self.lifecycle.observe(
            claim, delivery, merge_request, self.now, as_of=self.now if as_of is None else as_of
        )
        return dues + (self.reads(iid) if reads else [])

    def reads(self, iid: int = 1, config: Mapping[str, object] | None = None) -> list[Due]:
        """A worker reads the repository's own file, where that is to be done and nothing is paused."""
        with self.store.read() as tx:
            found = tx.preview_of(self.project_id, iid)
            newest = tx.deployments_of(found.id)[:1] if found else []
        if not newest or newest[0].step is not Step.READ_FILE:
            return []
        self.now = max(self.now, newest[0].due_at or 0.0)
        with self.store.write() as tx:
            claim = tx.claim(Kind.DEPLOYMENT, newest[0].id, now=self.now, seconds=60.0)
        if claim is None:
            return []
        return self.lifecycle.record(claim, newest[0], out.FileRead(config or {}), self.now)

    def comments(
        self,
        verb: Verb | Command,
        iid: int = 1,
        *,
        under: str = A,
        head: str = A,
        fork: bool = False,
        author: str = "bob",
    ) -> bool:
        facts: dict[str, object] = {"username": "carol", "sha": under}
        claim, merge_request = self._delivery("note", iid, head, "opened", fork, facts, author)
        with self.store.read() as tx:
            delivery = tx.delivery(claim.id)
        command = verb if isinstance(verb, Command) else Command(verb)
        _, was_done = self.lifecycle.command(
            claim, delivery, merge_request, command, self.now, as_of=self.now
        )
        self.reads(iid)
        return was_done

    def _delivery(
        self, kind: str, iid: int, sha: str, state: str, fork: bool, facts: dict[str, object], author: str
    ) -> tuple[Claim, MergeRequest]:
        with self.store.read() as tx:
            project = tx.project(self.project_id)
        key = f"key-{next(self._deliveries)}"
        dues = self.lifecycle.receive(project, key, kind=kind, iid=iid, facts=facts, now=self.now)
        seen = self.merge_request(iid, sha, state, fork=fork, author=author)
        return self.claim(Kind.DELIVERY, dues[0].id), seen

    def merge_request(
        self,
        iid: int = 1,
        sha: str = A,
        state: str = "opened",
        *,
        fork: bool = False,
        author: str = "bob",
    ) -> MergeRequest:
        """What GitLab says of it."""
        return MergeRequest(
            iid=iid,
            state=state,
            sha=sha,
            title=f"Change {iid}",
            author=author,
            web_url=f"http://gitlab/group/tool/-/merge_requests/{iid}",
            source_branch=f"change-{iid}",
            target_branch="main",
            source_project_id=99 if fork else 77,
            target_project_id=77,
        )

    # --- what workers do ---

    def claim(self, kind: Kind, row_id: int) -> Claim:
        with self.store.write() as tx:
            claim = tx.claim(kind, row_id, now=self.now, seconds=60.0)
        assert claim is not None, f"{kind} {row_id} is not due, or is looked at"
        return claim

    def step(self, outcome: Outcome, iid: int = 1) -> Deployment:
        """The newest deployment's step brings `outcome`; time goes on to when it was due."""
        before = self.deployment(iid)
        assert before.due_at is not None, f"nothing to do at {before.step}"
        self.now = max(self.now, before.due_at)
        self.lifecycle.record(self.claim(Kind.DEPLOYMENT, before.id), before, outcome, self.now)
        return self.deployment(iid)

    def steps(self, *outcomes: Outcome, iid: int = 1) -> Deployment:
        for outcome in outcomes:
            self.step(outcome, iid)
        return self.deployment(iid)

    def goes_live(self, iid: int = 1) -> Deployment:
        """From the assigned account to live; beside a good one by way of a candidate."""
        deployment = self.steps(out.BuildStarted(f"build-{iid}"), out.BuildSucceeded(f"image-{iid}"), iid=iid)
        if deployment.step == "start candidate":
            self.steps(out.JobStarted(), out.JobReady(), iid=iid)
        deployment = self.steps(out.JobStarted(), out.JobReady(), PASSED, iid=iid)
        return self.step(out.Tidied(), iid) if deployment.due_at is not None else deployment

    def cleaning(self, account_id: int, outcome: CleaningOutcome) -> Account:
        before = self.account(account_id)
        self.now = max(self.now, before.due_at or 0)
        claim = self.claim(Kind.ACCOUNT, account_id)
        self.lifecycle.record_cleaning(claim, before, outcome, self.now, bytes_seen=5)
        return self.account(account_id)

    def inspection(self, account_id: int, outcome: InspectionOutcome) -> Account:
        before = self.account(account_id)
        self.now = max(self.now, before.due_at or 0)
        claim = self.claim(Kind.ACCOUNT, account_id)
        self.lifecycle.record_inspection(claim, before, outcome, self.now)
        return self.account(account_id)

    def tells_gitlab(self) -> None:
        """Everything that there is to tell is told."""
        with self.store.write() as tx:
            late = self.now + 1e9
            for due in tx.due(late, limit=1000):
                if due.kind is Kind.REPORT:
                    claim = tx.claim(due.kind, due.id, now=late, seconds=1.0)
                    assert claim is not None
                    tx.close_report(claim, tx.told(due.id)[1], error="")

    # --- what is ---

    def preview(self, iid: int = 1) -> Preview:
        with self.store.read() as tx:
            found = tx.preview_of(self.project_id, iid)
        assert found is not None
        return found

    def deployments(self, iid: int = 1) -> list[Deployment]:
        with self.store.read() as tx:
            return tx.deployments_of(self.preview(iid).id)

    def deployment(self, iid: int = 1) -> Deployment:
        """The newest."""
        return self.deployments(iid)[0]

    def states(self, iid: int = 1) -> list[str]:
        """Of all deployments, the oldest first."""
        return [deployment.state.value for deployment in reversed(self.deployments(iid))]

    def account(self, account_id: int = 1) -> Account:
        with self.store.read() as tx:
            return tx.account(account_id)

    def later(self, seconds: float) -> None:
        self.now += seconds


__all__ = ["GOOD", "PASSED", "A", "B", "C", "World"]
