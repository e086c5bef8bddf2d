"""Markdown as GitLab shows it: a safe part of HTML, and nothing that reaches out.

markdown-it makes HTML of the text, nh3 leaves only the harmless part of that, and then, as in GitLab, the
references are found in what is left (:mod:`deploy.local.gitlab.references`). Comments vanish. Images become
links: no page here loads anything from elsewhere.
"""

from __future__ import annotations

import re

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from deploy.local.gitlab.references import NOBODY, Known, resolve

_TAGS = frozenset(
    {
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em"),
        *("strong", "del", "s", "a", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
        *("sup", "sub", "kbd", "ins", "mark", "b", "i", "br", "hr"),
    }
)
#: Whose content goes with them.
_SILENT = frozenset(
    {"script", "style", "template", "iframe", "object", "textarea", "title", "noscript", "svg"}
)
_ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "details": {"open"},
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
}
_VALUES = {
    "class": re.compile(r"language-[\w+#-]+"),
    "start": re.compile(r"\d{1,9}"),
    "align": re.compile(r"left|center|right"),
}


def render(text: str, known: Known = NOBODY) -> str:
    """HTML of a Markdown text that is safe to put into a page; `known`: what can be referred to."""
    html = _PARSER.renderer.render(_prepared(_PARSER.parse(text)), _PARSER.options, {})
    return resolve(_sanitized(str(html)), known)


def _sanitized(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=set(_SILENT),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noreferrer noopener",
    )


def _attribute(_tag: str, name: str, value: str) -> str | None:
    allowed = _VALUES.get(name)
    return value if allowed is None or allowed.fullmatch(value) else None


def _prepared(tokens: list[Token]) -> list[Token]:
    """What the parser made of a text, fit for a page that allows neither foreign images nor styles."""
    for token in tokens:
        if token.children is not None:
            token.children = [part for child in token.children for part in _without_image(child)]
        elif token.type in ("th_open", "td_open"):
            side = re.search(r"left|center|right", str(token.attrs.pop("style", "")))
            if side:
                token.attrSet("align", side.group())
    return tokens


def _without_image(token: Token) -> list[Token]:
    """An image as a link with its description, anything else as it is."""
    if token.type != "image":
        return [token]
    link = Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
    label = Token("text", "", 0, content=token.content or "image")
    return [link, label, Token("link_close", "a", -1)]


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "linkify": True})
    parser.enable(["table", "strikethrough", "linkify"])
    assert parser.linkify is not None
    # As GitLab does: only what is written with its scheme.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    return parser


_PARSER = _make_parser()
