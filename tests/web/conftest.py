"""The web process's application behind a real HTTP server, on a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings
from tests.conftest import free_port
from tests.fresh import Databases
from tests.web.house import House
from tests.web.scene import WebScene

Serve = Callable[..., WebScene]


@contextmanager
def serving(databases: Databases) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*, port: int = 0, **settings: object) -> WebScene:
            url = databases.new()
            stack.callback(databases.forget, url)
            given = {"gitlab_token": "none", "redis_url": f"redis://127.0.0.1:{free_port()}/0"} | settings
            parts = Parts(load_settings(database_url=url, **given))
            stack.callback(parts.close)
            return stack.enter_context(WebScene(parts, port=port))

        yield start


@pytest.fixture
def serve(databases: Databases) -> Iterator[Serve]:
    """Start a web process; settings as keywords. Redis is away unless `redis_url` says otherwise."""
    with serving(databases) as start:
        yield start


@pytest.fixture(scope="session")
def shared_web(databases: Databases) -> Iterator[WebScene]:
    with serving(databases) as start:
        yield start()


@pytest.fixture
def web(shared_web: WebScene) -> WebScene:
    """A web process with one connected project and nothing else in its database; Redis is away."""
    shared_web.forget()
    return shared_web


@pytest.fixture(scope="session")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    """A local GitLab for people to sign in with."""
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as made:
        yield made


@pytest.fixture(scope="session")
def seeder(gitlab: LocalGitLab) -> Iterator[Seeder]:
    with Seeder(gitlab.url, gitlab.root_token, group="group") as made:
        yield made


@pytest.fixture(scope="session")
def shared_house(
    gitlab: LocalGitLab,
    seeder: Seeder,
    databases: Databases,
) -> Iterator[House]:
    with serving(databases) as start:
        yield House(gitlab, seeder, start)


@pytest.fixture
def house(shared_house: House) -> House:
    """A web process with sign-in, whose pages are public, and one live preview; Redis is away."""
    shared_house.begins_anew()
    return shared_house


@pytest.fixture(scope="session")
def closed_house(
    gitlab: LocalGitLab,
    seeder: Seeder,
    databases: Databases,
) -> Iterator[House]:
    """The same, where the pages are not public."""
    with serving(databases) as start:
        yield House(gitlab, seeder, start, public_pages=False)
