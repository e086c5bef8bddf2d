"""The fenced blocks of the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"

_FENCE = re.compile(r"^([ ]*)(`{3,}|~{3,})([^\n`]*)\n(.*?)^[ ]*\2[ ]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines without the indentation, and what follows it."""

    language: str
    text: str
    #: The block after it, with nothing between but empty lines.
    after: Block | None


def blocks(text: str) -> list[Block]:
    """All blocks of a document, in their order."""
    found: list[Block] = []
    following: tuple[int, Block] | None = None
    for match in reversed(list(_FENCE.finditer(text))):
        is_next = following is not None and not text[match.end() : following[0]].strip()
        after = following[1] if following and is_next else None
        indented = len(match[1])
        lines = (line[indented:] for line in match[4].splitlines())
        block = Block(match[3].strip(), "\n".join(lines), after)
        found.append(block)
        following = (match.start(), block)
    return found[::-1]


def without_blocks(text: str) -> str:
    """The document's prose."""
    return _FENCE.sub("", text)


def documents() -> list[Path]:
    """All documents in Markdown: those of the site, and those in the repository's root."""
    return [*sorted(REPOSITORY.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
