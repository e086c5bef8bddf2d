"""What GitLab should be told of a preview: commit statuses, one note, an environment, its deployments.

Pure. :func:`desired` turns a preview into the report it should have; the worker compares that with what was
told before and sends the difference. Nothing here depends on the time of the call, so that the same preview
always gives the same report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from orchestrator import opinion
from orchestrator.diagnosis.engine import Confidence
from orchestrator.markdown import code, fence, one_line
from orchestrator.outcome import Evidence, Failure
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Preview

STATUS_NAME = "toolforge-preview"
#: GitLab's limit for the description of a status.
_DESCRIPTION_LENGTH = 255
#: GitLab's limit for the link of a status.
_URL_LENGTH = 255


@dataclass(frozen=True)
class Subject:
    """All that a report is made of."""

    preview: Preview
    #: The newest first.
    deployments: Sequence[Deployment]
    #: Where the preview is reached while something is live.
    address: str | None
    #: Our own page about it.
    page_url: str
    account: str | None
    #: 1 for the next in the queue, None when it does not wait.
    position: int | None
    #: Image bytes before and after the last cleaning, None when it is not over (or never began).
    receipt: tuple[int, int] | None
    #: When the verdict on one that waits is expected, in seconds since the epoch; None: it cannot be told.
    expected_at: float | None = None
    #: There is an account that could be had sooner or later.
    pool_is_usable: bool = True
    #: The account is being cleaned.
    is_cleaning: bool = False
    #: Why the newest deployment does not go on although it could; empty when nothing holds it.
    held: str = ""
    #: The last lines of its logs, by kind, where somebody asked for them.
    logs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """A commit status."""

    sha: str
    state: str
    description: str
    target_url: str
    #: The description is the news: where GitLab would refuse to take it, what it has is ended first.
    renews: bool = False


@dataclass(frozen=True)
class GitLabDeployment:
    """A GitLab deployment for one of ours."""

    deployment_id: int
    sha: str
    status: str


@dataclass(frozen=True)
class Report:
    """What GitLab should show."""

    statuses: tuple[Status, ...]
    note: str
    #: The environment's address; None: nothing is up, it should be stopped if it is there.
    environment_url: str | None
    #: Those with a verdict, the oldest first.
    deployments: tuple[GitLabDeployment, ...]


def marker(preview: Preview) -> str:
    """The hidden comment by which our one note is found again."""
    return f"<!-- toolforge-preview:{preview.project_id}:{preview.iid} -->"


def refusal_marker(user_id: int) -> str:
    """The hidden comment by which the answer to somebody without rights is found again."""
    return f"<!-- toolforge-preview-refusal:{user_id} -->"


def refusal(user_id: int, username: str) -> str:
    """The answer to a command of somebody who may not give any."""
    return (
        f"{refusal_marker(user_id)}\nThank you, {code(username)}, but commands to Toolforge Preview need the "
        "Developer role in this project: ask somebody who has it."
    )


def desired(subject: Subject) -> Report:
    """The report that `subject` should have."""
    newest_by_sha: dict[str, Deployment] = {}
    for deployment in subject.deployments:
        newest_by_sha.setdefault(deployment.sha, deployment)
    return Report(
        statuses=tuple(_status(subject, d) for d in newest_by_sha.values()),
        note=note(subject),
        environment_url=subject.address if _live(subject) else None,
        deployments=tuple(
            GitLabDeployment(d.id, d.sha, _VERDICTS[d.state])
            for d in reversed(subject.deployments)
            if d.state in _VERDICTS
        ),
    )


#: A GitLab deployment is recorded with its verdict: one that is made as running could stay so for ever.
_VERDICTS: Mapping[State, str] = {
    State.LIVE: "success",
    State.STOPPED: "success",
    State.FAILED: "failed",
}

_STATUS: Mapping[State, str] = {
    State.QUEUED: "pending",
    State.BLOCKED: "pending",
    State.BUILDING: "running",
    State.STARTING: "running",
    State.CHECKING: "running",
    State.LIVE: "success",
    State.STOPPED: "success",
    State.FAILED: "failed",
    State.SUPERSEDED: "canceled",
    State.CANCELLED: "canceled",
    # "Does not apply here" must not hold a merge up, and `skipped` is not read as an answer.
    State.REFUSED: "success",
}


def must_send(told: Status | None, status: Status) -> bool:
    """Whether a commit status is news after what was `told`: never the same again, never from running back.

    After an end the same word may be said once more with another link: the address of a preview that was
    taken down will soon be somebody else's. What renews a status is news while its description is.
    """
    if told is None:
        return True
    if status.renews:
        return (told.state, told.description) != (status.state, status.description)
    if told.state == status.state:
        return status.state in _FINAL and told.target_url != status.target_url
    return not (told.state == "running" and status.state == "pending")


_FINAL = frozenset({"success", "failed", "canceled"})


def _live(subject: Subject) -> Deployment | None:
    return next((d for d in subject.deployments if d.state is State.LIVE), None)


def _status(subject: Subject, deployment: Deployment) -> Status:
    is_live = deployment.state is State.LIVE and subject.address is not None
    state = _STATUS[deployment.state]
    if deployment.state is State.CANCELLED and subject.preview.is_open:
        # A head that can still be merged must not be left with `canceled`: bots read that as a failure.
        state = "success"
    return Status(
        sha=deployment.sha,
        state=state,
        description=_description(subject, deployment)[:_DESCRIPTION_LENGTH],
        target_url=(subject.address if is_live and subject.address else subject.page_url)[:_URL_LENGTH],
        renews=deployment.state is State.BLOCKED,
    )


def _description(subject: Subject, deployment: Deployment) -> str:
    match deployment.state:
        case State.QUEUED if deployment.step is Step.AWAIT_APPROVAL:
            return "Waits for a Developer's comment /preview on this commit"
        case State.QUEUED if subject.held:
            return f"Waits: {subject.held}"
        case State.QUEUED if not subject.pool_is_usable:
            return "Waits: the pool has no usable Toolforge dev account"
        case State.QUEUED:
            return "Waits for a Toolforge dev account" + _place_in_queue(subject)
        case State.BLOCKED:
            return f"Waiting for Toolforge: {opinion.lacks(deployment.failure)}"
        case State.BUILDING | State.STARTING | State.CHECKING:
            return "Being built and tried out on Toolforge"
        case State.LIVE:
            # Said once for this commit, so it has to stay true when the preview is taken down.
            return f"Builds, starts and answers on Toolforge: {subject.address}"
        case State.FAILED if deployment.failure:
            return f"{deployment.failure.stage} failed: {deployment.failure.summary}"
        case State.STOPPED if deployment.check_only:
            return "Builds, starts and answers on Toolforge"
        case State.STOPPED:
            return "Builds, starts and answers on Toolforge; taken down since"
        case State.SUPERSEDED:
            return "A newer commit took its place"
        case State.REFUSED if deployment.refusal:
            return f"Does not apply here: {deployment.refusal.why}"
        case State.CANCELLED:
            return f"Not tried: {subject.preview.stop_reason}"
        case _:
            return deployment.state.capitalize()


def _place_in_queue(subject: Subject) -> str:
    if subject.position is None:
        return ""
    expected = "" if subject.expected_at is None else f", a verdict at about {_about(subject.expected_at)}"
    return f" (number {subject.position} in the queue{expected})"


def _about(moment: float) -> str:
    """A time of arrival in steps of five minutes, so that the note does not change with every second."""
    return f"{datetime.fromtimestamp(math.ceil(moment / 300) * 300, UTC):%H:%M} UTC"


# --- the note -----------------------------------------------------------------------------------------

_HEADLINES: Mapping[State, str] = {
    State.QUEUED: "\u23f3 Preview is queued",
    State.BLOCKED: "\u23f8\ufe0f Preview waits for Toolforge",
    State.BUILDING: "\U0001f528 Preview is being built",
    State.STARTING: "\U0001f680 Preview is starting",
    State.CHECKING: "\U0001f50d Preview is being checked",
    State.LIVE: "\u2705 Preview is live",
    State.STOPPED: "\u23f9\ufe0f Preview was taken down",
    State.FAILED: "\u274c Preview failed",
    State.SUPERSEDED: "\u23ed\ufe0f Preview was superseded",
    State.CANCELLED: "\u23f9\ufe0f Preview was cancelled",
    State.REFUSED: "\u2796 No preview",
}


def _headline(newest: Deployment) -> str:
    is_checked = newest.check_only and newest.state is State.STOPPED
    return "\u2705 Preview was checked" if is_checked else _HEADLINES[newest.state]


def note(subject: Subject) -> str:
    """The one note, as Markdown."""
    if not subject.deployments:
        return f"{marker(subject.preview)}\n### No preview yet\n"
    newest = subject.deployments[0]
    parts = [marker(subject.preview), f"### {_headline(newest)}", _lead(subject, newest)]
    if subject.preview.remark:
        parts.append(f"The last command was not carried out: {code(subject.preview.remark)}")
    if newest.failure:
        parts += _failure(subject, newest)
    elif newest.warning and newest.is_pending:
        parts.append(
            f"**It will probably fail:** {code(newest.warning.summary)}. It is built all the same.\n\n"
            f"**What to do:** {newest.warning.remedy}"
        )
    if newest.checks:
        parts.append(_checks(newest))
    stages = _stages(newest)
    if stages:
        parts.append(stages)
    parts += [_folded(f"Log: {kind}", fence(text)) for kind, text in sorted(subject.logs.items())]
    if newest.state in {State.STOPPED, State.CANCELLED, State.FAILED}:
        parts.append(_receipt(subject))
    parts.append(f"[Timeline and logs]({subject.page_url})")
    if subject.preview.is_open:
        parts.append(_folded("Commands, for Developers: each in a comment of its own", COMMANDS))
    return "\n\n".join(part for part in parts if part) + "\n"


#: What comments can ask for, as a table in Markdown.
COMMANDS = """\
| comment | what it does |
|---|---|
| `/preview` | build this commit, or approve it; also `/preview redeploy` |
| `/preview rebuild` | build it anew, even if its image is still there |
| `/preview stop` | take it down |
| `/preview keep 48h` | keep it up for so long (`m`, `h` or `d`) |
| `/preview logs` | show the end of the logs here |
| `/preview help` | this list |"""


def _folded(summary: str, content: str) -> str:
    """Details that are shown when somebody opens them."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def _lead(subject: Subject, newest: Deployment) -> str:
    live = _live(subject)
    commit = f"Commit {code(newest.sha[:12])}"
    if newest.merged_sha:
        commit += f", merged with {code(subject.preview.target_branch)} as {code(newest.merged_sha[:12])},"
    if newest.state is State.LIVE:
        return (
            f"**{_link(subject.address)}**\n\n"
            f"{commit} on Toolforge account {code(subject.account or '')}{_until(subject.preview)}."
        )
    lines = [f"{commit}: {_what_now(subject, newest)}"]
    if live is not None:
        lines.append(
            f"The preview of {code(live.sha[:12])} is still up: "
            f"**{_link(subject.address)}**{_until(subject.preview)}."
        )
    return "\n\n".join(lines)


