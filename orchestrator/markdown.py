"""Foreign text made safe inside a GitLab note. Pure.

A log, a title or an error's words come from strangers: within a note they must not become a mention, a link,
an image, markup, or a quick action such as `/merge`, which GitLab would carry out with our rights.
"""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
# Control characters, and the marks that turn the direction of text around.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_AT_LINE_START = re.compile(r"^([ \t]*)/", re.MULTILINE)


def plain(text: str) -> str:
    """`text` without colours, control characters and direction marks; line breaks and tabs stay."""
    return _UNSEEN.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def one_line(text: str) -> str:
    """`text` as part of a sentence: one line, in which nothing is a mention, a reference, a link or markup.

    GitLab looks for mentions and references in what Markdown has made of the text, so that a backslash does
    not stop them; an invisible character between the sign and the name does.
    """
    line = " ".join(plain(text).split())
    line = re.sub(r"([@#!~%&$])", "\\1\u200b", line.replace("://", ":\u200b//"))
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", line)


def code(text: str, *, limit: int = 300) -> str:
    """`text` as one line of inline code."""
    line = " ".join(plain(text).split()).replace("`", "'").replace("|", "\u2502")
    shown = line if len(line) <= limit else line[: limit - 1] + "\u2026"
    return f"`{shown}`" if shown else ""


def fence(text: str, *, limit: int = 4000) -> str:
    """`text`, its last `limit` characters at most, as a fenced block that it cannot break out of."""
    # Older versions of GitLab find quick actions by an expression that a longer fence deceives.
    shown = _AT_LINE_START.sub("\\1\u200b/", plain(text)[-limit:])
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{shown}\n{ticks}"
