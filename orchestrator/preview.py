"""States of a deployment, the one table of its transitions, and what an outcome makes of it.

Pure: no I/O and no clock of its own. A worker takes one :class:`Step`, brings back an outcome (see
``outcome.py``), and :func:`apply` says what the deployment is after it and when to look again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import singledispatch

from orchestrator import outcome as out
from orchestrator.errors import IllegalMove
from orchestrator.outcome import CheckResult, Failure


class State(StrEnum):
    """What a deployment is, in the words that people read."""

    #: Waits for an account and a build slot, or for an approval.
    QUEUED = "queued"
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
    #: Nothing to do until the scheduler gives it an account and a build slot.
    AWAIT_SLOT = "await slot"
    START_BUILD = "start build"
    WATCH_BUILD = "watch build"
    START_CANDIDATE = "start candidate"
    WATCH_CANDIDATE = "watch candidate"
    PUBLISH = "publish"
    WATCH_JOB = "watch job"
    CHECK = "check"
    #: Put the image of the good deployment before this one back behind the address.
    ROLL_BACK = "roll back"
    #: Remove what was started on the way and is not needed: a build, a candidate job.
    TIDY = "tidy"
    NONE = "none"


#: Every legal change of state, with the sentence that the timeline and the documents show for it.
TRANSITIONS: Mapping[tuple[State, State], str] = {
    (State.QUEUED, State.BUILDING): "an account and a build slot are there",
    (State.QUEUED, State.SUPERSEDED): "a newer commit was pushed while it waited",
    (State.QUEUED, State.CANCELLED): "the merge request was closed, or somebody said stop, while it waited",
    (State.QUEUED, State.REFUSED): "the policy of the project does not build it",
    (State.BUILDING, State.STARTING): "the build succeeded and the image is known",
    (State.BUILDING, State.FAILED): "the build failed or took too long",
    (State.BUILDING, State.SUPERSEDED): "a newer commit was pushed while it was built",
    (
        State.BUILDING,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, during the build",
    (State.BUILDING, State.QUEUED): "its account could not be used; it waits for another",
    (State.STARTING, State.CHECKING): "the published job is ready and stays so",
    (State.STARTING, State.FAILED): "the job crashed, or was not ready in time",
    (State.STARTING, State.SUPERSEDED): "a newer commit was pushed before it was published",
    (
        State.STARTING,
        State.CANCELLED,
    ): "the merge request was closed, or somebody said stop, during the start",
    (State.STARTING, State.QUEUED): "its account could not be used; it waits for another",
    (State.CHECKING, State.LIVE): "every smoke check passed",
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
    State.QUEUED: frozenset({Step.AWAIT_APPROVAL, Step.AWAIT_SLOT}),
    State.BUILDING: frozenset({Step.START_BUILD, Step.WATCH_BUILD}),
    State.STARTING: frozenset(
        {Step.START_CANDIDATE, Step.WATCH_CANDIDATE, Step.PUBLISH, Step.WATCH_JOB, Step.ROLL_BACK}
    ),
    State.CHECKING: frozenset({Step.CHECK, Step.ROLL_BACK}),
    State.LIVE: frozenset({Step.NONE, Step.TIDY}),
    State.STOPPED: frozenset({Step.NONE, Step.TIDY}),
    State.FAILED: frozenset({Step.NONE, Step.TIDY}),
    State.SUPERSEDED: frozenset({Step.NONE, Step.TIDY}),
    State.CANCELLED: frozenset({Step.NONE, Step.TIDY}),
    State.REFUSED: frozenset({Step.NONE}),
}

#: States on the way to a verdict.
PENDING = frozenset({State.QUEUED, State.BUILDING, State.STARTING, State.CHECKING})
#: States that nothing follows.
ENDED = frozenset({State.STOPPED, State.FAILED, State.SUPERSEDED, State.CANCELLED, State.REFUSED})
#: At these steps the address of the preview serves, or may serve, this deployment's image.
_AT_THE_ADDRESS = frozenset({Step.PUBLISH, Step.WATCH_JOB, Step.CHECK, Step.ROLL_BACK})


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, each stage may take and how often it is looked at."""

    build_seconds: float = 1800.0
    start_seconds: float = 300.0
    check_seconds: float = 30.0
    #: How long a job has to stay ready before it is believed: crash loops flicker.
    stable_seconds: float = 3.0
    #: How long Toolforge may be unusable before a deployment is given up.
    outage_seconds: float = 3600.0
    poll_min_seconds: float = 0.5
    poll_max_seconds: float = 10.0


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
    account_id: int | None = None
    #: Fencing number of the lease under which the account is used.
    fence: int | None = None
    build_id: str | None = None
    #: ``tool-T/IMAGE:latest@sha256:...``: what runs is always named by its digest.
    image: str | None = None
    ready_since: float | None = None
    #: It was tried out as an unpublished candidate, whose job has to be removed.
    had_candidate: bool = False
    #: Until then a build that was asked for without hearing an answer may still appear.
    unsure_until: float | None = None
    attempts: int = 0
    failure: Failure | None = None
    checks: tuple[CheckResult, ...] = ()
    #: Seconds since the epoch at which each state was entered, by state.
    entered: Mapping[str, float] | None = None

    @property
    def image_name(self) -> str:
        """The image's name in the account's store; by it a build whose answer was lost is found again."""
        return f"mr{self.iid}-d{self.id}"

    @property
    def candidate_name(self) -> str:
        """The name of the unpublished job that tries the image out beside the running one."""
        return f"candidate-d{self.id}"

    @property
    def is_pending(self) -> bool:
        """True while a verdict is still to come."""
        return self.state in PENDING

    @property
    def is_on_its_way(self) -> bool:
        """True while a verdict is still to come without anybody having to do something for it."""
        return self.is_pending and self.step is not Step.AWAIT_APPROVAL

    @property
    def is_at_the_address(self) -> bool:
        """True while the address serves, or may serve, this deployment's image without its being live."""
        leaves_a_job = self.state is State.FAILED and self.step is Step.TIDY
        return self.step in _AT_THE_ADDRESS or (leaves_a_job and State.STARTING in (self.entered or {}))

    @property
    def is_settled(self) -> bool:
        """True when it has ended and nothing of it is left to remove."""
        return self.state in ENDED and self.step is Step.NONE

    @property
    def holds_build_slot(self) -> bool:
        """True while Toolforge may be running a build for it, one being cancelled included."""
        entered = self.entered or {}
        was_building = State.BUILDING in entered and State.STARTING not in entered
        return self.state is State.BUILDING or (self.step is Step.TIDY and was_building)

    @property
    def may_be_superseded(self) -> bool:
        """True until its image goes to the address; from there it is quicker and safer to let it end."""
        return self.is_pending and self.step not in _AT_THE_ADDRESS


