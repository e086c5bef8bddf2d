"""One whole stack for the folder: real processes, real git, a local Toolforge and a local GitLab."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.stack import Stack
from tests.fresh import Databases
from tests.whole.clock import Clock
from tests.whole.scene import Scene

Stacks = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="session")
def stacks(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Stacks:
    """Makes a stack with these accounts and settings; with a scenario, builds and jobs are synthetic."""

    @contextmanager
    def make(
        *tools: str,
        scenario: object = None,
        time_scale: float = 1.0,
        builders: int = 1,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Iterator[Stack]:
        folder = tmp_path_factory.mktemp("stack")
        options: tuple[str, ...] = ()
        if scenario is not None:
            path = folder / "scenario.json"
            path.write_text(json.dumps(scenario))
            options = ("--engine", "synthetic", "--scenario", str(path), "--time-scale", str(time_scale))
        url = databases.new()
        with Stack(
            folder / "state",
            tools=tools,
            overrides={"database_url": url} | settings,
            toolforge_options=options,
            builders=builders,
            environment=environment,
        ) as stack:
            wait_for("the pool", lambda: pool_is_clean(stack), seconds=60.0)
            yield stack
        databases.forget(url)

    return make


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """A time of day that can be put forward and back."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install --no-install-recommends gcc libc6-dev")
    return Clock(tmp_path_factory.mktemp("clock"), compiler)


@pytest.fixture(scope="session")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack with three dev accounts and the real engine."""
    settings = {"check_seconds": 2.0, "stable_seconds": 0.5, "deliveries_per_minute": 100_000}
    with stacks("dev-1", "dev-2", "dev-3", **settings) as made:
        yield made


@pytest.fixture
def scene(stack: Stack) -> Iterator[Scene]:
    """Merge requests on the module's own stack, or this; afterwards all is closed and has to be clean."""
    made = Scene(stack)
    yield made
    made.close_all()
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack), seconds=60.0)
