"""What follows when refs of a project have moved.

In GitLab's order: merge requests that lost their source branch close, those that were merged by hand are
marked so, those whose source moved take the new head; then the others are unchecked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.gitlab import payloads
from deploy.local.gitlab.model import Project, User, now
from deploy.local.gitlab.payloads import BRANCHES_TOLD, ZERO
from deploy.local.gitlab.webhooks import chain

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

#: ref -> (commit before, commit after); zeros for "was not there" and "is gone"
Changes = dict[str, tuple[str, str]]


async def received(lab: Lab, project: Project, actor: User, changes: Changes) -> None:
    """Bring merge requests up to date and tell webhooks."""
    if not changes:
        return
    # GitLab does this in jobs of their own (PostReceive, UpdateMergeRequestsWorker), after the request.
    chain.set(None)
    project.last_activity_at = now()
    await _choose_default_branch(lab, project, changes)
    lab.store.projects.save(project)
    branches = {ref: move for ref, move in changes.items() if ref.startswith("refs/heads/")}
    tags = {ref: move for ref, move in changes.items() if ref.startswith("refs/tags/")}
    for trigger, moved in (("push", branches), ("tag_push", tags)):
        if len(moved) <= BRANCHES_TOLD and lab.webhooks.wanted(project, trigger):
            for ref, (old, new) in moved.items():
                data = await payloads.push(lab, project, actor, ref, old, new)
                lab.webhooks.fire(project, trigger, data)
    for ref, (old, new) in branches.items():
        await _branch_moved(lab, project, actor, ref.removeprefix("refs/heads/"), old, new)


async def _choose_default_branch(lab: Lab, project: Project, changes: Changes) -> None:
    """The first branch of an empty project becomes its default branch (GitLab looks at HEAD likewise)."""
    refs = await lab.git.refs(project.id)
    if f"refs/heads/{project.default_branch}" in refs:
        return
    pushed = [ref for ref, (_, new) in changes.items() if ref.startswith("refs/heads/") and new != ZERO]
    if pushed and all(old == ZERO for old, _ in changes.values()) and len(refs) == len(changes):
        project.default_branch = pushed[0].removeprefix("refs/heads/")
        await lab.git.run(project.id, "symbolic-ref", "HEAD", pushed[0])


async def _branch_moved(lab: Lab, project: Project, actor: User, branch: str, old: str, new: str) -> None:
    merges = lab.merges
    for merge_request in merges.open_to(project, branch):
        if new != ZERO and await _was_merged(lab, project, merge_request.sha, old, new):
            await merges.mark_merged(merge_request, actor, new)
        else:
            merge_request.merge_status = "unchecked"
            lab.store.merge_requests.save(merge_request)
    for merge_request in merges.open_from(project, branch):
        if new == ZERO:
            await merges.close(merge_request, actor)
        elif merge_request.sha != new:
            await merges.new_head(merge_request, actor)


async def _was_merged(lab: Lab, project: Project, head: str, old: str, new: str) -> bool:
    """Whether a push brought a merge request's head into its target branch."""
    if old == ZERO or not await lab.git.commit(project.id, head):
        return False
    if await lab.git.merge_base(project.id, head, new) != head:
        return False
    return await lab.git.merge_base(project.id, head, old) != head


async def delete_branch(lab: Lab, project: Project, actor: User, branch: str) -> bool:
    """Delete a branch and do what follows; False when there is none."""
    ref = f"refs/heads/{branch}"
    async with lab.lock(project.id):
        old = await lab.git.branch(project.id, branch)
        if old is None:
            return False
        await lab.git.set_ref(project.id, ref, None)
    await received(lab, project, actor, {ref: (old, ZERO)})
    return True


async def catch_up(lab: Lab) -> None:
    """After a restart: heads that moved while nobody looked (a kill between git and the record)."""
    root, _ = lab.store.root()
    for merge_request in list(lab.store.merge_requests):
        if merge_request.merge_status == "checking":
            merge_request.merge_status = "unchecked"
        source = lab.store.projects.get(merge_request.source_project_id)
        if merge_request.state != "opened" or source is None:
            continue
        tip = await lab.git.branch(source.id, merge_request.source_branch)
        if tip is None:
            await lab.merges.close(merge_request, root)
        elif tip != merge_request.sha:
            await lab.merges.new_head(merge_request, root)
