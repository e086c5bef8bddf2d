"""A project's secrets: for jobs of its own branches and no others, gone with the preview, masked in logs."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from deploy.local.toolforge import LocalToolforge
from orchestrator import outcome as out
from orchestrator.belongings import ADDRESS_ENVVAR
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.project_secrets import ProjectSecrets
from orchestrator.records import Kind
from orchestrator.sealing import Vault
from orchestrator.secret_rules import Opened
from orchestrator.toolforge import AccountClient, ToolforgeError
from tests.worker.scene import Service, Workshop, a_site, built, until
from worker import deploy, envvars

KEY, OTHER_KEY = "k" * 40, "x" * 40
VALUE, OTHER_VALUE = "hunter2/hunter2?", "another-value"
PLACE = Account(1, "dev-1", AccountState.LEASED, 0.0, None, own_envvars=())


@pytest.fixture
def service(serve: Callable[..., Service]) -> Service:
    made = serve(secret_key=KEY)
    made.cleans()
    return made


def set_there(workshop: Workshop) -> dict[str, str]:
    """What is set in the account, but for what Toolforge and we set anyway."""
    held: dict[str, Any] = workshop.toolforge.state()["tools"][workshop.tool]["envvars"]
    return {k: v for k, v in held.items() if not k.startswith("TOOL_") and k != ADDRESS_ENVVAR}


def sets(service: Service, name: str, value: str) -> None:
    service.parts.secrets.put(service.project_id, name, value, "max", service.now)


def goes_live(service: Service) -> Deployment:
    """The newest deployment comes to its end."""
    return until(lambda: (d := service.looks(service.deployment())).state in {State.LIVE, State.FAILED} and d)


def is_closed(service: Service) -> None:
    """Nobody wants the merge request any more; the account comes back."""
    service.sees(state="closed")
    until(lambda: service.looks(service.deployment()).is_settled)

    def is_free() -> bool:
        service.now += 10
        return service.cleans().state is AccountState.FREE

    until(is_free)


# --- the way through ----------------------------------------------------------------------------------


def test_a_branch_of_the_project_gets_them_and_its_account_comes_back_without(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    service.sees()
    assert service.account().lent_envvars == ("API_KEY",), "written down before it is set"
    assert set_there(service.workshop) == {}
    assert goes_live(service).state is State.LIVE
    assert set_there(service.workshop) == {"API_KEY": VALUE}
    is_closed(service)
    assert set_there(service.workshop) == {}
    assert service.account().lent_envvars == ()


def test_a_fork_gets_none_whoever_approved_it(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    waiting = service.sees(is_fork=True)
    assert waiting.step is Step.AWAIT_APPROVAL
    service.parts.lifecycle.approve_or_redeploy(waiting.preview_id, "max", service.now)
    service.reads()
    assert service.account().lent_envvars == ()
    live = until(lambda: live_fork(service))
    assert live.state is State.LIVE
    assert set_there(service.workshop) == {}
    assert service.workshop.images(), "its job runs"


def live_fork(service: Service) -> Deployment | None:
    deployment = service.deployment()
    if deployment.step is Step.START_BUILD:
        # GitLab is not there: that the head is what was approved is said here.
        started = out.BuildStarted(start_build(service, deployment))
        with service.parts.store.write() as tx:
            claim = tx.claim(Kind.DEPLOYMENT, deployment.id, now=service.now, seconds=60.0)
        assert claim is not None
        service.parts.lifecycle.record(claim, deployment, started, service.now)
    deployment = service.looks(service.deployment())
    return deployment if deployment.state in {State.LIVE, State.FAILED} else None


def start_build(service: Service, deployment: Deployment) -> str:
    with service.workshop.opened() as account:
        url, ref = "https://gitlab.example.org/group/tool.git", f"refs/merge-requests/{deployment.iid}/head"
        return account.start_build(source_url=url, ref=ref, image_name=deployment.image_name).id


def test_a_change_counts_from_the_next_deployment_on(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    sets(service, "OLD_KEY", VALUE)
    service.sees()
    sets(service, "LATE_KEY", VALUE)
    goes_live(service)
    # What was set when the account had been given out is not known to whoever cleans it.
    assert set_there(service.workshop) == {"API_KEY": VALUE, "OLD_KEY": VALUE}
    sets(service, "API_KEY", OTHER_VALUE)
    service.parts.secrets.remove(service.project_id, "OLD_KEY", "max", service.now)
    assert set_there(service.workshop) == {"API_KEY": VALUE, "OLD_KEY": VALUE}
    preview_id = service.deployment().preview_id
    service.parts.lifecycle.approve_or_redeploy(preview_id, "max", service.now, rebuild=True)
    service.reads()
    assert goes_live(service).state is State.LIVE
    assert set_there(service.workshop) == {"API_KEY": OTHER_VALUE, "LATE_KEY": VALUE}
    is_closed(service)
    assert set_there(service.workshop) == {}


def test_a_secret_wins_over_the_repositorys_file_and_the_timeline_says_so(service: Service) -> None:
    service.config = {"run": {"envvars": {"API_KEY": "of the file", "FLASK_ENV": "preview"}}}
    sets(service, "API_KEY", VALUE)
    service.sees()
    goes_live(service)
    assert set_there(service.workshop) == {"API_KEY": VALUE, "FLASK_ENV": "preview"}
    with service.parts.store.read() as tx:
        whys = [event.why for event in tx.events_of(service.deployment().preview_id)]
    tool = service.workshop.tool
    said = f"builds on {tool}; secrets of the project count instead of run.envvars: API_KEY"
    assert whys.count(said) == 1


def test_what_no_key_opens_fails_before_it_is_built_and_says_what_to_do(service: Service) -> None:
    ProjectSecrets(service.parts.store, Vault([OTHER_KEY])).put(
        service.project_id, "LOST_KEY", VALUE, "max", service.now
    )
    service.sees()
    failed = goes_live(service)
    assert failed.failure is not None
    assert failed.failure.stage == "configuration"
    assert "no key of this installation opens LOST_KEY" in failed.failure.summary
    assert "sets it anew" in failed.failure.remedy
    assert "`old_secret_keys`" in failed.failure.remedy
    assert service.workshop.toolforge.state()["tools"][service.workshop.tool]["builds"] == []


def test_what_no_key_opens_any_more_leaves_a_good_preview_alone(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    service.sees()
    live = goes_live(service)
    before = service.workshop.images()
    with service.parts.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE secret SET sealed = 'lost'")
    service.parts.lifecycle.approve_or_redeploy(live.preview_id, "max", service.now, rebuild=True)
    service.reads()
    assert goes_live(service).state is State.FAILED
    until(lambda: service.looks(service.deployment()).is_settled)
    assert service.workshop.images() == before
    assert set_there(service.workshop) == {"API_KEY": VALUE}
    # Its job is lost, and put back with what is set there.
    with service.workshop.opened() as account:
        account.delete_job(next(iter(before)))
    service.now += 400
    service.cleans()
    assert service.workshop.images() == before
    assert set_there(service.workshop) == {"API_KEY": VALUE}


def test_a_preview_that_is_put_back_has_them_again(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    service.sees()
    goes_live(service)
    images = service.workshop.images()
    with service.workshop.opened() as account:
        account.delete_job(next(iter(images)))
        account.delete_envvar("API_KEY")
    service.now += 400
    service.cleans()
    assert service.workshop.images() == images
    assert set_there(service.workshop) == {"API_KEY": VALUE}


def test_with_its_project_they_go_from_the_account(service: Service) -> None:
    sets(service, "API_KEY", VALUE)
    service.sees()
    goes_live(service)
    service.parts.lifecycle.disconnect(service.project_id, "operator", service.now)
    assert service.parts.secrets.of(service.project_id) == []
    until(lambda: service.looks(service.deployment()).is_settled)
    until(lambda: is_free(service))
    assert set_there(service.workshop) == {}


def is_free(service: Service) -> bool:
    service.now += 10
    return service.cleans().state is AccountState.FREE


# --- one step -----------------------------------------------------------------------------------------


def lent(*names: str, own: tuple[str, ...] | None = (), shared: bool = False) -> Account:
    return replace(PLACE, lent_envvars=names, own_envvars=own, shared=shared)


def test_only_what_the_accounts_row_knows_of_is_set(workshop: Workshop, account: AccountClient) -> None:
    secrets = Opened({"API_KEY": VALUE, "LATE_KEY": VALUE}, ("LATE_LOST",))
    site = a_site(account, built(account), place=lent("API_KEY"), secrets=secrets)
    assert deploy.publish(site) == out.JobStarted()
    assert set_there(workshop) == {"API_KEY": VALUE}


def test_what_runs_the_same_image_is_started_again_where_envvars_may_have_changed(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = built(account)

    def pods_after(place: Account, secrets: Opened) -> list[str]:
        site = a_site(account, deployment, place=place, secrets=secrets)
        assert deploy.publish(site) == out.JobStarted()
        until(lambda: account.job("preview").is_ready)
        (job,) = workshop.toolforge.state()["tools"][workshop.tool]["jobs"]
        return [pod["name"] for pod in job["pods"]]

    first = pods_after(lent(), Opened())
    assert pods_after(lent(), Opened()) == first, "nothing has changed"
    with_key = pods_after(lent("API_KEY"), Opened({"API_KEY": VALUE}))
    assert not {*with_key} & {*first}
    assert not {*pods_after(lent("API_KEY"), Opened())} & {*with_key}, "it was taken away"


def test_whoever_comes_next_on_a_shared_account_does_not_have_them(
    workshop: Workshop, account: AccountClient
) -> None:
    place = lent("API_KEY", "OTHER_KEY", shared=True)
    deploy.publish(a_site(account, built(account), place=place, secrets=Opened({"API_KEY": VALUE})))
    assert set_there(workshop) == {"API_KEY": VALUE}
    deploy.publish(a_site(account, built(account), place=place, secrets=Opened({"OTHER_KEY": OTHER_VALUE})))
    assert set_there(workshop) == {"OTHER_KEY": OTHER_VALUE}
    # Nor what another project has set under the name of one that cannot be opened.
    lost = Opened({}, ("OTHER_KEY",))
    site = a_site(account, built(account), place=place, secrets=lost)
    assert isinstance(deploy.publish(site), out.StageFailed)
    envvars.set_all(account, place, "", site.config, lost, lambda: None)
    assert set_there(workshop) == {}


def test_what_operators_have_set_stays_and_it_is_said(workshop: Workshop, account: AccountClient) -> None:
    account.set_envvar("API_KEY", "of the operators")
    place = lent("API_KEY", own=("API_KEY",))
    failed = deploy.publish(a_site(account, built(account), place=place, secrets=Opened({"API_KEY": VALUE})))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.summary == ("secrets of the project: operators have set API_KEY in the dev account")
    assert set_there(workshop) == {"API_KEY": "of the operators"}


def test_none_is_set_before_it_is_known_what_operators_have_set(
    workshop: Workshop, account: AccountClient
) -> None:
    place = lent("API_KEY", own=None)
    site = a_site(account, built(account), place=place, secrets=Opened({"API_KEY": VALUE}))
    assert isinstance(deploy.publish(site), out.NotNow)
    assert set_there(workshop) == {}


# --- what is seen -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 500])
def test_what_toolforge_says_of_a_value_that_it_refuses_is_masked(
    workshop: Workshop, account: AccountClient, local_toolforge: LocalToolforge, status: int
) -> None:
    body = f'{{"error": ["{VALUE} is not liked"]}}'
    workshop.fault("status", "envvars.create", status=status, body=body)
    with pytest.raises(ToolforgeError) as refused:
        account.set_envvar("API_KEY", VALUE)
    assert "[masked] is not liked" in str(refused.value)
    assert "hunter2" not in repr(refused.value)


def test_a_value_that_toolforge_refuses_fails_with_its_words_and_without_the_value(
    workshop: Workshop, account: AccountClient
) -> None:
    deployment = built(account)
    body = f'{{"error": ["{VALUE} is not liked"]}}'
    workshop.fault("status", "envvars.create", status=400, body=body, count=3)
    site = a_site(account, deployment, place=lent("API_KEY"), secrets=Opened({"API_KEY": VALUE}))
    for attempts in range(2):
        once = replace(site, deployment=replace(deployment, attempts=attempts))
        assert isinstance(deploy.publish(once), out.NotNow), "it may be liked the next time"
    failed = deploy.publish(replace(site, deployment=replace(deployment, attempts=2)))
    assert isinstance(failed, out.StageFailed)
    assert failed.failure.summary == "Toolforge would not set the preview's envvars: [masked] is not liked"
    assert account.jobs() == []


def test_it_is_masked_in_any_form_by_who_works_for_the_preview_and_forgotten_after(
    workshop: Workshop, service: Service
) -> None:
    toolforge = service.parts.toolforge
    with toolforge.account(workshop.tool, workshop.credentials, secrets=[VALUE]) as account:
        for form in (VALUE, quote(VALUE, safe=""), base64.b64encode(f"user:{VALUE}".encode()).decode()):
            assert "[masked]" in account.mask.text(f"before {form} after")
            assert "hunter2" not in account.mask.text(f"before {form} after")
    with toolforge.account(workshop.tool, workshop.credentials) as again:
        assert again is account
        assert again.mask.text(VALUE) == VALUE, "a fork could find out by trying"


def test_no_log_of_ours_has_it(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sets(service, "API_KEY", VALUE)
    service.sees()
    goes_live(service)
    is_closed(service)
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(service.said)
