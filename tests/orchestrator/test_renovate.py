"""What Renovate may propose, by what builds have shown; compared by what Renovate compares with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from orchestrator.renovate import rules
from orchestrator.runtimes import RuntimeSeen

NOW = 1_000_000.0
#: What was seen, and which versions may then be proposed, or not.
SEEN = [
    RuntimeSeen("Python", "3.13.7", seen_at=NOW - 5),
    RuntimeSeen("Python", "3.9", seen_at=NOW - 5),
    RuntimeSeen("Python", "3", seen_at=NOW - 5),
    RuntimeSeen("Python", "3.14", NOW - 5, "python-version-missing"),
    RuntimeSeen("Node.js", "22.11.0", seen_at=NOW - 5),
    RuntimeSeen("Node.js", ">=24", seen_at=NOW - 5),
    RuntimeSeen("Go", "1.25.1", seen_at=NOW - 5),
]
PYTHON = {"3.12": True, "3.13": True, "3.13.99": True, "3.14": False, "3.14.0": False, "4.0": False}
NODE = {"20.1.0": True, "22.99.0": True, "23.0.0": False, "24.0.0": False}
GO = {"1.24.0": True, "1.25.9": True, "1.26.0": False, "2.0.0": False}


def test_each_language_goes_up_to_the_line_of_the_newest_version_that_is_there() -> None:
    found = {rule.runtime: (rule.manager, rule.dependency, rule.allowed) for rule in rules(SEEN, NOW)}
    assert found == {
        "Python": ("pyenv", "python", "<3.14"),
        "Node.js": ("npm", "node", "<23"),
        "Go": ("gomod", "go", "<1.26"),
    }


def test_of_what_nothing_is_known_nothing_is_held_back() -> None:
    assert rules([], NOW) == []
    assert rules([RuntimeSeen("Python", "3.14", NOW, "python-version-missing")], NOW) == []
    assert rules([RuntimeSeen("Java", "25", seen_at=NOW)], NOW) == [], "no log says with which it was made"


def test_what_was_refused_since_is_not_there_any_more() -> None:
    gone = RuntimeSeen("Python", "3.13", NOW - 1, "python-version-missing")
    assert [rule.allowed for rule in rules([*SEEN[:2], gone], NOW)] == ["<3.10"]
    before = RuntimeSeen("Python", "3.13", NOW - 9, "python-version-missing")
    assert [rule.allowed for rule in rules([*SEEN[:2], before], NOW)] == ["<3.14"]


@pytest.mark.parametrize(("version", "is_allowed"), PYTHON.items())
def test_pythons_scheme_reads_the_range_so(version: str, is_allowed: bool) -> None:
    (python,) = [rule for rule in rules(SEEN, NOW) if rule.runtime == "Python"]
    assert (version in SpecifierSet(python.allowed)) == is_allowed


#: Renovate's own: `semver` for what npm's scheme reads, its port of PEP 440 for Python, and the first of them
#: in place of any scheme that does not take the range.
_COMPARE = """
const semver = require("semver");
const pep440 = require("@renovatebot/pep440");
const asked = JSON.parse(process.argv[1]);
const fits = (v, range) => semver.satisfies(semver.valid(v) ? v : semver.coerce(v), range);
const answers = asked.map(([scheme, v, range]) =>
  scheme === "pep440" ? pep440.satisfies(v, range) : semver.validRange(range) !== null && fits(v, range));
console.log(JSON.stringify(answers));
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with them, from npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node or no npm, with which Renovate's own libraries would be had")
    folder = tmp_path_factory.mktemp("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]
    packages = ["semver@7.7.2", "@renovatebot/pep440@4.2.0"]
    try:
        made = subprocess.run(
            [*command, *packages], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not answer within a minute")
    if made.returncode:
        pytest.skip(f"npm could not install Renovate's libraries: {made.stderr[-300:]}")
    return folder


def test_renovates_own_libraries_let_through_what_is_there_and_nothing_else(libraries: Path) -> None:
    allowed = {rule.runtime: rule.allowed for rule in rules(SEEN, NOW)}
    asked = [
        (scheme, version, allowed[runtime], expected)
        for runtime, schemes, versions in (
            ("Python", ("pep440", "npm"), PYTHON),
            ("Node.js", ("npm",), NODE),
            ("Go", ("npm",), GO),
        )
        for scheme in schemes
        for version, expected in versions.items()
    ]
    questions = json.dumps([one[:3] for one in asked])
    answer = subprocess.run(
        ["node", "-e", _COMPARE, questions], cwd=libraries, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == [one[3] for one in asked]
