"""Accounts that do not hold what the database says: what is removed, put back, given up and left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import outcome as out
from orchestrator.belongings import PUBLISHED_JOB
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Kind
from orchestrator.toolforge import AccountClient, JobSpec
from tests.worker.scene import ENDLESS, GOOD, Service, job_named, until


def inspected(service: Service) -> Account:
    """The account after a look that was due."""
    due_at = service.account().due_at
    assert due_at is not None
    service.now = max(service.now, due_at)
    service.runner.look(Kind.ACCOUNT, service.account_id)
    return service.account()


def live(service: Service, iid: int = GOOD) -> Deployment:
    """The merge request's preview is live."""
    service.sees(iid)
    found: Deployment = until(lambda: (d := service.looks(service.deployment(iid))).state is State.LIVE and d)
    service.now += 1
    return found


def told(service: Service, iid: int = GOOD) -> list[str]:
    """What the timeline of the preview says."""
    with service.parts.store.read() as tx:
        return [event.why for event in tx.events_of(service.deployment(iid).preview_id)]


def become(service: Service, state: AccountState) -> bool:
    """The account is looked at until it is in that state."""
    until(lambda: inspected(service).state is state)
    return True


# --- when ---------------------------------------------------------------------------------------------


def test_an_account_is_inspected_every_few_minutes_and_its_store_is_written_down(
    serve: Callable[..., Service], account: AccountClient
) -> None:
    service = serve(janitor_seconds=120)
    free = service.cleans()
    assert free.due_at == pytest.approx(service.now + 120)
    live(service)
    seen = inspected(service)
    assert (seen.state, seen.inspected_at) == (AccountState.LEASED, service.now)
    assert seen.due_at == pytest.approx(service.now + 120)
    store = account.store_use()
    assert (seen.bytes_used, seen.bytes_limit) == (store.used, store.limit)
    assert seen.bytes_used


def test_at_a_start_every_account_in_use_is_inspected_at_once(service: Service) -> None:
    assert service.cleans().inspected_at is None
    service.parts.lifecycle.inspect_all(service.now)
    service.runner.look(Kind.ACCOUNT, service.account_id)
    assert service.account().inspected_at == service.now


def test_an_account_that_cannot_be_asked_is_asked_again_soon(service: Service) -> None:
    service.workshop.fault("status", "jobs.list", status=500, count=1)
    seen = inspected(service)
    assert (seen.state, seen.inspected_at) == (AccountState.FREE, None)
    assert seen.due_at == pytest.approx(service.now + 60)
    assert inspected(service).inspected_at == service.now


def test_a_free_account_whose_credentials_are_refused_is_put_away(service: Service) -> None:
    service.workshop.fault("status", "builds.quotas", status=403, body="Forbidden", count=2)
    assert inspected(service).state is AccountState.QUARANTINED


def test_a_preview_is_not_taken_down_because_its_account_cannot_be_asked(service: Service) -> None:
    live(service)
    service.workshop.fault("status", "builds.quotas", status=403, body="Forbidden")
    assert inspected(service).state is AccountState.LEASED
    assert service.deployment().state is State.LIVE


# --- free accounts ------------------------------------------------------------------------------------


def test_a_free_account_that_is_empty_stays_free(service: Service, account: AccountClient) -> None:
    account.set_envvar("DUMMY_SECRET", "x")
    assert inspected(service).state is AccountState.FREE
    assert account.envvars() == ["DUMMY_SECRET"]


def test_what_is_ours_in_a_free_account_is_cleaned(service: Service, account: AccountClient) -> None:
    account.set_envvar("PREVIEW_URL", "http://elsewhere/")
    dirty = inspected(service)
    assert dirty.state in {AccountState.CLEANING, AccountState.FREE}
    assert become(service, AccountState.FREE)
    assert account.envvars() == []


def test_a_free_account_that_somebody_uses_is_put_away_until_they_have_gone(
    service: Service, account: AccountClient
) -> None:
    service.workshop.leaves_job(account)
    assert become(service, AccountState.QUARANTINED)
    assert service.account().reason == "somebody else uses it: found job cronjob"
    assert job_named(account, "cronjob") is not None
    account.delete_job("cronjob")
    assert become(service, AccountState.FREE)


def test_what_is_found_on_an_account_that_is_given_away_meanwhile_is_void(
    service: Service, account: AccountClient
) -> None:
    service.workshop.leaves_job(account)
    with service.parts.store.write() as tx:
        free = tx.account(service.account_id)
        assert free.due_at is not None
        service.now = free.due_at
        claim = tx.claim(Kind.ACCOUNT, free.id, now=service.now, seconds=60)
    assert claim is not None
    service.sees()
    leased = service.account()
    assert leased.state is AccountState.LEASED
    outcome = out.Inspected(0, left="job cronjob")
    (due,) = service.parts.lifecycle.record_inspection(claim, free, outcome, service.now)
    assert service.account() == leased
    assert due.at <= service.now, "it is looked at anew"


