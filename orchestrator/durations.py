"""Durations as people write them, in comments, in files and on the command line. Pure."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def is_duration(text: str) -> bool:
    """True for a number with m, h or d: minutes, hours, days."""
    return _DURATION.fullmatch(text) is not None


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as 90m, 48h or 3d; ValueError for anything else."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"'{duration}' is no duration such as 90m, 48h or 3d")
    return float(match[1]) * _UNITS[match[2]]
