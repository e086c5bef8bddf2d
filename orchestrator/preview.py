"""States of a deployment, the one table of its transitions, and the decisions that come from outside.

Pure: no I/O and no clock of its own. What a worker's outcome makes of a deployment stands in ``progress.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from orchestrator.errors import IllegalMove
from orchestrator.outcome import CheckResult, Failure, Opinion, Pin, PinChange, Refusal, Retry


class State(StrEnum):
    """What a deployment is, in the words that people read."""

    #: Waits for an account and a build slot, or for an approval.
    QUEUED = "queued"
    #: Waits, and holds nothing meanwhile, for a version that Toolforge's builder does not have yet.
    BLOCKED = "blocked"
    #: Toolforge's build service works on it.
    BUILDING = "building"
    #: The image is there; its job is being started.
    STARTING = "starting"
    #: The job serves; the smoke checks look at it.
    CHECKING = "checking"
    #: Checked, reachable, kept for review.
    LIVE = "live"
    #: Was live and is not any more: replaced, closed, expired or told to.
    STOPPED = "stopped"
    #: Did not get to live because of what it is, or because Toolforge could not.
    FAILED = "failed"
    #: A newer commit of the same merge request took its place.
    SUPERSEDED = "superseded"
    #: The merge request was closed, or somebody said stop, before it was live.
    CANCELLED = "cancelled"
    #: The project's policy does not build it.
    REFUSED = "refused"


class Step(StrEnum):
    """The next external effect of a deployment; one state can need several."""

    #: Nothing to do until somebody with rights approves this very commit.
    AWAIT_APPROVAL = "await approval"
    #: Read the repository's own file at the commit: what it asks for, and whether it applies.
    READ_FILE = "read file"
    #: Nothing to do until the scheduler gives it an account and a build slot.
    AWAIT_SLOT = "await slot"
    #: Nothing to do until the builder was seen to have the version, or somebody asks for the build.
    AWAIT_VERSION = "await version"
    START_BUILD = "start build"
    WATCH_BUILD = "watch build"
    START_CANDIDATE = "start candidate"
    WATCH_CANDIDATE = "watch candidate"
    #: Nothing to do until the scheduler gives it the address of the account that it shares.
    AWAIT_PLACE = "await place"
    PUBLISH = "publish"
    WATCH_JOB = "watch job"
    CHECK = "check"
    #: Put the image of the good deployment before this one back behind the address.
    ROLL_BACK = "roll back"
    #: Have the latest builder build what failed, since the current one lacks a version; see ``opinion.py``.
    START_OPINION = "start opinion"
    WATCH_OPINION = "watch opinion"
    #: Remove what was started on the way and is not needed: a build, a candidate job.
    TIDY = "tidy"
    NONE = "none"


#: Every legal change of state, with the sentence that the timeline and the documents show for it.
TRANSITIONS: Mapping[tuple[State, State], str] = {
    (State.QUEUED, State.BUILDING): "an account and a build slot are there",
    (State.QUEUED, State.SUPERSEDED): "a newer commit was pushed while it waited",
    (State.QUEUED, State.CANCELLED): "the merge request was closed, or somebody said stop, while it waited",
    (State.QUEUED, State.REFUSED): "the policy of the project, or a filter of the repository, leaves it out",
    (
        State.QUEUED,
        State.FAILED,
    ): "its own file is wrong, its image fits into no store, its version is refused, or too many wait",
    (State.QUEUED, State.BLOCKED): "the builder is known to lack its version, for which its project waits",
    (State.BLOCKED, State.SUPERSEDED): "a newer commit was pushed, or the same one is built after all",
    (
        State.BLOCKED,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, while it waited for the builder",
    (State.BUILDING, State.BLOCKED): "the builder lacks its version, for which its project waits",
    (State.BUILDING, State.STARTING): "the build succeeded and the image is known",
    (State.BUILDING, State.STOPPED): "the build succeeded, and nothing else was wanted",
    (State.BUILDING, State.FAILED): "the build failed or took too long",
    (State.BUILDING, State.SUPERSEDED): "a newer commit was pushed while it was built",
    (
        State.BUILDING,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, during the build",
    (State.BUILDING, State.QUEUED): "its account could not be used; it waits for another",
    (State.STARTING, State.STOPPED): "its job is ready and stays so, and nothing else was wanted",
    (State.STARTING, State.CHECKING): "the published job is ready and stays so",
    (State.STARTING, State.FAILED): "the job crashed, or was not ready in time",
    (State.STARTING, State.SUPERSEDED): "a newer commit was pushed before it was published",
    (
        State.STARTING,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, during the start",
    (State.STARTING, State.QUEUED): "its account could not be used; it waits for another",
    (State.CHECKING, State.LIVE): "every smoke check passed",
    (State.CHECKING, State.STOPPED): "every smoke check passed, and nothing else was wanted",
    (State.CHECKING, State.FAILED): "a smoke check failed, or the job crashed under the checks",
    (
        State.CHECKING,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, during the checks",
    (State.CHECKING, State.QUEUED): "its account could not be used; it waits for another",
    (State.LIVE, State.STOPPED): "replaced, closed, expired or told to stop",
}

#: Which steps a deployment can be at in each state; anything else is a bug.
STEPS: Mapping[State, frozenset[Step]] = {
    State.QUEUED: frozenset({Step.AWAIT_APPROVAL, Step.READ_FILE, Step.AWAIT_SLOT}),
    State.BUILDING: frozenset({Step.START_BUILD, Step.WATCH_BUILD, Step.AWAIT_PLACE}),
    State.STARTING: frozenset(
        {
            Step.START_CANDIDATE,
            Step.WATCH_CANDIDATE,
            Step.PUBLISH,
            Step.WATCH_JOB,
            Step.ROLL_BACK,
        }
    ),
    State.CHECKING: frozenset({Step.CHECK, Step.ROLL_BACK}),
    State.LIVE: frozenset({Step.NONE, Step.TIDY}),
    State.STOPPED: frozenset({Step.NONE, Step.TIDY}),
    State.FAILED: frozenset({Step.START_OPINION, Step.WATCH_OPINION, Step.NONE, Step.TIDY}),
    State.SUPERSEDED: frozenset({Step.NONE, Step.TIDY}),
    State.CANCELLED: frozenset({Step.NONE, Step.TIDY}),
    State.REFUSED: frozenset({Step.NONE}),
    State.BLOCKED: frozenset({Step.START_OPINION, Step.WATCH_OPINION, Step.TIDY, Step.AWAIT_VERSION}),
}

#: At these a second opinion is awaited.
OPINION_STEPS = frozenset({Step.START_OPINION, Step.WATCH_OPINION})
#: States on the way to a verdict.
PENDING = frozenset({State.QUEUED, State.BLOCKED, State.BUILDING, State.STARTING, State.CHECKING})
#: At these it holds nothing, and nobody looks at it: only an event from outside changes it.
AT_REST = frozenset({Step.AWAIT_APPROVAL, Step.AWAIT_VERSION})
#: States that nothing follows.
ENDED = frozenset({State.STOPPED, State.FAILED, State.SUPERSEDED, State.CANCELLED, State.REFUSED})
#: In these it has jobs, or is about to get them.
_WITH_JOBS = frozenset({State.STARTING, State.CHECKING, State.LIVE})
#: The trigger of a deployment for which an image that is there already will not do.
REBUILD = "rebuild"
#: The trigger of any other that a person asked for.
COMMAND = "command"
#: The trigger of one that has waited for its builder.
UNBLOCKED = "version there"
#: The trigger of deployments of a default branch, which nobody waits for.
WATCH = "watch"
#: The trigger of builds of our own tiny repositories (see ``probes.py``).
PROBE = "probe"
#: Triggers of what nobody waits for.
SPARE = frozenset({WATCH, PROBE})
#: Triggers of deployments that somebody asked for by a command.
ASKED_FOR = frozenset({COMMAND, REBUILD})
#: At these steps the address of the preview serves, or may serve, this deployment's image.
AT_THE_ADDRESS = frozenset({Step.PUBLISH, Step.WATCH_JOB, Step.CHECK, Step.ROLL_BACK})


@dataclass(frozen=True)
class Deployment:
    """One try at one commit of a preview."""

    id: int
    preview_id: int
    #: Number of the merge request in its project.
    iid: int
    sha: str
    state: State
    step: Step
    created_at: float
    #: When the present state was entered.
    since: float
    #: From when the patience for the present step counts: its begin, or the end of an outage.
    step_since: float
    #: When to look again; None: only an event from outside changes it.
    due_at: float | None
    trigger: str
    #: Who pushed or asked, as GitLab names them.
    actor: str
    version: int = 0
    is_bot: bool = False
    #: Wanted is the verdict alone: it is not kept for review.
    check_only: bool = False
    #: Not planned before, since more pushes may follow; None: at once.
    ready_at: float | None = None
    #: Names the files of the commit, whatever its history; empty when not known.
    tree: str = ""
    #: What is built where it is not the head: its merge with the target branch.
    merged_sha: str | None = None
    #: Bytes of the image store that its build was expected to take, and took.
    reserved_bytes: int | None = None
    image_bytes: int | None = None
    account_id: int | None = None
    #: Fencing number of the lease under which the account is used.
    fence: int | None = None
    build_id: str | None = None
    #: ``tool-T/IMAGE:latest@sha256:...``: what runs is always named by its digest.
    image: str | None = None
    #: Images of other repositories that its components need, by the component that names them.
    images: Mapping[str, str] | None = None
    ready_since: float | None = None
    #: It was tried out as an unpublished candidate, whose job has to be removed.
    had_candidate: bool = False
    #: Until then a build that was asked for without hearing an answer may still appear.
    unsure_until: float | None = None
    attempts: int = 0
    failure: Failure | None = None
    #: The build before this one, which Toolforge failed; None: there was none.
    retry: Retry | None = None
    #: What the latest builder makes of it; None: it was not asked.
    opinion: Opinion | None = None
    checks: tuple[CheckResult, ...] = ()
    #: What its repository file asks for (see ``repoconfig.restored``); None: it has not been read.
    config: Mapping[str, Any] | None = None
    #: Versions that it asks for, where that was looked at (see ``outcome.FileRead``).
    pins: tuple[Pin, ...] = ()
    #: What it makes of such a version, while others with the same change may wait for it, or it for them.
    change: PinChange | None = None
    #: How its build is known to fail; None: nothing speaks for that.
    warning: Failure | None = None
    #: Why it does not apply, where it does not.
    refusal: Refusal | None = None
    #: Seconds since the epoch at which each state was entered, by state.
    entered: Mapping[str, float] | None = None

    @property
    def image_name(self) -> str:
        """The image's name in the account's store; by it a build whose answer was lost is found again."""
        return f"mr{self.iid}-d{self.id}"

    @property
    def opinion_name(self) -> str:
        """The name of the image that the latest builder makes; no component can be called so."""
        return f"{self.image_name}--latest"

    @property
    def candidate_name(self) -> str:
        """The name of the unpublished job that tries the image out beside the running one."""
        return f"candidate-d{self.id}"

    @property
    def is_spare(self) -> bool:
        """True for what is tried only with what nobody needs, without being published, and is not kept."""
        return self.trigger in SPARE

    @property
    def built_sha(self) -> str:
        """The commit that is built: its merge with the target branch, where that is wanted."""
        return self.merged_sha or self.sha

    @property
    def is_probe(self) -> bool:
        """True for what is only built, to learn what the builder has."""
        return self.trigger == PROBE

    @property
    def is_pending(self) -> bool:
        """True while a verdict is still to come."""
        return self.state in PENDING

    @property
    def can_be_hastened(self) -> bool:
        """True while it waits for an approval, or for more than its turn, or may not get all it could."""
        if self.state is State.BLOCKED or self.step in {Step.AWAIT_APPROVAL, Step.READ_FILE}:
            return True
        holds_back = self.ready_at is not None or self.check_only or self.is_bot
        return self.step is Step.AWAIT_SLOT and holds_back

    @property
    def is_on_its_way(self) -> bool:
        """True while a verdict is still to come without anything having to happen elsewhere."""
        return self.is_pending and self.state is not State.BLOCKED and self.step is not Step.AWAIT_APPROVAL

    @property
    def is_at_the_address(self) -> bool:
        """True while the address serves, or may serve, this deployment's image without its being live."""
        leaves_a_job = self.step is Step.TIDY and (self.state is State.FAILED or self.check_only)
        return self.step in AT_THE_ADDRESS or (leaves_a_job and State.STARTING in (self.entered or {}))

    @property
    def has_jobs(self) -> bool:
        """True while jobs of it run in its account, or are about to."""
        return self.state in _WITH_JOBS or self.is_at_the_address

    @property
    def is_settled(self) -> bool:
        """True when it has ended and nothing of it is left to remove."""
        return self.state in ENDED and self.step is Step.NONE

    @property
    def holds_build_slot(self) -> bool:
        """True while Toolforge may be running a build for it, one being cancelled included."""
        entered = self.entered or {}
        was_building = State.BUILDING in entered and State.STARTING not in entered
        is_building = self.state is State.BUILDING and self.step is not Step.AWAIT_PLACE
        is_built_again = self.step in OPINION_STEPS
        return is_building or is_built_again or (self.step is Step.TIDY and was_building)

    @property
    def may_be_superseded(self) -> bool:
        """True until its image goes to the address; from there it is quicker and safer to let it end."""
        return self.is_pending and self.step not in AT_THE_ADDRESS