# --- orphans in a leased account ----------------------------------------------------------------------


def test_orphans_beside_a_live_preview_are_removed_and_told(service: Service, account: AccountClient) -> None:
    service.sees(ENDLESS)
    orphan = until(lambda: (d := service.looks(service.deployment(ENDLESS))).build_id is not None and d)
    service.sees(ENDLESS, state="closed")
    until(lambda: service.looks(service.deployment(ENDLESS)).is_settled)
    assert become(service, AccountState.FREE)
    preview = live(service)
    # A build and a job of the older lease come late.
    url = "https://gitlab.example.org/group/tool.git"
    late = account.start_build(source_url=url, ref="refs/x", image_name=orphan.image_name)
    image = str(preview.image).partition("/")[2]
    account.put_job(JobSpec(orphan.candidate_name, image, "web", 8000, publish=False))
    seen = inspected(service)
    assert (seen.state, seen.reason) == (AccountState.LEASED, "")
    assert [job.name for job in account.jobs()] == [PUBLISHED_JOB]
    until(lambda: account.build(late.id).has_ended)
    sentences = told(service)
    assert f"job {orphan.candidate_name} belonged to nothing and was deleted" in sentences
    assert f"build {late.id} belonged to nothing and was cancelled" in sentences
    inspected(service)
    assert late.id not in {one.id for one in account.builds()}, "forgotten in the next round"
    assert service.deployment().state is State.LIVE


def test_what_is_on_its_way_is_no_orphan(service: Service, account: AccountClient) -> None:
    service.sees(ENDLESS)
    building = until(lambda: (d := service.looks(service.deployment(ENDLESS))).build_id is not None and d)
    inspected(service)
    assert not account.build(building.build_id).has_ended
    assert service.deployment(ENDLESS).state is State.BUILDING


def test_what_is_foreign_beside_a_preview_is_left_alone_and_said_once(
    service: Service, account: AccountClient
) -> None:
    live(service)
    service.workshop.leaves_job(account)
    for _ in range(2):
        assert inspected(service).reason == "somebody else uses it: found job cronjob"
    assert job_named(account, "cronjob") is not None
    assert told(service).count("somebody else uses it: found job cronjob") == 1
    account.delete_job("cronjob")
    assert inspected(service).reason == ""


# --- what is lost -------------------------------------------------------------------------------------


def test_a_live_preview_whose_job_is_gone_gets_it_back(service: Service, account: AccountClient) -> None:
    preview = live(service)
    account.delete_job(PUBLISHED_JOB)
    account.delete_envvar("PREVIEW_URL")
    inspected(service)
    assert service.workshop.images() == {PUBLISHED_JOB: str(preview.image).partition("/")[2]}
    assert account.envvars() == ["PREVIEW_URL"]
    assert service.deployment().state is State.LIVE
    assert "its job was gone and was put back" in told(service)


def test_nothing_is_said_of_a_preview_that_is_well(service: Service) -> None:
    live(service)
    before = told(service)
    inspected(service)
    assert told(service) == before


def test_a_live_preview_whose_job_and_image_are_gone_is_stopped(
    service: Service, account: AccountClient
) -> None:
    live(service)
    account.delete_job(PUBLISHED_JOB)
    account.delete_images()
    inspected(service)
    lost = service.deployment()
    assert (lost.state, lost.step) == (State.STOPPED, Step.NONE)
    assert "its job and image are gone" in told(service)
    assert become(service, AccountState.FREE)
    assert (account.builds(), account.envvars()) == ([], [])


def test_a_job_that_cannot_be_put_back_leaves_no_half_of_itself_and_is_tried_again(
    service: Service, account: AccountClient
) -> None:
    live(service)
    account.delete_job(PUBLISHED_JOB)
    account.put_job(JobSpec("webservice", "python3.11", "sleep 1000", 8000, publish=True))
    inspected(service)
    assert [job.name for job in account.jobs()] == ["webservice"]
    assert service.deployment().state is State.LIVE
    account.delete_job("webservice")
    inspected(service)
    assert [job.name for job in account.jobs()] == [PUBLISHED_JOB]


def test_a_toolforge_that_says_nothing_is_there_takes_one_preview_down_a_round(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    live(service)
    for name in ("jobs", "builds", "envvars", "images"):
        operation = {"envvars": "envvars.list", "images": "jobs.images"}.get(name, f"{name}.list")
        service.workshop.fault("status", operation, status=200, body=f'{{"{name}": []}}', count=9)
    with service.parts.store.write() as tx:
        # Another account's preview, in the same round.
        tx.put_switch("taken_down", [service.account().due_at])
    inspected(service)
    assert service.deployment().state is State.LIVE
    assert "is held back" in caplog.text
    service.now += 301
    inspected(service)
    assert service.deployment().state is State.STOPPED