def moved(
    deployment: Deployment, state: State, step: Step, now: float, *, due_at: float | None
) -> Deployment:
    """`deployment` in another state; raises :class:`IllegalMove` when the table does not know the way."""
    if (deployment.state, state) not in TRANSITIONS:
        raise IllegalMove(f"deployment {deployment.id}: {deployment.state} -> {state}")
    return _at(
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


def _at(deployment: Deployment, step: Step, now: float, *, due_at: float | None) -> Deployment:
    if step not in STEPS[deployment.state]:
        raise IllegalMove(f"deployment {deployment.id}: no step '{step}' in state {deployment.state}")
    had_candidate = deployment.had_candidate or step is Step.START_CANDIDATE
    return replace(deployment, step=step, step_since=now, due_at=due_at, had_candidate=had_candidate)


@dataclass(frozen=True)
class Scene:
    """What an outcome is judged by, besides the deployment itself."""

    now: float
    patience: Patience
    #: The good deployment of the same preview that is behind the address, if there is one.
    serving: Deployment | None = None
    #: An older deployment of the same preview is being tried at the address just now.
    address_busy: bool = False


def _later(deployment: Deployment, scene: Scene) -> Deployment:
    """Look again after a pause that grows with the time spent: early polls are quick, late ones rare."""
    patience = scene.patience
    pause = min(
        max((scene.now - deployment.step_since) * 0.1, patience.poll_min_seconds), patience.poll_max_seconds
    )
    return replace(deployment, due_at=scene.now + pause, attempts=0)


def backoff_seconds(attempts: int) -> float:
    """The pause before try number `attempts` + 1 of a step that the other side could not serve."""
    return min(0.5 * 2.0 ** min(attempts, 8), 60.0)


def _fail(deployment: Deployment, failure: Failure, scene: Scene) -> Deployment:
    """End in failure, or first put the good image back where this one is already behind the address."""
    deployment = replace(deployment, failure=deployment.failure or failure)
    if (
        scene.serving is not None
        and deployment.step in _AT_THE_ADDRESS
        and deployment.step is not Step.ROLL_BACK
    ):
        return _at(replace(deployment, attempts=0), Step.ROLL_BACK, scene.now, due_at=scene.now)
    return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)


