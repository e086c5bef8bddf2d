"""Toolforge Preview, previewed: the local Toolforge builds this very repository and runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.redis import redis_binary
from tests.repository import ROOT, copy_to
from tests.whole.test_command_line import COMMAND, commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of this repository as they are now, in one commit."""
    folder = tmp_path / "toolforge-preview"
    copy_to(folder)
    commit(folder)
    return folder


def test_it_is_built_as_toolforge_builds_it_and_is_ready(repository: Path, tmp_path: Path) -> None:
    # Toolforge installs the packages that project.toml names; the local one has what this machine has.
    path = tmp_path / "bin"
    path.mkdir()
    (path / "redis-server").symlink_to(redis_binary())
    environment = os.environ | {"PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*COMMAND, "try", str(repository), "--once"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: GET /readyz: 200" in done.stdout
    assert "passed: GET /: 200" in done.stdout
    assert "Torn down: the account is free and empty." in done.stdout
