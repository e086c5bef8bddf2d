"""Statuses, pipelines, environments and deployments as the REST API prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import model, present

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab


def status(lab: Lab, found: model.CommitStatus) -> dict[str, Any]:
    """A commit status."""
    return {
        "id": found.id,
        "sha": found.sha,
        "ref": found.ref,
        "status": found.status,
        "name": found.name,
        "target_url": found.target_url,
        "description": found.description,
        "created_at": found.created_at,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "allow_failure": False,
        "coverage": found.coverage,
        "pipeline_id": found.pipeline_id,
        "author": present.user(lab, found.author_id),
    }


def pipeline(lab: Lab, found: model.Pipeline) -> dict[str, Any]:
    """A pipeline, with the state that its statuses add up to."""
    owner = lab.store.projects[found.project_id]
    return {
        "id": found.id,
        "iid": found.iid,
        "project_id": found.project_id,
        "sha": found.sha,
        "ref": found.ref,
        "status": lab.merges.pipeline_state(found),
        "source": found.source,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "web_url": f"{lab.project_url(owner)}/-/pipelines/{found.id}",
    }


def environment(lab: Lab, found: model.Environment, *, with_deployment: bool = False) -> dict[str, Any]:
    """An environment; one that is asked for by its id has its last deployment too."""
    shown = {
        "id": found.id,
        "name": found.name,
        "slug": found.slug,
        "description": found.description,
        "external_url": found.external_url,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "state": found.state,
        "tier": found.tier,
        "auto_stop_at": None,
        "auto_delete_at": None,
    }
    if with_deployment:
        latest = [
            item for item in lab.store.deployments.by("environment_id", found.id) if item.status == "success"
        ]
        shown["last_deployment"] = deployment(lab, latest[-1], nested=True) if latest else None
    return shown


def deployment(lab: Lab, found: model.Deployment, *, nested: bool = False) -> dict[str, Any]:
    """A deployment that was made by the API (`deployable` is null for those)."""
    shown = {
        "id": found.id,
        "iid": found.iid,
        "ref": found.ref,
        "sha": found.sha,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "user": present.user(lab, found.user_id),
        "deployable": None,
        "status": found.status,
    }
    if nested:
        return shown
    owner = lab.store.environments.get(found.environment_id)
    return {
        **shown,
        "environment": environment(lab, owner) if owner else None,
        "pending_approval_count": 0,
        "approvals": [],
        "approval_summary": {"rules": []},
    }
