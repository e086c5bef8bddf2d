"""Claims, takeovers, refusals and surprises around a step: nothing is recorded twice, nothing is stranded."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from orchestrator import tables as t
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Due, Kind
from tests.databases import full_disk
from tests.worker.scene import BROKEN, ENDLESS, GOOD, Service, until
from worker.runner import Runner


@contextmanager
def running(work: Callable[[], object]) -> Iterator[None]:
    """`work` in a thread; the block's end waits for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
    assert not thread.is_alive()


def claimed_until(service: Service, deployment: Deployment) -> float | None:
    """Until when the row is somebody's."""
    with service.parts.store.engine.connect() as connection:
        found: float | None = connection.scalar(
            select(t.deployment.c.claimed_until).where(t.deployment.c.id == deployment.id)
        )
    return found


def claimed_account(service: Service) -> float | None:
    """Until when somebody cleans the account."""
    with service.parts.store.engine.connect() as connection:
        found: float | None = connection.scalar(select(t.account.c.claimed_until))
    return found


def taken_over(service: Service, deployment: Deployment) -> bool:
    """Much later another worker claims the row."""
    with service.parts.store.write() as tx:
        return tx.claim(Kind.DEPLOYMENT, deployment.id, now=service.now + 1000, seconds=60) is not None


# --- the way through ----------------------------------------------------------------------------------


def test_a_deployment_goes_live_step_by_step_and_its_account_comes_back_empty(service: Service) -> None:
    deployment = service.sees()
    seen = {deployment.state}
    until(lambda: seen.add(service.looks(service.deployment()).state) or State.LIVE in seen)
    assert State.FAILED not in seen
    service.sees(state="closed")
    until(lambda: service.looks(service.deployment()).is_settled)

    def is_free() -> bool:
        service.now += 10
        return service.cleans().state is AccountState.FREE

    until(is_free)
    tools = service.workshop.toolforge.state()["tools"][service.workshop.tool]
    assert not tools["jobs"]
    assert not tools["builds"]


def test_a_failed_build_is_kept_with_its_log(service: Service) -> None:
    service.sees(BROKEN)
    failed = until(lambda: (d := service.looks(service.deployment(BROKEN))).state is State.FAILED and d)
    assert service.parts.views.log(failed.id, "build") is not None


# --- what is not due ----------------------------------------------------------------------------------


def test_a_message_for_a_row_that_is_not_due_does_nothing(service: Service) -> None:
    service.sees(ENDLESS)
    deployment = service.looks(service.deployment(ENDLESS))
    assert deployment.due_at is not None
    assert deployment.due_at > service.now
    service.said.clear()
    service.runner.look(Kind.DEPLOYMENT, deployment.id)
    assert service.deployment(ENDLESS) == deployment
    assert service.said == []


@pytest.mark.parametrize("kind", list(Kind))
def test_a_message_for_a_row_that_is_not_there_does_nothing(service: Service, kind: Kind) -> None:
    service.said.clear()
    service.runner.look(kind, 4711)
    assert service.said == []


def test_a_message_for_a_free_account_does_nothing(service: Service) -> None:
    before = service.account()
    assert before.state is AccountState.FREE
    assert service.cleans() == before


# --- claims -------------------------------------------------------------------------------------------


def test_a_claim_is_renewed_while_a_long_step_runs(service: Service) -> None:
    deployment = service.sees()
    service.workshop.fault("slow", "builds.list", seconds=300)  # three of this machine's
    with running(lambda: service.runner.look(Kind.DEPLOYMENT, deployment.id)):
        first = until(lambda: claimed_until(service, deployment))
        service.now += 6.0
        until(lambda: (now := claimed_until(service, deployment)) and now > first)
        assert not taken_over_now(service, deployment)
    assert service.deployment().step is not Step.START_BUILD


def taken_over_now(service: Service, deployment: Deployment) -> bool:
    """Another worker tries to claim the row when its first claim would have ended."""
    with service.parts.store.write() as tx:
        return tx.claim(Kind.DEPLOYMENT, deployment.id, now=service.now + 3.0, seconds=60) is not None


