"""What the API takes and gives, as models: the description at ``/api/v1/openapi.json`` is made from them.

Times are ISO 8601 in UTC. Text from merge requests and logs is foreign: it comes as it is, control characters
taken out, and has to be escaped where it is shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from orchestrator import opinion
from orchestrator.builder import Noticed
from orchestrator.incidents import Incident
from orchestrator.markdown import plain
from orchestrator.moves import Advice, Outlook
from orchestrator.outcome import Says
from orchestrator.pages import BranchState, Named, Place, Row, Tenant
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State
from orchestrator.probes import Tried
from orchestrator.project_secrets import Secret
from orchestrator.reading import NumberedEvent
from orchestrator.records import Project
from orchestrator.renovate import Rule
from orchestrator.runtimes import RuntimeSeen
from orchestrator.secret_rules import MOST_BYTES
from orchestrator.stages import stages
from orchestrator.views import Waiter

_T = TypeVar("_T")
#: SQL's integers end there.
Number = Annotated[int, Field(ge=1, lt=2**31)]
Words = Annotated[str, BeforeValidator(plain)]


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class Query(BaseModel):
    """Parameters of an address; one that is not known is refused rather than passed over."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=200, description="How many at most.")
    before: Number | None = Field(None, description="`next` of the answer before.")


class PreviewsQuery(PageQuery):
    """Which previews."""

    project: str | None = Field(None, max_length=255, description="Path of a project, as `group/tool`.")
    open: bool | None = Field(None, description="Whether the merge request is open.")


class DeploymentsQuery(PageQuery):
    """Which deployments."""

    project: str | None = Field(None, max_length=255, description="Path of a project, as `group/tool`.")
    iid: Number | None = Field(None, description="Number of a merge request; needs `project`.")
    state: State | None = Field(None, description="The present state.")


class EventsQuery(PageQuery):
    """Which events; the same as on the audit page."""

    project: str = Field("", max_length=255, description="Path of a project, as `group/tool`.")
    subject: Literal["account", "deployment", "preview", "switch", "project", "token"] | None = Field(
        None,
        description="What about; `project` (what was set for it) and `token` are for operators.",
    )
    after: str = Field("", max_length=16, description="The state that was entered.")
    who: str = Field("", max_length=255, description="Who did it.")
    text: str = Field("", max_length=255, description="Part of the reason.")
    since: str = Field("", max_length=40, description="From this day or time on, ISO 8601.")
    until: str = Field("", max_length=40, description="Before this time, or until the end of this day.")


class LogQuery(Query):
    """How to read a log."""

    follow: bool = Field(
        False, description="Of a running build or a live tool: go on with the lines to come."
    )


class Listed(BaseModel, Generic[_T]):
    """A part of a list, the newest first."""

    items: list[_T]
    next: int | None = Field(
        default=None, description="Pass it as `before` for the next part; null: no more."
    )


class CheckOut(BaseModel):
    """One smoke check's answer."""

    name: Words
    passed: bool
    message: Words


class EvidenceOut(BaseModel):
    """A line from which a cause is known."""

    line: int = Field(description="In the log as it is kept, from 1; 0: Toolforge's own words.")
    text: Words


class FailureOut(BaseModel):
    """Why a deployment did not get to live."""

    stage: str
    summary: Words
    remedy: Words = Field(description="Markdown.")
    excerpt: Words
    cause: str = Field(description="One of docs/diagnosis.md; empty where none is known.")
    confidence: str = Field(description="`certain`, `likely`, or empty.")
    evidence: list[EvidenceOut]
    log: str = Field(description="In which log the lines are: `build`, `job`, or empty.")
    facts: dict[str, Words] = Field(description="What the lines name, such as a version.")


class OpinionOut(BaseModel):
    """What the latest builder makes of a commit that asks for a version which the current one lacks."""

    says: Says = Field(description="`fails`: for another reason.")
    newest: str = Field(description="The newest version of the language that is known; empty: none is.")
    told: Words = Field(description="The same for people, as Markdown.")

    @classmethod
    def of(cls, one: Deployment) -> OpinionOut | None:
        """The shape of it; None while it is not there."""
        if one.opinion is None or one.opinion.says is None:
            return None
        return cls(says=one.opinion.says, newest=one.opinion.newest, told=opinion.told(one))


