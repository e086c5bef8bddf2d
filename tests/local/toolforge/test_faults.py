"""Faults on demand: each does what it says, to whom it says, as often as it says."""

from __future__ import annotations

import time

import pytest
import requests

from deploy.local.toolforge import Latency
from deploy.local.toolforge.faults import HTTP_KINDS, SERVICE_KINDS, Faults
from tests.local.toolforge.rig import Account, error_of, until

SLOW_BUILDS = {"instant": False, "builds": [{"duration": 0.2, "log": ["a", "b"]}]}
QUICK = Latency(build_pending=0, build_started=0, cancel=0)


def test_a_rule_strikes_after_n_and_count_times_and_only_whom_it_names(
    account: Account, other: Account
) -> None:
    account.toolforge.faults.add("status", tool="one", operation="builds.*", status=502, after=1, count=2)
    assert [account.builds("GET").status_code for _ in range(4)] == [200, 502, 502, 200]
    account.toolforge.faults.add("status", tool="one", operation="jobs.list", status=500, count=None)
    assert other.jobs("GET").status_code == 200
    assert account.builds("GET").status_code == 200
    assert account.jobs("GET").status_code == 500
    account.toolforge.faults.clear()
    assert account.jobs("GET").status_code == 200


@pytest.mark.parametrize(("status", "html"), [(429, True), (500, False), (502, True), (503, True)])
def test_a_status_comes_in_the_shape_of_who_would_send_it(account: Account, status: int, html: bool) -> None:
    account.toolforge.faults.add("status", tool="one", operation="jobs.list", status=status, retry_after=7)
    answer = account.jobs("GET", "/jobs/")
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html") is html
    assert answer.headers.get("Retry-After") == ("7" if html else None)


def test_an_injected_409_at_start_is_the_parallel_limits(account: Account) -> None:
    account.toolforge.faults.add("status", tool="one", operation="builds.start", status=409)
    answer = account.start()
    assert answer.status_code == 409
    assert "too many builds running" in error_of(answer)


def test_slow_answers_late(account: Account) -> None:
    account.toolforge.faults.add("slow", tool="one", operation="builds.list", seconds=0.3)
    began = time.monotonic()
    assert account.builds("GET").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_cut_before_has_no_effect_and_lost_has(account: Account) -> None:
    account.toolforge.faults.add("cut_before", tool="one", operation="builds.start")
    with pytest.raises(requests.exceptions.ConnectionError):
        account.start()
    assert account.builds("GET").json()["builds"] == []
    account.toolforge.faults.add("lost", tool="one", operation="builds.start")
    with pytest.raises(requests.exceptions.ConnectionError):
        account.start()
    assert len(account.builds("GET").json()["builds"]) == 1


def test_cut_in_the_middle_breaks_the_body(account: Account) -> None:
    account.toolforge.faults.add("cut_middle", tool="one", operation="builds.list")
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        account.builds("GET")
    assert account.builds("GET").status_code == 200


def test_an_expired_certificate_can_be_injected(account: Account) -> None:
    account.toolforge.faults.add("certificate_expired", tool="one", operation="*")
    assert account.builds("GET").status_code == 400
    assert account.builds("GET").status_code == 200


def test_a_build_can_be_stuck_pending_and_still_be_cancelled(account: Account) -> None:
    account.toolforge.faults.add("build_pending", tool="one")
    name = account.started()
    time.sleep(0.1)
    assert account.build(name)["status"] == "BUILD_PENDING"
    account.builds("PUT", f"/builds/{name}/cancel")
    assert account.ended(name)["status"] == "BUILD_CANCELLED"


def test_a_build_can_never_end(account: Account) -> None:
    account.toolforge.faults.add("build_never_ends", tool="one", name="endless")
    name = account.started(image_name="endless")
    until(lambda: account.build(name)["status"] == "BUILD_RUNNING")
    time.sleep(0.2)
    assert account.build(name)["end_time"] == ""


def test_a_build_can_vanish_in_the_middle(serve) -> None:
    account = serve(scenario=SLOW_BUILDS, latency=QUICK)
    account.toolforge.faults.add("build_vanishes", tool="one", seconds=0.1)
    name = account.started()
    until(lambda: account.builds("GET", f"/builds/{name}").status_code == 404)


def test_a_build_can_be_made_to_fail(account: Account) -> None:
    account.toolforge.faults.add("build_fails", tool="one")
    assert account.ended(account.started())["status"] == "BUILD_FAILURE"


