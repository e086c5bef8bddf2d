"""A tool of several parts: each component is a job of the account, from its start to its cleaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import outcome as out
from orchestrator.belongings import PUBLISHED_JOB, component_jobs
from orchestrator.components import Source
from orchestrator.jobs import reusable_component, to_build
from orchestrator.preview import REBUILD, Deployment, State, Step
from orchestrator.toolforge import AccountClient
from tests.worker.scene import (
    BROKEN,
    CRASHING,
    ENDLESS,
    Service,
    Workshop,
    a_deployment,
    a_site,
    built,
    job_named,
    sort,
    until,
)
from tests.worker.test_janitor import inspected, live, told
from worker import build, deploy, teardown


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
    assert (
        failed.failure.summary == "component crashing: its process exited right after its start (exit code 4)"
    )
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
    # Both of them crash; which is seen first is a matter of time.
    assert failed.failure.summary in {
        f"{part} process exited right after its start (exit code 3)"
        for part in ("component worker: its", "the web")
    }
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


# --- images of other repositories ---------------------------------------------------------------------

REDIS = {"repository": "https://gitlab.example.org/group/redis", "ref": "v1", "use_latest_versions": True}


def with_redis(**others: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a Redis that is built from a repository of its own, and something that reuses it."""
    config: dict[str, Any] = parts(**others)
    config["components"]["redis"] = {"build": REDIS, "run": {"command": "redis-server", "port": 6379}}
    config["components"]["cache"] = {"build": {"reuse_from": "redis"}, "run": {"command": "redis-server"}}
    return config


def test_a_component_of_another_repository_is_built_after_the_commit_and_runs_its_own_image(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = built(account, config=with_redis(worker={}))
    assert to_build(deployment) == ("redis", Source(REDIS["repository"], "v1", latest=True))
    site = a_site(account, deployment)
    started = build.start(site)
    assert isinstance(started, out.BuildStarted)
    assert build.start(site) == started, "found by its name, and not started again"
    (made,) = [
        one
        for one in workshop.toolforge.state()["tools"][workshop.tool]["builds"]
        if one["image_name"] == f"{deployment.image_name}-redis"
    ]
    assert (made["source_url"], made["ref"], made["use_latest_versions"]) == (REDIS["repository"], "v1", True)
    site = a_site(account, replace(deployment, build_id=started.build_id))
    ended = until(lambda: isinstance(o := build.watch(site), out.BuildSucceeded) and o)
    whole = replace(deployment, images={"redis": ended.image})
    assert to_build(whole) is None
    assert deploy.publish(a_site(account, whole)) == out.JobStarted()
    own, other = digest(deployment.image), digest(ended.image)
    assert own != other
    assert images(workshop) == {PUBLISHED_JOB: own, "worker": own, "redis": other, "cache": other}
    clean = lambda: teardown.clean(account, sort(account), lambda: None, is_late=False)[0]  # noqa: E731
    until(lambda: isinstance(clean(), out.Cleaned))


def test_the_image_of_another_repository_is_used_again_until_a_rebuild(account: AccountClient) -> None:
    before = with_image(account, built(account, config=with_redis()))
    image = before.images["redis"]  # type: ignore[index]
    again = built(account, config=with_redis())
    site = a_site(account, again, reusable_component=lambda name, source: image)
    assert build.start(site) == out.BuildReused(image)
    anew = a_site(
        account,
        replace(again, trigger=REBUILD),
        reusable_component=lambda name, source: image,
    )
    assert isinstance(build.start(anew), out.BuildStarted)


def with_image(account: AccountClient, deployment: Deployment) -> Deployment:
    """The same when what its components need is built."""
    started = build.start(a_site(account, deployment))
    assert isinstance(started, out.BuildStarted)
    site = a_site(account, replace(deployment, build_id=started.build_id))
    ended = until(lambda: isinstance(o := build.watch(site), out.BuildSucceeded) and o)
    return replace(deployment, images={"redis": ended.image})


def test_a_build_of_a_component_that_fails_is_named(account: AccountClient) -> None:
    deployment = built(account, config=with_redis())
    # The local Toolforge goes by the number of the merge request.
    broken = replace(deployment, iid=BROKEN)
    started = build.start(a_site(account, broken))
    assert isinstance(started, out.BuildStarted)
    site = a_site(account, replace(broken, build_id=started.build_id))
    failed = until(lambda: isinstance(o := build.watch(site), out.StageFailed) and o)
    assert failed.failure.summary == "component redis: the Python dependencies could not be installed"
    assert failed.log is not None


def test_a_build_of_a_component_is_cancelled_with_its_deployment(account: AccountClient) -> None:
    deployment = replace(built(account, config=with_redis()), iid=ENDLESS)
    started = build.start(a_site(account, deployment))
    assert isinstance(started, out.BuildStarted)
    entered = {State.QUEUED: 0.0, State.BUILDING: 0.0}
    over = replace(deployment, state=State.CANCELLED, step=Step.TIDY, entered=entered)
    until(lambda: teardown.tidy(a_site(account, over)) == out.Tidied())
    assert account.build(started.build_id).has_ended


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({}, True),
        ({"fence": 6}, False),
        ({"account_id": 2}, False),
        ({"images": None}, False),
        ({"config": parts()}, False),
    ],
)
def test_an_earlier_image_is_good_for_the_same_source_under_the_same_lease(
    changes: dict[str, Any], is_found: bool
) -> None:
    config = with_redis()
    new = a_deployment(config=config, account_id=1, fence=5)
    name, source = to_build(replace(new, image="own")) or ("", Source())
    old = replace(new, **{"id": 3, "images": {"redis": "an image"}} | changes)
    found = reusable_component(new, name, source, [new, old])
    assert found == ("an image" if is_found else None)


def test_an_earlier_image_is_not_used_where_its_deployment_had_not_all_the_jobs() -> None:
    """By its image a job is known for ours, and by the names that the image's deployment had."""
    old = a_deployment(config=with_redis(), account_id=1, fence=5, images={"redis": "an image"})
    new = a_deployment(config=with_redis(added={}), account_id=1, fence=5)
    source = Source(REDIS["repository"], "v1", latest=True)
    assert reusable_component(new, "redis", source, [old]) is None
    assert (
        reusable_component(old, "redis", source, [replace(new, images={"redis": "an image"})]) == "an image"
    )


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
