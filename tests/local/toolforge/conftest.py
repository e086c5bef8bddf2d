"""Fixtures: local Toolforges started on demand, accounts of them, repositories."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.toolforge import LocalToolforge
from tests.local.toolforge.rig import FAST, Account, Repository


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Account]]:
    """Start a local Toolforge; gives the account of its first tool. Without words: synthetic and instant."""
    with contextlib.ExitStack() as stack:

        def start(
            *, engine: str = "synthetic", tools: tuple[str, ...] = ("one", "two"), **given: Any
        ) -> Account:
            if engine == "synthetic":
                given["scenario"] = {**FAST, **given.get("scenario", {})}
            folder = tmp_path / given.pop("folder", "toolforge")
            toolforge = stack.enter_context(LocalToolforge(folder, tools, engine, **given))
            return stack.enter_context(contextlib.closing(Account(toolforge, tools[0])))

        yield start


@pytest.fixture
def account(serve: Callable[..., Account]) -> Account:
    """The first account of a synthetic, instant Toolforge."""
    return serve()


@pytest.fixture
def other(account: Account) -> Iterator[Account]:
    """The second account of the same Toolforge."""
    with contextlib.closing(Account(account.toolforge, "two")) as second:
        yield second


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Repository]:
    """Make a git repository with these files."""
    count = iter(range(1000))

    def make(files: dict[str, str]) -> Repository:
        return Repository(tmp_path / "repositories" / str(next(count)), files)

    return make
