"""Links in the documents lead somewhere, on GitLab as on the site, and every page of the site is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.docs.blocks import DOCS, REPOSITORY, documents, without_blocks

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


def links(path: Path) -> list[str]:
    return _LINK.findall(_CODE.sub("`code`", without_blocks(path.read_text())))


def anchors(path: Path) -> set[str]:
    """The anchors that both GitLab and MkDocs make of a page's headings: the first of each text."""
    headings = re.findall(r"^#{1,6} (.+)$", without_blocks(path.read_text()), re.MULTILINE)
    words = (_LINK.sub("", heading) for heading in headings)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in words}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in links(path):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (path.parent / parts.path).resolve() if parts.path else path
        assert target.exists(), link
        if path.is_relative_to(DOCS):
            assert target.is_relative_to(DOCS), f"{link} is not on the site"
        if parts.fragment:
            assert parts.fragment in anchors(target), link


def test_the_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n[a](b.md#c) ![d](e.png)\n```\n# no\n[x](y)\n```\n`[z](w)`\n")
    assert links(page) == ["b.md#c", "e.png"]
    assert anchors(page) == {"one-two-three"}


def navigated(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from navigated(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    named = sorted(navigated(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert named == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
