"""A tool of several parts: each component is a job of the account, from its start to its cleaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import outcome as out
from orchestrator.belongings import PUBLISHED_JOB, component_jobs
from orchestrator.preview import Deployment, State, Step
from orchestrator.toolforge import AccountClient
from tests.worker.scene import CRASHING, Service, Workshop, a_site, built, job_named, sort, until
from tests.worker.test_janitor import inspected, live, told
from worker import deploy, teardown


def parts(**components: Mapping[str, Any]) -> dict[str, object]:
    """What a repository asks for: a web part, and what else is named."""
    web = {"run": {"command": "serve", "port": 8080, "publish": "/"}}
    reuses = {"build": {"reuse_from": "web"}}
    others = {name: reuses | {"run": {"command": name, **run}} for name, run in components.items()}
    return {"components": {"web": web, **others}}


def specs(workshop: Workshop) -> dict[str, dict[str, Any]]:
    """What jobs-api knows of each job, by its name."""
    jobs = workshop.toolforge.state()["tools"][workshop.tool]["jobs"]
    return {job["name"]: job["spec"] for job in jobs}


def digest(image: str | None) -> str:
    return str(image).rpartition("@")[2]


def images(workshop: Workshop) -> dict[str, str]:
    """The digest of the image that each job runs."""
    return {name: digest(image) for name, image in workshop.images().items()}


def beside(deployment: Deployment) -> frozenset[str]:
    return component_jobs(deployment)


def test_each_component_is_a_job_as_the_file_says(workshop: Workshop, account: AccountClient) -> None:
    config = parts(
        redis={"port": 6379, "memory": "1Gi", "replicas": 2},
        worker={"health_check_script": "test -e alive", "cpu": "500m"},
        nightly={"schedule": "@daily", "timeout": 60, "retry": 1},
    )
    deployment = built(account, config=config)
    assert deploy.publish(a_site(account, deployment)) == out.JobStarted()
    jobs = specs(workshop)
    assert set(jobs) == {PUBLISHED_JOB, "redis", "worker", "nightly"}
    assert {digest(job["imagename"]) for job in jobs.values()} == {digest(deployment.image)}
    assert {job["mount"] for job in jobs.values()} == {"none"}
    assert [name for name, job in jobs.items() if job.get("publish")] == [PUBLISHED_JOB]
    assert (jobs[PUBLISHED_JOB]["cmd"].removeprefix("launcher "), jobs[PUBLISHED_JOB]["port"]) == (
        "serve",
        8080,
    )
    assert (jobs["redis"]["port"], jobs["redis"]["memory"], jobs["redis"]["replicas"]) == (6379, "1Gi", 2)
    assert jobs["worker"]["health_check"] == {"type": "script", "script": "test -e alive"}
    assert (jobs["worker"].get("port"), jobs["worker"]["cpu"]) == (None, "500m")
    nightly = jobs["nightly"]
    assert (nightly["job_type"], nightly["schedule"], nightly["timeout"], nightly["retry"]) == (
        "scheduled",
        "@daily",
        60,
        1,
    )
    until(lambda: deploy.watch_job(a_site(account, deployment)) == out.JobReady())


def test_the_newest_builder_is_asked_for(workshop: Workshop, account: AccountClient) -> None:
    config = parts()
    config["components"]["web"]["build"] = {"use_latest_versions": True}  # type: ignore[index]
    built(account, config=config)
    built(account, config=parts())
    newest, other = workshop.toolforge.state()["tools"][workshop.tool]["builds"][-2:]
    assert [bool(one["use_latest_versions"]) for one in (newest, other)] == [True, False]


def test_a_component_that_crashes_is_the_cause(account: AccountClient) -> None:
    deployment = built(account, config=parts(crashing={}))
    site = a_site(account, deployment)
    deploy.publish(site)
    failed = until(lambda: isinstance(o := deploy.watch_job(site), out.StageFailed) and o)
    assert failed.failure.summary == "the component crashing exited right after its start (exit code 4)"
    assert "no broker" in failed.failure.excerpt
    assert "no broker" in failed.log.text


def test_a_component_that_is_not_ready_is_waited_for(account: AccountClient) -> None:
    site = a_site(account, built(account, config=parts(late={"port": 99})))
    deploy.publish(site)
    until(lambda: (job := job_named(account, PUBLISHED_JOB)) is not None and job.is_ready)
    waits = deploy.watch_job(site)
    assert isinstance(waits, out.JobNotReady)
    assert waits.reason.startswith("component late: ")


def test_a_component_whose_job_is_gone_is_started_again(account: AccountClient) -> None:
    site = a_site(account, built(account, config=parts(worker={})))
    deploy.publish(site)
    account.delete_job("worker")
    assert deploy.watch_job(site) == out.JobVanished()
    deploy.publish(site)
    until(lambda: deploy.watch_job(site) == out.JobReady())


def test_a_component_that_toolforge_refuses_is_named(workshop: Workshop, account: AccountClient) -> None:
    failed = deploy.publish(a_site(account, built(account, config=parts(worker={"memory": "100Gi"}))))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.summary.startswith("Toolforge would not start the component worker: ")


# --- a push beside a running preview ------------------------------------------------------------------


def test_a_candidate_is_tried_beside_the_running_components_with_copies_of_them(
    workshop: Workshop, account: AccountClient
) -> None:
    nightly = {"schedule": "@daily"}
    good = built(account, config=parts(worker={}, old={}, nightly=nightly))
    new = replace(built(account, config=parts(worker={}, added={}, nightly=nightly)), had_candidate=True)
    deploy.publish(a_site(account, good))
    site = a_site(account, new, serving=good, needed_beside=beside(good))
    assert deploy.start_candidate(site) == out.JobStarted()
    mine, theirs = digest(new.image), digest(good.image)
    assert images(workshop) == {
        PUBLISHED_JOB: theirs,
        "worker": theirs,
        "old": theirs,
        "nightly": theirs,
        "added": mine,
        new.candidate_name: mine,
        f"{new.candidate_name}-worker": mine,
    }
    until(lambda: deploy.watch_candidate(site) == out.JobReady())
    deploy.publish(site)
    copies = {new.candidate_name, f"{new.candidate_name}-worker"}
    assert images(workshop) == dict.fromkeys([PUBLISHED_JOB, "worker", "added", "nightly", *copies], mine)
    tidied = replace(new, state=State.LIVE, step=Step.TIDY)
    teardown.tidy(a_site(account, tidied))
    assert set(images(workshop)) == {PUBLISHED_JOB, "worker", "added", "nightly"}


def test_a_bad_component_is_found_before_it_takes_a_good_ones_place(
    workshop: Workshop, account: AccountClient
) -> None:
    good = built(account, config=parts(worker={}))
    deploy.publish(a_site(account, good))
    bad = replace(built(account, CRASHING, config=parts(worker={})), had_candidate=True)
    site = a_site(account, bad, serving=good, needed_beside=beside(good))
    deploy.start_candidate(site)
    failed = until(lambda: isinstance(o := deploy.watch_candidate(site), out.StageFailed) and o)
    assert failed.failure.summary == "the component worker exited right after its start (exit code 3)"
    over = replace(bad, state=State.FAILED, step=Step.TIDY)
    assert teardown.tidy(a_site(account, over, serving=good, needed_beside=beside(good))) == out.Tidied()
    assert images(workshop) == dict.fromkeys([PUBLISHED_JOB, "worker"], digest(good.image))


def test_a_push_that_fails_leaves_the_good_components(workshop: Workshop, account: AccountClient) -> None:
    good = built(account, config=parts(worker={}, old={}))
    bad = replace(built(account, config=parts(worker={}, added={})), had_candidate=True)
    deploy.publish(a_site(account, good))
    site = a_site(account, bad, serving=good, needed_beside=beside(good))
    deploy.publish(site)
    assert deploy.roll_back(site) == out.RolledBack()
    expected = dict.fromkeys([PUBLISHED_JOB, "worker", "old"], digest(good.image))
    assert images(workshop) == expected


@pytest.mark.parametrize("state", [State.FAILED, State.SUPERSEDED, State.CANCELLED])
def test_what_came_with_a_candidate_goes_with_it(
    workshop: Workshop, account: AccountClient, state: State
) -> None:
    good = built(account, config=parts(worker={}))
    bad = replace(built(account, config=parts(worker={}, added={})), had_candidate=True)
    deploy.publish(a_site(account, good))
    deploy.start_candidate(a_site(account, bad, serving=good, needed_beside=beside(good)))
    over = replace(bad, state=state, step=Step.TIDY)
    assert teardown.tidy(a_site(account, over, serving=good, needed_beside=beside(good))) == out.Tidied()
    assert images(workshop) == dict.fromkeys([PUBLISHED_JOB, "worker"], digest(good.image))


def test_a_failure_without_anything_good_takes_its_components_away(account: AccountClient) -> None:
    bad = built(account, config=parts(worker={}))
    deploy.publish(a_site(account, bad))
    over = replace(bad, state=State.FAILED, step=Step.TIDY)
    assert teardown.tidy(a_site(account, over)) == out.Tidied()
    assert account.jobs() == []


# --- whose they are -----------------------------------------------------------------------------------


def test_a_cleaning_takes_components_away_and_nobody_elses_job(
    workshop: Workshop, account: AccountClient
) -> None:
    deploy.publish(a_site(account, built(account, config=parts(worker={}))))
    workshop.leaves_job(account)
    outcome, _ = teardown.clean(account, sort(account), lambda: None, is_late=False)
    assert outcome == out.FoundForeign("somebody else uses it: found job cronjob")
    assert [job.name for job in account.jobs()] == ["cronjob"]
    account.delete_job("cronjob")
    clean = lambda: teardown.clean(account, sort(account), lambda: None, is_late=False)[0]  # noqa: E731
    until(lambda: isinstance(clean(), out.Cleaned))


def test_a_component_that_is_lost_is_put_back(service: Service, account: AccountClient) -> None:
    service.config = parts(worker={})
    assert live(service)
    inspected(service)
    assert {job.name for job in account.jobs()} == {PUBLISHED_JOB, "worker"}
    account.delete_job("worker")
    inspected(service)
    assert job_named(account, "worker") is not None
    assert "its job was gone and was put back" in told(service)
