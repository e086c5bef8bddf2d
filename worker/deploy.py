"""The steps of a job: try the image beside the running one, publish it, watch it, put the good one back."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import outcome as out
from orchestrator.belongings import ADDRESS_ENVVAR, PUBLISHED_JOB
from orchestrator.diagnosis import NOT_FOUND_CODE, explain_crash, explain_unready
from orchestrator.outcome import Failure, KeptLog, Outcome, toolforge_failed
from orchestrator.pool import Account
from orchestrator.preview import State
from orchestrator.repoconfig import FILE_NAME, RepoConfig, restored
from orchestrator.settings import Settings
from orchestrator.toolforge import AccountClient, BadRequest, Gone, Job, JobSpec, ToolforgeError
from worker.step import Site, kept

_LOG_LINES = 500
#: An account of which it is not known what operators have set in it is looked at soon.
_LOOK_SECONDS = 5.0
#: Toolforge gathers the logs of jobs with some delay.
_LOG_LAG_SECONDS = 15.0
#: jobs-api's first words about a job whose process was not even begun.
_NOT_BEGUN = ("scheduling", "initializing", "Unable to start, out of quota", "Failed retrieving status")


def start_candidate(site: Site) -> Outcome:
    """Run the image as an unpublished job beside the published one."""
    return _put(site, site.deployment.candidate_name, publish=False)


def publish(site: Site) -> Outcome:
    """Put the image behind the account's address."""
    return _put(site, PUBLISHED_JOB, publish=True)


def _put(site: Site, name: str, *, publish: bool) -> Outcome:
    assert site.deployment.image is not None
    config = site.config
    if config.run.envvars and site.place.own_envvars is None:
        return out.NotNow("the dev account's own envvars are not known yet", seconds=_LOOK_SECONDS)
    taken = sorted(config.run.envvars.keys() & {*(site.place.own_envvars or ())})
    if taken:
        return out.StageFailed(_is_taken(taken))
    set_envvars(site.account, site.place, site.address, config, site.guard)
    site.guard()
    try:
        site.account.put_job(job_spec(site.settings, config, name, site.deployment.image, publish=publish))
    except BadRequest as error:
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
                summary=f"Toolforge would not start the job: {error}",
                remedy="The words are Toolforge's own; where they name a limit, ask for less.",
            )
        )
    return out.JobStarted()


def _is_taken(names: list[str]) -> Failure:
    return Failure(
        stage="configuration",
        summary=f"{FILE_NAME}: run.envvars: operators have set {', '.join(names)} in the dev account",
        remedy="Take it out of the file, or ask the operators of the previews what it is set to.",
    )


def set_envvars(
    account: AccountClient, place: Account, address: str, config: RepoConfig, guard: Callable[[], None]
) -> None:
    """Give the account's jobs the envvars of `config`, and those only; they see them at their next start.

    Among them is where they are served. What operators have set themselves stays as it is.
    """
    own = {*(place.own_envvars or ())}
    wanted = {name: value for name, value in config.run.envvars.items() if name not in own}
    for name in sorted(place.our_envvars - wanted.keys()):
        guard()
        account.delete_envvar(name)
    for name, value in {**wanted, ADDRESS_ENVVAR: address}.items():
        guard()
        account.set_envvar(name, value)


def job_spec(settings: Settings, config: RepoConfig, name: str, image: str, *, publish: bool) -> JobSpec:
    """A job as previews have it, with what the repository asks for."""
    cpu = config.run.cpu
    return JobSpec(
        name=name,
        image=image,
        command=config.command or settings.job_command,
        port=settings.job_port,
        publish=publish,
        health_path=config.health,
        memory=config.run.memory,
        cpu=None if cpu is None else str(cpu),
    )


def watch_candidate(site: Site) -> Outcome:
    """See whether the candidate is ready."""
    return _watch(site, site.deployment.candidate_name)


def watch_job(site: Site) -> Outcome:
    """See whether the published job is ready."""
    return _watch(site, PUBLISHED_JOB)


def _watch(site: Site, name: str) -> Outcome:
    try:
        job = site.account.job(name)
    except Gone:
        return out.JobVanished()
    if job.has_crashed and not job.is_ready:
        return _crashed(site, job)
    if job.is_ready:
        return out.JobReady()
    is_late = site.now - site.deployment.step_since > site.settings.start_seconds
    has_begun = not job.reason.startswith(_NOT_BEGUN)
    return _late(site, job) if is_late and has_begun else out.JobNotReady(job.reason, has_begun=has_begun)


def _late(site: Site, job: Job) -> Outcome:
    log = job_log(site, job.name)
    failure = explain_unready(
        log.text,
        job.reason,
        health=site.config.health,
        port=site.settings.job_port,
        seconds=site.settings.start_seconds,
    )
    return out.JobNotReady(job.reason, failure, log)


def _crashed(site: Site, job: Job) -> Outcome:
    lines = _log(site, job.name)
    if not lines and site.now - site.deployment.step_since < _LOG_LAG_SECONDS:
        return out.JobNotReady(f"{job.reason}; its log has not arrived yet")
    log = kept(lines, site.settings.log_limit_bytes)
    command = site.config.command or site.settings.job_command
    commits = site.procfile() if job.exit_code == NOT_FOUND_CODE else None
    failure = explain_crash(log.text, job.exit_code, command, job.reason, commits_procfile=commits)
    return out.StageFailed(failure, log)


def _log(site: Site, name: str) -> list[str]:
    """The newest lines of a job's log; none when they cannot be had. The verdict does not depend on them."""
    try:
        return site.account.job_log(name, lines=_LOG_LINES)
    except ToolforgeError:
        return []


def job_log(site: Site, name: str = PUBLISHED_JOB) -> KeptLog:
    """The end of a job's log; empty when it cannot be had."""
    return kept(_log(site, name), site.settings.log_limit_bytes)


def roll_back(site: Site) -> Outcome:
    """Put the good image behind the address again; with none left there is nothing to put back."""
    if site.serving is None or site.serving.image is None:
        return out.RolledBack()
    good = restored(site.serving.config)
    set_envvars(site.account, site.place, site.address, good, site.guard)
    site.guard()
    site.account.put_job(job_spec(site.settings, good, PUBLISHED_JOB, site.serving.image, publish=True))
    return out.RolledBack()


def restore_envvars(site: Site) -> None:
    """Give the good deployment, whose job may be restarted any time, back what a candidate had instead."""
    is_changed = site.deployment.had_candidate and bool(site.place.our_envvars)
    if is_changed and site.serving is not None and not site.address_busy:
        good = restored(site.serving.config)
        set_envvars(site.account, site.place, site.address, good, site.guard)


def remove_jobs(site: Site) -> None:
    """Delete the candidate, and the published job when it is this deployment's and nobody else's."""
    entered = site.deployment.entered or {}
    if State.STARTING not in entered:
        return
    jobs = {job.name for job in site.account.jobs()}
    unwanted = {site.deployment.candidate_name} if site.deployment.had_candidate else set()
    is_alone = site.serving is None and not site.address_busy
    if site.deployment.check_only or (site.deployment.state is State.FAILED and is_alone):
        # One that shares its account was begun only when it had the address for itself.
        unwanted.add(PUBLISHED_JOB)
    for name in sorted(unwanted & jobs):
        site.guard()
        site.account.delete_job(name)
