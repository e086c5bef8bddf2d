"""Telling GitLab of a default branch: the difference between the issue there should be and what was told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLab, GitLabError, Missing
from orchestrator.mainline import Issue, marker
from orchestrator.records import Project

#: An issue that was asked for without an answer may still appear for so long; none is opened again before.
UNSURE_SECONDS = 60.0


def send(
    gitlab: GitLab,
    project: Project,
    wanted: Issue | None,
    told: Mapping[str, Any],
    *,
    keep: Callable[[Mapping[str, Any]], None],
    guard: Callable[[], None],
    now: float,
) -> None:
    """Make the issue what is `wanted` (None: as it is); `keep` is called with what GitLab knows.

    Before one is opened it is written down that this is about to be done, so that a lost answer, or a worker
    that is killed, leads to a search for it and not to a second one. Raises :class:`GitLabError` when GitLab
    does not take it, and :class:`TryLater` when it cannot be known yet whether there is one.
    """
    if wanted is None:
        return
    digest = hashlib.sha256(repr(astuple(wanted)).encode()).hexdigest()
    if told.get("issue_digest") == digest:
        return
    known = (told["issue_iid"], told["issue_is_open"]) if told.get("issue_iid") else None
    known = known or gitlab.issue_with(project.gitlab_id, marker(project.id))
    if known is not None and _is_changed(gitlab, project, wanted, known, guard):
        keep({"issue_iid": known[0], "issue_digest": digest, "issue_is_open": wanted.is_open})
    elif wanted.is_open:
        _open(gitlab, project, wanted, told, digest, keep, guard, now)
    else:
        # There is none, and nothing to say: what was broken is mended.
        keep({"issue_digest": digest})


def _is_changed(
    gitlab: GitLab,
    project: Project,
    wanted: Issue,
    known: tuple[int, bool],
    guard: Callable[[], None],
) -> bool:
    """Write it anew; False when somebody has deleted it.

    What people have closed themselves is opened again only when the branch breaks once more.
    """
    (iid, is_open), event = known, None
    if is_open is not wanted.is_open:
        event = "reopen" if wanted.is_open else "close"
    guard()
    try:
        gitlab.change_issue(project.gitlab_id, iid, wanted.title, wanted.description, event=event)
    except Missing:
        return False
    return True


def _open(
    gitlab: GitLab,
    project: Project,
    wanted: Issue,
    told: Mapping[str, Any],
    digest: str,
    keep: Callable[[Mapping[str, Any]], None],
    guard: Callable[[], None],
    now: float,
) -> None:
    unsure_until = told.get("issue_unsure_until") or 0.0
    if now < unsure_until:
        raise TryLater("an issue may have been opened without an answer", seconds=unsure_until - now)
    guard()
    keep({"issue_unsure_until": now + UNSURE_SECONDS})
    try:
        iid = gitlab.open_issue(project.gitlab_id, wanted.title, wanted.description)
    except TryLater:
        raise
    except GitLabError:
        keep({})
        raise
    keep({"issue_iid": iid, "issue_digest": digest, "issue_is_open": True})
