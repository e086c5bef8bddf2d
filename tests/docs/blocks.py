"""The documents: their fenced blocks, and the commands in these."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"

#: Code in a sentence.
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
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


def lines_of(text: str) -> Iterator[str]:
    """The commands in a document's blocks, one after the other."""
    for block in blocks(text):
        if block.language in {"", "sh"}:
            joined = re.sub(r"\\\n\s*", " ", block.text).splitlines()
            typed = [line.removeprefix("$ ") for line in joined if line.startswith("$ ")]
            yield from typed or joined


def parts_of(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    part: list[str] = []
    try:
        for token in lexer:
            if token and set(token) <= set(";&|"):
                yield part
                part = []
            elif token == "<":
                # From which file the command reads is no part of it.
                next(lexer, None)
            else:
                part.append(token)
    except ValueError:
        # A quotation that does not end: this is no command, but something shown.
        return
    yield part
