"""Alerts and dashboard ask for what there is, and each alert is explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings
from orchestrator.tally import Count
from tests.web.busy import busy
from tests.web.scene import WebScene, merge_request_event

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
NAME = re.compile(r"toolforge_preview_[a-z_]+")
#: ``name{label="value",...}``
SELECTOR = re.compile(r"(toolforge_preview_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [t["expr"] for p in panels() for t in p["targets"]]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """The labels of every sample of a service in which something of everything has happened."""
    path = tmp_path_factory.mktemp("metrics") / "test.db"
    parts = Parts(
        load_settings(
            database_url=f"sqlite:///{path}", gitlab_token="none", redis_url="redis://127.0.0.1:1/0"
        )
    )
    parts.migrate()
    with WebScene(parts) as web:
        busy(web)
        web.delivers(merge_request_event())
        parts.counting.count(Count.API_CALLS, "gitlab", "GET /user", "ok")
        parts.counting.flush()
        text = web.get("/metrics").text
    parts.close()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_every_metric_that_is_asked_for_is_there(samples: dict[str, list[dict[str, str]]]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 15
    assert asked - samples.keys() == set()


def test_every_label_that_is_asked_for_is_there(samples: dict[str, list[dict[str, str]]]) -> None:
    for expression in expressions():
        for name, matchers in SELECTOR.findall(expression):
            for label, _, _ in MATCHER.findall(matchers):
                assert all(label in labels for labels in samples[name]), f"{label} of {name}"


@pytest.mark.parametrize("value", ["state", "stage", "step", "stop", "kind"])
def test_the_values_of_labels_of_states_are_those_of_the_product(
    samples: dict[str, list[dict[str, str]]], value: str
) -> None:
    known = {labels[value] for some in samples.values() for labels in some if value in labels}
    known |= {"failed", "refused", "stopped", "toolforge"}
    for expression in expressions():
        for _, matchers in SELECTOR.findall(expression):
            for label, _, wanted in MATCHER.findall(matchers):
                if label == value:
                    assert set(wanted.split("|")) <= known


def test_each_alert_says_how_bad_it_is_and_is_explained() -> None:
    explained = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in rules()] == explained
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_each_metric_is_documented(samples: dict[str, list[dict[str, str]]]) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for name in samples:
        short = re.sub(r"_(bucket|count|sum|created)$", "", name).removeprefix("toolforge_preview")
        assert short in text, name


def test_a_panel_has_a_title_a_place_and_something_to_show() -> None:
    seen = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["targets"]
        seen.add((place["x"], place["y"]))
    assert len(seen) == len(panels())


def test_the_files_are_what_prometheus_reads_and_the_rules_do_what_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool (apt-get install prometheus)")
    folder = tmp_path / "prometheus"
    shutil.copytree(MONITORING, folder)
    (folder / "toolforge-preview.token").touch()
    subprocess.run([promtool, "check", "config", str(folder / "prometheus.yaml")], check=True)
    subprocess.run([promtool, "test", "rules", str(folder / "alerts.test.yaml")], check=True)
