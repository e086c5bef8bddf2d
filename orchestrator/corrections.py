"""Setting back in many projects a version that the builder does not have: a merge request in each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.gitlab import GitLabError, Missing
from orchestrator.incidents import Incident
from orchestrator.records import Project
from orchestrator.runtimes import MOST_BYTES, REFUSALS, pin_file, with_pin

_VERSION = re.compile(r"[0-9][0-9A-Za-z.]{0,19}")


@dataclass(frozen=True)
class Correction:
    """What is, or would be, changed in one project."""

    path: str
    file: str = ""
    #: What the target branch asks for now, and then.
    before: str = ""
    after: str = ""
    #: The merge request; empty while it is only told.
    url: str = ""
    #: Why nothing can be done there.
    problem: str = ""


def correct(parts: Parts, incident: Incident, path: str, version: str, *, is_opened: bool) -> Correction:
    """Ask for `version` in the project at `path`, on its default branch; with `is_opened` for real.

    Safe to repeat: branch and merge request are known by their names. Raises :class:`BadInput` when the
    incident is none of versions, or `version` is none.
    """
    runtime = REFUSALS.get(incident.failure.cause)
    if runtime is None:
        raise BadInput("This incident is not about a version that the builder does not have.")
    file = pin_file(runtime)
    if not _VERSION.fullmatch(version):
        raise BadInput(f"'{version}' is no version such as 3.13.")
    with parts.store.read() as tx:
        project = tx.project_at(path)
    if project is None:
        return Correction(path, problem="it is not connected any more")
    try:
        return _correct(parts, project, runtime, file, version, is_opened=is_opened)
    except (GitLabError, ValueError) as error:
        return Correction(path, file, after=version, problem=str(error))


def _correct(
    parts: Parts, project: Project, runtime: str, file: str, version: str, *, is_opened: bool
) -> Correction:
    gitlab, project_id = parts.gitlab, project.gitlab_id
    target = gitlab.default_branch(project_id)
    if not target:
        raise ValueError("it has no default branch")
    try:
        content = gitlab.file(project_id, file, target, most_bytes=MOST_BYTES)
    except Missing:
        content = None
    before, text = with_pin(runtime, content, version)
    if before == version:
        return Correction(project.path, file, problem=f"{target} asks for {version} already")
    if not is_opened:
        return Correction(project.path, file, before, version)
    branch = f"toolforge-preview/{runtime.lower().replace('.', '')}-{version}"
    title = f"Use {runtime} {version}, which Toolforge's builder has"
    gitlab.commit_file(project_id, branch, target, file, text, message=title, is_new=content is None)
    url = gitlab.open_merge_request(project_id, branch, target, title)
    return Correction(project.path, file, before, version, url)
