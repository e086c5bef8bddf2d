"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The product's parts on an empty database of their own."""
    made = Parts(load_settings(database_url=f"sqlite:///{tmp_path / 'test.db'}", gitlab_token="none"))
    made.migrate()
    yield made
    made.close()
