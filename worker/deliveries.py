"""What a webhook delivery asks for: GitLab is asked how things are now, and that counts."""

from __future__ import annotations

import time
from contextlib import suppress

from orchestrator.bootstrap import Parts
from orchestrator.gitlab import DEVELOPER, GitLabError, Missing
from orchestrator.merge_request import command_in
from orchestrator.records import Claim, Delivery, Due, Project


def handle(parts: Parts, claim: Claim, now: float) -> list[Due]:
    """Carry out one claimed delivery. Raises :class:`TryLater` when GitLab cannot answer."""
    with parts.store.read() as tx:
        delivery = tx.delivery(claim.id)
        project = tx.project(delivery.project_id)
    if delivery.kind == "note":
        return _comment(parts, claim, delivery, project, now)
    return _observe(parts, claim, delivery, project, now)


def _observe(parts: Parts, claim: Claim, delivery: Delivery, project: Project, now: float) -> list[Due]:
    try:
        seen = parts.gitlab.merge_request(project.gitlab_id, delivery.iid)
    except Missing:
        return parts.lifecycle.not_found(claim, delivery, time.time(), as_of=now)
    return parts.lifecycle.observe(claim, delivery, seen, time.time(), as_of=now)


def _comment(parts: Parts, claim: Claim, delivery: Delivery, project: Project, now: float) -> list[Due]:
    facts = delivery.facts
    verb = command_in(str(facts.get("note", "")))
    if verb is None:
        return parts.lifecycle.ignore(claim, "a comment without a command", now)
    if parts.gitlab.access_level(project.gitlab_id, int(facts["user_id"])) < DEVELOPER:
        _answer(parts, project, delivery, "no_entry_sign")
        return parts.lifecycle.ignore(claim, "commands need the Developer role in the project", now)
    try:
        seen = parts.gitlab.merge_request(project.gitlab_id, delivery.iid)
    except Missing:
        return parts.lifecycle.not_found(claim, delivery, time.time(), as_of=now)
    dues, was_done = parts.lifecycle.command(claim, delivery, seen, verb, time.time(), as_of=now)
    _answer(parts, project, delivery, "white_check_mark" if was_done else "confused")
    return dues


def _answer(parts: Parts, project: Project, delivery: Delivery, emoji: str) -> None:
    """Say by an emoji what came of a command. The command counts, whether or not this arrives."""
    with suppress(GitLabError):
        parts.gitlab.award_emoji(project.gitlab_id, delivery.iid, int(delivery.facts["note_id"]), emoji)
