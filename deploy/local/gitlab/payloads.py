"""The bodies of webhooks: what GitLab's documentation lists under "Webhook events"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import present, present_mr
from deploy.local.gitlab.git import Commit
from deploy.local.gitlab.model import Issue, Label, MergeRequest, Note, Project, User

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

ZERO = "0" * 40
# GitLab sends details of the newest twenty commits of a push, and no event at all for more than three
# branches.
COMMITS_SHOWN = 20
BRANCHES_TOLD = 3


def _user(user: User) -> dict[str, Any]:
    """Addresses of people who did not publish theirs are hidden, as on GitLab."""
    return {
        "id": user.id,
        "name": user.name,
        "username": user.username,
        "avatar_url": None,
        "email": "[REDACTED]",
    }


def _project(lab: Lab, project: Project) -> dict[str, Any]:
    url = lab.project_url(project)
    ssh = f"git@localhost:{project.full_path}.git"
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "web_url": url,
        "avatar_url": None,
        "git_ssh_url": ssh,
        "git_http_url": f"{url}.git",
        "namespace": project.namespace,
        "visibility_level": present.VISIBILITY[project.visibility],
        "path_with_namespace": project.full_path,
        "default_branch": project.default_branch,
        "ci_config_path": None,
        "homepage": url,
        "url": ssh,
        "ssh_url": ssh,
        "http_url": f"{url}.git",
    }


def _repository(lab: Lab, project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "url": f"git@localhost:{project.full_path}.git",
        "description": project.description,
        "homepage": lab.project_url(project),
    }


def label(lab: Lab, project: Project, title: str) -> dict[str, Any]:
    """A label in full; payloads never have the bare name."""
    known = [item for item in lab.store.labels.by("project_id", project.id) if item.title == title]
    item = known[0] if known else Label(present.label_id(title), project.id, title)
    return {
        "id": item.id,
        "title": item.title,
        "color": item.color,
        "project_id": project.id,
        "created_at": item.created_at,
        "updated_at": item.created_at,
        "template": False,
        "description": None,
        "type": "ProjectLabel",
        "group_id": None,
    }


def _commit(lab: Lab, project: Project, commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.sha,
        "message": commit.message,
        "title": commit.title,
        "timestamp": commit.committer.when,
        "url": f"{lab.project_url(project)}/-/commit/{commit.sha}",
        "author": {"name": commit.author.name, "email": commit.author.email},
    }


async def _merge_request(lab: Lab, found: MergeRequest) -> dict[str, Any]:
    """What the payloads of merge requests and of their notes share."""
    target = lab.store.projects[found.project_id]
    source = lab.store.projects.get(found.source_project_id)
    head = await lab.git.commit(found.project_id, found.sha)
    pipeline = lab.merges.head_pipeline(found)
    return {
        "assignee_id": None,
        "assignee_ids": [],
        "author_id": found.author_id,
        "blocking_discussions_resolved": True,
        "created_at": found.created_at,
        "description": found.description,
        "detailed_merge_status": present_mr.detailed_merge_status(found),
        "draft": found.draft,
        "first_contribution": False,
        "head_pipeline_id": pipeline.id if pipeline else None,
        "human_time_change": None,
        "human_time_estimate": None,
        "human_total_time_spent": None,
        "id": found.id,
        "iid": found.iid,
        "labels": [label(lab, target, title) for title in found.labels],
        "last_commit": _commit(lab, source or target, head) if head else None,
        "last_edited_at": None,
        "last_edited_by_id": None,
        "merge_commit_sha": found.merge_commit_sha,
        "merge_error": None,
        "merge_params": {"force_remove_source_branch": found.force_remove_source_branch},
        "merge_status": found.merge_status,
        "merge_user_id": found.merged_by_id,
        "merge_when_pipeline_succeeds": False,
        "milestone_id": None,
        "prepared_at": found.created_at,
        "reviewer_ids": [],
        "source": _project(lab, source) if source else None,
        "source_branch": found.source_branch,
        "source_project_id": found.source_project_id,
        "state": found.state,
        "state_id": {"opened": 1, "closed": 2, "merged": 3}[found.state],
        "target": _project(lab, target),
        "target_branch": found.target_branch,
        "target_project_id": found.project_id,
        "time_change": 0,
        "time_estimate": 0,
        "title": found.title,
        "total_time_spent": 0,
        "updated_at": found.updated_at,
        "updated_by_id": None,
        "url": present_mr.url(lab, found),
        "work_in_progress": found.draft,
    }


async def merge_request(
    lab: Lab,
    found: MergeRequest,
    actor: User,
    action: str,
    *,
    oldrev: str | None = None,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A Merge Request Hook. `oldrev` is there only when the update is a push."""
    project = lab.store.projects[found.project_id]
    attributes = {**await _merge_request(lab, found), "action": action}
    if oldrev:
        attributes["oldrev"] = oldrev
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": _user(actor),
        "project": _project(lab, project),
        "repository": _repository(lab, project),
        "object_attributes": attributes,
        "labels": attributes["labels"],
        "changes": changes or {},
        "assignees": [],
        "reviewers": [],
    }


