"""Which projects a change of the builder concerns."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.builder import Builder, Noticed, buildpacks, noticed
from orchestrator.moves import Advice, Asked, Outlook, advice
from orchestrator.outcome import Pin
from orchestrator.runtimes import RuntimeSeen

NOW = 1_000_000.0
DAY = 86400.0
CHANGED = NOW - 5 * DAY
REFUSED, UNSEEN, CAN_MOVE_UP = Outlook.REFUSED, Outlook.UNSEEN, Outlook.CAN_MOVE_UP


def asked(wanted: str, path: str = "group/tool", runtime: str = "Python") -> Asked:
    return Asked(path, Pin(runtime, wanted, "a-file"), NOW - DAY, "@main")


def python(wanted: str, at: float = NOW - DAY) -> RuntimeSeen:
    return RuntimeSeen("Python", wanted, seen_at=at)


def told(wanted: str, seen: Sequence[RuntimeSeen], changed_at: float = CHANGED) -> Advice | None:
    return next(iter(advice([asked(wanted)], seen, changed_at, NOW)), None)


SEEN = [
    python("3.13.2"),
    python("3.12.9"),
    python("3.11.9", CHANGED - 1),
    RuntimeSeen("Go", "1.25", seen_at=NOW),
]


@pytest.mark.parametrize(
    ("wanted", "outlook"),
    [
        ("3.13", None),
        ("3.13.2", None),
        ("3", None),
        ("3.12", CAN_MOVE_UP),
        ("3.12.9", CAN_MOVE_UP),
        ("3.11", UNSEEN),
        ("3.13.1", UNSEEN),
        ("3.14", UNSEEN),
        (">=3.9", None),
        ("3.x", None),
    ],
)
def test_a_version_is_held_against_those_seen_since_the_change(wanted: str, outlook: Outlook | None) -> None:
    found = told(wanted, SEEN)
    assert (found.outlook if found else None) is outlook
    assert found is None or found.newest == "3.13.2"


def test_what_is_refused_comes_first_whatever_it_is_called() -> None:
    refusals = [RuntimeSeen("Python", one, NOW - DAY, "python-version-missing") for one in ("3.99", "~3.99")]
    wanted = [asked("3.12", "a/up"), asked("3.11", "a/unseen"), asked("~3.99", "b/x"), asked("3.99", "a/x")]
    found = advice(wanted, [*SEEN, *refusals], CHANGED, NOW)
    assert [(one.asked.path, one.outlook) for one in found] == [
        ("a/x", REFUSED),
        ("b/x", REFUSED),
        ("a/unseen", UNSEEN),
        ("a/up", CAN_MOVE_UP),
    ]
    assert found[0].newest == "3.13.2", "what is refused is not the newest that there is"


def test_before_a_change_was_noticed_nothing_is_missing() -> None:
    assert told("3.14", SEEN, changed_at=0.0) is None
    found = told("3.11", SEEN, changed_at=0.0)
    assert found is not None
    assert found.outlook is CAN_MOVE_UP


def test_where_nothing_is_known_of_a_language_nothing_is_said() -> None:
    assert told("3.11", []) is None
    assert told("3.11", [python("3.11.9", CHANGED - 1)]) is None
    assert advice([asked("3.11", runtime="Go")], [python("3.13.2")], CHANGED, NOW) == []


# --- noticing that it has changed ---------------------------------------------------------------------

LOG = """\
[step-detect] 2026-08-01T10:00:00.000000001Z 3 of 6 buildpacks participating
[step-detect] 2026-08-01T10:00:00.000000002Z heroku/nodejs-engine   3.4.5
[step-detect] 2026-08-01T10:00:00.000000003Z heroku/python          0.26.1
[step-detect] 2026-08-01T10:00:00.000000004Z heroku/procfile        4.2.1
[step-build] 2026-08-01T10:00:00.000000005Z heroku/python          9.9.9
"""
FOUND = {"heroku/nodejs-engine": "3.4.5", "heroku/python": "0.26.1", "heroku/procfile": "4.2.1"}


def test_the_buildpacks_are_those_of_the_list_and_no_later_line() -> None:
    after = LOG.replace("[step-build] 2026-08-01T10:00:00.000000005Z heroku", "[step-build] x\nheroku")
    assert buildpacks(after) == FOUND
    assert buildpacks("heroku/python 1.0.0") == {}
    assert buildpacks("2 of 2 buildpacks participating") == {}


@given(st.text(), st.text())
def test_no_log_breaks_it(before: str, behind: str) -> None:
    assert all(
        len(version) < 30 for version in buildpacks(f"{before}buildpacks participating\n{behind}").values()
    )


def test_only_what_differs_from_what_was_known_is_a_change() -> None:
    text = LOG.partition("[step-build]")[0]
    first = noticed(Builder(), text, (), (), {}, NOW)
    assert (first.buildpacks, first.changes) == (FOUND, ())
    assert noticed(first, text, (), (), {}, NOW) == first
    newer = text.replace("0.26.1", "0.27.0")
    second = noticed(first, newer, (), (), {}, NOW + 1)
    assert second.changes == (Noticed(NOW + 1, "heroku/python 0.27.0 instead of 0.26.1"),)
    assert noticed(second, "no list", (), (), {}, NOW + 2) == second


def test_a_version_that_comes_or_goes_is_a_change_and_one_that_is_new_to_us_is_none() -> None:
    pin = Pin("Python", "3.14", ".python-version")
    lacked = RuntimeSeen("Python", "3.14", NOW - DAY, "python-version-missing")
    had = RuntimeSeen("Python", "3.14", seen_at=NOW - DAY)
    used = [("Python", "3.14")]
    assert noticed(Builder(), "", (), used, {}, NOW).changes == ()
    assert noticed(Builder(), "", (), used, {used[0]: had}, NOW).changes == ()
    assert noticed(Builder(), "", (pin,), (), {}, NOW).changes == ()
    assert noticed(Builder(), "", (pin,), (), {used[0]: lacked}, NOW).changes == ()
    came = noticed(Builder(), "", (), used, {used[0]: lacked}, NOW)
    assert came.changes[0].what == "it has Python 3.14, which it refused before"
    went = noticed(came, "", (pin,), (), {used[0]: had}, NOW + 1)
    assert [one.what for one in went.changes] == [
        "it refuses Python 3.14, which it had before",
        "it has Python 3.14, which it refused before",
    ]
    assert went.changed_at == NOW + 1