def test_the_quota_can_be_full_in_the_middle_of_a_build(account: Account) -> None:
    account.toolforge.faults.add("quota_full", tool="one")
    build = account.ended(account.started())
    assert build["status"] == "BUILD_FAILURE"
    assert "will exceed the configured upper limit" in account.log_text(build["build_id"])


def test_a_log_can_break_with_an_error_line_or_be_cut_or_never_end(serve) -> None:
    account = serve(scenario=SLOW_BUILDS, latency=QUICK)
    faults = account.toolforge.faults
    name = account.started()
    faults.add("log_broken", tool="one")
    assert list(list(account.log(name, params={"follow": "true"}))[-1]) == ["error"]
    faults.add("log_cut", tool="one")
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        list(account.log(name, params={"follow": "true"}))
    faults.add("log_never_ends", tool="one")
    with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
        list(account.log(name, params={"follow": "true"}, timeout=0.5))


def test_a_job_can_crash_start_late_or_never_become_ready(account: Account) -> None:
    image, faults = account.built(), account.toolforge.faults
    faults.add("job_crash", tool="one", name="crash", count=2)
    account.run(image, "crash")
    until(lambda: "restarted (1)" in account.job("crash")["status"]["messages"])
    faults.add("job_late", tool="one", name="late", seconds=0.3)
    began = time.monotonic()
    account.run(image, "late")
    account.ready("late")
    assert time.monotonic() - began >= 0.3
    faults.add("job_not_ready", tool="one", name="unready")
    account.run(image, "unready")
    until(lambda: account.job("unready")["status"]["short"] == "running")
    time.sleep(0.2)
    assert account.job("unready")["status_short"] == "Not running"


def test_faults_can_be_set_and_taken_away_over_http(account: Account) -> None:
    url = f"{account.toolforge.admin_url}/faults"
    rule = {"kind": "status", "tool": "one", "operation": "jobs.list", "status": 502, "count": None}
    added = requests.post(url, json=rule, timeout=5)
    assert added.status_code == 201
    assert account.jobs("GET").status_code == 502
    assert requests.get(url, timeout=5).json()["faults"][0]["hits"] == 1
    assert requests.delete(f"{url}/{added.json()['id']}", timeout=5).status_code == 200
    assert requests.delete(f"{url}/{added.json()['id']}", timeout=5).status_code == 404
    assert account.jobs("GET").status_code == 200
    requests.post(url, json=rule, timeout=5)
    assert requests.delete(url, timeout=5).json() == {"faults": []}


@pytest.mark.parametrize(
    "rule", [{"kind": "nonsense"}, {"kind": "slow", "sceonds": 1}, {"kind": "slow", "id": 3}, {}]
)
def test_a_rule_that_means_nothing_is_refused(account: Account, rule: dict) -> None:
    answer = requests.post(f"{account.toolforge.admin_url}/faults", json=rule, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_every_kind_can_be_added() -> None:
    faults = Faults()
    for kind in sorted(HTTP_KINDS | SERVICE_KINDS):
        assert faults.add(kind).kind == kind
    assert len(list(faults)) == len(HTTP_KINDS | SERVICE_KINDS)


def test_an_error_can_be_given_in_its_own_words(account: Account) -> None:
    text = "Job web already exists in runtime"
    body = f'{{"error": ["{text}"]}}'
    account.toolforge.faults.add("status", operation="jobs.create", status=500, body=body)
    assert error_of(account.run(account.built(), method="POST")) == text
    account.toolforge.faults.add("status", operation="jobs.list", status=504, body="upstream timed out")
    assert account.jobs("GET").text == "upstream timed out"


def test_a_webservice_can_hold_the_public_address(account: Account) -> None:
    account.toolforge.faults.add("publish_taken", tool="one")
    image = account.built()
    assert "already in use" in error_of(account.run(image, publish="/"))
    assert account.run(image, publish="/").status_code == 200


def test_a_quota_can_be_set_over_http(account: Account) -> None:
    url = f"{account.toolforge.admin_url}/tools/one/quota"
    assert requests.post(url, json={"bytes": 2048}, timeout=5).json()["limit"] == "2.00Ki"
    assert requests.post(url, json={"bytes": "much"}, timeout=5).status_code == 400
    nobody = url.replace("/one/", "/nobody/")
    assert requests.post(nobody, json={"bytes": 1}, timeout=5).status_code == 404
