"""Markdown as GitLab shows it: a safe part of HTML, and nothing that reaches out.

The text is turned into HTML by markdown-it and then taken apart and written anew with only the tags and
attributes below, so that what a browser gets is well-formed whatever was put in. Comments vanish, images
become links.
"""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

from markdown_it import MarkdownIt

from deploy.local.gitlab.emoji import with_emoji

_VOID = frozenset({"br", "hr"})
_TAGS = frozenset(
    {
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em"),
        *("strong", "del", "s", "a", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
        *("sup", "sub", "kbd", "ins", "mark", "b", "i", "br", "hr"),
    }
)
_SILENT = frozenset({"script", "style", "template", "iframe", "object", "textarea", "title", "noscript"})
_ADDRESS = re.compile(r"(https?://|mailto:|/|#|\./|[\w-]+[/.?#])", re.IGNORECASE)
_PARSER = MarkdownIt("commonmark", {"html": True, "breaks": False}).enable(["table", "strikethrough"])


_BOX = re.compile(r"^\[([ xX])\] ")


def _ticked(text: str) -> str:
    """`[x]` at the start of a line of a list is a box."""
    return _BOX.sub(lambda match: "☐ " if match.group(1) == " " else "☑ ", text)


def render(text: str) -> str:
    """HTML of a Markdown text that is safe to put into a page."""
    sanitizer = _Sanitizer()
    sanitizer.feed(_PARSER.render(text))
    sanitizer.close()
    return sanitizer.result()


class _Sanitizer(HTMLParser):
    """Copies what is allowed; closes what was left open, leaves out closings of nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        if self._silent:
            return
        given = {name: value or "" for name, value in attrs}
        if tag == "img":
            label = given.get("alt") or "image"
            self._out.append(f"<a{_link(given.get('src', ''))}>{escape(label)}</a>")
        elif tag in _TAGS:
            self._out.append(f"<{tag}{_attributes(tag, given)}>")
            if tag not in _VOID:
                self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _SILENT:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
            return
        if tag not in self._open:
            return
        while True:
            closing = self._open.pop()
            self._out.append(f"</{closing}>")
            if closing == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self._silent:
            inside_code = "code" in self._open or "pre" in self._open
            self._out.append(escape(data if inside_code else with_emoji(_ticked(data))))

    def result(self) -> str:
        """The finished HTML."""
        return "".join(self._out) + "".join(f"</{tag}>" for tag in reversed(self._open))


def _link(address: str) -> str:
    address = address.strip()
    if not _ADDRESS.match(address):
        return ""
    return f' href="{escape(address)}" rel="nofollow noreferrer noopener"'


def _attributes(tag: str, given: dict[str, str]) -> str:
    if tag == "a":
        return _link(given.get("href", ""))
    if tag == "details" and "open" in given:
        return " open"
    if tag == "ol" and given.get("start", "").isdecimal():
        return f' start="{given["start"]}"'
    if tag == "code" and re.fullmatch(r"language-[\w+#-]+", given.get("class", "")):
        return f' class="{given["class"]}"'
    if tag in ("td", "th"):
        side = re.search(r"left|center|right", given.get("style", "") + given.get("align", ""))
        return f' class="{side.group()}"' if side else ""
    return ""