def moved(
    deployment: Deployment, state: State, step: Step, now: float, *, due_at: float | None
) -> Deployment:
    """`deployment` in another state; raises :class:`IllegalMove` when the table does not know the way."""
    if (deployment.state, state) not in TRANSITIONS:
        raise IllegalMove(f"deployment {deployment.id}: {deployment.state} -> {state}")
    return at_step(
        replace(
            deployment,
            state=state,
            since=now,
            attempts=0,
            ready_since=None,
            entered={**({} if state is State.QUEUED else deployment.entered or {}), state: now},
        ),
        step,
        now,
        due_at=due_at,
    )


def at_step(deployment: Deployment, step: Step, now: float, *, due_at: float | None) -> Deployment:
    """`deployment` at another step; raises :class:`IllegalMove` when its state has no such step."""
    if step not in STEPS[deployment.state]:
        raise IllegalMove(f"deployment {deployment.id}: no step '{step}' in state {deployment.state}")
    had_candidate = deployment.had_candidate or step is Step.START_CANDIDATE
    return replace(deployment, step=step, step_since=now, due_at=due_at, had_candidate=had_candidate)


def assign(
    deployment: Deployment,
    *,
    account_id: int,
    fence: int,
    now: float,
    is_shared: bool = False,
    reserved_bytes: int | None = None,
) -> Deployment:
    """The scheduler gave it an account under the lease numbered `fence`: the build may start.

    Where the account is not shared, its preview has it anyway, and it can stay there.
    """
    leased = replace(
        deployment,
        account_id=account_id,
        fence=fence,
        check_only=deployment.check_only and is_shared,
        reserved_bytes=reserved_bytes,
    )
    return moved(leased, State.BUILDING, Step.START_BUILD, now, due_at=now)


