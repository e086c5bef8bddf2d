"""Comparing a project with what we know, so that a lost webhook is made good.

That is its open merge requests, and where that is wanted its default branch.
"""

from __future__ import annotations

import logging
from urllib.parse import quote

from orchestrator import watching
from orchestrator.bootstrap import Parts
from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLabError
from orchestrator.records import Claim, Due, Project
from orchestrator.watching import Branch

log = logging.getLogger(__name__)


def compare(parts: Parts, claim: Claim, now: float) -> list[Due]:
    """Compare the claimed project. Raises :class:`GitLabError` when GitLab does not give its list."""
    with parts.store.read() as tx:
        project = tx.project(claim.id)
        asks_for_branch = watching.may_be_due(tx, project, now)
    if project.is_ours:
        return parts.lifecycle.probe(claim, now)
    listed = parts.gitlab.open_merge_requests(project.gitlab_id)
    branch = _branch(parts, project) if asks_for_branch else None
    return parts.lifecycle.compared(claim, listed, now, branch=branch)


def _branch(parts: Parts, project: Project) -> Branch | None:
    """The default branch; None where there is none, as in an empty repository."""
    try:
        name = parts.gitlab.default_branch(project.gitlab_id)
        sha = parts.gitlab.head_of(project.gitlab_id, name) if name else None
    except TryLater:
        raise
    except GitLabError as error:
        # The merge requests are compared all the same.
        log.warning("project %s: its default branch is not known: %s", project.path, error)
        return None
    return Branch(name, sha, f"{project.web_url}/-/tree/{quote(name)}") if name and sha else None
