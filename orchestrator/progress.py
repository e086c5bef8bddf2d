"""What an outcome makes of a deployment: its next state and step, and when to look again.

Pure: no I/O and no clock of its own. A worker takes one step and brings back an outcome (see
``outcome.py``); :func:`apply` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch

from orchestrator import opinion
from orchestrator import outcome as out
from orchestrator.diagnosis import explain_check, explain_unready
from orchestrator.errors import IllegalMove
from orchestrator.jobs import to_build
from orchestrator.outcome import AWAY, Failure, Opinion, Retry, Says, toolforge_failed
from orchestrator.preview import (
    AT_THE_ADDRESS,
    OPINION_STEPS,
    Deployment,
    State,
    Step,
    at_step,
    end,
    moved,
    unsure,
    without_opinion,
)


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
    #: A build is noticed to have ended half of this too late, and its slot is idle for so long.
    poll_max_seconds: float = 4.0


@dataclass(frozen=True)
class Scene:
    """What an outcome is judged by, besides the deployment itself."""

    now: float
    patience: Patience
    #: The good deployment of the same preview that is behind the address, if there is one.
    serving: Deployment | None = None
    #: An older deployment of the same preview is being tried at the address just now.
    address_busy: bool = False
    #: Operators have frozen the builds, as for a maintenance: what Toolforge cannot do has to wait.
    frozen: bool = False
    #: A build slot is free, nobody waits for one, and a build that has failed may be tried in another way.
    has_time_to_spare: bool = False
    #: What is lacking to the build that has failed, where its project waits for that.
    awaited: Failure | None = None


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
    if deployment.state is State.QUEUED:
        return moved(deployment, State.FAILED, Step.NONE, scene.now, due_at=None)
    if (
        scene.serving is not None
        and deployment.step in AT_THE_ADDRESS
        and deployment.step is not Step.ROLL_BACK
    ):
        return at_step(replace(deployment, attempts=0), Step.ROLL_BACK, scene.now, due_at=scene.now)
    return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)


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


#: After a build that Toolforge failed, it has so long to recover.
_RETRY_SECONDS = 15.0
#: More failures in a row than this are an outage.
_OUTAGE_ATTEMPTS = 4
#: Steps that a worker takes; any of them can find Toolforge away or the account unusable.
_TAKEN = frozenset(Step) - {Step.AWAIT_APPROVAL, Step.AWAIT_VERSION, Step.AWAIT_SLOT, Step.NONE}
#: Which steps bring which outcome back.
_BRINGS: Mapping[type, frozenset[Step]] = {
    out.FileRead: frozenset({Step.READ_FILE}),
    out.DoesNotApply: frozenset({Step.READ_FILE}),
    out.BuildStarted: frozenset({Step.START_BUILD}),
    out.BuildReused: frozenset({Step.START_BUILD}),
    out.WrongCommit: frozenset({Step.START_BUILD}),
    out.BuildAwaited: frozenset({Step.START_BUILD, Step.START_OPINION}),
    out.BuildGoesOn: frozenset({Step.WATCH_BUILD}),
    out.BuildVanished: frozenset({Step.WATCH_BUILD}),
    out.BuildSucceeded: frozenset({Step.WATCH_BUILD}),
    out.StageFailed: _TAKEN - {Step.CHECK, Step.ROLL_BACK, Step.TIDY, *OPINION_STEPS},
    out.OpinionStarted: frozenset({Step.START_OPINION}),
    out.OpinionGoesOn: frozenset({Step.WATCH_OPINION}),
    out.OpinionGiven: frozenset({Step.WATCH_OPINION}),
    out.OpinionDropped: OPINION_STEPS,
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
def _(outcome: out.FileRead, deployment: Deployment, scene: Scene) -> Deployment:
    read = replace(deployment, config=outcome.config, pins=outcome.pins, change=outcome.change, attempts=0)
    return at_step(read, Step.AWAIT_SLOT, scene.now, due_at=None)


@_apply.register
def _(outcome: out.DoesNotApply, deployment: Deployment, scene: Scene) -> Deployment:
    refused = replace(deployment, refusal=outcome.refusal)
    return moved(refused, State.REFUSED, Step.NONE, scene.now, due_at=None)


@_apply.register
def _(outcome: out.BuildStarted, deployment: Deployment, scene: Scene) -> Deployment:
    tree = outcome.tree or deployment.tree
    built = replace(deployment, tree=tree, merged_sha=outcome.merged_sha or deployment.merged_sha)
    started = replace(built, build_id=outcome.build_id, unsure_until=None, attempts=0)
    return at_step(started, Step.WATCH_BUILD, scene.now, due_at=scene.now + scene.patience.poll_min_seconds)


@_apply.register
def _(outcome: out.BuildAwaited, deployment: Deployment, scene: Scene) -> Deployment:
    if deployment.unsure_until is None:
        deployment = unsure(deployment, scene.now, seconds=outcome.seconds)
    return replace(deployment, due_at=scene.now + 1.0)


@_apply.register
def _(outcome: out.BuildGoesOn, deployment: Deployment, scene: Scene) -> Deployment:
    waits_it_out = scene.frozen and not outcome.has_begun
    if waits_it_out or not _is_over(deployment, scene, scene.patience.build_seconds):
        return _later(deployment, scene)
    if not outcome.has_begun:
        failure = toolforge_failed(
            f"Toolforge did not begin the build within {_minutes(scene.patience.build_seconds)}"
        )
        return _fail(deployment, failure, scene)
    return _fail(deployment, _build_took_too_long(scene.patience), scene)


@_apply.register
def _(outcome: out.BuildVanished, deployment: Deployment, scene: Scene) -> Deployment:
    # A build that is started anew has its own time: what counts is how long it has gone on in all.
    if scene.now - deployment.since > scene.patience.build_seconds:
        return _fail(deployment, toolforge_failed("Toolforge lost the build again and again"), scene)
    return _later(replace(deployment, step=Step.START_BUILD, build_id=None), scene)


@_apply.register
def _(outcome: out.BuildSucceeded, deployment: Deployment, scene: Scene) -> Deployment:
    return _built(_with_image(deployment, outcome.image), scene)


@_apply.register
def _(outcome: out.BuildReused, deployment: Deployment, scene: Scene) -> Deployment:
    built = _with_image(deployment, outcome.image)
    if deployment.image is None:
        built = replace(built, tree=outcome.tree, merged_sha=outcome.merged_sha)
    return _built(replace(built, unsure_until=None), scene)


def _with_image(deployment: Deployment, image: str) -> Deployment:
    """The image of the commit comes first, then those of its components one by one."""
    if deployment.image is None:
        return replace(deployment, image=image)
    wanted = to_build(deployment)
    assert wanted is not None, "what is built is what was to be built"
    return replace(deployment, images={**(deployment.images or {}), wanted[0]: image})


def _built(built: Deployment, scene: Scene) -> Deployment:
    if to_build(built) is not None:
        again = replace(built, build_id=None, attempts=0)
        return at_step(again, Step.START_BUILD, scene.now, due_at=scene.now)
    if built.is_probe:
        return moved(built, State.STOPPED, Step.TIDY, scene.now, due_at=scene.now)
    if built.check_only:
        return at_step(replace(built, attempts=0), Step.AWAIT_PLACE, scene.now, due_at=None)
    beside = built.is_spare or scene.serving is not None or scene.address_busy
    step = Step.START_CANDIDATE if beside else Step.PUBLISH
    return moved(built, State.STARTING, step, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.StageFailed, deployment: Deployment, scene: Scene) -> Deployment:
    failure = outcome.failure
    if deployment.step is not Step.WATCH_BUILD or failure.stage != "toolforge" or deployment.build_id is None:
        deployment = replace(deployment, pins=outcome.refused or deployment.pins)
        if scene.awaited is not None:
            blocked = replace(deployment, failure=scene.awaited)
            failed = moved(blocked, State.BLOCKED, Step.TIDY, scene.now, due_at=scene.now)
        else:
            failed = _fail(deployment, failure, scene)
        return _asked_elsewhere(failed, failure, scene) if deployment.step is Step.WATCH_BUILD else failed
    if deployment.retry is not None:
        return _fail(deployment, replace(failure, remedy=f"{failure.remedy} It was tried twice."), scene)
    again = replace(deployment, build_id=None, retry=Retry(deployment.build_id, failure.summary), attempts=0)
    return at_step(again, Step.START_BUILD, scene.now, due_at=scene.now + _RETRY_SECONDS)


@_apply.register
def _(outcome: out.WrongCommit, deployment: Deployment, scene: Scene) -> Deployment:
    return end(replace(deployment, build_id=outcome.build_id), State.SUPERSEDED, scene.now)


def _asked_elsewhere(failed: Deployment, failure: Failure, scene: Scene) -> Deployment:
    """What has failed, with a second opinion to be had of it where that is of use and costs nobody anything.

    Images cannot be deleted one by one: beside one that is up, the one that is made for the opinion would
    stay, and could leave no room for the next commit.
    """
    is_alone = scene.serving is None and not scene.address_busy
    if not (scene.has_time_to_spare and is_alone and opinion.is_wanted(failed, failure)):
        return failed
    return at_step(replace(failed, opinion=Opinion()), Step.START_OPINION, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.OpinionStarted, deployment: Deployment, scene: Scene) -> Deployment:
    asked = replace(deployment, opinion=Opinion(outcome.build_id), unsure_until=None, attempts=0)
    return at_step(asked, Step.WATCH_OPINION, scene.now, due_at=scene.now + scene.patience.poll_min_seconds)


@_apply.register
def _(outcome: out.OpinionGoesOn, deployment: Deployment, scene: Scene) -> Deployment:
    if _is_over(deployment, scene, scene.patience.build_seconds):
        return without_opinion(deployment, scene.now)
    return _later(deployment, scene)


@_apply.register
def _(outcome: out.OpinionGiven, deployment: Deployment, scene: Scene) -> Deployment:
    why = outcome.failure.summary if outcome.failure and outcome.says is Says.FAILS else ""
    given = replace(deployment.opinion or Opinion(), says=outcome.says, why=why)
    return at_step(replace(deployment, opinion=given, attempts=0), Step.TIDY, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.OpinionDropped, deployment: Deployment, scene: Scene) -> Deployment:
    if outcome.may_have_happened:
        deployment = unsure(deployment, scene.now)
    return without_opinion(deployment, scene.now)


@_apply.register
def _(outcome: out.JobStarted, deployment: Deployment, scene: Scene) -> Deployment:
    step = Step.WATCH_CANDIDATE if deployment.step is Step.START_CANDIDATE else Step.WATCH_JOB
    started = replace(deployment, ready_since=None, attempts=0)
    return at_step(started, step, scene.now, due_at=scene.now + scene.patience.poll_min_seconds)


@_apply.register
def _(outcome: out.JobNotReady, deployment: Deployment, scene: Scene) -> Deployment:
    waits_it_out = scene.frozen and not outcome.has_begun
    if waits_it_out or not _is_over(deployment, scene, scene.patience.start_seconds):
        return _later(replace(deployment, ready_since=None), scene)
    if not outcome.has_begun:
        return _fail(
            deployment, toolforge_failed(f"Toolforge did not start the job: {outcome.reason}"), scene
        )
    failure = outcome.failure or explain_unready("", outcome.reason, seconds=scene.patience.start_seconds)
    return _fail(deployment, failure, scene)


@_apply.register
def _(outcome: out.JobVanished, deployment: Deployment, scene: Scene) -> Deployment:
    if scene.now - deployment.since > scene.patience.start_seconds:
        return _fail(deployment, toolforge_failed("Toolforge lost the job again and again"), scene)
    again = Step.START_CANDIDATE if deployment.step is Step.WATCH_CANDIDATE else Step.PUBLISH
    return _later(replace(deployment, step=again, ready_since=None), scene)


@_apply.register
def _(outcome: out.JobReady, deployment: Deployment, scene: Scene) -> Deployment:
    ready_since = scene.now if deployment.ready_since is None else deployment.ready_since
    remaining = ready_since + scene.patience.stable_seconds - scene.now
    if remaining > 0:
        pause = min(remaining, max(scene.patience.stable_seconds / 3, 0.05))
        return replace(deployment, ready_since=ready_since, due_at=scene.now + pause, attempts=0)
    if deployment.is_spare:
        return moved(deployment, State.STOPPED, Step.TIDY, scene.now, due_at=scene.now)
    if deployment.step is Step.WATCH_CANDIDATE:
        if scene.address_busy:
            return _later(replace(deployment, ready_since=ready_since), scene)
        return at_step(replace(deployment, ready_since=None), Step.PUBLISH, scene.now, due_at=scene.now)
    return moved(deployment, State.CHECKING, Step.CHECK, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.ChecksDone, deployment: Deployment, scene: Scene) -> Deployment:
    checked = replace(deployment, checks=outcome.results, attempts=0)
    bad = [result for result in outcome.results if not result.passed]
    if not bad:
        if checked.check_only:
            return moved(checked, State.STOPPED, Step.TIDY, scene.now, due_at=scene.now)
        if checked.had_candidate:
            return moved(checked, State.LIVE, Step.TIDY, scene.now, due_at=scene.now)
        return moved(checked, State.LIVE, Step.NONE, scene.now, due_at=None)
    is_given_up = any(result.is_last for result in bad)
    if not is_given_up and not _is_over(deployment, scene, scene.patience.check_seconds):
        return _later(checked, scene)
    return _fail(checked, outcome.failure or explain_check("", outcome.answers), scene)


@_apply.register
def _(outcome: out.RolledBack, deployment: Deployment, scene: Scene) -> Deployment:
    return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)


@_apply.register
def _(outcome: out.Tidied, deployment: Deployment, scene: Scene) -> Deployment:
    return _at_rest(replace(deployment, attempts=0), scene)


@_apply.register
def _(outcome: out.TidyGoesOn, deployment: Deployment, scene: Scene) -> Deployment:
    return _later(deployment, scene)


@_apply.register
def _(outcome: out.NotNow, deployment: Deployment, scene: Scene) -> Deployment:
    if deployment.step in OPINION_STEPS:
        # It is a courtesy: nothing is waited for, or tried twice, to have it.
        dropped = out.OpinionDropped(outcome.reason, may_have_happened=outcome.may_have_happened)
        return _apply(dropped, deployment, scene)
    if outcome.may_have_happened and deployment.holds_build_slot and deployment.build_id is None:
        deployment = unsure(deployment, scene.now)
    # Nobody waits for a probe: it does not bother a Toolforge that is in trouble.
    is_enough = deployment.is_probe and deployment.attempts >= _OUTAGE_ATTEMPTS
    is_over = is_enough or _is_over(deployment, scene, scene.patience.outage_seconds)
    is_given_up = is_over and not scene.frozen
    if deployment.is_pending and deployment.state is not State.BLOCKED and is_given_up:
        failure = _was_away(deployment, scene.patience, outcome.reason)
        if deployment.step is Step.ROLL_BACK:
            # The image that was good cannot be had any more; the caller ends the deployment it belongs to.
            return moved(deployment, State.FAILED, Step.TIDY, scene.now, due_at=scene.now)
        return _fail(deployment, failure, scene)
    pause = backoff_seconds(deployment.attempts) if outcome.seconds is None else min(outcome.seconds, 600.0)
    return replace(deployment, due_at=scene.now + pause, attempts=deployment.attempts + 1)


@_apply.register
def _(outcome: out.AccountUnusable, deployment: Deployment, scene: Scene) -> Deployment:
    if not deployment.is_pending or deployment.state is State.BLOCKED:
        return _at_rest(deployment, scene)
    fresh = replace(
        deployment,
        account_id=None,
        fence=None,
        build_id=None,
        image=None,
        images=None,
        merged_sha=None,
        had_candidate=False,
        reserved_bytes=None,
        unsure_until=None,
        failure=None,
        checks=(),
    )
    return moved(fresh, State.QUEUED, Step.AWAIT_SLOT, scene.now, due_at=None)


def _at_rest(deployment: Deployment, scene: Scene) -> Deployment:
    """Nothing of it is left, or can be reached."""
    step = Step.AWAIT_VERSION if deployment.state is State.BLOCKED else Step.NONE
    return at_step(deployment, step, scene.now, due_at=None)


def _is_over(deployment: Deployment, scene: Scene, seconds: float) -> bool:
    return scene.now - deployment.step_since > seconds


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _was_away(deployment: Deployment, patience: Patience, reason: str) -> Failure:
    if deployment.is_probe:
        return toolforge_failed(f"Toolforge could not be used: {reason}")
    lasted = _minutes(patience.outage_seconds)
    if deployment.step is not Step.READ_FILE:
        return toolforge_failed(f"Toolforge could not be used for {lasted}: {reason}")
    return Failure(
        stage="configuration",
        summary=f"GitLab could not be asked for the repository's own file for {lasted}: {reason}",
        remedy="This is no fault of the commit. Try again later with `/preview`.",
        facts={AWAY: "GitLab"},
    )


def _build_took_too_long(patience: Patience) -> Failure:
    return Failure(
        stage="build",
        summary=f"the build took longer than {_minutes(patience.build_seconds)} and was cancelled",
        remedy="Look for a step that waits or downloads without end, then build it again with `/preview`.",
        cause="build-timed-out",
    )
