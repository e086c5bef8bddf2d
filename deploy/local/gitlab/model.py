"""What the local GitLab remembers: one plain record per thing, as GitLab's own tables name them.

No behaviour and no I/O; the rules live in the modules that use the records. Times are ISO 8601 in UTC, as
GitLab's API prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any


class AccessLevel(IntEnum):
    """A member's rights (GitLab REST, "Valid access levels")."""

    NONE = 0
    GUEST = 10
    PLANNER = 15
    REPORTER = 20
    DEVELOPER = 30
    MAINTAINER = 40
    OWNER = 50


#: In any case, at the start of a title (GitLab, "Draft merge requests").
DRAFT_PREFIXES = ("draft:", "[draft]", "(draft)")


def is_draft(title: str) -> bool:
    """Whether a title says that the merge request is a draft."""
    return title.lower().startswith(DRAFT_PREFIXES)


def now() -> str:
    """The present moment as the API prints it."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """A moment in UTC as the API prints it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class User:
    id: int
    username: str
    name: str
    email: str
    admin: bool = False
    bot: bool = False
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Token:
    """A personal, project or group access token, or an OAuth access token."""

    id: int
    user_id: int
    name: str
    secret: str
    scopes: list[str]
    kind: str = "personal"
    revoked: bool = False
    expires_at: str | None = None
    last_used_at: str | None = None
    refresh_secret: str | None = None
    application_id: int | None = None
    source_id: int | None = None
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Group:
    id: int
    path: str
    name: str
    visibility: str = "public"
    description: str = ""
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Project:
    id: int
    namespace: str
    path: str
    name: str
    creator_id: int
    visibility: str = "public"
    description: str = ""
    default_branch: str = "main"
    forked_from_id: int | None = None
    created_at: str = field(default_factory=now)
    last_activity_at: str = field(default_factory=now)
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def full_path(self) -> str:
        """`group/name`, unique on the instance."""
        return f"{self.namespace}/{self.path}"

    def next_iid(self, kind: str) -> int:
        """The next number inside the project for a kind of thing (merge requests, issues, ...)."""
        self.counters[kind] = self.counters.get(kind, 0) + 1
        return self.counters[kind]


@dataclass(slots=True)
class Member:
    id: int
    source: str
    user_id: int
    access_level: int
    expires_at: str | None = None
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Label:
    id: int
    project_id: int
    title: str
    color: str = "#428BCA"
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class MergeRequest:
    """`sha` is the head; `base_sha` the merge base; `versions` every head that it ever had, oldest first."""

    id: int
    iid: int
    project_id: int
    source_project_id: int
    source_branch: str
    target_branch: str
    title: str
    author_id: int
    sha: str
    base_sha: str
    start_sha: str
    description: str = ""
    state: str = "opened"
    merge_status: str = "unchecked"
    labels: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    approved_by: list[int] = field(default_factory=list)
    merge_ref_sha: str | None = None
    merge_commit_sha: str | None = None
    merged_by_id: int | None = None
    merged_at: str | None = None
    closed_by_id: int | None = None
    closed_at: str | None = None
    force_remove_source_branch: bool = False
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def place(self) -> tuple[int, int]:
        """Where it is found: its project, and its number there."""
        return self.project_id, self.iid

    @property
    def draft(self) -> bool:
        """Whether the title says so."""
        return is_draft(self.title)


@dataclass(slots=True)
class Issue:
    id: int
    iid: int
    project_id: int
    title: str
    author_id: int
    description: str = ""
    state: str = "opened"
    labels: list[str] = field(default_factory=list)
    closed_at: str | None = None
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass(slots=True)
class Note:
    """`system`: written by GitLab itself; `event`: only shown among the notes, the API does not list it."""

    id: int
    project_id: int
    merge_request_id: int
    author_id: int
    body: str
    system: bool = False
    event: bool = False
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass(slots=True)
class Award:
    """An emoji; `awardable` is `note:<id>` or `merge_request:<id>`."""

    id: int
    awardable: str
    name: str
    user_id: int
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Pipeline:
    """What statuses of one commit and ref hang on. `source` is `external` or `merge_request_event`."""

    id: int
    iid: int
    project_id: int
    sha: str
    ref: str
    user_id: int
    source: str = "external"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass(slots=True)
class CommitStatus:
    """`retried` marks one that a newer status of the same name has replaced."""

    id: int
    project_id: int
    pipeline_id: int
    commit: str
    sha: str
    ref: str
    name: str
    author_id: int
    status: str = "created"
    description: str | None = None
    target_url: str | None = None
    coverage: float | None = None
    retried: bool = False
    created_at: str = field(default_factory=now)
    started_at: str | None = None
    finished_at: str | None = None


@dataclass(slots=True)
class Environment:
    id: int
    project_id: int
    name: str
    slug: str
    external_url: str | None = None
    state: str = "available"
    tier: str = "other"
    description: str | None = None
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def place(self) -> tuple[int, str]:
        """Where it is found: its project, and its name there."""
        return self.project_id, self.name


@dataclass(slots=True)
class Deployment:
    id: int
    iid: int
    project_id: int
    environment_id: int
    sha: str
    ref: str
    tag: bool
    user_id: int
    status: str = "created"
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    finished_at: str | None = None


@dataclass(slots=True)
class Hook:
    """A project webhook. `failures` counts failed answers in a row; `disabled_until` is epoch seconds."""

    id: int
    project_id: int
    url: str
    token: str = ""
    signing_token: str = ""
    name: str = ""
    description: str = ""
    push_events: bool = True
    push_events_branch_filter: str = ""
    tag_push_events: bool = False
    merge_requests_events: bool = False
    note_events: bool = False
    issues_events: bool = False
    enable_ssl_verification: bool = True
    failures: int = 0
    disabled_until: float | None = None
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Delivery:
    """One attempt to deliver an event. `status` is the answer's code, or `internal error`."""

    id: int
    hook_id: int
    project_id: int
    trigger: str
    url: str
    idempotency_key: str
    request_headers: dict[str, str]
    request_data: dict[str, Any]
    status: str = "pending"
    response_body: str = ""
    response_headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    duration: float = 0.0
    created_at: str = field(default_factory=now)


@dataclass(slots=True)
class Application:
    """An OAuth client. `uid` is what the protocol calls client_id."""

    id: int
    name: str
    uid: str
    secret: str
    redirect_uri: str
    scopes: list[str]
    confidential: bool = True
    trusted: bool = False
    created_at: str = field(default_factory=now)
