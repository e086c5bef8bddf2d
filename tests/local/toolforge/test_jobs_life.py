"""Jobs over time: from scheduling to ready, crashes, probes, the end (contract 3.2, 3.4, 3.5)."""

from __future__ import annotations

import time

from deploy.local.toolforge import Latency
from tests.local.toolforge.rig import Account, until


def jobs(*entries: dict, **more: object) -> dict:
    """A scenario of jobs, whose builds take no time."""
    return {"builds": [{"duration": 0}], "jobs": list(entries), **more}


STEPS = Latency(build_pending=0, build_started=0, schedule=0.15, image_pull=0.15)


def test_a_job_goes_from_scheduling_to_initializing_to_running_but_not_ready_to_ready(serve) -> None:
    account = serve(scenario=jobs({"start_delay": 0.3}, instant=False), latency=STEPS)
    account.run(account.built())
    seen: list[tuple[str, str, str]] = []

    def watch() -> bool:
        job = account.job()
        messages = job["status"]["messages"]
        now = (job["status"]["short"], messages[0] if messages else "", job["status_short"])
        if not seen or seen[-1] != now:
            seen.append(now)
        return job["status_short"] == "Running"

    until(watch)
    assert seen == [
        ("pending", "scheduling", "Not running"),
        ("pending", "initializing", "Not running"),
        ("running", "", "Not running"),
        ("running", "", "Running"),
    ]


def test_nothing_is_public_before_it_is_ready(serve) -> None:
    account = serve(scenario=jobs({"start_delay": 0.3, "http": {"status": 418, "body": "tea"}}))
    assert account.visit().status_code == 404
    account.run(account.built(), publish="/")
    assert account.visit().status_code == 503
    account.ready()
    answer = account.visit("/any/path?x=1")
    assert (answer.status_code, answer.text) == (418, "tea")


def test_an_unpublished_job_is_not_public(account: Account) -> None:
    account.run(account.built())
    account.ready()
    assert account.visit().status_code == 404


def test_a_crash_loop_reads_as_pending_with_its_restarts_and_exit_code(serve) -> None:
    account = serve(scenario=jobs({"health": "crash", "exit_code": 3}), latency=Latency(crash_backoff=0.3))
    account.run(account.built())
    job = until(lambda: (j := account.job())["status_short"] == "Specified command fails to run" and j)
    assert job["status"]["short"] == "pending"
    assert job["status"]["messages"][1] == "exitcode 3"
    until(lambda: "restarted (2)" in account.job()["status"]["messages"])
    assert "CrashLoopBackOff" in account.job()["status_long"]


def test_a_job_that_stays_unavailable_has_failed(serve) -> None:
    account = serve(scenario=jobs({"health": "never_ready"}), latency=Latency(unavailable=0.3))
    account.run(account.built())
    until(lambda: account.job()["status"]["short"] == "running")
    job = until(lambda: (j := account.job())["status"]["short"] == "failed" and j)
    assert job["status_short"] == "Not running"


def test_an_app_that_does_not_listen_in_time_is_restarted(serve) -> None:
    account = serve(
        scenario=jobs({"health": "never_ready"}), latency=Latency(startup_timeout=0.1, crash_backoff=0.05)
    )
    account.run(account.built())
    state = account.toolforge.state
    until(lambda: state()["tools"]["one"]["jobs"][0]["pods"][0]["restarts"] >= 2)


def test_a_crashing_job_without_a_port_looks_ready_until_it_crashes(serve) -> None:
    account = serve(scenario=jobs({"health": "crash", "crash_after": 0.3}))
    account.run(account.built(), port=None)
    account.ready()
    until(lambda: account.job()["status_short"] == "Specified command fails to run")


def test_an_image_that_cannot_be_pulled_is_pending_with_kubernetes_words(account: Account) -> None:
    image = account.built()
    fault = account.toolforge.faults.add("image_pull_error", tool="one", count=None)
    account.run(image)
    job = until(lambda: (j := account.job())["status"]["messages"][1:] and j)
    assert job["status"]["short"] == "pending"
    assert job["status"]["messages"][0] == "initializing"
    assert job["status"]["messages"][1].startswith("Back-off pulling image")
    assert "Reason 'ImagePullBackOff'" in job["status_long"]
    account.toolforge.faults.remove(fault)
    account.ready()


def test_an_image_cleaned_away_under_a_job_is_missed_at_its_restart(account: Account) -> None:
    account.run(account.built())
    account.ready()
    account.builds("POST", "/clean")
    assert account.job()["status_short"] == "Running"
    assert account.jobs("POST", "/jobs/web/restart").status_code == 200
    until(lambda: "ImagePullBackOff" in account.job()["status_long"])


def test_an_update_replaces_the_pod_and_a_restart_makes_a_new_one(account: Account) -> None:
    def pod() -> str:
        return account.toolforge.state()["tools"]["one"]["jobs"][0]["pods"][0]["name"]

    account.run(account.built(image_name="a"))
    account.ready()
    first = pod()
    account.run(account.built(image_name="b"))
    account.ready()
    second = pod()
    account.jobs("POST", "/jobs/web/restart")
    account.ready()
    assert len({first, second, pod()}) == 3


def test_a_pod_being_replaced_gets_no_traffic_and_is_not_ready(serve) -> None:
    account = serve(scenario=jobs({"start_delay": 0.6}))
    account.run(account.built(image_name="a"), publish="/")
    account.ready()
    account.run(account.built(image_name="b"), publish="/")
    assert account.job()["status_short"] == "Not running"
    assert account.visit().status_code == 503
    account.ready()


def test_more_replicas_than_there_can_ever_be_are_out_of_quota_and_harm_nobody(account: Account) -> None:
    image = account.built()
    assert account.run(image, replicas=10**9).status_code == 200
    assert account.job()["status_short"].startswith("Unable to start, out of quota for")
    assert account.jobs("DELETE").status_code == 200
    account.run(image, replicas=1)
    account.ready()


def test_replicas_are_ready_together(account: Account) -> None:
    account.run(account.built(), replicas=3)
    account.ready()
    assert len(account.toolforge.state()["tools"]["one"]["jobs"][0]["pods"]) == 3


def test_an_http_health_check_decides(serve) -> None:
    account = serve(scenario=jobs({"http": {"status": 500}}))
    image = account.built()
    account.run(image, health_check={"type": "http", "path": "/healthz"})
    until(lambda: account.job()["status"]["short"] == "running")
    time.sleep(0.2)
    assert account.job()["status_short"] == "Not running"
    account.run(image)
    account.ready()


def test_a_clock_can_be_compressed(serve) -> None:
    account = serve(
        scenario={
            "instant": False,
            "time_scale": 0.01,
            "builds": [{"duration": 20}],
            "jobs": [{"start_delay": 10}],
        }
    )
    began = time.monotonic()
    account.run(account.built())
    account.ready()
    assert 0.25 < time.monotonic() - began < 5
