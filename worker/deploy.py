"""The steps of a deployment's jobs: try the image beside the running one, publish it, watch it, put the good
one back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from orchestrator import outcome as out
from orchestrator.belongings import PUBLISHED_JOB, candidate_id, component_jobs
from orchestrator.diagnosis import NOT_FOUND_CODE, explain_crash, explain_unready
from orchestrator.jobs import Usual, jobs_beside, web_job
from orchestrator.outcome import Failure, KeptLog, Outcome, toolforge_failed
from orchestrator.preview import Deployment, State
from orchestrator.repoconfig import RepoConfig, restored
from orchestrator.settings import Settings
from orchestrator.toolforge import BadRequest, Gone, Job, JobSpec, ToolforgeError
from worker import envvars
from worker.step import Site, kept

_LOG_LINES = 500
_SETTING_TRIES = 2
#: Toolforge gathers the logs of jobs with some delay.
_LOG_LAG_SECONDS = 15.0
#: So far Toolforge's clock and ours may be apart; an account takes longer to change hands.
_SKEW_SECONDS = 10.0
#: jobs-api's first words about a job whose process was not even begun.
_NOT_BEGUN = ("scheduling", "initializing", "Unable to start, out of quota", "Failed retrieving status")


def start_candidate(site: Site) -> Outcome:
    """Run the image as unpublished jobs beside those that run."""
    return _put(site, _candidates(site))


def publish(site: Site) -> Outcome:
    """Put the image behind the account's address, and into all components."""
    outcome = _put(site, [*_beside(site), _web(site, PUBLISHED_JOB, publish=True)])
    if isinstance(outcome, out.JobStarted):
        _delete(site, site.needed_beside - component_jobs(site.deployment))
    return outcome


def _web(site: Site, name: str, *, publish: bool) -> JobSpec:
    assert site.deployment.image is not None
    return web_job(site.config, name, site.deployment.image, usual(site.settings), publish=publish)


def _beside(site: Site) -> list[JobSpec]:
    return jobs_beside(site.deployment)


def _candidates(site: Site) -> list[JobSpec]:
    """What tries the image out; the web part comes last.

    Components of new names begin as what they will be: the candidate may need them by their names. The
    others are tried as copies, so that a bad one is found before it takes the place of a good one.
    """
    name = site.deployment.candidate_name
    new = [job for job in _beside(site) if job.name not in site.needed_beside]
    copies = [
        replace(job, name=f"{name}-{job.name}")
        for job in _beside(site)
        if job.name in site.needed_beside and job.schedule is None
    ]
    return [*new, *copies, _web(site, name, publish=False)]


def usual(settings: Settings) -> Usual:
    """What is run when a repository does not say."""
    return Usual(settings.job_command, settings.job_port)


def _put(site: Site, jobs: Sequence[JobSpec]) -> Outcome:
    if (reason := envvars.why_not(site)) is not None:
        return reason
    try:
        _set_envvars(site, site.config)
    except BadRequest as error:
        if site.deployment.attempts < _SETTING_TRIES:
            # It may have been refused for a reason that passes: that cannot be told from the answer.
            return out.NotNow(str(error), seconds=2.0)
        return out.StageFailed(_envvars_refused(error))
    for job in jobs:
        site.guard()
        try:
            is_changed = site.account.put_job(job)
        except BadRequest as error:
            return _refused(site, job, error)
        if not is_changed and job.schedule is None and site.place.our_envvars:
            # The same image as before: it has the envvars that were set when it was started.
            site.guard()
            site.account.restart_job(job.name)
    return out.JobStarted()


def _refused(site: Site, job: JobSpec, error: BadRequest) -> Outcome:
    if "No such image" in str(error):
        # jobs-api says so, too, when it cannot reach the image registry for a moment.
        return out.NotNow(str(error))
    if "already in use by another public job or webservice" in str(error):
        # Before its lease the account had no job, so it is a webservice, which only people can stop.
        summary = f"the dev account's address is taken: {error}"
        remedy = f"Operators have to run `toolforge webservice stop` as tool `{site.account.tool}`."
        return out.StageFailed(toolforge_failed(summary, remedy))
    return out.StageFailed(
        Failure(
            stage="start",
            summary=f"Toolforge would not start the {_component(site, job.name) or 'job'}: {error}",
            remedy="The words are Toolforge's own; where they name a limit, ask for less.",
        )
    )


def _envvars_refused(error: BadRequest) -> Failure:
    return Failure(
        stage="start",
        summary=f"Toolforge would not set the preview's envvars: {error}",
        remedy="They are those under `run.envvars` in the repository's own file, and the project's secrets. "
        "The words are Toolforge's own; where they name a limit, have fewer, or shorter ones.",
    )


def _component(site: Site, job_name: str) -> str:
    """What the job of a component, or its copy, is called for people; empty for the web part."""
    name = job_name.removeprefix(f"{site.deployment.candidate_name}-")
    return f"component {name}" if name in component_jobs(site.deployment) else ""


def _delete(site: Site, names: Collection[str]) -> None:
    for name in sorted(names):
        site.guard()
        site.account.delete_job(name)


def _set_envvars(site: Site, config: RepoConfig) -> None:
    envvars.set_all(site.account, site.place, site.address, config, site.secrets, site.guard)