def serve(deployment: Deployment, now: float) -> Deployment:
    """The scheduler gave it the address of the account that it shares."""
    return moved(deployment, State.STARTING, Step.PUBLISH, now, due_at=now)


def refuse(deployment: Deployment, failure: Failure, now: float) -> Deployment:
    """It is not even tried, for `failure`."""
    return moved(replace(deployment, failure=failure), State.FAILED, Step.NONE, now, due_at=None)


def block(deployment: Deployment, failure: Failure, now: float) -> Deployment:
    """It is not built before the builder has its version, without which it would end as `failure`."""
    return moved(replace(deployment, failure=failure), State.BLOCKED, Step.AWAIT_VERSION, now, due_at=None)


def decline(deployment: Deployment, refusal: Refusal, now: float) -> Deployment:
    """The rules of its project leave it out."""
    return moved(replace(deployment, refusal=refusal), State.REFUSED, Step.NONE, now, due_at=None)


def approve(deployment: Deployment, now: float, *, is_bot: bool = False) -> Deployment:
    """Somebody with the right to do so approved this commit, or asked for it: it waits for nothing else.

    Whoever asks wants to look at it, and no filter of the repository stands against that.
    """
    asked_for = replace(
        deployment, trigger=COMMAND, ready_at=None, check_only=False, is_bot=is_bot, change=None
    )
    if deployment.config is None:
        return at_step(asked_for, Step.READ_FILE, now, due_at=now)
    return at_step(asked_for, Step.AWAIT_SLOT, now, due_at=None)


