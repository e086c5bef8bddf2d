"""The program: how it starts, says that it is ready, goes on after an end, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.local.toolforge.__main__ import main
from tests.local.toolforge.rig import Account, until

REPOSITORY = Path(__file__).resolve().parents[3]
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"])                                  # a child
subprocess.Popen(["setsid", "sleep", "601"])                        # one in another session
import http.server
print("pid", os.getpid(), flush=True)
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), handler).serve_forever()
"""
APP = {"requirements.txt": "", "app.py": STUBBORN, "Procfile": "web: python app.py\n"}


@contextmanager
def program(state: Path, *options: str) -> Iterator[SimpleNamespace]:
    """A running program, with an account of its first tool."""
    argv = [sys.executable, "-m", "deploy.local.toolforge", "--state", str(state), "--tools", "one", *options]
    process = subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        ready = state / "ready.json"
        told = until(lambda: _told(ready, process.pid), 15)
        yield SimpleNamespace(process=process, told=told, ready=ready, account=_account(told))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _told(ready: Path, pid: int) -> dict[str, Any] | None:
    """What the file says, if it is this process that wrote it."""
    told = json.loads(ready.read_text()) if ready.exists() else {}
    return told if told.get("pid") == pid else None


def _account(told: dict[str, Any]) -> Account:
    home = Path(told["tools"]["one"]["client_cert"]).parents[1]
    remote = SimpleNamespace(
        ca_file=told["ca_file"],
        gateway_url=told["gateway_url"],
        web_port=told["web_port"],
        tool_home=lambda name: home,
    )
    return Account(remote, "one")  # type: ignore[arg-type]


def leftovers(state: Path) -> list[int]:
    """Processes whose working folder or command names the state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                where = os.readlink(entry / "cwd") + (entry / "cmdline").read_text(errors="replace")
                if str(state) in where and (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def with_running_job(run: SimpleNamespace, url: str) -> None:
    """Build and run the stubborn app."""
    run.account.run(run.account.built(url, image_name="app"), publish="/")
    run.account.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_clean_on_a_signal(tmp_path: Path, number: int) -> None:
    with program(tmp_path / "state", "--engine", "synthetic") as run:
        assert run.told["pid"] == run.process.pid
        assert set(run.told) == {"gateway_url", "admin_url", "web_port", "ca_file", "tools", "pid"}
        assert {"client_cert", "client_key", "kubeconfig"} <= set(run.told["tools"]["one"])
        assert run.account.builds("GET").status_code == 200
        run.account.close()
        run.process.send_signal(number)
        assert run.process.wait(10) == 0
        assert not run.ready.exists()


def test_a_clean_end_leaves_no_process(tmp_path: Path, repository) -> None:
    state = tmp_path / "state"
    with program(state, "--time-scale", "0.02") as run:
        with_running_job(run, repository(APP).url)
        run.account.close()
        assert len(leftovers(state)) >= 4
        run.process.terminate()
        assert run.process.wait(10) == 0
    assert leftovers(state) == []


def test_even_a_kill_leaves_no_process(tmp_path: Path, repository) -> None:
    state = tmp_path / "state"
    with program(state) as run:
        with_running_job(run, repository(APP).url)
        run.account.close()
        assert len(leftovers(state)) >= 4
        run.process.kill()
        run.process.wait()
        until(lambda: leftovers(state) == [], 5)


def test_after_a_kill_it_goes_on_with_the_same_addresses_jobs_and_images(tmp_path: Path, repository) -> None:
    state, source = (
        tmp_path / "state",
        repository({**APP, "app.py": APP["app.py"].replace("SIG_IGN", "SIG_DFL")}),
    )
    with program(state) as first:
        with_running_job(first, source.url)
        first.account.envvars("POST", json={"name": "KEPT", "value": "yes"})
        image = first.account.job()["imagename"]
        time.sleep(0.5)  # what is written goes to the disk shortly after it is answered
        first.account.close()
        first.process.kill()
        first.process.wait()
        certificate = Path(first.told["tools"]["one"]["client_cert"]).read_bytes()
    with program(state) as second:
        assert {**second.told, "pid": 0} == {**first.told, "pid": 0}
        assert Path(second.told["tools"]["one"]["client_cert"]).read_bytes() == certificate
        until(lambda: second.account.visit().status_code == 200)
        assert second.account.job()["imagename"] == image
        assert second.account.envvars("GET", "/envvars/KEPT").status_code == 200
        build = second.account.builds("GET", "/builds/latest").json()["build"]
        assert build["status"] == "BUILD_SUCCESS"
        assert "RESULT_SHA=" in second.account.log_text(build["build_id"])
        second.account.close()
        second.process.terminate()
        second.process.wait(10)


def test_a_build_that_was_running_runs_again(tmp_path: Path, serve) -> None:
    scenario = {"instant": False, "builds": [{"duration": 0.6}], "latency": {"build_pending": 0}}
    account = serve(scenario=scenario)
    name = account.started()
    until(lambda: account.build(name)["status"] == "BUILD_RUNNING")
    account.close()
    account.toolforge.__exit__(None, None, None)
    again = serve(scenario=scenario)
    assert again.ended(name)["status"] == "BUILD_SUCCESS"


def test_cancelling_a_build_kills_its_whole_session(serve, repository) -> None:
    account = serve(engine="real")
    toml = '[com.heroku.static-web-server.build]\ncommand = "sh"\n'
    toml += 'args = ["-c", "setsid sleep 602 & sleep 602"]\n'
    name = account.started(repository({"public/index.html": "x", "project.toml": toml}).url)
    state = account.toolforge.settings.state
    until(lambda: len(_sleepers()) == 2)
    account.builds("PUT", f"/builds/{name}/cancel")
    assert account.ended(name)["status"] == "BUILD_CANCELLED"
    assert not _sleepers()
    assert not list((state / "images").glob("*/*"))


def _sleepers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes() == b"sleep\x00602\x00":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_deleting_a_job_waits_for_its_process_and_kills_a_stubborn_one(serve, repository) -> None:
    account = serve(engine="real", time_scale=0.02)
    account.run(account.built(repository(APP).url))
    account.ready()
    pid = int(account.jobs("GET", "/jobs/web/logs").text.split('"pid ')[1].split('"')[0])
    began = time.monotonic()
    assert account.jobs("DELETE", "/jobs/web").status_code == 200
    assert 0.2 < time.monotonic() - began < 6
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tools", "Bad"], "lower-case"),
        (["--tools", "a--b"], "single - and _"),
        (["--tools", "a,a"], "name each tool once"),
        (["--scenario", "/nonexistent"], "does not exist"),
    ],
)
def test_bad_options_are_refused_with_their_name(tmp_path: Path, options: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["--state", str(tmp_path), "--tools", "one", *options])
    assert done.exit_code == 2
    assert said in done.output
