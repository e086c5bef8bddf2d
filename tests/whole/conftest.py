"""One whole stack for the folder: real processes, real git, a local Toolforge and a local GitLab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.stack import Stack
from tests.whole.scene import Scene


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with three dev accounts and the real engine."""
    overrides = {"check_seconds": 2.0, "stable_seconds": 0.5, "deliveries_per_minute": 100_000}
    state = Path(tmp_path_factory.mktemp("stack"))
    with Stack(state, tools=("dev-1", "dev-2", "dev-3"), overrides=overrides) as made:
        yield made


@pytest.fixture
def scene(stack: Stack) -> Iterator[Scene]:
    """Merge requests on the module's own stack, or this; afterwards all is closed and has to be clean."""
    made = Scene(stack)
    yield made
    made.close_all()
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack), seconds=60.0)