class BranchOut(BaseModel):
    """Whether a default branch deploys, by builds that were started without being published."""

    deploys: bool | None = Field(description="By the newest verdict; null before the first.")
    checked_at: datetime | None = Field(description="When there was a verdict last.")
    good_at: datetime | None = Field(description="When it was last seen to deploy.")
    good_sha: str | None
    broken_at: datetime | None = Field(description="When it was first seen not to, the last time it broke.")
    broken_sha: str | None
    mended_at: datetime | None = Field(description="When it did again; null while it does not.")
    failure: FailureOut | None = Field(description="Why it does not; null: it does.")
    deployment_id: int | None = Field(description="Of the newest try.")

    @classmethod
    def of(cls, branch: BranchState) -> BranchOut:
        """The shape of a default branch."""
        verdict, failure = branch.verdict, branch.verdict.failure
        return cls(
            deploys=None if verdict.checked_at is None else not verdict.is_broken,
            checked_at=_time(verdict.checked_at),
            good_at=_time(verdict.good_at),
            good_sha=verdict.good_sha,
            broken_at=_time(verdict.broken_at),
            broken_sha=verdict.broken_sha,
            mended_at=_time(verdict.mended_at),
            failure=FailureOut.model_validate(failure, from_attributes=True) if failure else None,
            deployment_id=branch.newest.id if branch.newest else None,
        )


class ProjectOut(BaseModel):
    """A connected GitLab project."""

    id: int
    gitlab_id: int
    path: str
    web_url: str
    build_seconds: float | None = Field(description="What its newest builds took.")
    image_bytes: int | None
    default_branch: BranchOut | None = Field(
        description="Whether its default branch still deploys; null: that is not watched."
    )

    @classmethod
    def of(cls, project: Project, branch: BranchState | None) -> ProjectOut:
        """The shape of `project`."""
        return cls(
            id=project.id,
            gitlab_id=project.gitlab_id,
            path=project.path,
            web_url=project.web_url,
            build_seconds=project.build_seconds,
            image_bytes=project.image_bytes,
            default_branch=BranchOut.of(branch) if branch else None,
        )


class RuntimeOut(BaseModel):
    """What builds have shown of a version of a language."""

    builder: str = Field(description="`default`, or `latest`, its successor.")
    runtime: str = Field(description="`Python`, `Node.js` and so on.")
    wanted: Words = Field(description="A version, or what a repository asked for in its own words.")
    seen_at: datetime | None = Field(description="When one was built with it last.")
    refused_at: datetime | None = Field(description="When a build failed last, since the builder lacks it.")
    is_refused: bool = Field(description="Its builds are expected to fail.")
    cause: str = Field(description="As what the newest failure was told; empty: none was.")
    source: str = Field(
        description="What has shown the newer of the two: the build of a `project`, or of a `probe`, a tiny "
        "repository of our own."
    )

    @classmethod
    def of(cls, seen: RuntimeSeen, now: float) -> RuntimeOut:
        """The shape of what is known."""
        return cls(
            builder=seen.builder,
            runtime=seen.runtime,
            wanted=seen.wanted,
            seen_at=_time(seen.seen_at),
            refused_at=_time(seen.refused_at),
            is_refused=seen.is_refused(now),
            cause=seen.cause,
            source=seen.source,
        )


class ProbeOut(BaseModel):
    """Builds of a tiny repository of our own, by which it is learned what a builder has."""

    name: str = Field(description="Of its branch: a language, and the version that it asks for, if it does.")
    builder: str = Field(description="`default`, or `latest`, its successor.")
    tried_at: datetime | None = Field(description="When its newest build was asked for; null: it never was.")
    checked_at: datetime | None = Field(description="When a build came to its end last.")
    was_built: bool | None = Field(description="Whether that went well; null: there was none.")
    why: Words = Field(description="Why it was not built, or why the newest try came to nothing.")
    deployment: int | None = Field(description="Number of the newest try; its log can be had as any other.")

    @classmethod
    def of(cls, one: Tried) -> ProbeOut:
        """The shape of what is known."""
        return cls(
            name=one.probe.name,
            builder=one.probe.builder,
            tried_at=_time(one.tried_at),
            checked_at=_time(one.checked_at),
            was_built=one.was_built,
            why=one.why,
            deployment=one.deployment_id,
        )


class RenovateRuleOut(BaseModel):
    """Up to which version Renovate may propose a language."""

    description: str
    matchManagers: list[str]
    matchDepNames: list[str]
    allowedVersions: str = Field(description="A range that holds back what is not known to be there.")

    @classmethod
    def of(cls, rule: Rule) -> RenovateRuleOut:
        """The shape of a rule."""
        return cls(
            description=f"{rule.runtime}: what Toolforge's builder was seen to have",
            matchManagers=[rule.manager],
            matchDepNames=[rule.dependency],
            allowedVersions=rule.allowed,
        )


