"""Procfile entries as process types (heroku/buildpacks-procfile): `name: command`, later ones win."""

from __future__ import annotations

import re
from pathlib import Path

ENTRY = re.compile(r"^\s*([A-Za-z0-9_-]+):\s*(\S.*?)\s*$")


class InvalidProcfile(Exception):
    """The file holds text, but no entry."""


def read(app: Path) -> dict[str, str]:
    """The process types of a repository; none without a Procfile. Raises `InvalidProcfile`."""
    path = app / "Procfile"
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidProcfile from None
    meant = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found = {match[1]: match[2] for line in meant if (match := ENTRY.match(line))}
    if meant and not found:
        raise InvalidProcfile
    return found
