"""The client and the local Toolforge both keep to the services' own descriptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
import requests

from deploy.local.toolforge import LocalToolforge
from orchestrator.toolforge import AccountClient, Api, Health, JobSpec, Toolforge, ToolforgeError
from tests.local.toolforge import contract
from tests.local.toolforge.rig import FAST, Account, until
from tests.orchestrator.scripted import Answer, Authority, Scripted, an_authority

SOURCE = {"source_url": "https://example.org/x.git", "ref": "refs/heads/main"}
#: Operations that are described and that the client has no use for.
UNUSED = {
    ("/builds", "metrics"): "for Prometheus",
    ("/builds", "openapi"): "for people",
    ("/jobs", "metrics"): "for Prometheus",
    ("/jobs", "openapi"): "for people",
    ("/jobs", "create"): "refuses a name that exists; update creates, too (contract 3.4)",
    ("/jobs", "get_logs"): "Toolforge's own client reads logs-api instead (contract 3.6)",
}


class Recorder:
    """Stands between the client and a local Toolforge, and holds both to the contract."""

    def __init__(self, behind: Account, authority: Authority) -> None:
        self._behind = behind
        self.authority = authority
        self.front = Scripted(tls=authority.context)
        self.front.answer_to = self._forward
        self.operations: set[tuple[str, str]] = set()
        self.paths: list[str] = []
        self.complaints: list[str] = []

    def _forward(self, method: str, path: str) -> Answer:
        _, _, headers, body = self.front.asked[-1]
        kept = {"Content-Type": headers["Content-Type"]} if "Content-Type" in headers else {}
        url = self._behind.toolforge.gateway_url + path
        answer = self._behind.session.request(method, url, data=body, headers=kept, timeout=20)
        self._hold(method, path, body, answer)
        passed = {"Content-Type": answer.headers["Content-Type"]}
        return Answer(answer.content, answer.status_code, passed)

    def _hold(self, method: str, path: str, body: bytes, answer: requests.Response) -> None:
        self.paths.append(path)
        try:
            self.operations |= contract.check_request(method, path, body)
            contract.check(method, path, answer)
        except AssertionError as error:
            self.complaints.append(f"{method} {path}: {error}")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalToolforge]:
    contract.require()
    log = {"builds": [{"log": ["one", "two"]}]}
    with LocalToolforge(
        tmp_path_factory.mktemp("toolforge"), ["dev-1"], "synthetic", scenario={**FAST, **log}
    ) as toolforge:
        yield toolforge


@pytest.fixture(scope="module")
def recorder(local: LocalToolforge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    authority = an_authority(tmp_path_factory.mktemp("authority"))
    with closing(Account(local, "dev-1")) as behind:
        recorder = Recorder(behind, authority)
        with recorder.front:
            yield recorder


@pytest.fixture
def account(recorder: Recorder) -> Iterator[AccountClient]:
    recorder.complaints.clear()
    toolforge = Toolforge(recorder.front.url, user_agent="tests", ca_file=recorder.authority.ca_file)
    with toolforge.account("dev-1", recorder.authority.credentials) as opened:
        yield opened
    toolforge.close()
    assert recorder.complaints == []


def built(account: AccountClient, image_name: str = "mr1-d1") -> str:
    """The image of a build that has ended."""
    build_id = account.start_build(**SOURCE, image_name=image_name).id
    image = until(lambda: account.build(build_id).image)
    assert isinstance(image, str)
    return image


def a_whole_life(account: AccountClient) -> None:
    """Every call that the client can make, with success."""
    assert {account.health(api) for api in Api} == {Health.OK}
    image = built(account)
    newest = account.latest_build()
    assert newest in account.builds()
    assert [line.split(" ", 2)[2] for line in account.build_log(newest.id) if line.endswith("one")] == ["one"]
    assert list(account.build_log(newest.id, follow=True)) == list(account.build_log(newest.id))
    assert account.store_use().used > 0
    spec = JobSpec("preview", image, "web", 8000, publish=True)
    assert account.put_job(spec) is True
    assert account.put_job(spec) is False
    until(lambda: account.job("preview").is_ready)
    assert [job.name for job in account.jobs()] == ["preview"]
    account.restart_job("preview")
    account.job_lines("preview", lines=5)
    assert {quota.category for quota in account.job_quotas()} >= {"Running jobs", "Job definitions"}
    assert any(found.name for found in account.job_images())
    account.set_envvar("SECRET_KEY", "x")
    assert account.envvars() == ["SECRET_KEY"]
    account.delete_envvar("SECRET_KEY")
    account.delete_job("preview")
    account.delete_all_jobs()
    account.cancel_build(newest.id)
    account.delete_build(newest.id)
    account.delete_images()
    assert (account.jobs(), account.builds(), account.envvars(), account.store_use().used) == ([], [], [], 0)


def test_every_request_and_answer_of_a_whole_life_is_as_described(
    recorder: Recorder, account: AccountClient
) -> None:
    a_whole_life(account)
    assert contract.operations() - recorder.operations == UNUSED.keys()
    assert {path.split("/")[1] for path in recorder.paths} == {"builds", "jobs", "envvars", "logs"}


def test_no_request_ends_with_a_slash(recorder: Recorder, account: AccountClient) -> None:
    account.builds()
    assert not [path for path in recorder.paths if path.split("?")[0].endswith("/")]


_MISSING = "dev-1-buildpacks-pipelinerun-zzzzz"
REFUSED: dict[str, Callable[[AccountClient], object]] = {
    "no build yet": lambda account: account.latest_build(),
    "a build that was pruned": lambda account: account.build(_MISSING),
    "the log of a build that was pruned": lambda account: list(account.build_log(_MISSING)),
    "somebody else's build": lambda account: account.build("other-buildpacks-pipelinerun-zzzzz"),
    "a job that is not there": lambda account: account.job("nothing"),
    "a restart of a job that is not there": lambda account: account.restart_job("nothing"),
    "no such image": lambda account: account.put_job(
        JobSpec("a", "tool-dev-1/no:latest", "web", 80, publish=True)
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal_is_as_described_and_has_a_name(account: AccountClient, what: str) -> None:
    with pytest.raises(ToolforgeError):
        REFUSED[what](account)


def test_the_parallel_limit_and_a_second_cancel_are_as_described(
    recorder: Recorder, local: LocalToolforge, account: AccountClient
) -> None:
    local.faults.add("build_never_ends", tool="dev-1", count=None)
    started = [account.start_build(**SOURCE, image_name=f"n{number}").id for number in range(4)]
    with pytest.raises(ToolforgeError, match="too many builds"):
        account.start_build(**SOURCE, image_name="n5")
    for build_id in started:
        account.cancel_build(build_id)
        account.cancel_build(build_id)
    local.faults.clear()


@pytest.mark.parametrize(
    ("kind", "operation"),
    [("harbor_down", "builds"), ("clean_fails", "*"), ("runtime_fails", "*"), ("publish_taken", "*")],
)
def test_every_fault_of_the_services_is_as_described(
    local: LocalToolforge, account: AccountClient, kind: str, operation: str
) -> None:
    account.delete_all_jobs()  # a job that was refused is defined nevertheless, and holds the address
    image = built(account, "faulty")
    local.faults.add(kind, tool="dev-1", operation=operation)
    calls: list[Callable[[], object]] = [
        lambda: account.start_build(**SOURCE, image_name="x"),
        lambda: account.put_job(JobSpec("preview", image, "web", 8000, publish=True)),
        account.delete_images,
    ]
    for call in calls:
        with suppress(ToolforgeError):
            call()
    assert [rule.hits for rule in local.faults] == [1]
    local.faults.clear()


def test_a_request_that_is_not_as_described_would_be_noticed() -> None:
    contract.require()
    jobs = "/jobs/v1/tool/dev-1/jobs"
    good = JobSpec("preview", "x", "web", 8000, publish=True).body()
    assert contract.check_request("PATCH", jobs, json.dumps(good).encode()) == {("/jobs", "update")}
    for method, path, body in (
        ("PATCH", jobs, {**good, "name": "A_B"}),
        ("PATCH", jobs, {**good, "port": 0}),
        ("POST", "/builds/v1/tool/dev-1/builds", {"ref": "HEAD"}),
        ("GET", "/builds/v1/tool/dev-1/builds/", None),
        ("GET", "/builds/v1/tool/dev-1/builds/x/logs?follow=perhaps", None),
        ("GET", "/builds/v1/tool/dev-1/builds?page=2", None),
        ("POST", "/builds/v1/tool/dev-1/clean", {}),
    ):
        with pytest.raises((AssertionError, ValueError)):
            contract.check_request(method, path, b"" if body is None else json.dumps(body).encode())
