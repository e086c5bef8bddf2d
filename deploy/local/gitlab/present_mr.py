"""Merge requests and issues as the REST API prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import present, present_ci
from deploy.local.gitlab.model import Issue, MergeRequest

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab


def url(lab: Lab, found: MergeRequest) -> str:
    """The page of a merge request."""
    return f"{lab.project_url(lab.store.projects[found.project_id])}/-/merge_requests/{found.iid}"


def detailed_merge_status(found: MergeRequest) -> str:
    """Why it can or cannot be merged (GitLab REST, "Merge status")."""
    if found.state != "opened":
        return "not_open"
    if found.merge_status in ("unchecked", "checking"):
        return found.merge_status
    if found.draft:
        return "draft_status"
    return "mergeable" if found.merge_status == "can_be_merged" else "conflict"


def basic(lab: Lab, found: MergeRequest) -> dict[str, Any]:
    """A merge request in a list."""
    project = lab.store.projects[found.project_id]
    notes = lab.store.notes.by("merge_request_id", found.id)
    return {
        "id": found.id,
        "iid": found.iid,
        "project_id": found.project_id,
        "title": found.title,
        "description": found.description,
        "state": found.state,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "merged_by": present.user(lab, found.merged_by_id),
        "merge_user": present.user(lab, found.merged_by_id),
        "merged_at": found.merged_at,
        "closed_by": present.user(lab, found.closed_by_id),
        "closed_at": found.closed_at,
        "target_branch": found.target_branch,
        "source_branch": found.source_branch,
        "user_notes_count": sum(1 for note in notes if not note.system),
        "upvotes": 0,
        "downvotes": 0,
        "author": present.user(lab, found.author_id),
        "assignees": [],
        "assignee": None,
        "reviewers": [],
        "source_project_id": found.source_project_id,
        "target_project_id": found.project_id,
        "labels": found.labels,
        "draft": found.draft,
        "imported": False,
        "imported_from": "none",
        "work_in_progress": found.draft,
        "milestone": None,
        "merge_when_pipeline_succeeds": False,
        "merge_status": found.merge_status,
        "detailed_merge_status": detailed_merge_status(found),
        "merge_after": None,
        "sha": found.sha,
        "merge_commit_sha": found.merge_commit_sha,
        "squash_commit_sha": None,
        "discussion_locked": None,
        "should_remove_source_branch": None,
        "force_remove_source_branch": found.force_remove_source_branch,
        "prepared_at": found.created_at,
        "allow_collaboration": False,
        "reference": f"!{found.iid}",
        "references": {
            "short": f"!{found.iid}",
            "relative": f"!{found.iid}",
            "full": f"{project.full_path}!{found.iid}",
        },
        "web_url": url(lab, found),
        "time_stats": {
            "time_estimate": 0,
            "total_time_spent": 0,
            "human_time_estimate": None,
            "human_total_time_spent": None,
        },
        "squash": False,
        "squash_on_merge": False,
        "task_completion_status": {"count": 0, "completed_count": 0},
        "has_conflicts": found.merge_status == "cannot_be_merged",
        "blocking_discussions_resolved": True,
        "approvals_before_merge": None,
    }


def full(lab: Lab, found: MergeRequest, *, can_merge: bool) -> dict[str, Any]:
    """A merge request that was asked for by its number."""
    pipeline = lab.merges.head_pipeline(found)
    shown = present_ci.pipeline(lab, pipeline) if pipeline else None
    return {
        **basic(lab, found),
        "subscribed": False,
        "changes_count": None,
        "latest_build_started_at": None,
        "latest_build_finished_at": None,
        "first_deployed_to_production_at": None,
        "pipeline": shown,
        "head_pipeline": shown,
        "diff_refs": {"base_sha": found.base_sha, "head_sha": found.sha, "start_sha": found.start_sha},
        "merge_error": None,
        "first_contribution": False,
        "user": {"can_merge": can_merge},
    }


def issue(lab: Lab, found: Issue) -> dict[str, Any]:
    """An issue."""
    project = lab.store.projects[found.project_id]
    return {
        "id": found.id,
        "iid": found.iid,
        "project_id": found.project_id,
        "title": found.title,
        "description": found.description,
        "state": found.state,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "closed_at": found.closed_at,
        "labels": found.labels,
        "milestone": None,
        "assignees": [],
        "author": present.user(lab, found.author_id),
        "type": "ISSUE",
        "user_notes_count": 0,
        "confidential": False,
        "web_url": f"{lab.project_url(project)}/-/issues/{found.iid}",
        "references": {
            "short": f"#{found.iid}",
            "relative": f"#{found.iid}",
            "full": f"{project.full_path}#{found.iid}",
        },
    }
