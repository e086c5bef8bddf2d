"""What the pages show, gathered from records and repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from deploy.local.gitlab import auth, markdown, present_mr
from deploy.local.gitlab.emoji import EMOJI
from deploy.local.gitlab.model import (
    AccessLevel,
    CommitStatus,
    Deployment,
    Environment,
    MergeRequest,
    Note,
    Project,
    User,
)
from deploy.local.gitlab.references import Known

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

DELIVERIES_SHOWN = 12
COMMITS_KNOWN = 200
#: What is offered to be given; anything can be given by the API.
OFFERED = ("thumbsup", "thumbsdown", "eyes", "white_check_mark", "tada", "heart", "rocket")
_STANDING = {
    "created": "Will deploy to", "running": "Deploying to", "success": "Deployed to",
    "failed": "Failed to deploy to", "canceled": "Canceled deployment to",
}  # fmt: skip
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


def deployed(lab: Lab, merge_request: MergeRequest) -> list[tuple[str, Environment, Deployment, str]]:
    """(words, environment, its newest deployment, address of "View app") where that is of this merge request.

    The address is empty unless the environment has one and its newest success is of this merge request, too.
    """
    commits = {*merge_request.versions, merge_request.sha, merge_request.merge_ref_sha}
    shown = []
    for environment in lab.store.environments.by("project_id", merge_request.project_id):
        known = lab.store.deployments.by("environment_id", environment.id)
        if environment.state != "available" or not known or known[-1].sha not in commits:
            continue
        successes = [item.sha for item in known if item.status == "success"]
        is_running = bool(successes) and successes[-1] in commits
        words = _STANDING.get(known[-1].status, known[-1].status)
        shown.append((words, environment, known[-1], (is_running and environment.external_url) or ""))
    return shown


async def merge_request(lab: Lab, owner: Project, found: MergeRequest) -> dict[str, Any]:
    """The page of a merge request."""
    known = await _known(lab, owner, found)
    notes = lab.store.notes.by("merge_request_id", found.id)
    return {
        "project": owner,
        "source": lab.store.projects.get(found.source_project_id),
        "mr": found,
        "author": lab.store.users[found.author_id],
        "description": _html(found.description, known),
        "head": await lab.git.commit(owner.id, found.sha),
        "pipeline": lab.merges.head_pipeline(found),
        "pipeline_state": _state(lab, found),
        "statuses": statuses(lab, found),
        "deployed": deployed(lab, found),
        "merge_status": present_mr.detailed_merge_status(found),
        "approvers": [lab.store.users[user_id] for user_id in found.approved_by],
        "notes": [_note(lab, owner, found, note, known) for note in notes],
        "awards": _awards(lab, f"merge_request:{found.id}"),
        "offered": [(name, EMOJI[name]) for name in OFFERED],
        "labels": _labels(lab, owner, found),
        "files": await lab.git.diff(owner.id, found.base_sha, found.sha),
        "users": [user for user in lab.store.users if not user.bot],
        "icons": ICONS,
    }


def _html(text: str, known: Known) -> Markup:
    return Markup(markdown.render(text, known))  # noqa: S704 - render() sanitises


def _note(lab: Lab, owner: Project, found: MergeRequest, note: Note, known: Known) -> dict[str, Any]:
    """One entry of the activity."""
    writer = lab.store.users[note.author_id]
    return {
        "note": note,
        "writer": writer,
        "roles": _roles(lab, owner, found, writer),
        "html": _html(note.body, known),
        "awards": _awards(lab, f"note:{note.id}"),
    }


def _roles(lab: Lab, owner: Project, found: MergeRequest, user: User) -> list[str]:
    """What GitLab writes beside a name: the author, and the role in the project."""
    level = auth.membership(lab.store, owner, user.id)
    role = [AccessLevel(level.access_level).name.title()] if level else []
    return (["Author"] if user.id == found.author_id else []) + role


def _labels(lab: Lab, owner: Project, found: MergeRequest) -> list[tuple[str, bool]]:
    """(title, whether this merge request has it) of the labels that the project knows."""
    titles = {item.title for item in lab.store.labels.by("project_id", owner.id)}
    for other in lab.store.merge_requests.by("project_id", owner.id):
        titles |= set(other.labels)
    return [(title, title in found.labels) for title in sorted(titles)]


async def _known(lab: Lab, owner: Project, found: MergeRequest) -> Known:
    """What the texts of a merge request can refer to."""
    place = f"/{owner.full_path}/-"
    shas = {*found.versions, *await lab.git.log(owner.id, found.sha, found.base_sha, COMMITS_KNOWN)}
    iids = {str(item.iid) for item in lab.store.merge_requests.by("project_id", owner.id)}
    issues = {str(item.iid) for item in lab.store.issues.by("project_id", owner.id)}
    titles = {title for title, _ in _labels(lab, owner, found)}
    for note in lab.store.notes.by("merge_request_id", found.id):
        # A label that was taken away again still has its name in the note that says so.
        titles |= {part for part in note.body.split('"')[1::2] if note.event}

    def commit(start: str) -> str | None:
        return next((f"{place}/commit/{sha}" for sha in shas if sha.startswith(start)), None)

    return Known(
        user=lambda name: f"/{name}" if lab.find_user(name) else None,
        merge_request=lambda iid: f"{place}/merge_requests/{iid}" if iid in iids else None,
        issue=lambda iid: f"{place}/issues/{iid}" if iid in issues else None,
        commit=commit,
        label=titles.__contains__,
    )


def _awards(lab: Lab, awardable: str) -> list[tuple[str, int, str]]:
    """(emoji, how often, by whom) of what was given."""
    given: dict[str, list[str]] = {}
    for award in lab.store.awards.by("awardable", awardable):
        given.setdefault(award.name, []).append(lab.store.users[award.user_id].name)
    return [(name, len(people), ", ".join(people)) for name, people in given.items()]