def watch_candidate(site: Site) -> Outcome:
    """See whether all that tries the image out is ready."""
    return _watch(site, _candidates(site))


def watch_job(site: Site) -> Outcome:
    """See whether the published job and all components are ready."""
    return _watch(site, [*_beside(site), _web(site, PUBLISHED_JOB, publish=True)])


def _watch(site: Site, specs: Sequence[JobSpec]) -> Outcome:
    """The first of the jobs that is not ready decides."""
    for spec in specs:
        try:
            job = site.account.job(spec.name)
        except Gone:
            return out.JobVanished()
        if spec.schedule is None:
            seen = _seen(site, job, spec)
            if not isinstance(seen, out.JobReady):
                return seen
    return out.JobReady()


def _seen(site: Site, job: Job, spec: JobSpec) -> Outcome:
    """How a continuous job is."""
    component = _component(site, job.name)
    if job.has_crashed and not job.is_ready:
        return _crashed(site, job, spec.command, component)
    if job.is_ready:
        return out.JobReady()
    is_late = site.now - site.deployment.step_since > site.settings.start_seconds
    has_begun = not job.reason.startswith(_NOT_BEGUN)
    if is_late and has_begun:
        return _late(site, job, spec, component)
    reason = f"{component}: {job.reason}" if component else job.reason
    return out.JobNotReady(reason, has_begun=has_begun)


def _late(site: Site, job: Job, spec: JobSpec, component: str) -> Outcome:
    log = job_log(site, job.name)
    failure = explain_unready(
        log.text,
        job.reason,
        health=spec.health_path,
        port=spec.port,
        seconds=site.settings.start_seconds,
    )
    return out.JobNotReady(job.reason, _of(component, failure), log)


def _crashed(site: Site, job: Job, command: str, component: str) -> Outcome:
    lines = _log(site, job.name)
    if not lines and site.now - site.deployment.step_since < _LOG_LAG_SECONDS:
        return out.JobNotReady(f"{job.reason}; its log has not arrived yet")
    log = kept(lines, site.settings.log_limit_bytes)
    commits = site.procfile() if job.exit_code == NOT_FOUND_CODE else None
    failure = explain_crash(log.text, job.exit_code, command, job.reason, commits_procfile=commits)
    return out.StageFailed(_of(component, failure), log)


def _of(component: str, failure: Failure) -> Failure:
    """The failure as that of a component, where it is not that of the web part."""
    if not component:
        return failure
    summary = failure.summary.replace("the web process", "its process")
    return replace(failure, summary=f"{component}: {summary}")


def _log(site: Site, name: str) -> list[str]:
    """The newest lines of a job's log; none when they cannot be had. The verdict does not depend on them.

    Toolforge keeps those of jobs that are gone for an hour, whoever had the account then.
    """
    since = (site.deployment.entered or {}).get(State.STARTING, 0.0) - _SKEW_SECONDS
    try:
        lines = site.account.job_lines(name, lines=_LOG_LINES)
    except ToolforgeError:
        return []
    # What has no moment that can be read is believed to be new.
    return [line.message for line in lines if line.at >= since or line.at == 0.0]


def job_log(site: Site, name: str = PUBLISHED_JOB) -> KeptLog:
    """The end of a job's log; empty when it cannot be had."""
    return kept(_log(site, name), site.settings.log_limit_bytes)


def roll_back(site: Site) -> Outcome:
    """Put the good image behind the address again; with none left there is nothing to put back."""
    good = site.serving
    if good is None or good.image is None:
        return out.RolledBack()
    _set_envvars(site, restored(good.config))
    for job in all_jobs(site.settings, good):
        site.guard()
        site.account.put_job(job)
    _delete(site, component_jobs(site.deployment) - component_jobs(good))
    return out.RolledBack()


def all_jobs(settings: Settings, deployment: Deployment) -> list[JobSpec]:
    """The jobs of a deployment at the address; the published one comes last, when what it needs is there."""
    assert deployment.image is not None
    config = restored(deployment.config)
    published = web_job(config, PUBLISHED_JOB, deployment.image, usual(settings), publish=True)
    return [*jobs_beside(deployment), published]


def restore_envvars(site: Site) -> None:
    """Give the good deployment, whose job may be restarted any time, back what a candidate had instead."""
    is_changed = site.deployment.had_candidate and bool(site.place.our_envvars)
    if is_changed and site.serving is not None and not site.address_busy:
        _set_envvars(site, restored(site.serving.config))


def remove_jobs(site: Site) -> None:
    """Delete the candidates, and what else is this deployment's and nobody else's."""
    deployment = site.deployment
    if State.STARTING not in (deployment.entered or {}):
        return
    there = {job.name for job in site.account.jobs()}
    own = component_jobs(deployment) - site.needed_beside
    unwanted = {name for name in there if candidate_id(name) == deployment.id}
    if deployment.had_candidate and deployment.state is not State.LIVE:
        unwanted |= own
    is_alone = site.serving is None and not site.address_busy
    if deployment.check_only or (deployment.state is State.FAILED and is_alone):
        # One that shares its account was begun only when it had the address for itself.
        unwanted |= {PUBLISHED_JOB, *own}
    _delete(site, unwanted & there)
