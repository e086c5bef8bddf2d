"""One local Toolforge for the folder; each test has an account of its own on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from deploy.local.toolforge import LocalToolforge
from orchestrator.bootstrap import Parts
from orchestrator.toolforge import AccountClient
from tests.worker.scene import SCENARIO, Service, Workshop

#: One for each test that may run in one process.
_ACCOUNTS = 150
_next = itertools.count(1)


@pytest.fixture(scope="session")
def local_toolforge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalToolforge]:
    """Synthetic and at once, but for what the scenario slows down."""
    tools = [f"dev-{number}" for number in range(1, _ACCOUNTS + 1)]
    state = tmp_path_factory.mktemp("toolforge")
    with LocalToolforge(state, tools, "synthetic", scenario=SCENARIO, time_scale=0.01) as toolforge:
        yield toolforge


@pytest.fixture
def workshop(local_toolforge: LocalToolforge) -> Iterator[Workshop]:
    """An account that nobody has used before."""
    yield Workshop(local_toolforge, f"dev-{next(_next)}")
    local_toolforge.faults.clear()


@pytest.fixture
def account(workshop: Workshop) -> Iterator[AccountClient]:
    """A client of that account."""
    with workshop.opened() as opened:
        yield opened


@pytest.fixture
def serve(workshop: Workshop, database_url: str) -> Iterator[Callable[..., Service]]:
    """Start a service on the account; settings as keywords."""
    with ExitStack() as stack:

        def start(**settings: object) -> Service:
            service = Service(workshop, Parts(workshop.settings(database_url, **settings)))
            stack.callback(service.close)
            return service

        yield start


@pytest.fixture
def service(serve: Callable[..., Service]) -> Service:
    """A service whose one account was found clean."""
    made = serve()
    made.cleans()
    return made
