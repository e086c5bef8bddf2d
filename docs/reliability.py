"""Writes ``reliability.md`` from what runs have found out: no figure in it is by hand.

    python -m bench.soak --minutes 30 --json soak.json
    pytest tests/worker/test_crash_matrix.py --junitxml crash.xml
    python docs/reliability.py --soak soak.json --crashes crash.xml

The figures are kept in ``reliability.json``; ``docs/make.py`` writes the document from that, or checks it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

DOCS = Path(__file__).parent
_KEPT = DOCS / "reliability.json"
#: The groups in which faults are counted, by how their names begin.
_GROUPS = {
    "Toolforge": "Toolforge refuses, stumbles, cuts off, loses answers, breaks builds and jobs",
    "GitLab": "GitLab refuses, stumbles, cuts off, loses answers",
    "delivery": "a webhook is lost, late, doubled, or out of order",
    "kill -9": "`kill -9` of a worker, beat, the web process, or Redis",
    "SIGSTOP": "a process, or Redis, stands still, for up to 14 seconds",
    "Redis": "Redis is emptied",
    "database": "the database is locked, for up to 6 seconds",
}


def main() -> None:
    """Take the figures of runs, and write the document."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--soak", type=Path, help="what `python -m bench.soak --json` has written")
    options.add_argument("--crashes", type=Path, help="the JUnit file of tests/worker/test_crash_matrix.py")
    given = options.parse_args()
    kept: dict[str, Any] = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    if given.soak is not None:
        kept["soak"] = json.loads(given.soak.read_text())
    if given.crashes is not None:
        kept["crashes"] = crashes(given.crashes)
    _KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    (DOCS / "reliability.md").write_text(document())


def crashes(path: Path) -> dict[str, int]:
    """Stories, moments and failures of the crash matrix; `path` is pytest's JUnit file."""
    # pytest on this machine has written it.
    report = ElementTree.parse(path)  # noqa: S314
    moments = [
        int(one.get("value", "0"))
        for one in report.iter("property")
        if one.get("name", "").startswith("moments of ")
    ]
    cases = [case for case in report.iter("testcase") if "moment" in case.get("name", "")]
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return {"stories": len(cases), "moments": sum(moments), "failed": len(bad)}


def document() -> str:
    """The text of ``reliability.md``, from what is kept."""
    kept: dict[str, Any] = json.loads(_KEPT.read_text())
    soak, crash = kept["soak"], kept["crashes"]
    lines = [
        "# Reliability",
        "",
        "Written by `docs/reliability.py` from runs on one machine; no figure is by hand. Local Toolforge",
        "and local GitLab were asked in the end, not our own records alone.",
        "",
        "## Killed at every moment (`tests/worker/test_crash_matrix.py`)",
        "",
        "Stories of a merge request come to every change of state. Each is gone through once, and then again",
        "with a `kill -9` at every moment of every step: before an effect, after it, after its commit.",
        "",
        "| stories | moments at which a worker was killed | stories in which something was lost or doubled |",
        "|---|---|---|",
        f"| {crash['stories']} | {crash['moments']} | {crash['failed']} |",
        "",
        f"## Everything fails for {soak['minutes']:g} minutes (`make soak`)",
        "",
        f"All processes on {soak['cores']} cores and SQLite, with seed {soak['seed']}. Meanwhile people "
        f"{_sentence(soak['acted'])}.",
        "",
        "| what went wrong | how often |",
        "|---|---|",
    ]
    lines += [f"| {words} | {count} |" for words, count in _grouped(soak["faults"])]
    lines += [f"| in all | {sum(soak['faults'].values())} |", "", "| what came of it | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in _outcome(soak)]
    lines += ["", "| process | memory, MiB a minute | open files a minute |", "|---|---|---|"]
    lines += [f"| {name} | {mib:+.2f} | {files:+.2f} |" for name, (mib, files) in soak["growth"].items()]
    lines += [
        "",
        "Growth is that of the second half, in which no process was killed, but for its first minute.",
    ]
    if soak["wrong"]:
        lines += ["", "What was not as it has to be:", "", *(f"- {words}" for words in soak["wrong"])]
    return "\n".join(lines) + "\n"


def _outcome(soak: dict[str, Any]) -> list[tuple[str, str]]:
    counts, waits = soak["counts"], sorted(soak["seconds_to_go_on"])
    return [
        ("merge requests, commits that were tried", f"{counts['preview']}, {counts['deployment']}"),
        ("previews that went live", str(counts["live"])),
        ("leases of accounts, all ended and found empty by Toolforge", str(counts["lease"])),
        ("deliveries that were taken, all handled", str(counts["delivery"])),
        (
            "seconds from a disturbance to the next sweep: half within, nine of ten within, all within",
            f"{_share(waits, 0.5):.1f}, {_share(waits, 0.9):.1f}, {_share(waits, 1.0):.1f}",
        ),
        (
            "seconds from the last fault until every verdict was there and told",
            f"{soak['settled_seconds']:.0f}",
        ),
        ("seconds from closing everything until every account was clean", f"{soak['cleaned_seconds']:.0f}"),
        ("untrue statuses, doubled notes, stuck rows, accounts that are not empty", str(len(soak["wrong"]))),
    ]


def _share(waits: list[float], share: float) -> float:
    return waits[min(int(len(waits) * share), len(waits) - 1)] if waits else 0.0


def _grouped(faults: dict[str, int]) -> list[tuple[str, int]]:
    counted = [
        (words, sum(count for name, count in faults.items() if name.startswith(begin)))
        for begin, words in _GROUPS.items()
    ]
    assert sum(count for _, count in counted) == sum(faults.values()), "a fault is in no group"
    return counted


def _sentence(acted: dict[str, int]) -> str:
    words = {"opened": "opened", "push": "pushed to", "close": "closed", "reopen": "reopened"}
    parts = [f"{verb} {acted.get(name, 0)}" for name, verb in words.items()]
    return f"{', '.join(parts)} merge requests, and wrote {acted.get('comment', 0)} commands"


if __name__ == "__main__":
    main()