def test_a_step_whose_claim_was_taken_over_does_and_records_nothing(service: Service) -> None:
    deployment = service.sees()
    service.workshop.fault("slow", "builds.list", seconds=50)
    with running(lambda: service.runner.look(Kind.DEPLOYMENT, deployment.id)):
        until(lambda: claimed_until(service, deployment))
        assert taken_over(service, deployment)
    assert service.deployment() == deployment
    assert service.workshop.toolforge.state()["tools"][service.workshop.tool]["builds"] in ([], {})


def test_what_a_step_started_for_a_preview_that_was_stopped_meanwhile_is_tidied(service: Service) -> None:
    deployment = service.sees(ENDLESS)
    service.workshop.fault("slow", "builds.list", seconds=50)
    with running(lambda: service.runner.look(Kind.DEPLOYMENT, deployment.id)):
        until(lambda: claimed_until(service, deployment))
        service.sees(ENDLESS, state="closed")
    cancelled = service.deployment(ENDLESS)
    assert (cancelled.state, cancelled.build_id) == (State.CANCELLED, None)
    until(lambda: service.looks(service.deployment(ENDLESS)).is_settled)
    with service.workshop.opened() as account:
        assert all(build.has_ended for build in account.builds())


# --- Toolforge says no --------------------------------------------------------------------------------


def test_too_many_builds_make_us_ask_for_less_and_try_again_later(service: Service) -> None:
    deployment = service.sees()
    words = (
        '{"error": ["Got too many builds running (4 out of 4 max), cancel some or wait for them to finish"]}'
    )
    service.workshop.fault("status", "builds.start", status=409, body=words, count=1)
    refused = service.looks(deployment)
    assert (refused.state, refused.step, refused.attempts) == (State.BUILDING, Step.START_BUILD, 1)
    assert refused.due_at is not None
    assert refused.due_at > service.now
    with service.parts.store.read() as tx:
        assert tx.switch("ceiling")["builds"] == service.parts.settings.max_concurrent_builds // 2
    assert service.looks(refused).step is not Step.START_BUILD


def test_the_pause_that_toolforge_asks_for_is_kept(service: Service) -> None:
    deployment = service.sees()
    service.workshop.fault("status", "builds.start", status=429, retry_after=17)
    assert service.looks(deployment).due_at == pytest.approx(service.now + 17)


def test_refused_credentials_put_the_account_away_and_the_commit_back_into_the_queue(
    service: Service,
) -> None:
    deployment = service.sees()
    service.workshop.fault("status", "builds.list", status=403, body="Forbidden")
    queued = service.looks(deployment)
    assert (queued.state, queued.account_id) == (State.QUEUED, None)
    assert service.account().state is AccountState.QUARANTINED
    assert "Forbidden" in service.account().reason or "403" in service.account().reason


def test_a_certificate_that_is_not_there_any_more_puts_the_account_away(service: Service) -> None:
    deployment = service.sees()
    with service.parts.store.engine.begin() as connection:
        connection.execute(t.account.update().values(credentials={"cert": "/nowhere/c", "key": "/nowhere/k"}))
    assert service.looks(deployment).state is State.QUEUED
    assert service.account().state is AccountState.QUARANTINED
    assert "/nowhere/c" in service.account().reason


def test_an_account_that_cannot_be_reached_keeps_its_deployment(service: Service) -> None:
    deployment = service.sees()
    service.workshop.fault("cut_before", "builds.list", count=3)
    waiting = service.looks(deployment)
    assert (waiting.state, waiting.attempts) == (State.BUILDING, 1)
    assert service.account().state is AccountState.LEASED


def test_a_cleaning_that_fails_is_tried_again_and_says_why(serve: Callable[..., Service]) -> None:
    service = serve()
    service.workshop.fault("status", "builds.quotas", status=500, count=1)
    failed = service.cleans()
    assert (failed.state, failed.attempts) == (AccountState.CLEANING, 1)
    assert failed.reason
    assert failed.due_at is not None
    service.now = failed.due_at
    assert service.cleans().state is AccountState.FREE


