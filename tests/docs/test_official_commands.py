"""Toolforge's own commands in the documents are those of its clients: each client reads what is written.

Skipped where a client is not installed; `make clients` does that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import INLINE, REPOSITORY, documents, lines_of, parts_of, without_blocks

_CLIENTS = os.environ.get("TOOLFORGE_CLIENTS", "")
#: Run by the client's own Python with the arguments: reads them, and does nothing.
_READS = {
    "jobs": "from jobs_cli.cli import arg_parser; arg_parser(sys.argv[1:])",
    "envvars": "from toolforge_envvars_cli.cli import toolforge_envvars as group; read(group)",
    "build": "from toolforge_builds_cli.cli import toolforge_build as group; read(group)",
    "components": "from toolforge_components_cli.cli import toolforge_components as group; read(group)",
}
_READ = """
import sys
def read(command):
    words = sys.argv[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)
"""


def written(client: str) -> Iterator[list[str]]:
    """The arguments of each command of a client in the documents."""
    for path in documents():
        text = path.read_text()
        for line in [*lines_of(text), *INLINE.findall(without_blocks(text))]:
            for part in parts_of(line):
                # What is sent elsewhere, such as >/dev/null, is the shell's.
                words = [word for word in part if not word.startswith((">", "2>"))]
                is_begun = words[-1:] and words[-1].startswith("--") and words[-1] != "--wait"
                if words[:2] == ["toolforge", client] and len(words) > 2 and not is_begun:
                    yield words[2:]


@pytest.mark.parametrize("client", _READS)
def test_toolforges_clients_read_what_is_written(client: str) -> None:
    program = shutil.which(f"toolforge-{client}", path=_CLIENTS)
    if program is None:
        pytest.skip(f"toolforge-{client} is not here: `make clients` installs it")
    python = str(Path(program).parent / "python")
    found = list(written(client))
    assert found
    for arguments in found:
        command = [python, "-c", f"{_READ}\n{_READS[client]}", *arguments]
        # Where the files lie that some of them name.
        folder = REPOSITORY / "deploy" / "toolforge"
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"toolforge {client} {' '.join(arguments)}\n{done.stderr}"