# --- decisions that come from outside -----------------------------------------------------------------


def assign(deployment: Deployment, *, account_id: int, fence: int, now: float) -> Deployment:
    """The scheduler gave it an account under the lease numbered `fence`: the build may start."""
    leased = replace(deployment, account_id=account_id, fence=fence)
    return moved(leased, State.BUILDING, Step.START_BUILD, now, due_at=now)


def approve(deployment: Deployment, now: float) -> Deployment:
    """Somebody with the right to do so approved this commit."""
    return _at(deployment, Step.AWAIT_SLOT, now, due_at=None)


def unsure(deployment: Deployment, now: float, *, seconds: float = 30.0) -> Deployment:
    """A build may have been asked for without an answer: for `seconds` it may still appear."""
    return replace(deployment, unsure_until=now + seconds)


def end(deployment: Deployment, state: State, now: float) -> Deployment:
    """Superseded, cancelled or stopped, from wherever it is; what it started is removed by a last step."""
    leftovers = deployment.step is Step.TIDY or deployment.state not in {State.QUEUED, State.LIVE}
    return moved(
        deployment, state, Step.TIDY if leftovers else Step.NONE, now, due_at=now if leftovers else None
    )


def stop(deployment: Deployment, now: float) -> Deployment:
    """Stopped if it was live, cancelled if it was on the way, itself if it had ended."""
    if deployment.state is State.LIVE:
        return end(deployment, State.STOPPED, now)
    return end(deployment, State.CANCELLED, now) if deployment.is_pending else deployment


# --- what an outcome makes of a deployment ------------------------------------------------------------


def apply(deployment: Deployment, outcome: out.Outcome, scene: Scene) -> Deployment:
    """The deployment after `outcome`, which a worker brought back from the deployment's step.

    Raises :class:`IllegalMove` when the outcome does not belong to the step.
    """
    if deployment.step not in _BRINGS.get(type(outcome), _TAKEN):
        raise IllegalMove(f"deployment {deployment.id}: {outcome} does not come from '{deployment.step}'")
    if deployment.attempts > _OUTAGE_ATTEMPTS and not isinstance(outcome, out.NotNow):
        # Toolforge is back: the time it was away is not held against the commit.
        deployment = replace(deployment, step_since=scene.now)
    return _apply(outcome, deployment, scene)


#: More failures in a row than this are an outage.
_OUTAGE_ATTEMPTS = 4
#: Steps that a worker takes; any of them can find Toolforge away or the account unusable.
_TAKEN = frozenset(Step) - {Step.AWAIT_APPROVAL, Step.AWAIT_SLOT, Step.NONE}
#: Which steps bring which outcome back.
_BRINGS: Mapping[type, frozenset[Step]] = {
    out.BuildStarted: frozenset({Step.START_BUILD}),
    out.WrongCommit: frozenset({Step.START_BUILD}),
    out.BuildAwaited: frozenset({Step.START_BUILD}),
    out.BuildGoesOn: frozenset({Step.WATCH_BUILD}),
    out.BuildVanished: frozenset({Step.WATCH_BUILD}),
    out.BuildSucceeded: frozenset({Step.WATCH_BUILD}),
    out.StageFailed: _TAKEN - {Step.CHECK, Step.ROLL_BACK, Step.TIDY},
    out.JobStarted: frozenset({Step.START_CANDIDATE, Step.PUBLISH}),
    out.JobNotReady: frozenset({Step.WATCH_CANDIDATE, Step.WATCH_JOB}),
    out.JobReady: frozenset({Step.WATCH_CANDIDATE, Step.WATCH_JOB}),
    out.JobVanished: frozenset({Step.WATCH_CANDIDATE, Step.WATCH_JOB}),
    out.ChecksDone: frozenset({Step.CHECK}),
    out.RolledBack: frozenset({Step.ROLL_BACK}),
    out.Tidied: frozenset({Step.TIDY}),
    out.TidyGoesOn: frozenset({Step.TIDY}),
}


