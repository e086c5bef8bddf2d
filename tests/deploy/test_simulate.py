"""The command that answers how many accounts are needed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.cli import cli
from orchestrator.errors import BadInput

TRACE = """at,project,merge_request,who,check_only,build_seconds,image_bytes
0,tool,1,person,no,100,1000
1,tool,2,person,no,100,1000
2,tool,3,bot,yes,100,1000
"""


def simulate(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli, ["simulate", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def test_it_says_how_many_accounts_will_do(trace: Path) -> None:
    said = simulate("--trace", trace, "--accounts", "1-3", "--goal", "60").output
    assert "3 deployments, at most 3 builds at once" in said
    assert "2 accounts will do: 95 of 100 people wait 0s or less for their build." in said
    said = simulate("--trace", trace, "--accounts", "1", "--goal", "60").output
    # The first one's 125 seconds, its half an hour, the cleaning; seen by a sweep.
    assert "None of these is enough: with 1 account 95 of 100 people wait 32m or less." in said


def test_for_machines_it_says_the_same_as_json(trace: Path) -> None:
    sizes = json.loads(simulate("--trace", trace, "--accounts", "2-3", "--json").output)
    assert [size["accounts"] for size in sizes] == [2, 3]
    assert sizes[1]["to_verdict"]["bots"] == {"median": 125.0, "most": 125.0, "nearly_all": 125.0}


def test_options_change_the_pool(trace: Path) -> None:
    options = ["--check-seconds", "5", "--builds", "2", "--accounts", "3", "--json"]
    figures = json.loads(simulate("--trace", trace, *options).output)[0]
    assert figures["slots"] == 2
    assert figures["makespan"] == 205.0


def test_the_chart_is_an_svg_with_a_point_for_each_size(trace: Path, tmp_path: Path) -> None:
    for sizes, count in (("1-4", 4), ("2", 1)):
        chart = tmp_path / "chart.svg"
        simulate("--trace", trace, "--accounts", sizes, "--chart", chart)
        root = ElementTree.parse(chart).getroot()
        circles = [element for element in root if element.tag.endswith("circle")]
        assert len(circles) == 3 * count
        assert all(0 <= float(circle.attrib["cy"]) <= 400 for circle in circles)


def test_a_saved_load_gives_the_figures_of_the_made_up_one(tmp_path: Path) -> None:
    saved = tmp_path / "load.csv"
    load = ("--days", "1", "--seed", "7")
    made_up = simulate("--accounts", "2", "--json", *load, "--save-trace", saved).output
    read = simulate("--accounts", "2", "--json", "--trace", saved).output
    first, second = (json.loads(output)[0] for output in (made_up, read))
    assert first["ends"] == second["ends"]
    assert first["makespan"] == pytest.approx(second["makespan"], abs=1.0), (
        "times are saved to the millisecond"
    )


def test_a_trace_that_cannot_be_read_is_refused_with_its_line(trace: Path, tmp_path: Path) -> None:
    trace.write_text(TRACE.replace("person", "cat", 1))
    with pytest.raises(BadInput, match=r"trace\.csv, line 2: who is 'cat'"):
        simulate("--trace", trace)
    trace.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="no text in UTF-8"):
        simulate("--trace", trace)


@pytest.mark.parametrize("sizes", ["0", "5-1", "many", "1-99999", "-3"])
def test_a_range_that_is_none_is_refused(sizes: str) -> None:
    result = simulate("--accounts", sizes)
    assert result.exit_code == 2
    assert "Error: Invalid value for '--accounts'" in result.output