async def note(lab: Lab, found: Note, actor: User, action: str) -> dict[str, Any]:
    """A Note Hook of a comment on a merge request."""
    owner = lab.store.merge_requests[found.merge_request_id]
    project = lab.store.projects[found.project_id]
    return {
        "object_kind": "note",
        "event_type": "note",
        "user": _user(actor),
        "project_id": project.id,
        "project": _project(lab, project),
        "repository": _repository(lab, project),
        "object_attributes": {
            "action": action,
            "attachment": None,
            "author_id": found.author_id,
            "change_position": None,
            "commit_id": None,
            "created_at": found.created_at,
            "description": found.body,
            "discussion_id": f"{found.id:040x}",
            "id": found.id,
            "internal": False,
            "line_code": None,
            "note": found.body,
            "noteable_id": owner.id,
            "noteable_type": "MergeRequest",
            "original_position": None,
            "position": None,
            "project_id": project.id,
            "resolved_at": None,
            "resolved_by_id": None,
            "st_diff": None,
            "system": found.system,
            "type": None,
            "updated_at": found.updated_at,
            "url": f"{present_mr.url(lab, owner)}#note_{found.id}",
        },
        "merge_request": await _merge_request(lab, owner),
    }


async def push(lab: Lab, project: Project, actor: User, ref: str, old: str, new: str) -> dict[str, Any]:
    """A Push Hook (or Tag Push Hook) of one ref; zeros stand for "was not there" and "is gone"."""
    kind = "tag_push" if ref.startswith("refs/tags/") else "push"
    commits: list[dict[str, Any]] = []
    total = 0
    if kind == "push" and ZERO not in (old, new):
        shown = await lab.git.log(project.id, new, old, COMMITS_SHOWN)
        total = len(shown) if len(shown) < COMMITS_SHOWN else await lab.git.count(project.id, new, old)
        for sha in reversed(shown):
            commits.append(await _pushed_commit(lab, project, sha))
    return {
        "object_kind": kind,
        "event_name": kind,
        "before": old,
        "after": new,
        "ref": ref,
        "ref_protected": False,
        "checkout_sha": None if new == ZERO else new,
        "message": None,
        "user_id": actor.id,
        "user_name": actor.name,
        "user_username": actor.username,
        "user_email": None,
        "user_avatar": None,
        "project_id": project.id,
        "project": _project(lab, project),
        "commits": commits,
        "total_commits_count": total,
        "push_options": {},
        "repository": {
            **_repository(lab, project),
            "git_http_url": f"{lab.project_url(project)}.git",
            "git_ssh_url": f"git@localhost:{project.full_path}.git",
            "visibility_level": present.VISIBILITY[project.visibility],
        },
    }


async def _pushed_commit(lab: Lab, project: Project, sha: str) -> dict[str, Any]:
    commit = await lab.git.commit(project.id, sha)
    if commit is None:
        return {"id": sha}
    changed: dict[str, list[str]] = {"added": [], "modified": [], "removed": []}
    if commit.parents:
        words = {"A": "added", "D": "removed"}
        for file in await lab.git.diff(project.id, commit.parents[0], sha):
            changed[words.get(file.status, "modified")].append(file.new_path)
    return {**_commit(lab, project, commit), **changed}


def issue(lab: Lab, found: Issue, actor: User, action: str) -> dict[str, Any]:
    """An Issue Hook."""
    project = lab.store.projects[found.project_id]
    labels = [label(lab, project, title) for title in found.labels]
    return {
        "object_kind": "issue",
        "event_type": "issue",
        "user": _user(actor),
        "project": _project(lab, project),
        "repository": _repository(lab, project),
        "object_attributes": {**present_mr.issue(lab, found), "labels": labels, "action": action},
        "labels": labels,
        "changes": {},
    }