@singledispatch
def _apply(outcome: object, deployment: Deployment, scene: Scene) -> Deployment:
    raise IllegalMove(f"deployment {deployment.id}: unknown outcome {outcome!r}")


@_apply.register
def _(outcome: out.BuildStarted, deployment: Deployment, scene: Scene) -> Deployment:
    started = replace(deployment, build_id=outcome.build_id, unsure_until=None, attempts=0)
    return _at(started, Step.WATCH_BUILD, scene.now, due_at=scene.now + scene.patience.poll_min_seconds)


@_apply.register
def _(outcome: out.BuildAwaited, deployment: Deployment, scene: Scene) -> Deployment:
    if deployment.unsure_until is None:
        deployment = unsure(deployment, scene.now, seconds=outcome.seconds)
    return replace(deployment, due_at=scene.now + 1.0)


@_apply.register
def _(outcome: out.BuildGoesOn, deployment: Deployment, scene: Scene) -> Deployment:
    if _is_over(deployment, scene, scene.patience.build_seconds):
        return _fail(deployment, _build_took_too_long(scene.patience), scene)
    return _later(deployment, scene)


@_apply.register
def _(outcome: out.BuildVanished, deployment: Deployment, scene: Scene) -> Deployment:
    if _is_over(deployment, scene, scene.patience.build_seconds):
        return _fail(deployment, _build_took_too_long(scene.patience), scene)
    return replace(deployment, step=Step.START_BUILD, build_id=None, due_at=scene.now)


@_apply.register
def _(outcome: out.BuildSucceeded, deployment: Deployment, scene: Scene) -> Deployment:
    built = replace(deployment, image=outcome.image)
    beside = scene.serving is not None or scene.address_busy
    step = Step.START_CANDIDATE if beside else Step.PUBLISH
    return moved(built, State.STARTING, step, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.StageFailed, deployment: Deployment, scene: Scene) -> Deployment:
    return _fail(deployment, outcome.failure, scene)


@_apply.register
def _(outcome: out.WrongCommit, deployment: Deployment, scene: Scene) -> Deployment:
    return end(replace(deployment, build_id=outcome.build_id), State.SUPERSEDED, scene.now)


@_apply.register
def _(outcome: out.JobStarted, deployment: Deployment, scene: Scene) -> Deployment:
    step = Step.WATCH_CANDIDATE if deployment.step is Step.START_CANDIDATE else Step.WATCH_JOB
    started = replace(deployment, ready_since=None, attempts=0)
    return _at(started, step, scene.now, due_at=scene.now + scene.patience.poll_min_seconds)


@_apply.register
def _(outcome: out.JobNotReady, deployment: Deployment, scene: Scene) -> Deployment:
    if not _is_over(deployment, scene, scene.patience.start_seconds):
        return _later(replace(deployment, ready_since=None), scene)
    return _fail(deployment, _job_was_not_ready(scene.patience, outcome.reason, outcome.excerpt), scene)


@_apply.register
def _(outcome: out.JobVanished, deployment: Deployment, scene: Scene) -> Deployment:
    if _is_over(deployment, scene, scene.patience.start_seconds):
        return _fail(deployment, _job_was_not_ready(scene.patience, "it vanished", ""), scene)
    again = Step.START_CANDIDATE if deployment.step is Step.WATCH_CANDIDATE else Step.PUBLISH
    return replace(deployment, step=again, ready_since=None, due_at=scene.now)


