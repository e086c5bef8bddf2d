"""What a webhook delivery asks for: GitLab is asked how things are now, and that counts."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from orchestrator.bootstrap import Parts
from orchestrator.errors import TryLater
from orchestrator.gitlab import DEVELOPER, GitLabError, Missing
from orchestrator.merge_request import MergeRequest, command_in
from orchestrator.records import Claim, Delivery, Due, Project
from orchestrator.report import refusal, refusal_marker

#: With more changed files than this, rules about paths hold nothing back.
_MOST_PATHS = 1000


def handle(parts: Parts, claim: Claim, now: float) -> list[Due]:
    """Carry out one claimed delivery. Raises :class:`TryLater` when GitLab cannot answer."""
    with parts.store.read() as tx:
        delivery = tx.delivery(claim.id)
        project = tx.project(delivery.project_id)
    if delivery.kind == "note":
        return _comment(parts, claim, delivery, project, now)
    try:
        seen = _merge_request(parts, project, delivery)
    except Missing:
        return parts.lifecycle.not_found(claim, delivery, time.time(), as_of=now)
    return parts.lifecycle.observe(claim, delivery, seen, time.time(), as_of=now)


def _merge_request(parts: Parts, project: Project, delivery: Delivery) -> MergeRequest:
    """What GitLab says of it now, with the paths that it changes where those matter."""
    seen = parts.gitlab.merge_request(project.gitlab_id, delivery.iid)
    if not seen.is_open or not project.rules.look_at_paths:
        return seen
    try:
        paths = parts.gitlab.changed_paths(project.gitlab_id, delivery.iid, most=_MOST_PATHS)
        return replace(seen, paths=None if paths is None else tuple(paths))
    except TryLater:
        raise
    except GitLabError:
        # What cannot be known must not keep a preview back.
        return seen


def _comment(parts: Parts, claim: Claim, delivery: Delivery, project: Project, now: float) -> list[Due]:
    facts = delivery.facts
    command = command_in(str(facts.get("note", "")))
    if command is None:
        return parts.lifecycle.ignore(claim, "a comment without a command", now)
    if parts.rights.level(project.gitlab_id, int(facts["user_id"])) < DEVELOPER:
        _answer(parts, project, delivery, "no_entry_sign")
        _refuse(parts, project, delivery)
        return parts.lifecycle.ignore(claim, "commands need the Developer role in the project", now)
    try:
        seen = _merge_request(parts, project, delivery)
    except Missing:
        return parts.lifecycle.not_found(claim, delivery, time.time(), as_of=now)
    dues, was_done = parts.lifecycle.command(claim, delivery, seen, command, time.time(), as_of=now)
    _answer(parts, project, delivery, "white_check_mark" if was_done else "confused")
    return dues


def _answer(parts: Parts, project: Project, delivery: Delivery, emoji: str) -> None:
    """Say by an emoji what came of a command. The command counts, whether or not this arrives."""
    with suppress(GitLabError):
        parts.gitlab.award_emoji(project.gitlab_id, delivery.iid, int(delivery.facts["note_id"]), emoji)


def _refuse(parts: Parts, project: Project, delivery: Delivery) -> None:
    """Say why, to each person once under a merge request: the same note is found again by its marker.

    One comment after the other, so that of two at once the second one finds what was said to the first.
    """
    with parts.store.read() as tx:
        is_early = tx.has_earlier_comment(delivery)
    if is_early:
        raise TryLater("an earlier comment is being answered", seconds=1.0)
    user_id = int(delivery.facts["user_id"])
    with suppress(GitLabError):
        parts.gitlab.put_note(
            project.gitlab_id,
            delivery.iid,
            refusal(user_id, str(delivery.facts.get("username", ""))),
            marker=refusal_marker(user_id),
            note_id=None,
        )
