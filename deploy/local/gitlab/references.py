"""What GitLab finds in text that has become HTML: mentions, references, labels, emoji, boxes, inline changes.

GitLab looks at the finished HTML (its filters run over the parsed document), so that a reference is one also
within raw HTML and behind a backslash, but not in code nor in a link. What is not known stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser

from deploy.local.gitlab.emoji import EMOJI

_UNTOUCHED = ("code", "pre", "a")
_FOUND = re.compile(
    r"(?<![\w/])@(?P<user>[\w][\w.-]*[\w]|\w)"
    r"|(?<![\w!])!(?P<merge_request>\d{1,9})\b"
    r"|(?<![\w&#])#(?P<issue>\d{1,9})\b"
    r"|(?<!\w)~(?:\"(?P<label>[^\"]+)\"|(?P<word>\w[\w:.-]*))"
    r"|(?<![\w.])(?P<commit>[0-9a-f]{7,40})(?!\w)"
    r"|:(?P<emoji>[a-z0-9_+-]+):"
    r"|\{\+(?P<plus>[^{}]+)\+\}|\{-(?P<minus>[^{}]+)-\}"
)
_BOX = re.compile(r"^\s*\[([ xX])\] ")


def _unknown(_name: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Known:
    """Look-ups from a name to an address; None for what there is not. `label` says whether there is one."""

    user: Callable[[str], str | None] = _unknown
    merge_request: Callable[[str], str | None] = _unknown
    issue: Callable[[str], str | None] = _unknown
    commit: Callable[[str], str | None] = _unknown
    label: Callable[[str], bool] = lambda _title: False


#: For texts that belong to no project.
NOBODY = Known()


def resolve(html: str, known: Known) -> str:
    """Safe, well-formed HTML with its references turned into links and signs; as safe as it was."""
    writer = _Writer(known)
    writer.feed(html)
    writer.close()
    return "".join(writer.out)


class _Writer(HTMLParser):
    """Copies tags as they are, and changes text that is neither code nor in a link."""

    def __init__(self, known: Known) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._known = known
        self._untouched = 0
        self._item = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.out.append(self.get_starttag_text() or "")
        self._untouched += tag in _UNTOUCHED
        self._item = tag == "li" or (self._item and tag == "p")

    def handle_endtag(self, tag: str) -> None:
        self.out.append(f"</{tag}>")
        self._untouched -= tag in _UNTOUCHED

    def handle_data(self, data: str) -> None:
        if self._untouched:
            self.out.append(escape(data, quote=False))
            return
        box = _BOX.match(data) if self._item else None
        if box:
            self.out.append("☐ " if box.group(1) == " " else "☑ ")
            data = data[box.end() :]
        self._item = self._item and not data.strip()
        at = 0
        for found in _FOUND.finditer(data):
            self.out += (escape(data[at : found.start()], quote=False), self._shown(found))
            at = found.end()
        self.out.append(escape(data[at:], quote=False))

    def _shown(self, found: re.Match[str]) -> str:
        """HTML of one thing that was found; the text itself when it stands for nothing."""
        kind, name = found.lastgroup or "", found.group(found.lastgroup or 0)
        text = escape(found.group(), quote=False)
        if kind == "emoji":
            return EMOJI.get(name, text)
        if kind in ("plus", "minus"):
            tag = "ins" if kind == "plus" else "del"
            return f"<{tag}>{escape(name, quote=False)}</{tag}>"
        if kind in ("label", "word"):
            return f'<span class="badge">{escape(name)}</span>' if self._known.label(name) else text
        address = getattr(self._known, kind)(name)
        return f'<a href="{escape(address)}">{text}</a>' if address else text
