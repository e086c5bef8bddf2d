"""One server for all tests of this folder; each test has its own project on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from tests.local.gitlab.world import Receiver, Scene, SceneMaker


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as gl:
        yield gl


@pytest.fixture
def gl(running: LocalGitLab) -> Iterator[LocalGitLab]:
    """The server, with no fault left over from another test."""
    running.faults.clear()
    running.faults.reset_calls()
    yield running
    running.faults.clear()


@pytest.fixture(scope="session")
def seeder(running: LocalGitLab) -> Iterator[Seeder]:
    with Seeder(running.url, running.root_token) as made:
        yield made


@pytest.fixture(scope="session")
def clients(running: LocalGitLab, seeder: Seeder) -> Iterator[dict[str, httpx.Client]]:
    tokens = {
        "service": seeder.service.token,
        "developer": seeder.developer.token,
        "reporter": seeder.reporter.token,
        "root": running.root_token,
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                httpx.Client(base_url=f"{running.url}/api/v4", headers={"PRIVATE-TOKEN": token}, timeout=15)
            )
            for name, token in tokens.items()
        }


@pytest.fixture(scope="session")
def scene_maker(
    seeder: Seeder, clients: dict[str, httpx.Client], tmp_path_factory: pytest.TempPathFactory
) -> SceneMaker:
    return SceneMaker(seeder, clients, tmp_path_factory.mktemp("templates"))


@pytest.fixture
def make_scene(gl: LocalGitLab, scene_maker: SceneMaker) -> SceneMaker:
    return scene_maker


@pytest.fixture(scope="session")
def shared_scene(scene_maker: SceneMaker) -> Scene:
    """One for tests that leave its branches, state and rights alone."""
    return scene_maker()


@pytest.fixture
def scene(make_scene: SceneMaker) -> Scene:
    return make_scene()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
