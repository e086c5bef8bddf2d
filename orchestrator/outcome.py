"""What a worker can bring back from one step: facts, no decisions.

``progress.apply`` and ``pool.apply`` decide what they mean. Pure data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: The fact of a failure that names who could not be asked: it says nothing of the commit.
AWAY = "away"
#: Where a deployment can fail.
STAGES = ("configuration", "store", "queue", "build", "start", "check", "toolforge")


@dataclass(frozen=True)
class Evidence:
    """A line from which a cause is known; foreign text, escaped where it is shown."""

    #: In the log as it is kept, from 1; 0: it stands in none.
    line: int
    text: str


@dataclass(frozen=True)
class Failure:
    """Why a deployment did not get to live, in words for the merge request's author."""

    #: One of :data:`STAGES`.
    stage: str
    #: One sentence: what happened.
    summary: str
    #: One or two sentences: what to do about it.
    remedy: str
    #: The last meaningful lines of the log; foreign text, escaped where it is shown.
    excerpt: str = ""
    #: The cause's stable name, as in docs/diagnosis.md; empty: it is not known.
    cause: str = ""
    #: ``certain`` or ``likely``; empty where there is no cause, or nothing to be unsure of.
    confidence: str = ""
    #: The lines that show it, in the order of the log.
    evidence: tuple[Evidence, ...] = ()
    #: Which log they stand in: ``build`` or ``job``.
    log: str = ""
    #: What the lines name, such as ``version``; foreign text.
    facts: Mapping[str, str] = field(default_factory=dict)


def toolforge_failed(summary: str, remedy: str = "Try again later with `/preview`.") -> Failure:
    """A failure that is Toolforge's, or the account's, and must not be read as one of the commit."""
    return Failure(stage="toolforge", summary=summary, remedy=f"This is no fault of the commit. {remedy}")


def line_is_full(most: int) -> Failure:
    """The failure of a deployment for which there is no room among those of its project that wait."""
    return Failure(
        stage="queue",
        summary=f"{most} deployments of this project wait already, as many as may",
        remedy="This is no fault of the commit. Comment `/preview` when some are done, or push again.",
    )


@dataclass(frozen=True)
class Pin:
    """A version that a repository asks for."""

    #: ``Python``, ``Node.js`` and so on.
    runtime: str
    #: In the words of the file: ``3.14``, ``>=22``.
    wanted: str
    file: str


@dataclass(frozen=True)
class PinChange:
    """What a merge request makes of the version that the project asks for."""

    runtime: str
    file: str
    #: In the words of the file; empty where it names none.
    before: str
    after: str


@dataclass(frozen=True)
class Retry:
    """A build that failed through no fault of the commit, and after which it is built once more."""

    build_id: str
    #: Why it failed, in a sentence; foreign text in parts.
    why: str


class Says(StrEnum):
    """What came of a second opinion."""

    #: It builds with the latest builder.
    BUILDS = "builds"
    #: The latest builder does not have the version, either.
    LACKS = "lacks"
    #: The latest builder has it, or may have it; the build fails there for another reason.
    FAILS = "fails"


@dataclass(frozen=True)
class Opinion:
    """What the latest builder makes of a commit that asks for a version which the current one lacks."""

    #: Of that build; None: it is not known to have been started.
    build_id: str | None = None
    #: None: it was not asked to the end.
    says: Says | None = None
    #: The newest version of the language that any builder was seen to have; empty: none is known.
    newest: str = ""
    #: Why it fails there, where that is another reason; foreign text in parts.
    why: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why a merge request does not apply, by the filters of its repository."""

    #: ``it is a draft``.
    why: str
    #: What GitLab said of the merge request then: its labels, and the like (see ``filters.facts``).
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class CheckResult:
    """One smoke check's answer."""

    #: For people: ``GET /``.
    name: str
    passed: bool
    #: ``200 in 34 ms``, or what was wrong.
    message: str
    #: How often it has been tried, and whether it has no more tries.
    tries: int = 1
    is_last: bool = False


@dataclass(frozen=True)
class KeptLog:
    """A log to be kept: foreign text, cut to the limit that the setting names."""

    text: str
    is_truncated: bool = False


# --- of a deployment's step ---------------------------------------------------------------------------


@dataclass(frozen=True)
class FileRead:
    """The repository's own file was read, or is not there; `config` is what it asks for.

    `pins` are the versions that it asks for: of a default branch all, else those of languages of which the
    builder refused one.
    """

    config: Mapping[str, Any]
    pins: tuple[Pin, ...] = ()
    #: Of a bot's merge request what it changes of them, where that is one.
    change: PinChange | None = None


@dataclass(frozen=True)
class DoesNotApply:
    """By the repository's own file the merge request gets no preview."""

    refusal: Refusal


@dataclass(frozen=True)
class BuildStarted:
    """builds-api has the build, started now or found by its image name.

    `tree` names the files of its commit, empty where they are not known; `merged_sha` is that commit where
    it is not the head, but its merge with the target branch.
    """

    build_id: str
    tree: str = ""
    merged_sha: str | None = None


@dataclass(frozen=True)
class BuildReused:
    """The account still has an image of the same files; `image` is its name with the digest."""

    image: str
    tree: str = ""
    merged_sha: str | None = None


@dataclass(frozen=True)
class BuildAwaited:
    """An earlier try may have started the build without hearing of it; it may appear within `seconds`."""

    seconds: float


@dataclass(frozen=True)
class BuildGoesOn:
    """The build has not ended; it may not even have begun."""

    has_begun: bool = True


@dataclass(frozen=True)
class BuildVanished:
    """builds-api does not know the build any more (it prunes); whether it succeeded cannot be told."""