class RenovatePresetOut(BaseModel):
    """A preset for Renovate, to be named in `extends` of a repository's `renovate.json`."""

    description: str = "Versions of languages that Toolforge's builder has, as far as builds have shown it."
    packageRules: list[RenovateRuleOut]


class NoticedOut(BaseModel):
    """A change of the builder."""

    at: datetime = Field(description="When a build showed it.")
    what: Words

    @classmethod
    def of(cls, noticed: Noticed) -> NoticedOut:
        """The shape of a change."""
        return cls(at=_at(noticed.at), what=noticed.what)


class OutlookOut(BaseModel):
    """A version that a project asks for, and what is to be expected of it."""

    project: str
    runtime: str = Field(description="`Python`, `Node.js` and so on.")
    wanted: Words = Field(description="In the words of the file.")
    file: str
    outlook: Outlook = Field(
        description="`not seen since`: the builder has changed, and no build has used this version since."
    )
    newest: Words = Field(description="The newest version that a build was made with; empty: none is known.")
    read_at: datetime = Field(description="When the file was read.")
    read_in: Words = Field(description="`@main` for a default branch, `!12` for a merged merge request.")

    @classmethod
    def of(cls, one: Advice) -> OutlookOut:
        """The shape of an advice."""
        pin = one.asked.pin
        return cls(
            project=one.asked.path,
            runtime=pin.runtime,
            wanted=pin.wanted,
            file=pin.file,
            outlook=one.outlook,
            newest=one.newest,
            read_at=_at(one.asked.at),
            read_in=one.asked.reference,
        )


class StageOut(BaseModel):
    """One state on the way to the verdict."""

    state: State
    since: datetime
    until: datetime | None


class DeploymentOut(BaseModel):
    """One try at one commit of a merge request."""

    id: int
    project: str
    iid: int
    sha: str
    #: What was built where it is not the commit: its merge with the target branch.
    merged_sha: str | None
    state: State
    step: str
    since: datetime
    created_at: datetime
    trigger: str
    actor: Words
    is_bot: bool
    check_only: bool
    stages: list[StageOut]
    failure: FailureOut | None
    warning: FailureOut | None = Field(description="How its build is known to fail, told before it.")
    opinion: OpinionOut | None = Field(description="What the latest builder makes of what failed.")
    checks: list[CheckOut]

    @classmethod
    def of(cls, tenant: Tenant) -> DeploymentOut:
        """The shape of a deployment."""
        one = tenant.deployment
        took = [
            StageOut(state=stage.state, since=_at(stage.since), until=_time(stage.until))
            for stage in stages(one)
        ]
        failure, warning, checks = one.failure, one.warning, one.checks
        return cls(
            id=one.id,
            project=tenant.of.project.path,
            iid=one.iid,
            sha=one.sha,
            merged_sha=one.merged_sha,
            state=one.state,
            step=one.step,
            since=_at(one.since),
            created_at=_at(one.created_at),
            trigger=one.trigger,
            actor=one.actor,
            is_bot=one.is_bot,
            check_only=one.check_only,
            stages=took,
            failure=FailureOut.model_validate(failure, from_attributes=True) if failure else None,
            warning=FailureOut.model_validate(warning, from_attributes=True) if warning else None,
            opinion=OpinionOut.of(one),
            checks=[CheckOut.model_validate(check, from_attributes=True) for check in checks],
        )


class PreviewOut(BaseModel):
    """What one merge request has got."""

    id: int
    project: str
    iid: int
    title: Words
    author: Words
    source_branch: Words
    target_branch: Words
    merge_request_state: str
    web_url: str
    state: State | None = Field(description="Of the newest deployment; null before the first.")
    sha: str | None
    deployment_id: int | None = Field(description="Of the newest deployment; null before the first.")
    head_sha: str = Field(description="The newest commit of the merge request, as far as is known.")
    address: str | None = Field(description="Where it can be looked at, while it is up.")
    expires_at: datetime | None
    keep_until: datetime | None
    stop_reason: Words

    @classmethod
    def of(cls, row: Row) -> PreviewOut:
        """The shape of a preview."""
        preview, newest = row.of.preview, row.newest
        return cls(
            id=preview.id,
            project=row.of.project.path,
            iid=preview.iid,
            title=preview.title,
            author=preview.author,
            source_branch=preview.source_branch,
            target_branch=preview.target_branch,
            merge_request_state=preview.mr_state,
            web_url=preview.web_url,
            state=newest.state if newest else None,
            sha=newest.sha if newest else None,
            deployment_id=newest.id if newest else None,
            head_sha=preview.head_sha,
            address=row.address,
            expires_at=_time(preview.expires_at),
            keep_until=_time(preview.keep_until),
            stop_reason=preview.stop_reason,
        )


