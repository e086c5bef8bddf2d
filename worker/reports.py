"""Telling GitLab: the difference between the report a preview should have and what GitLab was told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from orchestrator.errors import TryLater
from orchestrator.gitlab import GitLab, GitLabError, Missing, NotPermitted
from orchestrator.records import Project
from orchestrator.report import (
    STATUS_NAME,
    GitLabDeployment,
    Report,
    Status,
    Subject,
    desired,
    marker,
    must_send,
)


def send(
    gitlab: GitLab,
    project: Project,
    subject: Subject,
    told: Mapping[str, Any],
    *,
    keep: Callable[[Mapping[str, Any]], None],
    guard: Callable[[], None],
    is_retry: bool,
) -> list[str]:
    """Send what is news, one effect at a time; `keep` is called with what GitLab knows after each.

    `is_retry` says that an earlier try may have told more than was kept.

    Returns what GitLab refused, in its words: the other parts are sent all the same. Raises
    :class:`TryLater` when GitLab cannot answer now.
    """
    sender = _Sender(gitlab, project, subject, dict(told), keep, guard, is_retry)
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
        is_retry: bool,
    ) -> None:
        self._gitlab = gitlab
        self._project = project
        self._subject = subject
        self._told = told
        self._keep = keep
        self._guard = guard
        self._is_retry = is_retry
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
            known = Status(**told) if told else None
            if must_send(known, status):
                self._try(self._send_anew if status.renews else self._send_status, status)

    def _send_anew(self, status: Status) -> None:
        """A status that GitLab has as pending or running neither goes back to pending nor is said again."""
        told = self._told.get("statuses", {}).get(status.sha)
        if told and told["state"] in {"pending", "running"}:
            self._send_status(replace(status, state="canceled"))
        self._send_status(status)

    def _send_status(self, status: Status) -> None:
        self._guard()
        if self._subject.preview.is_from_project:
            self._set_status(self._project.gitlab_id, status, ref=self._subject.preview.source_branch)
        else:
            self._send_status_of_fork(status)
        self._now_told(statuses={**self._told.get("statuses", {}), status.sha: asdict(status)})

    def _send_status_of_fork(self, status: Status) -> None:
        """A fork's commit is on no branch of this project: GitLab takes a status only in its pipeline.

        Else the status belongs to the fork, where our token may have no rights: then the note has to do.
        """
        project_id, iid = self._project.gitlab_id, self._subject.preview.iid
        pipeline_id = self._gitlab.pipeline_of(project_id, iid, status.sha)
        if pipeline_id is not None:
            self._set_status(project_id, status, pipeline_id=pipeline_id)
            return
        with suppress(Missing, NotPermitted):
            source_id = self._gitlab.merge_request(project_id, iid).source_project_id
            if source_id is not None:
                self._set_status(source_id, status, ref=self._subject.preview.source_branch)

    def _set_status(
        self, project_id: int, status: Status, *, ref: str | None = None, pipeline_id: int | None = None
    ) -> None:
        self._gitlab.set_status(
            project_id,
            status.sha,
            state=status.state,
            name=STATUS_NAME,
            description=status.description,
            target_url=status.target_url,
            ref=ref,
            pipeline_id=pipeline_id,
        )

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
        url = report.environment_url
        if url is None or (self._told.get("environment_url"), self._told.get("has_environment")) == (
            url,
            True,
        ):
            return
        self._guard()
        # The intention comes first, so that an environment whose answer is lost is stopped all the same.
        self._now_told(environment_url=url)
        self._gitlab.put_environment(
            self._project.gitlab_id, self._subject.preview.environment, external_url=url
        )
        self._now_told(has_environment=True)

    def _send_deployments(self, report: Report) -> None:
        if not self._told.get("has_environment"):
            return  # nothing was ever live: there is no environment to record them in
        for deployment in report.deployments:
            if str(deployment.deployment_id) not in self._told.get("deployments", {}):
                self._try(self._send_deployment, deployment)

    def _send_deployment(self, deployment: GitLabDeployment) -> None:
        self._guard()
        if deployment.status == "success" and self._told.get("environment_url") is None:
            # GitLab opens a stopped environment for it, which then is to be stopped once more.
            self._now_told(environment_url="")
        known = self._told.get("deployments", {})
        gitlab_id = self._lost_deployment(deployment) or self._gitlab.add_deployment(
            self._project.gitlab_id,
            environment=self._subject.preview.environment,
            sha=deployment.sha,
            # The branch may be gone by now; this reference stays, and is there for forks, too.
            ref=f"refs/merge-requests/{self._subject.preview.iid}/head",
            status=deployment.status,
        )
        self._now_told(deployments={**known, str(deployment.deployment_id): gitlab_id})

    def _lost_deployment(self, deployment: GitLabDeployment) -> int | None:
        """The id of one that an earlier try has made without hearing of it."""
        if not self._is_retry:
            return None
        known = set(self._told.get("deployments", {}).values())
        there = self._gitlab.deployments(self._project.gitlab_id, self._subject.preview.environment)
        same = (id_ for id_, sha, status in there if (sha, status) == (deployment.sha, deployment.status))
        return next((id_ for id_ in same if id_ not in known), None)

    def _stop_environment(self, report: Report) -> None:
        if report.environment_url is not None or self._told.get("environment_url") is None:
            return
        self._guard()
        self._gitlab.stop_environment(self._project.gitlab_id, self._subject.preview.environment)
        self._now_told(environment_url=None)