@_apply.register
def _(outcome: out.JobReady, deployment: Deployment, scene: Scene) -> Deployment:
    ready_since = scene.now if deployment.ready_since is None else deployment.ready_since
    remaining = ready_since + scene.patience.stable_seconds - scene.now
    if remaining > 0:
        pause = min(remaining, max(scene.patience.stable_seconds / 3, 0.05))
        return replace(deployment, ready_since=ready_since, due_at=scene.now + pause, attempts=0)
    if deployment.step is Step.WATCH_CANDIDATE:
        if scene.address_busy:
            return _later(replace(deployment, ready_since=ready_since), scene)
        return _at(replace(deployment, ready_since=None), Step.PUBLISH, scene.now, due_at=scene.now)
    return moved(deployment, State.CHECKING, Step.CHECK, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.ChecksDone, deployment: Deployment, scene: Scene) -> Deployment:
    checked = replace(deployment, checks=outcome.results, attempts=0)
    bad = [result for result in outcome.results if not result.passed]
    if not bad:
        if checked.had_candidate:
            return moved(checked, State.LIVE, Step.TIDY, scene.now, due_at=scene.now)
        return moved(checked, State.LIVE, Step.NONE, scene.now, due_at=None)
    if not _is_over(deployment, scene, scene.patience.check_seconds):
        return _later(checked, scene)
    failure = Failure(
        stage="check",
        summary="; ".join(f"{result.name}: {result.message}" for result in bad),
        remedy="Run the same commit on a machine of yours and open the path of the check; the log says more.",
        excerpt=outcome.excerpt,
    )
    return _fail(checked, failure, scene)


@_apply.register
def _(outcome: out.RolledBack, deployment: Deployment, scene: Scene) -> Deployment:
    return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.Tidied, deployment: Deployment, scene: Scene) -> Deployment:
    return _at(replace(deployment, attempts=0), Step.NONE, scene.now, due_at=None)


@_apply.register
def _(outcome: out.TidyGoesOn, deployment: Deployment, scene: Scene) -> Deployment:
    return _later(deployment, scene)


@_apply.register
def _(outcome: out.NotNow, deployment: Deployment, scene: Scene) -> Deployment:
    if outcome.may_have_happened and deployment.holds_build_slot and deployment.build_id is None:
        deployment = unsure(deployment, scene.now)
    if deployment.is_pending and _is_over(deployment, scene, scene.patience.outage_seconds):
        minutes = round(scene.patience.outage_seconds / 60)
        failure = Failure(
            stage="toolforge",
            summary=f"Toolforge could not be used for {minutes} minutes: {outcome.reason}",
            remedy="This is no fault of the commit. Try again later with `/preview`.",
        )
        if deployment.step is Step.ROLL_BACK:
            # The image that was good cannot be had any more; the caller ends the deployment it belongs to.
            return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)
        return _fail(deployment, failure, scene)
    pause = backoff_seconds(deployment.attempts) if outcome.seconds is None else min(outcome.seconds, 600.0)
    return replace(deployment, due_at=scene.now + pause, attempts=deployment.attempts + 1)


@_apply.register
def _(outcome: out.AccountUnusable, deployment: Deployment, scene: Scene) -> Deployment:
    if not deployment.is_pending:
        return _at(deployment, Step.NONE, scene.now, due_at=None)
    fresh = replace(
        deployment,
        account_id=None,
        fence=None,
        build_id=None,
        image=None,
        had_candidate=False,
        unsure_until=None,
        failure=None,
        checks=(),
    )
    return moved(fresh, State.QUEUED, Step.AWAIT_SLOT, scene.now, due_at=None)


def _is_over(deployment: Deployment, scene: Scene, seconds: float) -> bool:
    return scene.now - deployment.step_since > seconds


def _build_took_too_long(patience: Patience) -> Failure:
    return Failure(
        stage="build",
        summary=f"the build took longer than {round(patience.build_seconds / 60)} minutes and was cancelled",
        remedy="Look for a step that waits or downloads without end, then build it again with `/preview`.",
    )


def _job_was_not_ready(patience: Patience, reason: str, excerpt: str) -> Failure:
    return Failure(
        stage="start",
        summary=f"the job was not ready within {round(patience.start_seconds)} seconds: {reason}",
        remedy="The web process has to listen on 0.0.0.0, on the port in $PORT, soon after its start.",
        excerpt=excerpt,
    )