def without_opinion(deployment: Deployment, now: float) -> Deployment:
    """A second opinion is not awaited any longer; what was started for it is removed by a last step."""
    if deployment.step not in OPINION_STEPS:
        return deployment
    return at_step(replace(deployment, opinion=None, attempts=0), Step.TIDY, now, due_at=now)


def unsure(deployment: Deployment, now: float, *, seconds: float = 30.0) -> Deployment:
    """A build may have been asked for without an answer: for `seconds` it may still appear."""
    return replace(deployment, unsure_until=now + seconds)


def end(deployment: Deployment, state: State, now: float) -> Deployment:
    """Superseded, cancelled or stopped, from wherever it is; what it started is removed by a last step."""
    has_begun = deployment.state not in {State.QUEUED, State.LIVE} and deployment.step not in AT_REST
    leftovers = deployment.step is Step.TIDY or has_begun
    return moved(
        deployment, state, Step.TIDY if leftovers else Step.NONE, now, due_at=now if leftovers else None
    )


def stop(deployment: Deployment, now: float) -> Deployment:
    """Stopped if it was live, cancelled if it was on the way; one that had ended stays as it ended."""
    if deployment.state is State.LIVE:
        return end(deployment, State.STOPPED, now)
    if deployment.is_pending:
        return end(deployment, State.CANCELLED, now)
    return without_opinion(deployment, now)
