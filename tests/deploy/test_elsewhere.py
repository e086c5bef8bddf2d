"""The files for containers and systemd fit together, and with the product, as far as no engine is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.toolforge.real import procfile
from orchestrator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
UNITS = ROOT / "deploy" / "systemd"
OURS = ("web", "worker", "beat", "migrate")
#: Differ from place to place.
_PLACES = ("--bind", "--hostname")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    return found


def unit(name: str) -> dict[str, list[str]]:
    """A unit's settings; each may be there several times."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    text = (COMPOSE / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(words[0], words[1]) for words in lines]


def plain(words: list[str]) -> list[str]:
    """A command without what differs from place to place."""
    kept = [word for before, word in zip(["", *words], words, strict=False) if before not in _PLACES]
    return [word for word in kept if word not in _PLACES][1:]


@pytest.mark.parametrize("name", OURS)
def test_a_process_has_the_same_command_everywhere(name: str, services: dict[str, Any]) -> None:
    on_toolforge = plain(shlex.split(procfile.read(ROOT)[name]))
    with_containers = plain(services[name]["command"])
    file = f"toolforge-preview-{name}{'@' * (name == 'worker')}.service"
    (by_systemd,) = unit(file)["ExecStart"]
    assert with_containers == on_toolforge
    assert plain(shlex.split(by_systemd)) == on_toolforge


def test_the_image_has_all_of_the_product_and_runs_as_nobody() -> None:
    found = instructions()
    copied = [words.split() for name, words in found if name == "COPY" and "--from" not in words]
    assert {source for source, _ in copied} == {"requirements.txt", "orchestrator", "worker", "web", "deploy"}
    assert all((ROOT / source).exists() for source, _ in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{source}" for source, _ in copied} <= set(ignored)
    (user,) = [words for name, words in found if name == "USER"]
    assert int(user.split(":")[0]) > 0
    installs = [words for name, words in found if name == "RUN" and "install" in words]
    assert all("--require-hashes" in words and "--only-binary :all:" in words for words in installs)
    (command,) = [json.loads(words) for name, words in found if name == "CMD"]
    assert plain(command) == plain(shlex.split(procfile.read(ROOT)["web"]))


def test_nothing_is_reached_from_elsewhere_but_by_the_proxy(services: dict[str, Any]) -> None:
    ports = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert ports == {"web": ["127.0.0.1:8000:8000"]}
    for name in OURS:
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["env_file"] == "settings.env"


def test_who_waits_for_whom_is_there_to_be_waited_for(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
    assert services["migrate"]["restart"] == "no"


def test_the_redis_of_the_containers_has_a_password_and_keeps_nothing(
    services: dict[str, Any], tmp_path: Path
) -> None:
    shim = tmp_path / "redis-server"
    shim.write_text('#!/bin/sh\nexec cat "$@"\n')
    shim.chmod(0o755)
    command = [word.replace("$$", "$") for word in services["redis"]["command"]]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDIS_PASSWORD": "se%cret"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["requirepass se%cret", 'save ""', "appendonly no"]


def test_every_variable_of_the_files_is_a_setting_or_one_of_compose() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for path in (ROOT / "deploy" / "settings.example.env", COMPOSE / "compose.yaml"):
        named = set(re.findall(rf"{PREFIX}[A-Z_]+", path.read_text()))
        assert named
        assert named <= known
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?\}", (COMPOSE / "compose.yaml").read_text()))
    assert wanted == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert all(name in (ROOT / "docs" / "operations.md").read_text() for name in wanted)


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    for path in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
        text = path.read_text().replace("/opt/toolforge-preview/.venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_operators_commands_have_the_settings_of_the_service_in_any_folder(tmp_path: Path) -> None:
    database = tmp_path / "of a $ervice.db"
    settings = f"{PREFIX}GITLAB_TOKEN=none\n{PREFIX}DATABASE_URL='sqlite:///{database}'\n"
    (tmp_path / "settings.env").write_text(settings)
    # Is not ours, and not to be imported.
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    text = (UNITS / "operate.sh").read_text()
    for place, here in (
        ("/opt/toolforge-preview/.venv/bin/python", sys.executable),
        ("/opt/toolforge-preview", str(ROOT)),
        ("/etc/toolforge-preview/settings.env", str(tmp_path / "settings.env")),
    ):
        text = text.replace(place, here)
    command = ["sh", "-c", text, "toolforge-preview", "migrate"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "The database is up to date.\n"), done.stderr
    assert database.exists()


def test_each_unit_is_part_of_the_whole_and_may_do_little() -> None:
    for path in UNITS.glob("*.service"):
        found = unit(path.name)
        assert found["PartOf"] == ["toolforge-preview.target"]
        assert found["User"] == ["toolforge-preview"]
        assert found["NoNewPrivileges"] == ["yes"]
        assert found["CapabilityBoundingSet"] == [""]
