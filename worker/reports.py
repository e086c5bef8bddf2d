"""Telling GitLab: the difference between the report a preview should have and what GitLab was told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLab, GitLabError
from orchestrator.records import Project
from orchestrator.report import STATUS_NAME, Report, Subject, desired, marker, must_send


def send(
    gitlab: GitLab,
    project: Project,
    subject: Subject,
    told: Mapping[str, Any],
    *,
    keep: Callable[[Mapping[str, Any]], None],
    guard: Callable[[], None],
) -> list[str]:
    """Send what is news, one effect at a time; `keep` is called with what GitLab knows after each.

    Returns what GitLab refused, in its words: the other parts are sent all the same. Raises
    :class:`TryLater` when GitLab cannot answer now.
    """
    sender = _Sender(gitlab, project, subject, dict(told), keep, guard)
    return sender.send(desired(subject))


class _Sender:
    def __init__(
        self,
        gitlab: GitLab,
        project: Project,
        subject: Subject,
        told: dict[str, Any],
        keep: Callable[[Mapping[str, Any]], None],
        guard: Callable[[], None],
    ) -> None:
        self._gitlab = gitlab
        self._project = project
        self._subject = subject
        self._told = told
        self._keep = keep
        self._guard = guard
        self._refused: list[str] = []

    def send(self, report: Report) -> list[str]:
        self._send_statuses(report)
        self._try(self._send_note, report)
        self._try(self._send_environment, report)
        self._send_deployments(report)
        self._try(self._stop_environment, report)
        return self._refused

    def _try(self, part: Callable[..., None], *args: Any) -> None:
        """One part; that GitLab refuses it must not keep the others from being told."""
        try:
            part(*args)
        except TryLater:
            raise
        except GitLabError as error:
            self._refused.append(str(error))

    def _now_told(self, **news: Any) -> None:
        self._told |= news
        self._keep(self._told)

    def _send_statuses(self, report: Report) -> None:
        for status in report.statuses:
            told = self._told.get("statuses", {}).get(status.sha)
            if must_send(told, status.state):
                self._try(self._send_status, status)

    def _send_status(self, status: Any) -> None:
        self._guard()
        self._gitlab.set_status(
            self._project.gitlab_id,
            status.sha,
            state=status.state,
            name=STATUS_NAME,
            description=status.description,
            target_url=status.target_url,
            ref=self._subject.preview.source_branch,
        )
        self._now_told(statuses={**self._told.get("statuses", {}), status.sha: status.state})

    def _send_note(self, report: Report) -> None:
        digest = hashlib.sha256(report.note.encode()).hexdigest()
        if self._told.get("note_digest") == digest:
            return
        self._guard()
        note_id = self._gitlab.put_note(
            self._project.gitlab_id,
            self._subject.preview.iid,
            report.note,
            marker=marker(self._subject.preview),
            note_id=self._told.get("note_id"),
        )
        self._now_told(note_id=note_id, note_digest=digest)

    def _send_environment(self, report: Report) -> None:
        wanted = {
            "is_up": True,
            "url": report.environment_url or self._told.get("environment", {}).get("url"),
        }
        if not report.environment_is_up or self._told.get("environment") == wanted:
            return
        self._guard()
        environment_id = self._gitlab.put_environment(
            self._project.gitlab_id, self._subject.preview.environment, external_url=report.environment_url
        )
        self._now_told(environment=wanted, environment_id=environment_id)

    def _send_deployments(self, report: Report) -> None:
        for deployment in report.deployments:
            known = self._told.get("deployments", {}).get(str(deployment.deployment_id))
            if known is None or known["status"] != deployment.status:
                self._try(self._send_deployment, deployment, known)

    def _send_deployment(self, deployment: Any, known: Mapping[str, Any] | None) -> None:
        if known is None and self._told.get("environment_id") is None:
            return  # never told of while it was up: there is no environment to put it into
        self._guard()
        all_known = self._told.get("deployments", {})
        gitlab_id = self._gitlab.put_deployment(
            self._project.gitlab_id,
            environment=self._subject.preview.environment,
            sha=deployment.sha,
            ref=self._subject.preview.source_branch,
            status=deployment.status,
            deployment_id=known["id"] if known else None,
            others=[other["id"] for other in all_known.values()],
        )
        entry = {"id": gitlab_id, "status": deployment.status}
        self._now_told(deployments={**all_known, str(deployment.deployment_id): entry})

    def _stop_environment(self, report: Report) -> None:
        environment = self._told.get("environment", {})
        if report.environment_is_up or not environment.get("is_up"):
            return
        self._guard()
        self._gitlab.stop_environment(self._project.gitlab_id, self._told["environment_id"])
        self._now_told(environment={**environment, "is_up": False})