class Body(BaseModel):
    """Nothing is needed."""

    model_config = ConfigDict(extra="forbid")


class CommitIn(Body):
    """Which commit is to be built: what somebody has looked at, and no later one."""

    sha: str = Field(max_length=64, description="The head of the merge request, in full.")


class DurationIn(Body):
    """For how long."""

    duration: str = Field(max_length=10, description="Such as `90m`, `48h` or `3d`.")


class DoneOut(BaseModel):
    """What came of it."""

    message: Words
    preview: PreviewOut = Field(description="As it is now; what was asked for takes its time.")


class SecretIn(Body):
    """What a secret is to hold."""

    value: SecretStr = Field(
        max_length=MOST_BYTES,
        description="8 characters or more, in UTF-8; shown to nobody again.",
    )


class SecretOut(BaseModel):
    """A secret envvar of a project, without its value."""

    name: str
    set_at: datetime
    set_by: Words
    is_readable: bool = Field(description="False: no key of the installation opens it; set it anew.")

    @classmethod
    def of(cls, secret: Secret) -> SecretOut:
        """The shape of a secret."""
        return cls(
            name=secret.name,
            set_at=_at(secret.set_at),
            set_by=secret.set_by,
            is_readable=secret.is_readable,
        )


class AccountOut(BaseModel):
    """A dev tool account of the pool."""

    name: str
    state: AccountState
    since: datetime
    reason: Words
    drain: bool
    shared: bool
    address: str
    bytes_used: int | None
    bytes_limit: int | None
    merge_requests: list[str] = Field(description="What runs there, as `group/tool!12`.")

    @classmethod
    def of(cls, place: Place) -> AccountOut:
        """The shape of an account."""
        account = place.account
        return cls(
            name=account.name,
            state=account.state,
            since=_at(account.since),
            reason=account.reason,
            drain=account.drain,
            shared=account.shared,
            address=place.address,
            bytes_used=account.bytes_used,
            bytes_limit=account.bytes_limit,
            merge_requests=[tenant.of.name for tenant in place.tenants],
        )


class WaiterOut(BaseModel):
    """Somebody in the queue."""

    position: int
    project: str
    iid: int
    verdict_at: datetime | None = Field(description="When the verdict is expected; null: nobody can tell.")

    @classmethod
    def of(cls, waiter: Waiter) -> WaiterOut:
        """The shape of one who waits."""
        return cls(
            position=waiter.turn.position,
            project=waiter.project.path,
            iid=waiter.preview.iid,
            verdict_at=_time(waiter.turn.verdict_at),
        )


class IncidentOut(BaseModel):
    """One cause in several projects."""

    id: str = Field(description="The same as long as the cause is.")
    cause: str = Field(description="One of docs/diagnosis.md.")
    summary: Words
    remedy: Words = Field(description="Markdown.")
    since: datetime = Field(description="When the first of them failed.")
    merge_requests: list[str] = Field(description="As `group/tool!12`, the newest failure first.")

    @classmethod
    def of(cls, incident: Incident) -> IncidentOut:
        """The shape of an incident."""
        return cls(
            id=incident.id,
            cause=incident.failure.cause,
            summary=incident.failure.summary,
            remedy=incident.failure.remedy,
            since=_at(incident.since),
            merge_requests=[f"{one.path}!{one.iid}" for one in incident.affected],
        )


class QueueOut(BaseModel):
    """The builds, and who waits for one."""

    builds: int
    ceiling: int
    waiting: int = Field(description="All that wait, those for an approval among them.")
    is_frozen: bool
    stopped: list[str] = Field(description="What operators have stopped.")
    items: list[WaiterOut] = Field(description="The next first; the beginning of a long queue.")


class EventOut(BaseModel):
    """One change of state."""

    id: int
    at: datetime
    subject: str
    subject_id: int
    merge_request: str | None
    before: str
    after: str
    who: Words
    why: Words

    @classmethod
    def of(cls, one: NumberedEvent, named: Named | None) -> EventOut:
        """The shape of an event."""
        event = one.event
        return cls(
            id=one.id,
            at=_at(event.at),
            subject=event.subject,
            subject_id=event.subject_id,
            merge_request=named.name if named else None,
            before=event.before,
            after=event.after,
            who=event.who,
            why=event.why,
        )


class LineOut(BaseModel):
    """One line of a log, as a line of NDJSON."""

    number: int
    text: Words


class ProblemOut(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
