"""Toolforge Preview, previewed: the local Toolforge builds this very repository and runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.redis import redis_binary
from tests.whole.test_command_line import COMMAND, commit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of this repository as they are now, in one commit."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / "toolforge-preview"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
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
