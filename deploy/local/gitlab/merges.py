"""The life of a merge request: opened, changed, checked, merged, closed.

Every change is told to webhooks and leaves GitLab's system note. Refs `refs/merge-requests/<iid>/head` and
`/merge` live in the target project; the second is made lazily, when somebody asks for the merge request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import payloads, system_notes
from deploy.local.gitlab.model import MergeRequest, Note, Pipeline, Project, User, now

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

COMMITS_NOTED = 100


class Merges:
    """Merge requests of all projects."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._checking: set[int] = set()

    def open_from(self, source: Project, branch: str) -> list[MergeRequest]:
        """Open merge requests whose source is this branch."""
        found = self._lab.store.merge_requests.by("source_project_id", source.id)
        return [item for item in found if item.state == "opened" and item.source_branch == branch]

    def open_to(self, target: Project, branch: str) -> list[MergeRequest]:
        """Open merge requests whose target is this branch."""
        found = self._lab.store.merge_requests.by("project_id", target.id)
        return [item for item in found if item.state == "opened" and item.target_branch == branch]

    async def create(
        self, target: Project, source: Project, author: User, *, sha: str, target_sha: str, **fields: Any
    ) -> MergeRequest:
        """Open a merge request from a branch's tip `sha` onto a branch that is at `target_sha`."""
        iid = target.next_iid("merge_requests")
        self._lab.store.projects.save(target)
        async with self._lab.lock(target.id):
            base = await self._take_head(target, source, iid, sha, target_sha)
        merge_request = self._lab.store.merge_requests.insert(
            iid=iid,
            project_id=target.id,
            source_project_id=source.id,
            author_id=author.id,
            sha=sha,
            base_sha=base,
            start_sha=target_sha,
            versions=[sha],
            **fields,
        )
        await self.tell(merge_request, author, "open")
        return merge_request

    async def _take_head(self, target: Project, source: Project, iid: int, sha: str, target_sha: str) -> str:
        """Point the head ref of the target project at a commit; the merge base with the target branch."""
        git = self._lab.git
        if source.id != target.id:
            await git.fetch(target.id, source.id, sha)
        await git.set_ref(target.id, f"refs/merge-requests/{iid}/head", sha)
        return await git.merge_base(target.id, target_sha, sha) or target_sha

    async def new_head(self, merge_request: MergeRequest, actor: User) -> None:
        """The source branch moved: take its tip, and tell so as an update with `oldrev`."""
        store, git = self._lab.store, self._lab.git
        target = store.projects[merge_request.project_id]
        source = store.projects[merge_request.source_project_id]
        base_before = merge_request.base_sha
        async with self._lab.lock(target.id):
            # Of two pushes in a row, the first to get here takes the newest tip, the other finds it done.
            sha, old = await git.branch(source.id, merge_request.source_branch), merge_request.sha
            if sha is None or sha == old:
                return
            tip = await git.branch(target.id, merge_request.target_branch) or merge_request.start_sha
            base = await self._take_head(target, source, merge_request.iid, sha, tip)
            merge_request.sha, merge_request.base_sha, merge_request.start_sha = sha, base, tip
            merge_request.versions.append(sha)
            merge_request.merge_status = "unchecked"
        before = merge_request.updated_at
        self.touch(merge_request)
        await self._note_commits(merge_request, actor, base_before, old)
        changes = {"updated_at": {"previous": before, "current": merge_request.updated_at}}
        await self.tell(merge_request, actor, "update", oldrev=old, changes=changes)

    async def _note_commits(self, merge_request: MergeRequest, actor: User, base: str, old: str) -> None:
        """Note down the commits that were not there when `base` and `old` were base and head."""
        git, project = self._lab.git, self._lab.store.projects[merge_request.project_id]
        before = set(await git.log(project.id, old, base, COMMITS_NOTED))
        after = await git.log(project.id, merge_request.sha, merge_request.base_sha, COMMITS_NOTED)
        added = [await git.commit(project.id, sha) for sha in reversed(after) if sha not in before]
        path = f"/{project.full_path}/-/merge_requests/{merge_request.iid}/diffs?start_sha={old}"
        listed = [(commit.sha, commit.title) for commit in added if commit]
        self.system_note(merge_request, actor, system_notes.added_commits(listed, path))

    def touch(self, merge_request: MergeRequest) -> None:
        """Remember that it was changed just now."""
        merge_request.updated_at = now()
        self._lab.store.merge_requests.save(merge_request)

    def system_note(
        self, merge_request: MergeRequest, actor: User, text: str, *, event: bool = False
    ) -> Note:
        """The small grey line that GitLab writes itself; webhooks do not hear of it, of an event not even the
        notes of the API.
        """
        return self._lab.store.notes.insert(
            project_id=merge_request.project_id,
            merge_request_id=merge_request.id,
            author_id=actor.id,
            body=text,
            system=True,
            event=event,
        )

    async def tell(self, merge_request: MergeRequest, actor: User, action: str, **more: Any) -> None:
        """Send the Merge Request Hook."""
        project = self._lab.store.projects[merge_request.project_id]
        if self._lab.webhooks.wanted(project, "merge_request"):
            data = await payloads.merge_request(self._lab, merge_request, actor, action, **more)
            self._lab.webhooks.fire(project, "merge_request", data)

    async def update(self, merge_request: MergeRequest, actor: User, fields: dict[str, Any]) -> None:
        """Change title, description, labels or target branch; one update event for all of them."""
        project = self._lab.store.projects[merge_request.project_id]
        was_draft = merge_request.draft
        changes: dict[str, Any] = {}
        for name, value in fields.items():
            previous = getattr(merge_request, name)
            if previous != value:
                setattr(merge_request, name, value)
                changes[name] = {"previous": previous, "current": value}
        if not changes:
            return
        for name, change in changes.items():
            for text in system_notes.changed(name, change["previous"], change["current"]):
                self.system_note(merge_request, actor, text, event=name in system_notes.EVENTS)
        if "labels" in changes:
            changes["labels"] = {
                key: [payloads.label(self._lab, project, title) for title in titles]
                for key, titles in changes["labels"].items()
            }
        if "target_branch" in changes:
            await self._retarget(merge_request)
        if was_draft != merge_request.draft:
            changes["draft"] = {"previous": was_draft, "current": merge_request.draft}
        previous = merge_request.updated_at
        self.touch(merge_request)
        changes["updated_at"] = {"previous": previous, "current": merge_request.updated_at}
        await self.tell(merge_request, actor, "update", changes=changes)

    async def _retarget(self, merge_request: MergeRequest) -> None:
        tip = await self._lab.git.branch(merge_request.project_id, merge_request.target_branch)
        if tip:
            base = await self._lab.git.merge_base(merge_request.project_id, tip, merge_request.sha)
            merge_request.start_sha, merge_request.base_sha = tip, base or tip
        merge_request.merge_status = "unchecked"

    async def close(self, merge_request: MergeRequest, actor: User) -> None:
        """Close an open one; anything else stays as it is."""
        if merge_request.state != "opened":
            return
        merge_request.state, merge_request.closed_by_id = "closed", actor.id
        merge_request.closed_at = now()
        await self._new_state(merge_request, actor, "close", "closed", "opened")

    async def reopen(self, merge_request: MergeRequest, actor: User) -> None:
        """Open a closed one again, with whatever its source branch holds now."""
        if merge_request.state != "closed":
            return
        merge_request.state, merge_request.closed_by_id, merge_request.closed_at = "opened", None, None
        merge_request.merge_status = "unchecked"
        store = self._lab.store
        target = store.projects[merge_request.project_id]
        source = store.projects[merge_request.source_project_id]
        sha = await self._lab.git.branch(source.id, merge_request.source_branch)
        tip = await self._lab.git.branch(target.id, merge_request.target_branch)
        if sha and tip and sha != merge_request.sha:
            async with self._lab.lock(target.id):
                base = await self._take_head(target, source, merge_request.iid, sha, tip)
            merge_request.sha, merge_request.base_sha, merge_request.start_sha = sha, base, tip
            merge_request.versions.append(sha)
        await self._new_state(merge_request, actor, "reopen", "reopened", "closed")

    async def _new_state(
        self, merge_request: MergeRequest, actor: User, action: str, text: str, previous: str
    ) -> None:
        before = merge_request.updated_at
        self.touch(merge_request)
        self.system_note(merge_request, actor, text, event=True)
        numbers = {"opened": 1, "closed": 2, "merged": 3}
        changes = {
            "state_id": {"previous": numbers[previous], "current": numbers[merge_request.state]},
            "updated_at": {"previous": before, "current": merge_request.updated_at},
        }
        await self.tell(merge_request, actor, action, changes=changes)

    def check_soon(self, merge_request: MergeRequest) -> None:
        """Start to find out whether it can be merged, unless that is known or under way."""
        if merge_request.state != "opened" or merge_request.merge_status != "unchecked":
            return
        merge_request.merge_status = "checking"
        self._lab.spawn(self.check(merge_request))

    async def check_now(self, merge_request: MergeRequest) -> None:
        """The same, after whatever check is under way."""
        while merge_request.id in self._checking:
            await asyncio.sleep(0.01)
        await self.check(merge_request)

    async def check(self, merge_request: MergeRequest) -> None:
        """Find out whether it can be merged, and make `refs/merge-requests/<iid>/merge` if so."""
        if merge_request.id in self._checking:
            return
        self._checking.add(merge_request.id)
        merge_request.merge_status = "checking"
        try:
            tip = await self._lab.git.branch(merge_request.project_id, merge_request.target_branch)
            made = await self.merged_commit(merge_request, tip, merge_request.sha) if tip else None
            # A push that came in between has reset the status; then the next look decides.
            if merge_request.merge_status != "checking":
                return
            merge_request.merge_status = "can_be_merged" if made else "cannot_be_merged"
            if made:
                merge_request.merge_ref_sha = made
                ref = f"refs/merge-requests/{merge_request.iid}/merge"
                await self._lab.git.set_ref(merge_request.project_id, ref, made)
        finally:
            self._checking.discard(merge_request.id)
            self._lab.store.merge_requests.save(merge_request)

    async def merged_commit(
        self, merge_request: MergeRequest, tip: str, head: str, message: str = "", author: User | None = None
    ) -> str | None:
        """A merge commit of the target branch's tip and the head, or None when they conflict."""
        git, project_id = self._lab.git, merge_request.project_id
        if await git.merge_base(project_id, tip, head) == tip:
            commit = await git.commit(project_id, head)
            tree = commit.tree if commit else None
        else:
            tree = await git.merge_tree(project_id, tip, head)
        if tree is None:
            return None
        text = message or f"Merge branch '{merge_request.source_branch}' into '{merge_request.target_branch}'"
        person = author or self._lab.store.users[merge_request.author_id]
        return await git.commit_tree(project_id, tree, [tip, head], text, person.name, person.email)

    async def mark_merged(self, merge_request: MergeRequest, actor: User, commit: str) -> None:
        """It is part of the target branch now, by the button or by a push."""
        merge_request.state, merge_request.merge_commit_sha = "merged", commit
        merge_request.merged_by_id, merge_request.merged_at = actor.id, now()
        await self._new_state(merge_request, actor, "merge", "merged", "opened")

    def pipelines(self, merge_request: MergeRequest, shas: Iterable[str]) -> list[Pipeline]:
        """Those that GitLab shows with a merge request, at these of its commits: its own ones, then those of
        the source branch in the source project, newest first (`Ci::PipelinesForMergeRequestFinder`).
        """
        own = (merge_request.project_id, f"refs/merge-requests/{merge_request.iid}/head")
        branch = (merge_request.source_project_id, merge_request.source_branch)
        found = [
            item
            for sha in dict.fromkeys(shas)
            for item in self._lab.store.pipelines.by("sha", sha)
            if (item.project_id, item.ref) in (own, branch)
        ]
        return sorted(found, key=lambda item: ((item.project_id, item.ref) != own, -item.id))

    def head_pipeline(self, merge_request: MergeRequest) -> Pipeline | None:
        """The pipeline of the head commit, as the merge request shows it."""
        return next(iter(self.pipelines(merge_request, [merge_request.sha])), None)

    def pipeline_state(self, pipeline: Pipeline) -> str:
        """What a pipeline's newest statuses add up to."""
        key = f"{pipeline.project_id}:{pipeline.sha}"
        states = {
            item.status
            for item in self._lab.store.statuses.by("commit", key)
            if item.pipeline_id == pipeline.id and not item.retried
        }
        if not states:
            return "created"
        if "running" in states or ("pending" in states and states - {"pending", "skipped"}):
            return "running"
        for state in ("pending", "failed", "canceled", "success"):
            if state in states:
                return state
        return "skipped"