def _link(address: str | None) -> str:
    return f"[{address}]({address})"


def _what_now(subject: Subject, newest: Deployment) -> str:
    match newest.state:
        case State.QUEUED if newest.step is Step.AWAIT_APPROVAL:
            return (
                "the branch is not in this project, so a Developer has to look at the commit first and "
                "approve it with the comment `/preview`. Another push waits again."
            )
        case State.QUEUED if subject.held:
            return f"waits: {one_line(subject.held)}."
        case State.BUILDING | State.STARTING | State.CHECKING if subject.held:
            return f"stands still: {one_line(subject.held)}."
        case State.QUEUED if not subject.pool_is_usable:
            return (
                "waits, since the pool has no dev tool account that can be used. Its operators have to add "
                "or mend one; the build then starts by itself."
            )
        case State.QUEUED:
            return f"waits for a dev tool account{_place_in_queue(subject)}."
        case State.BLOCKED:
            return (
                f"{opinion.lacks(newest.failure, code)}. That is no fault of the commit: it is built by "
                "itself once the builder has it, and takes nothing until then. `/preview` builds it now."
            )
        case State.BUILDING if newest.retry:
            return (
                "Toolforge's build service is building it once more, since the first build failed through no "
                f"fault of the commit: {code(newest.retry.why)}."
            )
        case State.BUILDING:
            return "Toolforge's build service is building it."
        case State.STARTING:
            return "the image is built; its web process is being started."
        case State.CHECKING:
            return "its web process runs and is being checked."
        case State.STOPPED if newest.check_only:
            return (
                "builds, starts and answers. It was only checked; a Developer's comment `/preview` brings a "
                "preview to look at."
            )
        case State.FAILED if newest.failure:
            return f"the {newest.failure.stage} stage failed."
        case State.REFUSED if newest.refusal:
            return (
                f"no preview: {code(newest.refusal.why)}. A Developer's comment `/preview` brings one all "
                "the same."
            )
        case _:
            return f"{one_line(subject.preview.stop_reason or newest.state)}."


