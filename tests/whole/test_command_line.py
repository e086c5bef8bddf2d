"""The commands that a newcomer types first, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.whole.scene import server

COMMAND = [sys.executable, "-m", "deploy"]


def run(*arguments: str, seconds: float = 150.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with a small web server that Toolforge can build."""
    folder = tmp_path / "some-tool"
    folder.mkdir()
    for name, content in server("a repository").items():
        (folder / name).write_text(str(content))
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.example"]
    for command in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "-m", "A change"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def test_the_demo_takes_every_sample_to_a_clean_end() -> None:
    done = run("demo", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("is live at") == 3
    assert "every account is free and, by Toolforge's own word, empty" in done.stdout


def test_a_repository_that_works_is_tried_with_success(repository: Path) -> None:
    done = run("try", str(repository), "--once", "--check", "/=200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: GET /: 200" in done.stdout
    assert "Torn down: the account is free and empty." in done.stdout


def test_a_repository_that_does_not_work_is_tried_with_failure(repository: Path) -> None:
    (repository / ".python-version").write_text("3.99\n")
    commit(repository)
    done = run("try", str(repository), "--once")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed at build" in done.stdout
    assert "What to do:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("try", "/nowhere/at/all", "--once"), "Cannot use /nowhere/at/all"),
        (("try", ".", "--once", "--check", "healthz=200"), "no path such as /healthz"),
        (("demo", "--clean", "--state", "tests"), "was not made by the demo"),
    ],
)
def test_bad_use_is_one_clear_sentence_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_demo_leaves_no_process_behind(tmp_path: Path, how: signal.Signals) -> None:
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--state", str(tmp_path / "state")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "state" / "logs" / "beat.log").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    demo.send_signal(how)
    demo.wait(30)
    while mentioning(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mentioning(tmp_path) == []


def mentioning(folder: Path) -> list[str]:
    """Command lines of processes that have to do with `folder`, by their arguments or settings."""
    needle = os.fsencode(folder)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            if needle in command or needle in (entry / "environ").read_bytes():
                found.append(command.decode(errors="replace"))
        except OSError:
            continue
    return found
