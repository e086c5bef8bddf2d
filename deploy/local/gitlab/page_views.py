"""What the pages show, gathered from records and repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import present_mr
from deploy.local.gitlab.model import CommitStatus, Deployment, Environment, MergeRequest, Project

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

DELIVERIES_SHOWN = 12
README_NAMES = ("README.md", "README", "README.txt", "README.rst")
ICONS = {
    "success": "✓", "failed": "✕", "running": "◔", "pending": "⏸", "canceled": "⊘", "skipped": "»",
    "created": "○",
}  # fmt: skip


def project_row(lab: Lab, project: Project) -> dict[str, Any]:
    """One line of the list of projects."""
    open_ones = [
        item for item in lab.store.merge_requests.by("project_id", project.id) if item.state == "opened"
    ]
    return {"project": project, "open": open_ones}


async def project(lab: Lab, found: Project) -> dict[str, Any]:
    """The page of a project."""
    refs = await lab.git.refs(found.id)
    branches = [
        (name.removeprefix("refs/heads/"), await lab.git.commit(found.id, sha))
        for name, sha in sorted(refs.items())
        if name.startswith("refs/heads/")
    ]
    readme_name, readme = await _readme(lab, found, refs)
    origin = lab.store.projects.get(found.forked_from_id) if found.forked_from_id else None
    environments = lab.store.environments.by("project_id", found.id)
    return {
        "project": found,
        "origin": origin,
        "clone_url": f"{lab.project_url(found)}.git",
        "branches": branches,
        "readme": readme,
        "readme_is_markdown": readme_name.endswith(".md"),
        "merge_requests": [
            (item, lab.store.users[item.author_id], _state(lab, item))
            for item in lab.store.merge_requests.by("project_id", found.id)[::-1]
        ],
        "environments": [(item, _newest(lab, item)) for item in environments[::-1]],
        "hooks": [
            (hook, lab.webhooks.alert_status(hook)) for hook in lab.store.hooks.by("project_id", found.id)
        ],
        "deliveries": lab.store.deliveries.by("project_id", found.id)[: -DELIVERIES_SHOWN - 1 : -1],
        "icons": ICONS,
    }


async def _readme(lab: Lab, found: Project, refs: dict[str, str]) -> tuple[str, str]:
    tip = refs.get(f"refs/heads/{found.default_branch}")
    for name in README_NAMES if tip else ():
        content = await lab.git.blob(found.id, tip or "", name)
        if content is not None:
            return name, content.decode(errors="replace")
    return "", ""


def _newest(lab: Lab, environment: Environment) -> Deployment | None:
    found = lab.store.deployments.by("environment_id", environment.id)
    return found[-1] if found else None


def _state(lab: Lab, merge_request: MergeRequest) -> str:
    pipeline = lab.merges.head_pipeline(merge_request)
    return lab.merges.pipeline_state(pipeline) if pipeline else ""


def statuses(lab: Lab, merge_request: MergeRequest) -> list[CommitStatus]:
    """The newest statuses in the pipeline that GitLab shows for the head commit."""
    pipeline = lab.merges.head_pipeline(merge_request)
    if pipeline is None:
        return []
    found = lab.store.statuses.by("commit", f"{pipeline.project_id}:{pipeline.sha}")
    return [item for item in found if item.pipeline_id == pipeline.id and not item.retried]


def view_app(lab: Lab, merge_request: MergeRequest) -> list[tuple[Environment, Deployment]]:
    """Environments with a "View app" button: an address, and the newest success is a commit of this
    request.
    """
    commits = {*merge_request.versions, merge_request.sha, merge_request.merge_ref_sha}
    shown = []
    for environment in lab.store.environments.by("project_id", merge_request.project_id):
        if environment.state != "available" or not environment.external_url:
            continue
        successes = [
            item
            for item in lab.store.deployments.by("environment_id", environment.id)
            if item.status == "success"
        ]
        if successes and successes[-1].sha in commits:
            shown.append((environment, successes[-1]))
    return shown


async def merge_request(lab: Lab, owner: Project, found: MergeRequest) -> dict[str, Any]:
    """The page of a merge request."""
    head = await lab.git.commit(owner.id, found.sha)
    notes = lab.store.notes.by("merge_request_id", found.id)
    return {
        "project": owner,
        "source": lab.store.projects.get(found.source_project_id),
        "mr": found,
        "author": lab.store.users[found.author_id],
        "head": head,
        "pipeline_state": _state(lab, found),
        "statuses": statuses(lab, found),
        "apps": view_app(lab, found),
        "merge_status": present_mr.detailed_merge_status(found),
        "notes": [(note, lab.store.users[note.author_id], _awards(lab, f"note:{note.id}")) for note in notes],
        "awards": _awards(lab, f"merge_request:{found.id}"),
        "files": await lab.git.diff(owner.id, found.base_sha, found.sha),
        "users": [user for user in lab.store.users if not user.bot],
        "icons": ICONS,
    }


def _awards(lab: Lab, awardable: str) -> list[tuple[str, int, str]]:
    """(emoji, how often, by whom) of what was given."""
    given: dict[str, list[str]] = {}
    for award in lab.store.awards.by("awardable", awardable):
        given.setdefault(award.name, []).append(lab.store.users[award.user_id].name)
    return [(name, len(people), ", ".join(people)) for name, people in given.items()]
