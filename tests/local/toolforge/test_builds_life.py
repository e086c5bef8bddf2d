"""Builds over time: states, ends, pruning, logs (contract 2.3 to 2.5)."""

from __future__ import annotations

import json
import threading
import time

import pytest
import requests

from deploy.local.toolforge import Latency
from tests.local.toolforge.rig import Account, error_of, until

OUTCOMES = {
    "instant": False,
    "builds": [
        {"match": {"image_name": "ok*"}, "duration": 0},
        {"match": {"image_name": "bad*"}, "duration": 0, "outcome": "failure"},
        {"match": {"image_name": "late*"}, "duration": 0, "outcome": "timeout"},
        {"match": {"image_name": "never*"}, "outcome": "never", "duration": 0},
        {"duration": 0.4, "log": ["first", "caf\u00e9 \u0085 \x1b[1mbold\x1b[0m", "last"]},
    ],
}
QUICK = Latency(build_pending=0, build_started=0, cancel=0, schedule=0, image_pull=0)
TICKING = Latency(build_pending=0.15, build_started=0.15, cancel=0.1)


def test_a_build_ticks_through_pending_and_unknown_to_running_and_its_end(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=TICKING)
    name = account.started()
    seen: list[str] = []

    def watch() -> bool:
        build = account.build(name)
        if not seen or seen[-1] != build["status"]:
            seen.append(build["status"])
        if build["status"] == "BUILD_PENDING":
            assert build["start_time"] == build["end_time"] == ""
        if build["status"] != "BUILD_SUCCESS":
            assert "@" not in build["destination_image"]
        return bool(build["end_time"])

    until(watch)
    assert seen == ["BUILD_PENDING", "BUILD_UNKNOWN", "BUILD_RUNNING", "BUILD_SUCCESS"]
    assert ":latest@sha256:" in account.build(name)["destination_image"]


