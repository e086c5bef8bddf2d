"""What the audit of the packages says: only what the advisory service has said of every one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
_GOOD = {"name": "flask", "version": "3.1.0", "vulns": []}
_WEAK = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [
        {"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"], "aliases": ["CVE-2014-1402"], "description": "x"}
    ],
}
_SKIPPED = {
    "name": "redis",
    "skip_reason": "Dependency not found on PyPI and could not be audited: redis (5.2)",
}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([_GOOD], 0, "No weakness is known of the 1 packages"),
        ([_GOOD, _WEAK], 1, "jinja2 2.4.1: PYSEC-2014-8, mended in 2.7.2"),
        ([_GOOD, _SKIPPED], 3, "NOT AUDITED: the advisory service knows of 1 of 2 packages only"),
        ([_WEAK, _SKIPPED], 1, "NOT AUDITED"),
        ([], 3, "NOT AUDITED"),
        (None, 3, "could not be reached"),
    ],
)
def test_what_could_not_be_asked_about_is_not_taken_for_good(
    packages: list[object] | None, code: int, words: str
) -> None:
    report = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    done = subprocess.run(
        [sys.executable, str(_SCRIPT)], input=report, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
