"""Toolforge's own command-line clients against the local Toolforge: a check that nobody here wrote.

They cannot share our environment (the builds client wants an older urllib3), so this runs only when told
where they are: `python3 -m venv V && V/bin/pip install toolforge-jobs-cli toolforge-envvars-cli`, likewise
another one with toolforge-builds-cli, then TOOLFORGE_CLIENTS=V/bin:OTHER/bin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local.toolforge.rig import Account

CLIENTS = os.environ.get("TOOLFORGE_CLIENTS", "")


def client(account: Account, home: Path, name: str, *arguments: str) -> str:
    """Run one of the clients as the tool would; its output."""
    program = shutil.which(name, path=CLIENTS)
    if program is None:
        pytest.skip(f"{name} is not here: install it, and name its folder in TOOLFORGE_CLIENTS")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECONFIG": str(account.toolforge.tool_home("one") / ".kube" / "config"),
        "TOOL_TOOLFORGE_API_URL": account.toolforge.gateway_url,
    }
    argv = [program, *arguments]
    done = subprocess.run(argv, env=env, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_builds_client(account: Account, tmp_path: Path) -> None:
    name = "toolforge-build"
    assert "RESULT_SHA=" in client(account, tmp_path, name, "start", "https://example.org/x.git")
    assert "ok" in client(account, tmp_path, name, "list")
    assert "Status: ok" in client(account, tmp_path, name, "show")
    assert "RESULT_SHA=" in client(account, tmp_path, name, "logs")
    assert "Storage" in client(account, tmp_path, name, "quota")
    assert "Deleted 1 artifacts" in client(account, tmp_path, name, "clean", "--yes-i-know")
    build = account.builds("GET", "/builds/latest").json()["build"]["build_id"]
    client(account, tmp_path, name, "delete", "--yes-i-know", build)
    assert account.builds("GET").json()["builds"] == []


def test_the_jobs_client(account: Account, tmp_path: Path) -> None:
    name, image = "toolforge-jobs", account.built(image_name="app").split("@")[0].partition("/")[2]
    wanted = ["--command", "web", "--image", image, "--continuous", "--port", "8000", "--publish", "/"]
    client(account, tmp_path, name, "run", "web", *wanted)
    account.ready()
    assert "Running" in client(account, tmp_path, name, "list")
    assert image in client(account, tmp_path, name, "show", "web")
    assert "started" in client(account, tmp_path, name, "logs", "web")
    assert "publish: /" in client(account, tmp_path, name, "dump")
    assert image in client(account, tmp_path, name, "images")
    assert "Continuous jobs" in client(account, tmp_path, name, "quota")
    client(account, tmp_path, name, "restart", "web")
    client(account, tmp_path, name, "delete", "web")
    client(account, tmp_path, name, "flush")
    assert account.jobs("GET").json()["jobs"] == []


def test_the_envvars_client(account: Account, tmp_path: Path) -> None:
    name = "toolforge-envvars"
    client(account, tmp_path, name, "create", "GREETING", "hello")
    assert "GREETING" in client(account, tmp_path, name, "list")
    assert "hello" in client(account, tmp_path, name, "show", "GREETING")
    assert "quota" in client(account, tmp_path, name, "quota")
    client(account, tmp_path, name, "delete", "--yes-im-sure", "GREETING")
    assert account.envvars("GET", "/envvars/GREETING").status_code == 404