@dataclass(frozen=True)
class BuildSucceeded:
    """The build ended well; `image` is its destination image with the digest.

    `bytes_used` is what the account's image store holds now, `bytes_limit` what it may; None: not known.
    """

    image: str
    log: KeptLog | None = None
    bytes_used: int | None = None
    bytes_limit: int | None = None


@dataclass(frozen=True)
class StageFailed:
    """The build, the job or a check failed because of the commit.

    `refused` are the versions that it asks for, where the builder does not have one of them.
    """

    failure: Failure
    log: KeptLog | None = None
    refused: tuple[Pin, ...] = ()


@dataclass(frozen=True)
class OpinionStarted:
    """builds-api has the build with the latest builder, started now or found by its image name."""

    build_id: str


@dataclass(frozen=True)
class OpinionGoesOn:
    """The build with the latest builder has not ended."""


@dataclass(frozen=True)
class OpinionGiven:
    """The build with the latest builder has ended; its log says with which versions it was made.

    `bytes_used` is what the account's image store holds now, `bytes_limit` what it may; None: not known.
    """

    says: Says
    log: KeptLog
    #: Why it failed; None: it did not.
    failure: Failure | None = None
    bytes_used: int | None = None
    bytes_limit: int | None = None


@dataclass(frozen=True)
class OpinionDropped:
    """There will be no second opinion; `reason` says why, for the log."""

    reason: str
    #: A build that was started all the same may still run, or still appear.
    may_have_happened: bool = False


@dataclass(frozen=True)
class WrongCommit:
    """The merge request moved between its delivery and the build: its head is another commit now.

    `build_id` is the build that was started of it, None when that was noticed before.
    """

    build_id: str | None
    resolved: str


@dataclass(frozen=True)
class JobStarted:
    """jobs-api took the job (candidate or published)."""


@dataclass(frozen=True)
class JobNotReady:
    """The job does not serve yet; `reason` in jobs-api's words. Its process may not even have been begun.

    `failure` is what it fails for if its time is over, `log` the log in which that shows.
    """

    reason: str
    failure: Failure | None = None
    log: KeptLog | None = None
    has_begun: bool = True


@dataclass(frozen=True)
class JobReady:
    """The job's process runs and its probe passes."""


@dataclass(frozen=True)
class JobVanished:
    """jobs-api does not know the job any more."""


@dataclass(frozen=True)
class ChecksDone:
    """All smoke checks were tried once.

    `failure` is what it fails for if that was the last try, `log` the log in which that shows.
    """

    results: tuple[CheckResult, ...]
    failure: Failure | None = None
    log: KeptLog | None = None

    @property
    def answers(self) -> str:
        """What was wrong, in a sentence; empty when nothing was."""
        return "; ".join(f"{one.name}: {one.message}" for one in self.results if not one.passed)


@dataclass(frozen=True)
class RolledBack:
    """The image of the good deployment is behind the address again."""


@dataclass(frozen=True)
class Tidied:
    """Nothing that this deployment started and nobody needs is left."""


@dataclass(frozen=True)
class TidyGoesOn:
    """Something that is being removed is not gone yet."""


@dataclass(frozen=True)
class NotNow:
    """The other side could not serve the step; it may be repeated after `seconds` (None: our own back-off).

    `throttled` marks an answer that asks us to do less (409 too many builds, 429, 5xx); `may_have_happened`
    one that was lost, so that the effect may have happened all the same.
    """

    reason: str
    seconds: float | None = None
    throttled: bool = False
    may_have_happened: bool = False


@dataclass(frozen=True)
class AccountUnusable:
    """The account's credentials were refused."""

    reason: str


Outcome = (
    FileRead
    | DoesNotApply
    | BuildStarted
    | BuildReused
    | BuildAwaited
    | BuildGoesOn
    | BuildVanished
    | BuildSucceeded
    | StageFailed
    | OpinionStarted
    | OpinionGoesOn
    | OpinionGiven
    | OpinionDropped
    | WrongCommit
    | JobStarted
    | JobNotReady
    | JobReady
    | JobVanished
    | ChecksDone
    | RolledBack
    | Tidied
    | TidyGoesOn
    | NotNow
    | AccountUnusable
)


# --- of a cleaning ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cleaned:
    """The account was looked at last and is empty; `bytes_before` is what its store held at first."""

    bytes_before: int
    bytes_after: int
    #: What its store may hold; None: no limit, or none that is known.
    bytes_limit: int | None = None
    #: Names of the operators' own envvars, which stay.
    envvars: tuple[str, ...] = ()


@dataclass(frozen=True)
class CleaningGoesOn:
    """Something is still going away; `remaining` names it for people."""

    remaining: str


@dataclass(frozen=True)
class CleaningFailed:
    """Toolforge refused or could not; `refused` means the credentials were."""

    reason: str
    refused: bool = False


@dataclass(frozen=True)
class FoundForeign:
    """Things that are not ours are there, and were left alone; `reason` names them for people."""

    reason: str


CleaningOutcome = Cleaned | CleaningGoesOn | CleaningFailed | FoundForeign


# --- of an inspection ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inspected:
    """An account was compared with what is known of it."""

    bytes_used: int
    bytes_limit: int | None = None
    #: What is in it although it is free; empty when it is, or is leased.
    left: str = ""
    #: What is in it that is not ours, although it is leased.
    foreign: str = ""
    #: What nobody needed and was removed, one sentence each.
    removed: tuple[str, ...] = ()
    #: The live deployment whose job was gone, and was put back.
    put_back: int | None = None
    #: The live deployment whose job and image are gone.
    lost: int | None = None
    #: Names of all envvars but those that only we set.
    envvars: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotInspected:
    """Toolforge could not be asked; `refused` means that it refused the credentials."""

    reason: str
    refused: bool = False


InspectionOutcome = Inspected | NotInspected