def test_a_failed_build_says_where_the_logs_are_and_has_no_digest(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    build = account.ended(account.started(image_name="bad"))
    assert build["status"] == "BUILD_FAILURE"
    assert build["message"].endswith(f". Check the logs with `toolforge build logs {build['build_id']}`")
    assert build["destination_image"].endswith("/tool-one/bad:latest")


def test_a_build_that_takes_too_long_times_out(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK, build_timeout=0.2)
    assert account.ended(account.started(image_name="never"))["status"] == "BUILD_TIMEOUT"
    assert account.ended(account.started(image_name="late"))["status"] == "BUILD_TIMEOUT"


def test_deleting_a_build_keeps_its_image(account: Account) -> None:
    image = account.built(image_name="kept")
    name = account.builds("GET", "/builds/latest").json()["build"]["build_id"]
    assert account.builds("DELETE", f"/builds/{name}").json() == {"id": name, "messages": {}}
    assert account.builds("GET", f"/builds/{name}").status_code == 404
    assert account.run(image).status_code == 200


def test_deleting_a_running_build_frees_its_slot(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK, max_parallel_builds=1)
    name = account.started(image_name="never")
    account.builds("DELETE", f"/builds/{name}")
    assert account.start(image_name="ok").status_code == 200


def test_a_start_prunes_to_four_successes_and_two_of_the_rest(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    for kind in ("ok", "bad", "late"):
        for number in range(5 if kind == "ok" else 2):
            account.ended(account.started(image_name=f"{kind}{number}"))
    running = account.started(image_name="never")
    account.started(image_name="ok-last")
    kept = [
        build["parameters"]["image_name"]
        for build in account.builds("GET").json()["builds"]
        if build["build_id"] != running
    ]
    assert kept == ["ok-last", "late1", "late0", "ok4", "ok3", "ok2", "ok1"]
    assert account.build(running)["status"] == "BUILD_RUNNING"


def test_a_live_build_that_reads_unknown_can_be_pruned(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=Latency(build_pending=0, build_started=600), kept_failures=0)
    name = account.started()
    until(lambda: account.build(name)["status"] == "BUILD_UNKNOWN")
    account.started()
    assert account.builds("GET", f"/builds/{name}").status_code == 404


def test_pruning_never_deletes_images(serve) -> None:
    account = serve(kept_successes=1)
    first = account.built(image_name="first")
    account.built(image_name="second")
    account.built(image_name="third")
    assert account.run(first).status_code == 200


def test_log_lines_have_a_container_and_a_stamp_and_keep_odd_characters(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    name = account.started()
    account.ended(name)
    lines = [line["line"] for line in account.log(name)]
    assert any(line.startswith("[step-clone] ") and "RESULT_SHA=" in line for line in lines)
    odd = next(line for line in lines if "caf\u00e9" in line)
    assert odd.endswith("caf\u00e9 \u0085 \x1b[1mbold\x1b[0m")
    assert len(odd.split(" ")[1]) == len("2026-01-01T00:00:00.123456789Z")


def test_logs_without_follow_before_the_start_are_500(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=Latency(build_pending=600))
    name = account.started()
    answer = account.builds("GET", f"/builds/{name}/logs")
    assert answer.status_code == 500
    assert error_of(answer) == f"Error getting the logs for {name}: pipelineRun not yet started"


def test_followed_logs_are_silent_until_the_start_and_then_stream_to_the_end(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=TICKING)
    name = account.started()
    with pytest.raises(requests.exceptions.ReadTimeout):
        account.builds("GET", f"/builds/{name}/logs?follow=true", stream=True, timeout=0.1)
    lines = [line["line"] for line in account.log(name, params={"follow": "true"})]
    assert lines[-1].startswith("[step-results]")
    account.ended(name, 1)


def test_following_a_build_that_never_starts_gives_up_after_its_time(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=Latency(build_pending=600, log_start_wait=0.2))
    name = account.started()
    answer = account.builds("GET", f"/builds/{name}/logs?follow=true")
    assert answer.status_code == 500
    assert error_of(answer).endswith("timed out waiting for pipelinerun to start")


def test_following_again_replays_from_the_start(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    name = account.started()
    first = list(account.log(name, params={"follow": "true"}))
    assert list(account.log(name, params={"follow": "true"})) == first


def test_a_log_that_vanishes_in_the_middle_ends_in_an_error_line_under_200(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    name = account.started(image_name="never")
    until(lambda: account.build(name)["status"] == "BUILD_RUNNING")
    second = Account(account.toolforge, "one")
    timer = threading.Timer(0.2, lambda: second.builds("DELETE", f"/builds/{name}"))
    timer.start()
    lines = list(account.log(name, params={"follow": "true"}))
    timer.join()
    second.close()
    assert list(lines[-1]) == ["error"]
    assert account.builds("GET", f"/builds/{name}/logs").status_code == 404


def test_a_reader_that_leaves_is_noticed(serve) -> None:
    account = serve(scenario=OUTCOMES, latency=QUICK)
    name = account.started(image_name="never")
    until(lambda: account.build(name)["status"] == "BUILD_RUNNING")
    with account.builds("GET", f"/builds/{name}/logs?follow=true", stream=True) as answer:
        assert json.loads(next(answer.iter_lines()))["line"]
        answer.raw._connection.close() if answer.raw._connection else None
    until(lambda: account.toolforge.calls()["by_operation"].get("builds.logs"), 3)


def test_a_thousand_builds_are_no_matter(serve) -> None:
    tools = tuple(f"t{number}" for number in range(10))
    account = serve(tools=tools)
    accounts = [Account(account.toolforge, tool) for tool in tools]
    began = time.monotonic()

    def many(one: Account) -> None:
        for _ in range(100):
            one.started()
        one.close()

    threads = [threading.Thread(target=many, args=(one,)) for one in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert account.toolforge.calls()["by_status"] == {"200": 1000}
    assert time.monotonic() - began < 15
