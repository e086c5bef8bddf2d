"""Comparing a project's open merge requests with what we know, so that a lost webhook is made good."""

from __future__ import annotations

import time

from orchestrator.bootstrap import Parts
from orchestrator.records import Claim, Due


def compare(parts: Parts, claim: Claim) -> list[Due]:
    """Compare the claimed project. Raises :class:`GitLabError` when GitLab does not give its list."""
    with parts.store.read() as tx:
        project = tx.project(claim.id)
    listed = parts.gitlab.open_merge_requests(project.gitlab_id)
    return parts.lifecycle.compared(claim, listed, time.time())
