"""Reading the repository's own file at the commit, and whether by its filters the merge request applies."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import components, filters
from orchestrator import outcome as out
from orchestrator.cohorts import changed
from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLab, GitLabError, Missing
from orchestrator.located import MOST_BYTES
from orchestrator.outcome import Failure, Outcome, Pin, PinChange, Refusal
from orchestrator.preview import ASKED_FOR, Deployment
from orchestrator.records import Preview, Project
from orchestrator.repoconfig import FILE_NAME, RepoConfig
from orchestrator.repofile import WrongFile, parse
from orchestrator.repovalues import Bounds
from orchestrator.runtimes import MOST_BYTES as MOST_PIN_BYTES
from orchestrator.runtimes import every_runtime, pin_file
from orchestrator.runtimes import pins as found_pins

log = logging.getLogger(__name__)

#: With more changed files than this, filters of paths hold nothing back.
_MOST_PATHS = 2000


@dataclass(frozen=True)
class Reading:
    """What is read for which deployment."""

    gitlab: GitLab
    project: Project
    preview: Preview
    deployment: Deployment
    bounds: Bounds
    #: Only of these languages it is read which version is wanted.
    runtimes: frozenset[str] = frozenset()
    #: It matters what the merge request makes of such versions: others may have the same change.
    looks_for_change: bool = False


def read(reading: Reading) -> Outcome:
    """What the file asks for. Raises :class:`GitLabError` when GitLab cannot tell."""
    project, preview, sha = reading.project, reading.preview, reading.deployment.sha
    # One byte more than is taken, so that a longer file is noticed.
    content = at_commit(reading.gitlab, project, preview, FILE_NAME, sha, most_bytes=MOST_BYTES + 1)
    if content is None:
        return _read({}, reading)
    try:
        config = parse(content, reading.bounds)
    except WrongFile as error:
        return out.StageFailed(_is_wrong(error))
    try:
        parts = components.of_project(config.components, lambda address: _is_own(reading.project, address))
    except ValueError as error:
        return out.StageFailed(_does_not_fit(str(error)))
    config = config.model_copy(update={"components": parts})
    is_filtered = reading.deployment.trigger not in ASKED_FOR and not preview.is_branch
    refusal = _refusal(reading, config) if is_filtered else None
    return out.DoesNotApply(refusal) if refusal else _read(config.stored(), reading)


def _read(config: Mapping[str, Any], reading: Reading) -> Outcome:
    found = pins(reading)
    change = _change(reading) if reading.looks_for_change else None
    asked = [Pin(change.runtime, change.after, change.file)] if change else []
    return out.FileRead(config, tuple(dict.fromkeys([*found, *asked])), change)


def _change(reading: Reading) -> PinChange | None:
    """What the merge request makes of the version that the project asks for; None: nothing, or not known."""
    target, preview = reading.project.gitlab_id, reading.preview
    try:
        paths = reading.gitlab.changed_paths(target, preview.iid, most=_MOST_PATHS) or ()
        touched = frozenset(one for one in every_runtime() if pin_file(one) in paths)
        if not touched:
            return None
        before = found_pins(touched, lambda path: _on_target(reading, path))
        return changed(before, pins(replace(reading, runtimes=touched)))
    except TryLater:
        raise
    except GitLabError as error:
        # All that is lost is a build that another one could have saved.
        log.info("deployment %s: what it changes is not known: %s", reading.deployment.id, error)
        return None


def _on_target(reading: Reading, path: str) -> bytes | None:
    branch = reading.preview.target_branch
    try:
        return reading.gitlab.file(reading.project.gitlab_id, path, branch, most_bytes=MOST_PIN_BYTES)
    except Missing:
        return None


def pins(reading: Reading) -> tuple[Pin, ...]:
    """The versions that the commit asks for. Raises :class:`GitLabError` when GitLab cannot tell."""

    def read_file(path: str) -> bytes | None:
        project, preview, sha = reading.project, reading.preview, reading.deployment.sha
        return at_commit(reading.gitlab, project, preview, path, sha, most_bytes=MOST_PIN_BYTES)

    return found_pins(reading.runtimes, read_file)


def at_commit(
    gitlab: GitLab, project: Project, preview: Preview, path: str, sha: str, *, most_bytes: int
) -> bytes | None:
    """A file at a commit, from the project that it was pushed to; None when there is none.

    The target project has the commits of its merge requests, too, whoever may read the other one. Raises
    :class:`GitLabError` when GitLab cannot tell.
    """
    target = project.gitlab_id
    source = None
    if not preview.is_from_project:
        source = gitlab.merge_request(target, preview.iid).source_project_id
    for project_id in dict.fromkeys([source or target, target]):
        try:
            return gitlab.file(project_id, path, sha, most_bytes=most_bytes)
        except Missing:
            continue
    return None


def _is_own(project: Project, repository: str) -> bool:
    return _comparable(repository) in {_comparable(project.git_url), _comparable(project.web_url)}


def _comparable(address: str) -> str:
    return address.casefold().partition("://")[2].rstrip("/").removesuffix(".git")


def _does_not_fit(words: str) -> Failure:
    return Failure(
        stage="configuration",
        summary=f"{FILE_NAME}: components: {words}",
        remedy="Mend the file and push again.",
    )


def _refusal(reading: Reading, config: RepoConfig) -> Refusal | None:
    if config.filters == RepoConfig().filters:
        return None
    target, iid = reading.project.gitlab_id, reading.preview.iid
    seen = reading.gitlab.merge_request(target, iid)
    needs_paths = filters.asks_for_paths(config.filters)
    paths = reading.gitlab.changed_paths(target, iid, most=_MOST_PATHS) if needs_paths else None
    why = filters.why_not(config.filters, seen, paths)
    return Refusal(why, filters.facts(seen)) if why else None


def _is_wrong(error: WrongFile) -> Failure:
    first, *others = error.problems
    more = f" (and {len(others)} more)" if others else ""
    return Failure(
        stage="configuration",
        summary=f"{FILE_NAME}, {first}{more}",
        remedy="Mend the file and push again; before that, `toolforge-preview config check` tells.",
        excerpt="\n".join(str(problem) for problem in error.problems) if others else "",
    )
