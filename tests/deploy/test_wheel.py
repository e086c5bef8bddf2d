"""What is installed from a wheel is all that is needed to run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.settings import PREFIX
from tests.repository import copy_to, files

#: Not of the program: how it is run and monitored.
_BESIDE = (
    "deploy/compose/",
    "deploy/monitoring/",
    "deploy/systemd/",
    "deploy/toolforge/",
    "deploy/settings.",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    folder = Path(tmp_path_factory.mktemp("wheel"))
    copy_to(folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")], check=True
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"toolforge_preview-{__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_it_holds_every_file_of_the_program(installed: Path) -> None:
    ours = ("orchestrator/", "worker/", "web/", "deploy/")
    wanted = {name for name in files() if name.startswith(ours) and not name.startswith(_BESIDE)}
    held = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert wanted - held == set()


def test_it_makes_its_tables_and_knows_its_version(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        f"{PREFIX}GITLAB_TOKEN": "none",
        f"{PREFIX}DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert run("-c", "import deploy; print(deploy.__file__)").startswith(str(installed))
    assert __version__ in run("-m", "deploy", "--version")
    assert "up to date" in run("-m", "deploy", "migrate")
    assert "0 of 3 builds running" in run("-m", "deploy", "top", "--once")
