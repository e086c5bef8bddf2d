"""What the store hands out, besides deployments and accounts: frozen objects. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.merge_request import OPEN_STATES
from orchestrator.rules import Rules


class Kind(StrEnum):
    """What can be due, and so be looked at by a worker."""

    DELIVERY = "delivery"
    DEPLOYMENT = "deployment"
    ACCOUNT = "account"
    REPORT = "report"
    PROJECT = "project"


#: Kinds whose steps do something to a dev tool account.
ON_ACCOUNTS = frozenset({Kind.DEPLOYMENT, Kind.ACCOUNT})


@dataclass(frozen=True)
class Due:
    """Look at this row at this time."""

    kind: Kind
    id: int
    at: float


@dataclass(frozen=True)
class Claim:
    """The right to take one step of one row until `until` (seconds since the epoch)."""

    kind: Kind
    id: int
    token: str
    until: float
    #: Somebody claimed the row before and never gave it back: its effect may have happened.
    is_takeover: bool = False


@dataclass(frozen=True)
class Project:
    """A connected GitLab project."""

    id: int
    gitlab_id: int
    path: str
    web_url: str
    git_url: str
    secret_digests: tuple[str, ...]
    #: Smoke checks as (path, expected status or None for "below 500").
    checks: tuple[tuple[str, int | None], ...]
    created_at: float
    #: Since when it is not connected any more; None: it is.
    removed_at: float | None = None
    #: Its share in the turns of the scheduler.
    weight: float = 1.0
    #: Generations of the key with which GitLab signs, the newest first; empty where it does not sign.
    signing: tuple[int, ...] = ()
    #: Until then secrets and generations but the newest count, too; None: they do not.
    old_secrets_until: float | None = None
    #: Which of its merge requests get a preview.
    rules: Rules = field(default_factory=Rules)
    #: What its newest builds took, in bytes of the image store and in seconds; None before the first.
    image_bytes: int | None = None
    build_seconds: float | None = None

    @property
    def is_ours(self) -> bool:
        """True for what the probes belong to, of which GitLab knows nothing."""
        return self.gitlab_id == OURS


#: Stands in the place of GitLab's number, for the project of our own that the probes belong to.
OURS = 0
#: Stands for a project's default branch in the place of a merge request's number; those begin at 1.
BRANCH_IID = 0


@dataclass(frozen=True)
class Preview:
    """What one merge request gets; or the tries of a project's default branch, which is never up."""

    id: int
    project_id: int
    iid: int
    title: str
    author: str
    web_url: str
    source_branch: str
    target_branch: str
    mr_state: str
    head_sha: str
    is_from_project: bool
    #: When GitLab said all that.
    seen_at: float
    expires_at: float | None
    stop_reason: str
    created_at: float
    #: Somebody asked to keep it until then: it does not give way to others before.
    keep_until: float | None = None
    #: The note shows the logs of the newest deployment.
    shows_logs: bool = False
    #: Why the newest command could not be carried out; empty when it could.
    remark: str = ""

    @property
    def is_open(self) -> bool:
        """True while its merge request may still be merged."""
        return self.mr_state in OPEN_STATES

    @property
    def is_branch(self) -> bool:
        """True when it stands for the default branch."""
        return self.iid == BRANCH_IID

    @property
    def reference(self) -> str:
        """What follows the project's path in its name: ``!12``, or ``@main`` for a branch."""
        return f"@{self.source_branch}" if self.is_branch else f"!{self.iid}"

    @property
    def environment(self) -> str:
        """The name of its GitLab environment."""
        return f"preview/mr-{self.iid}"


@dataclass(frozen=True)
class Delivery:
    """One webhook delivery that was taken."""

    id: int
    project_id: int
    key: str
    kind: str
    iid: int
    facts: Mapping[str, Any]
    received_at: float
    handled_at: float | None
    result: str
    attempts: int


@dataclass(frozen=True)
class Event:
    """One line of a timeline."""

    at: float
    subject: str
    subject_id: int
    before: str
    after: str
    who: str
    why: str


@dataclass(frozen=True)
class Lease:
    """One lease of an account, with its receipt."""

    account_id: int
    fence: int
    #: None when many check-only deployments shared it.
    preview_id: int | None
    taken_at: float
    ended_at: float | None
    #: What the image store held before and after the cleaning; None while it is not over.
    bytes_before: int | None
    bytes_after: int | None
