"""envvars-api, and the logs of jobs by both ways (contract 3.6, 4)."""

from __future__ import annotations

import json
import threading

import pytest
import requests

from tests.local.toolforge.rig import Account, error_of, until

CHATTY = {"jobs": [{"log": [f"line {number}" for number in range(1200)]}]}


@pytest.mark.parametrize("name", ["abcd", "ABC", "1ABC", "ABC_", "A-BC", "ABCD\n", ""])
def test_runtime_names_are_stricter_than_build_time_ones(account: Account, name: str) -> None:
    answer = account.envvars("POST", json={"name": name, "value": "x"})
    assert answer.status_code == 400
    assert error_of(answer)


def test_envvars_are_set_overwritten_read_in_clear_and_echoed_at_their_end(account: Account) -> None:
    for value in ("one", "two"):
        assert account.envvars("POST", json={"name": "SECRET_KEY", "value": value}).status_code == 200
    pair = {"name": "SECRET_KEY", "value": "two"}
    assert account.envvars("GET", "/envvars/SECRET_KEY").json() == {"envvar": pair, "messages": {}}
    assert pair in account.envvars("GET").json()["envvars"]
    assert account.envvars("DELETE", "/envvars/SECRET_KEY").json() == {"envvar": pair, "messages": {}}
    assert account.envvars("GET", "/envvars/SECRET_KEY").status_code == 404
    assert account.envvars("DELETE", "/envvars/SECRET_KEY").status_code == 404


def test_the_platforms_own_envvars_are_there(account: Account) -> None:
    names = [one["name"] for one in account.envvars("GET").json()["envvars"]]
    assert {"TOOL_TOOLSDB_USER", "TOOL_TOOLSDB_PASSWORD"} <= set(names)
    assert account.envvars("GET", "/quotas").json()["quota"] == {"quota": 50, "used": len(names)}


@pytest.mark.parametrize("body", ["{", "[]", '{"name": "ABCD"}', '{"name": "ABCD", "value": 1}'])
def test_a_body_that_does_not_fit_is_400(account: Account, body: str) -> None:
    assert account.envvars("POST", data=body).status_code == 400


def test_jobs_logs_are_json_lines_limited_by_lines(serve) -> None:
    account = serve(scenario=CHATTY)
    account.run(account.built())
    account.ready()
    lines = [json.loads(line) for line in account.jobs("GET", "/jobs/web/logs").iter_lines()]
    assert len(lines) == 500
    assert set(lines[0]) == {"pod", "container", "datetime", "message"}
    assert lines[-1]["message"] == "line 1199"
    few = account.jobs("GET", "/jobs/web/logs?lines=2").text.splitlines()
    assert [json.loads(line)["message"] for line in few] == ["line 1198", "line 1199"]


def test_bad_numbers_of_lines_are_400(account: Account) -> None:
    account.run(account.built())
    answer = account.jobs("GET", "/jobs/web/logs?lines=many")
    assert (answer.status_code, error_of(answer)) == (400, "Unable to parse lines as integer")
    assert account.jobs("GET", "/jobs/web/logs?lines=5001").status_code == 400


def test_without_output_or_with_filelog_there_are_no_logs(serve) -> None:
    account = serve(scenario={"jobs": [{"match": {"name": "mute"}, "log": []}]})
    image = account.built()
    account.run(image, "mute")
    account.run(image, "filed", filelog=True)
    for name in ("mute", "filed"):
        answer = account.jobs("GET", f"/jobs/{name}/logs")
        assert answer.status_code == 404
        assert error_of(answer) == f"Job '{name}' does not have any logs available"


def test_following_an_idle_job_sends_nothing_and_then_what_comes(serve) -> None:
    account = serve(scenario={"jobs": [{"log": []}]})
    account.run(account.built())
    with pytest.raises(requests.exceptions.ReadTimeout):
        account.jobs("GET", "/jobs/web/logs?follow=true", stream=True, timeout=0.2)
    server = account.toolforge.server
    tool = server.world.tools["one"]
    timer = threading.Timer(0.2, server.jobs.log(tool, "web").write, ["web-x", "web", "at last"])
    timer.start()
    with account.jobs("GET", "/jobs/web/logs?follow=true", stream=True) as answer:
        assert json.loads(next(answer.iter_lines(chunk_size=1)))["message"] == "at last"
    timer.join()


def test_only_the_word_true_follows(serve) -> None:
    account = serve(scenario=CHATTY)
    account.run(account.built())
    account.ready()
    assert account.jobs("GET", "/jobs/web/logs?follow=True").text.count("\n") == 500


def test_logs_api_pages_newest_first_with_a_next_address(serve) -> None:
    account = serve(scenario=CHATTY)
    account.run(account.built())
    account.ready()
    url, pages, messages = "/logs/v1/tool/one/job/web/logs?direction=newest_first&lines=1100", 0, []
    while url:
        data = account.call("GET", url).json()["data"]
        messages += [entry["message"] for entry in data["logs"]]
        url, pages = (data["next"] or {}).get("url"), pages + 1
    assert pages == 3
    assert messages == [f"line {number}" for number in range(1199, 99, -1)]


def test_logs_api_streams(serve) -> None:
    account = serve(scenario=CHATTY)
    account.run(account.built())
    account.ready()
    with account.call("GET", "/logs/v1/tool/one/job/web/logs_stream", stream=True) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["message"] == "line 0"


def test_logs_by_time(serve) -> None:
    account = serve(scenario=CHATTY)
    account.run(account.built())
    until(lambda: account.call("GET", "/logs/v1/tool/one/job/web/logs").json()["data"]["logs"])
    late = account.call("GET", "/logs/v1/tool/one/job/web/logs?since=2200-01-01T00:00:00Z").json()
    assert late["data"] == {"logs": [], "next": None}
    assert account.call("GET", "/logs/v1/tool/one/job/web/logs?since=yesterday").status_code == 400