def _until(preview: Preview) -> str:
    if preview.expires_at is None:
        return ""
    until = f", until {instant(preview.expires_at)}"
    if preview.keep_until is None:
        return until
    kept = f", kept until {instant(preview.keep_until)}"
    return kept if preview.keep_until == preview.expires_at else until + kept


def instant(seconds: float) -> str:
    """A time for people, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _failure(subject: Subject, newest: Deployment) -> list[str]:
    failure = newest.failure
    assert failure is not None
    what = "What probably happened" if failure.confidence == Confidence.LIKELY else "What happened"
    parts = [f"**{what}:** {code(failure.summary)}", f"**What to do:** {failure.remedy}"]
    if told := opinion.told(newest):
        parts.append(f"**Second opinion:** {told}")
    shown = [_line(subject, newest, failure, line) for line in failure.evidence if line.text.strip()]
    if shown:
        parts.append("**Where it shows:**\n\n" + "\n".join(shown))
    if failure.excerpt.strip():
        last = "The last lines that say something"
        words = fence(failure.excerpt)
        parts.append(_folded(last, words) if shown else f"{last}:\n\n{words}")
    return parts


def _line(subject: Subject, newest: Deployment, failure: Failure, line: Evidence) -> str:
    """A line that shows the cause, with a link to its place in the log; Toolforge's own words have none."""
    if not line.line:
        return f"- Toolforge: {code(line.text)}"
    address = f"{subject.page_url}/{newest.id}/{failure.log}?line={line.line}#L{line.line}"
    return f"- [{failure.log} log, line {line.line}]({address}): {code(line.text)}"


_MARKS = {True: "\u2705", False: "\u274c"}


def _checks(newest: Deployment) -> str:
    rows = [
        f"| {_MARKS[check.passed]} | {code(check.name)} | {code(check.message)} |" for check in newest.checks
    ]
    return "\n".join(["| | check | answer |", "|---|---|---|", *rows])


def _stages(newest: Deployment) -> str:
    """How long each stage took, for those that are over."""
    entered = sorted((newest.entered or {}).items(), key=lambda item: item[1])
    took = [f"{state} {duration(until - since)}" for (state, since), (_, until) in pairwise(entered)]
    return f"Took: {', '.join(took)}." if took else ""


def duration(seconds: float) -> str:
    """How long something took, for people."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _receipt(subject: Subject) -> str:
    if subject.is_cleaning:
        return "The account is being cleaned."
    if subject.receipt is None:
        return ""
    before, after = subject.receipt
    return f"The account was given back clean: {size(before)} of images before, {size(after)} after."


def size(count: int) -> str:
    """A number of bytes for people."""
    if count < 2**20:
        return f"{count / 2**10:.1f} KiB" if count >= 2**10 else f"{count} bytes"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
