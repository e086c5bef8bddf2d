"""The threat model names tests: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).parent
_DOCUMENT = _TESTS.parent / "docs" / "security.md"


def test_every_test_that_holds_a_boundary_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", _DOCUMENT.read_text())
    defined = {
        name
        for file in _TESTS.rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    assert len(named) > 50
    assert [name for name in named if name not in defined] == []
