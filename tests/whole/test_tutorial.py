"""Whoever follows the tutorial sees what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.settings import PREFIX
from tests.docs.blocks import DOCS, Block, blocks
from tests.web.house import Visitor

#: What is another one each time: commits, times, ports, names of accounts, sizes, and how wide a table is.
_VARYING = (
    (re.compile(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b"), "COMMIT"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:[\d.]+Z)?( UTC)?"), "TIME"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:PORT"),
    (re.compile(r"preview-dev-\d"), "ACCOUNT"),
    (re.compile(r"\d+(\.\d+)? (s|ms|bytes)\b"), r"N \2"),
    (re.compile(r"\b(migration|lease) \d+"), r"\1 N"),
    (re.compile(r"\s+"), " "),
)
_LEFT_OUT = "..."
_SECONDS = 120.0


def plain(line: str) -> str:
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.strip()


def is_shown(wanted: str, output: str) -> bool:
    """Whether all lines that are wanted are there in their order."""
    lines = iter([plain(line) for line in output.splitlines()])
    for line in (plain(line) for line in wanted.splitlines()):
        if line == _LEFT_OUT:
            continue
        start = line.removesuffix(_LEFT_OUT)
        if not any(one == line or (start != line and one.startswith(start)) for one in lines):
            return False
    return True


class Reader:
    """Somebody with two terminals in a copy of the repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "toolforge-preview"
        self._folder.mkdir()
        (self._folder / ".venv").mkdir()
        (self._folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        who = {"NAME": "Dana", "EMAIL": "dana@tools.example"}
        git = {f"GIT_{role}_{part}": who[part] for role in ("AUTHOR", "COMMITTER") for part in who}
        self._environment = clean | git | {"HOME": str(folder), "COLUMNS": "80"}
        #: What was typed before that the shell remembers.
        self._remembered: list[str] = []
        self._screen = self._folder / "screen"
        self._demo: subprocess.Popen[bytes] | None = None
        self._address = ""

    def starts(self, shown: str) -> None:
        """What `make demo` does, until it shows what it should."""
        with self._screen.open("wb") as screen:
            self._demo = subprocess.Popen(
                [".venv/bin/toolforge-preview", "demo"],
                cwd=self._folder, env=self._environment, stdout=screen, stderr=screen, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while not is_shown(shown, self._screen.read_text()):
            assert time.monotonic() < deadline, self._screen.read_text()
            time.sleep(0.2)

    def ends(self) -> None:
        """Ctrl-C."""
        if self._demo is not None:
            self._demo.send_signal(signal.SIGINT)
            self._demo.wait(60)

    def types(self, command: str, shown: str | None) -> None:
        """Type it once, or where it shows something again and again until it shows that."""
        deadline = time.monotonic() + _SECONDS
        while True:
            done = self._run(command)
            assert done.returncode == 0 or shown is not None, f"{command}\n{done.stdout}{done.stderr}"
            if shown is None or is_shown(shown, done.stdout):
                break
            told = f"{command}\ndid not show\n{shown}\nbut\n{done.stdout}{done.stderr}"
            assert time.monotonic() < deadline, told
            time.sleep(2.0)
        found = re.search(r"^http://\S+\.localhost:\d+/", done.stdout, re.MULTILINE)
        if found and "preview show" in command:
            self._address = found[0]
        self._remembered += [line for line in command.splitlines() if line.startswith((". ", "export "))]

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        # The address that was shown before, as a reader would copy it.
        command = re.sub(r"http://preview-dev-\d\.localhost:\d+/", lambda _: self._address, command)
        script = "\n".join([*self._remembered, "set -e", command])
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def account_of(self, merge_request: str) -> str:
        """The dev account that the list shows for it."""
        listed = self._run(".venv/bin/toolforge-preview pool list").stdout
        (line,) = (line for line in listed.splitlines() if line.endswith(merge_request))
        return line.split()[0]

    def makes_a_token(self) -> str:
        """On the pages, signed in as Dana."""
        address = self._run("echo $TOOLFORGE_PREVIEW_PUBLIC_URL").stdout.strip()
        with Visitor(address) as dana:
            dana.signs_in("dana")
            page = dana.posts("/tokens", name="tutorial", scope="act", days="30")
        (token,) = re.findall(r"tfp_[\w-]{20,}", page.text)
        return str(token)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.ends()


def commands_of(found: Sequence[Block]) -> list[tuple[str, str | None]]:
    """What is typed, each with what it shows, if that is said."""
    return [
        (block.text, block.after.text if block.after and not block.after.language else None)
        for block in found
        if block.language == "sh"
    ]


def test_the_tutorial_is_true(reader: Reader) -> None:
    found = blocks((DOCS / "tutorial.md").read_text())
    assert [block.text for block in found if block.text.startswith("make ")] == [
        "make demo",
        "make demo-clean",
    ]
    typed = commands_of(found)
    assert len(typed) > 20
    assert found[0].after is not None
    reader.starts(found[0].after.text)
    held = ""
    for command, shown in typed:
        if "tfp_..." in command:
            command = command.replace("tfp_...", reader.makes_a_token())
        elif "state_event=close" in command:
            held = reader.account_of("tools/citation-counter!1")
        elif "pool show" in command:
            command = re.sub(r"preview-dev-\d", held, command)
        # Has its own test, in test_command_line.py.
        if "toolforge-preview try" not in command:
            reader.types(command, shown)