def test_a_build_that_vanished_is_started_anew(service: Service) -> None:
    service.sees(ENDLESS)
    begun = service.looks(service.deployment(ENDLESS))
    service.workshop.fault(
        "status", "builds.get", status=404, body='{"error": ["Build with id x not found."]}'
    )
    again = until(lambda: (d := service.looks(service.deployment(ENDLESS))).build_id is not None and d)
    assert again.state is State.BUILDING
    assert again.build_id == begun.build_id, "it is there after all, under our image's name"


# --- surprises ----------------------------------------------------------------------------------------


def test_an_unforeseen_exception_postpones_the_row_and_does_not_strand_it(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = service.sees()
    with service.parts.store.engine.begin() as connection:
        connection.execute(t.project.update().values(checks=[5]))  # no form that anybody writes
    postponed = service.looks(deployment)
    assert postponed.state is State.BUILDING
    assert postponed.due_at == pytest.approx(service.now + 30.0)
    assert claimed_until(service, deployment) is None, "nobody holds it"
    assert [(due.kind, due.id, due.at) for due in service.said[-1:]] == [
        (Kind.DEPLOYMENT, deployment.id, postponed.due_at)
    ]
    assert "unforeseen" in caplog.text
    with service.parts.store.engine.begin() as connection:
        connection.execute(t.project.update().values(checks=[]))
    assert service.looks(postponed).build_id is not None


def test_a_database_that_is_away_for_a_moment_strands_no_row(service: Service) -> None:
    deployment = service.sees()
    with service.parts.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE project RENAME TO elsewhere")
    postponed = service.looks(deployment)
    assert postponed.due_at is not None
    assert service.now < postponed.due_at <= service.now + 30.0
    assert claimed_until(service, deployment) is None
    with service.parts.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO project")
    assert service.looks(postponed).build_id is not None


@pytest.mark.only_sqlite
def test_a_database_that_does_not_even_give_claims_is_waited_for(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = service.sees()
    with service.parts.store.engine.begin() as connection:
        t.report_state.drop(connection)
    service.runner.look(Kind.REPORT, deployment.preview_id)
    service.runner.sweep()
    assert caplog.text.count("the database: OperationalError") == 2
    assert "Traceback" not in caplog.text


def test_while_one_sweep_goes_on_another_is_left_out(service: Service) -> None:
    service.sees()
    said: list[list[Due]] = []
    goes_on, may_end = threading.Event(), threading.Event()

    def say(dues: list[Due]) -> None:
        said.append(dues)
        goes_on.set()
        may_end.wait(20)

    runner = Runner(service.parts, say, clock=lambda: service.now)
    with running(runner.sweep):
        assert goes_on.wait(20)
        assert not runner.sweep()
        may_end.set()
    assert len(said) == 1
    assert runner.sweep()
    assert len(said) == 2


def test_a_sweep_forgets_what_is_old(service: Service) -> None:
    service.sees()

    def events() -> int:
        with service.parts.store.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(t.event)) or 0

    assert events() > 1
    service.now += 5 * 366 * 86400.0
    for _ in range(5):
        service.runner.sweep()
    assert events() == 1


def test_a_delivery_is_postponed_while_gitlab_is_away(serve: Callable[..., Service]) -> None:
    service = serve(gitlab_url="http://127.0.0.1:1")
    with service.parts.store.read() as tx:
        project = tx.project(service.project_id)
    (due,) = service.parts.lifecycle.receive(
        project, "k", kind="merge_request", iid=GOOD, facts={}, now=service.now
    )
    pauses = []
    for _ in range(3):
        service.runner.look(Kind.DELIVERY, due.id)
        (again,) = [d for d in service.parts.lifecycle.sweep(service.now + 1e6) if d.kind is Kind.DELIVERY]
        pauses.append(again.at - service.now)
        service.now = again.at
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    with service.parts.store.read() as tx:
        assert "GitLab did not answer" in tx.delivery(due.id).result


def test_gitlab_being_away_delays_no_deployment(serve: Callable[..., Service]) -> None:
    service = serve(gitlab_url="http://127.0.0.1:1")
    service.cleans()
    service.sees()
    service.runner.look(Kind.REPORT, service.deployment().preview_id)
    assert service.looks(service.deployment()).build_id is not None


# --- the emergency stop -------------------------------------------------------------------------------


def test_a_cleaning_that_is_under_way_stops_before_its_next_effect(service: Service) -> None:
    deployment = service.sees(ENDLESS)
    service.looks(deployment)
    service.sees(ENDLESS, state="closed")
    until(lambda: service.looks(service.deployment(ENDLESS)).is_settled)
    # Whatever was tidied up before: there is something of ours to remove.
    with service.workshop.opened() as account:
        url = "https://gitlab.example.org/group/tool.git"
        going = account.start_build(source_url=url, ref="refs/heads/main", image_name=deployment.image_name)
    service.workshop.fault("slow", "jobs.*", seconds=4.0, count=1)
    with running(service.cleans):
        until(lambda: claimed_account(service) is not None)
        service.parts.lifecycle.pause("olga", "it deletes the wrong things", service.now)
    with service.workshop.opened() as account:
        assert not account.build(going.id).has_ended
    assert service.account().state is AccountState.CLEANING
    service.parts.lifecycle.resume("olga", service.now)

    def is_free() -> bool:
        service.now += 1.0
        return service.cleans().state is AccountState.FREE

    until(is_free)


def test_a_step_that_was_stopped_in_the_middle_is_taken_over_when_all_goes_on(service: Service) -> None:
    deployment = service.sees()
    service.workshop.fault("slow", "builds.*", seconds=4.0, count=1)
    with running(lambda: service.looks(deployment)):
        until(lambda: claimed_until(service, deployment) is not None)
        service.parts.lifecycle.pause("olga", "too much", service.now)
    assert service.deployment().build_id is None
    service.parts.lifecycle.resume("olga", service.now)
    service.now += 10
    until(lambda: service.looks(service.deployment()).state is State.LIVE)


# --- comparing with GitLab ----------------------------------------------------------------------------


def compared_at(service: Service) -> float:
    """When the project is compared next."""
    with service.parts.store.read() as tx:
        return next(due.at for due in tx.due(service.now + 1e9, limit=99) if due.kind is Kind.PROJECT)


def compare_at(service: Service, at: float) -> None:
    with service.parts.store.write() as tx:
        tx.put_project(gitlab_id=77, due_at=at, now=service.now)


def test_an_outage_of_gitlab_brings_a_comparison_until_it_is_over(serve: Callable[..., Service]) -> None:
    service = serve(gitlab_url="http://127.0.0.1:1")
    compare_at(service, service.now + 900.0)
    with service.parts.store.read() as tx:
        project = tx.project(service.project_id)
    (due,) = service.parts.lifecycle.receive(
        project, "k", kind="merge_request", iid=1, facts={}, now=service.now
    )
    service.runner.look(Kind.DELIVERY, due.id)
    assert compared_at(service) == service.now + 30.0
    service.now += 30.0
    service.runner.look(Kind.PROJECT, service.project_id)
    assert compared_at(service) == service.now + 30.0


# --- a disk that is full ------------------------------------------------------------------------------


@pytest.mark.only_sqlite
def test_a_full_disk_strands_no_row(service: Service) -> None:
    """The build has failed, and the page that its log would stand in cannot be had."""
    deployment = service.sees(BROKEN)
    with service.parts.store.write() as tx:
        ballast = {"deployment_id": deployment.id, "kind": "job", "at": 0.0, "is_truncated": False}
        tx.connection.execute(t.log.insert().values(zlib=secrets.token_bytes(3900), **ballast))
    with full_disk(service.parts.store.engine):
        with pytest.raises(OperationalError, match="full"), service.parts.store.write() as tx:
            tx.put_switch("ballast", secrets.token_hex(100_000))
        for _ in range(20):
            service.now += 60
            service.runner.look(Kind.DEPLOYMENT, deployment.id)
            service.runner.sweep()
        stuck = service.deployment(BROKEN)
        assert stuck.state is not State.FAILED, "its log cannot be kept"
    service.now += 60
    until(lambda: service.looks(service.deployment(BROKEN)).state is State.FAILED)
    with service.parts.store.read() as tx:
        assert "the last words" in (tx.log(deployment.id, "build") or "")
