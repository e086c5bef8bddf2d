"""What a commit's Procfile says about a command that was not found. Pure."""

from __future__ import annotations

import re

from orchestrator.markdown import plain

#: A longer one is read so far, and so many of its names are told.
MOST_BYTES = 20_000
_MOST_NAMES = 8
#: As heroku/buildpacks-procfile reads a line (src/procfile.rs).
_PROCESS = re.compile(r"^[ \t]*([\w-]{1,60}):[ \t]*\S", re.MULTILINE)


def without(command: str, procfile: str) -> str:
    """Why `command` is none of its processes, for people; empty where it is one of them.

    `procfile` is empty where the commit has none.
    """
    if not procfile.strip():
        return "the commit has no Procfile"
    names = list(dict.fromkeys(_PROCESS.findall(plain(procfile[:MOST_BYTES]))))
    if not names:
        return "its Procfile is empty"
    return "" if command in names else f"its Procfile names {', '.join(names[:_MOST_NAMES])} and no {command}"
