"""The Merge button: a real merge in the repository, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.gitlab import pushes
from deploy.local.gitlab.model import MergeRequest, User

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab


class CannotMerge(Exception):
    """The merge request conflicts with its target branch."""


async def merge(
    lab: Lab, merge_request: MergeRequest, actor: User, *, message: str = "", remove_source: bool = False
) -> None:
    """Merge into the target branch with a merge commit; CannotMerge leaves everything as it was."""
    project = lab.store.projects[merge_request.project_id]
    ref = f"refs/heads/{merge_request.target_branch}"
    async with lab.lock(project.id):
        tip = await lab.git.branch(project.id, merge_request.target_branch)
        made = tip and await lab.merges.merged_commit(merge_request, tip, merge_request.sha, message, actor)
        if not tip or not made:
            raise CannotMerge
        await lab.git.set_ref(project.id, ref, made, tip)
    await lab.merges.mark_merged(merge_request, actor, made)
    await pushes.received(lab, project, actor, {ref: (tip, made)})
    source = lab.store.projects.get(merge_request.source_project_id)
    if remove_source and source and merge_request.source_branch != source.default_branch:
        await pushes.delete_branch(lab, source, actor, merge_request.source_branch)
