"""Records as the REST API prints them (GitLab's `API::Entities`).

Pure functions of what is remembered; only those of commits take a commit that git has read already.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import model
from deploy.local.gitlab.git import Commit, FileDiff

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

USER_NAMESPACE = 1_000_000
VISIBILITY = {"private": 0, "internal": 10, "public": 20}


def user(lab: Lab, user_id: int | None) -> dict[str, Any] | None:
    """`UserBasic`; None for nobody."""
    found = lab.store.users.get(user_id) if user_id else None
    if found is None:
        return None
    return {
        "id": found.id,
        "username": found.username,
        "public_email": None,
        "name": found.name,
        "state": "active",
        "locked": False,
        "avatar_url": None,
        "web_url": f"{lab.url}/{found.username}",
    }


def full_user(lab: Lab, found: model.User) -> dict[str, Any]:
    """The signed-in user, or one as administrators see them."""
    return {
        **(user(lab, found.id) or {}),
        "created_at": found.created_at,
        "bio": "",
        "bot": found.bot,
        "email": found.email,
        "public_email": None,
        "commit_email": found.email,
        "is_admin": found.admin,
        "can_create_group": not found.bot,
        "can_create_project": not found.bot,
        "external": False,
        "identities": [],
        "confirmed_at": found.created_at,
        "two_factor_enabled": False,
        "namespace_id": USER_NAMESPACE + found.id,
    }


def token(found: model.Token, *, with_secret: bool = False) -> dict[str, Any]:
    """A personal access token; its secret only when it was just made."""
    shown = {
        "id": found.id,
        "name": found.name,
        "revoked": found.revoked,
        "created_at": found.created_at,
        "description": None,
        "scopes": found.scopes,
        "user_id": found.user_id,
        "last_used_at": found.last_used_at,
        "active": not found.revoked,
        "expires_at": found.expires_at,
    }
    return {**shown, "token": found.secret} if with_secret else shown


def group(lab: Lab, found: model.Group) -> dict[str, Any]:
    """A top-level group."""
    return {
        "id": found.id,
        "web_url": f"{lab.url}/groups/{found.path}",
        "name": found.name,
        "path": found.path,
        "description": found.description,
        "visibility": found.visibility,
        "full_name": found.name,
        "full_path": found.path,
        "parent_id": None,
        "created_at": found.created_at,
        "avatar_url": None,
        "request_access_enabled": True,
    }


def namespace(lab: Lab, path: str) -> dict[str, Any]:
    """Where a project lives: a group or a user."""
    found = lab.find_group(path) if not path.isdecimal() else None
    if found:
        kind, number, name = "group", found.id, found.name
    else:
        owner = lab.find_user(path)
        kind, number, name = (
            "user",
            USER_NAMESPACE + (owner.id if owner else 0),
            owner.name if owner else path,
        )
    return {
        "id": number,
        "name": name,
        "path": path,
        "kind": kind,
        "full_path": path,
        "parent_id": None,
        "avatar_url": None,
        "web_url": f"{lab.url}/groups/{path}" if kind == "group" else f"{lab.url}/{path}",
    }


def project(lab: Lab, found: model.Project, *, empty: bool = False) -> dict[str, Any]:
    """A project, with the one that it was forked from."""
    url = lab.project_url(found)
    origin = lab.store.projects.get(found.forked_from_id) if found.forked_from_id else None
    shown: dict[str, Any] = {
        "id": found.id,
        "description": found.description,
        "name": found.name,
        "name_with_namespace": f"{found.namespace} / {found.name}",
        "path": found.path,
        "path_with_namespace": found.full_path,
        "created_at": found.created_at,
        "default_branch": found.default_branch,
        "tag_list": [],
        "topics": [],
        "ssh_url_to_repo": f"git@localhost:{found.full_path}.git",
        "http_url_to_repo": f"{url}.git",
        "web_url": url,
        "readme_url": f"{url}/-/blob/{found.default_branch}/README.md",
        "forks_count": len(lab.store.projects.by("forked_from_id", found.id)),
        "avatar_url": None,
        "star_count": 0,
        "last_activity_at": found.last_activity_at,
        "namespace": namespace(lab, found.namespace),
        "_links": {"self": f"{lab.url}/api/v4/projects/{found.id}"},
        "empty_repo": empty,
        "archived": False,
        "visibility": found.visibility,
        "issues_enabled": True,
        "merge_requests_enabled": True,
        "jobs_enabled": True,
        "environments_access_level": "enabled",
        "creator_id": found.creator_id,
        "import_status": "finished" if origin else "none",
        "merge_method": "merge",
        "squash_option": "default_off",
        "only_allow_merge_if_pipeline_succeeds": False,
    }
    if origin:
        keys = ("id", "name", "path", "path_with_namespace", "http_url_to_repo", "web_url", "default_branch")
        whole = project(lab, origin)
        shown["forked_from_project"] = {key: whole[key] for key in keys}
    return shown


def member(lab: Lab, found: model.Member) -> dict[str, Any]:
    """A member with their access level."""
    return {
        **(user(lab, found.user_id) or {}),
        "access_level": found.access_level,
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "membership_state": "active",
    }


def hook(lab: Lab, found: model.Hook) -> dict[str, Any]:
    """A webhook; its secrets are never shown (`API::Entities::ProjectHook`)."""
    quiet = (
        "confidential_issues_events", "confidential_note_events", "job_events", "pipeline_events",
        "wiki_page_events", "deployment_events", "releases_events", "feature_flag_events",
        "repository_update_events", "resource_access_token_events", "emoji_events", "milestone_events",
    )  # fmt: skip
    shown = (
        "id", "url", "name", "description", "project_id", "push_events", "push_events_branch_filter",
        "tag_push_events", "merge_requests_events", "note_events", "issues_events", "enable_ssl_verification",
        "created_at",
    )  # fmt: skip
    hook = {
        **{name: getattr(found, name) for name in shown},
        **dict.fromkeys(quiet, False),
        "branch_filter_strategy": "wildcard",
        "alert_status": lab.webhooks.alert_status(found),
        "disabled_until": _moment(found.disabled_until),
        "url_variables": [],
        "custom_webhook_template": None,
        "custom_headers": [],
    }
    if lab.settings.webhook_signing:
        hook |= {"token_present": bool(found.token), "signing_token_present": bool(found.signing_token)}
    return hook


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return model.as_text(datetime.fromtimestamp(seconds, UTC))


def delivery(found: model.Delivery) -> dict[str, Any]:
    """A past delivery, as the webhook's list of recent events has it."""
    return {
        "id": found.id,
        "url": found.url,
        "trigger": f"{found.trigger}_hooks",
        "request_headers": found.request_headers,
        "request_data": found.request_data,
        "response_headers": found.response_headers,
        "response_body": found.response_body,
        "execution_duration": found.duration,
        "response_status": found.status,
        "created_at": found.created_at,
    }


