"""`config check` tells authors what is wrong before they push, without any set-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command, as an author has it: without settings."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TOOLFORGE_PREVIEW")
    }
    command = [sys.executable, "-W", "error", "-m", "deploy", "config", "check", *arguments]
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_a_good_file_is_good(tmp_path: Path) -> None:
    (tmp_path / ".toolforge-preview.yaml").write_text("health: /healthz\n")
    told = run(tmp_path)
    assert (told.returncode, told.stdout) == (0, ".toolforge-preview.yaml is good.\n"), told.stderr


def test_every_mistake_of_a_wrong_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("helth: /healthz\ncommand: 3\n")
    told = run(tmp_path, "other.yaml")
    assert told.returncode == 1, told.stderr
    assert told.stdout.splitlines() == [
        "other.yaml, line 1, column 1: helth: unknown key; did you mean health?",
        "other.yaml, line 2, column 10: command: expected a line of text; got 3",
    ]


@pytest.mark.parametrize(("text", "code"), [("health: /", 0), ("health: x", 1)])
def test_machines_are_told_the_same(tmp_path: Path, text: str, code: int) -> None:
    (tmp_path / "file.yaml").write_text(text)
    told = run(tmp_path, "file.yaml", "--json")
    assert told.returncode == code
    answer = json.loads(told.stdout)
    assert (answer["file"], answer["good"]) == ("file.yaml", code == 0)
    assert [sorted(problem) for problem in answer["problems"]] == [
        ["column", "key", "line", "message"]
    ] * code


def test_a_file_that_is_not_there_is_another_matter(tmp_path: Path) -> None:
    told = run(tmp_path, "nowhere.yaml")
    assert (told.returncode, told.stderr) == (
        2,
        "Error: nowhere.yaml cannot be read: No such file or directory.\n",
    )
