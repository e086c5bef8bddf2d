"""Files that the documents show are good ones. Those of repository-file.md have a test of their own."""

from __future__ import annotations

from pathlib import Path

from deploy import pool_file
from orchestrator.repoconfig import RepoConfig
from orchestrator.repofile import parse
from orchestrator.repovalues import Bounds
from tests.docs.blocks import DOCS, Block, blocks, documents


def shown(language: str) -> list[Block]:
    pages = [path for path in documents() if path != DOCS / "repository-file.md"]
    return [block for path in pages for block in blocks(path.read_text()) if block.language == language]


def test_repositories_files_are_good() -> None:
    files = [file for file in shown("yaml") if file.text.partition(":")[0] in RepoConfig.model_fields]
    assert files
    for file in files:
        parse(file.text.encode(), Bounds())


def test_pools_are_good(tmp_path: Path) -> None:
    files = [file for file in shown("toml") if file.text.startswith("[[account]]")]
    assert files
    for file in files:
        path = tmp_path / "pool.toml"
        path.write_text(file.text)
        assert pool_file.read(path)