def commit(lab: Lab, owner: model.Project, found: Commit) -> dict[str, Any]:
    """A commit of a project."""
    return {
        "id": found.sha,
        "short_id": found.sha[:8],
        "created_at": found.committer.when,
        "parent_ids": list(found.parents),
        "title": found.title,
        "message": found.message,
        "author_name": found.author.name,
        "author_email": found.author.email,
        "authored_date": found.author.when,
        "committer_name": found.committer.name,
        "committer_email": found.committer.email,
        "committed_date": found.committer.when,
        "trailers": {},
        "web_url": f"{lab.project_url(owner)}/-/commit/{found.sha}",
    }


def branch(lab: Lab, owner: model.Project, name: str, tip: Commit) -> dict[str, Any]:
    """A branch with its tip."""
    return {
        "name": name,
        "commit": commit(lab, owner, tip),
        "merged": False,
        "protected": False,
        "developers_can_push": True,
        "developers_can_merge": True,
        "can_push": True,
        "default": name == owner.default_branch,
        "web_url": f"{lab.project_url(owner)}/-/tree/{name}",
    }


def file_diff(found: FileDiff) -> dict[str, Any]:
    """One changed file."""
    return {
        "diff": found.diff,
        "collapsed": False,
        "too_large": False,
        "new_path": found.new_path,
        "old_path": found.old_path,
        "a_mode": found.a_mode.lstrip("0") or "0",
        "b_mode": found.b_mode.lstrip("0") or "0",
        "new_file": found.status == "A",
        "renamed_file": found.status == "R",
        "deleted_file": found.status == "D",
        "generated_file": False,
    }


def note(lab: Lab, found: model.Note) -> dict[str, Any]:
    """A comment on a merge request."""
    owner = lab.store.merge_requests[found.merge_request_id]
    return {
        "id": found.id,
        "type": None,
        "body": found.body,
        "attachment": None,
        "author": user(lab, found.author_id),
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "system": found.system,
        "noteable_id": owner.id,
        "noteable_type": "MergeRequest",
        "project_id": found.project_id,
        "resolvable": False,
        "confidential": False,
        "internal": False,
        "imported": False,
        "imported_from": "none",
        "noteable_iid": owner.iid,
        "commands_changes": {},
    }


def award(lab: Lab, found: model.Award) -> dict[str, Any]:
    """An emoji that somebody gave."""
    kind, _, number = found.awardable.partition(":")
    return {
        "id": found.id,
        "name": found.name,
        "user": user(lab, found.user_id),
        "created_at": found.created_at,
        "updated_at": found.created_at,
        "awardable_id": int(number),
        "awardable_type": {"note": "Note", "merge_request": "MergeRequest"}[kind],
        "url": None,
    }


def label_id(title: str) -> int:
    """A stable number for a label that was never made by hand."""
    return int(hashlib.sha256(title.encode()).hexdigest()[:7], 16)
