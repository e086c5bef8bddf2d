"""Secrets that a build or a tool printed by mistake are replaced before anybody sees or keeps the text. Pure.

Known are the installation's own secrets and those of projects, by their values, and what has the shape of a
secret: see :data:`SHAPES` and ``docs/security.md``. It guards against a mistake, not against intent: whoever
can print a secret can print it in another form, too. Expressions are RE2's, so that hostile text costs no
more than other text of its length; lines stay lines, so that their numbers do not change.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, quote_plus

import re2

MASKED = "[masked]"
#: A shorter value may well be a usual word.
SHORTEST_SECRET = 8
#: Encoded forms are looked for of values up to this length, in characters.
_LONGEST_ENCODED = 500
#: In characters, each of which costs RE2 some memory; what is longer is looked for in pieces.
_LARGEST_PATTERN = 20_000
_LONGEST_PIECE = 5000
#: A block that does not end hides no more lines than this.
_LONGEST_KEY_LINES = 200

# Spaces, and colours between a name and its value.
_GAP = r"(?:\x1b\[[0-9;]{0,20}m|[ \t])*"
_NAME = r"[A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|SECRET_KEY|TOKEN|API_KEY|ACCESS_KEY|PRIVATE_KEY)"
#: What a secret looks like, in RE2; the groups 1 and 2 around it stay.
SHAPES: Mapping[str, str] = {
    # docs.gitlab.com/security/tokens: the prefixes of tokens.
    "GitLab's tokens": r"()gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|wt|soat|ffct)-[A-Za-z0-9_.=-]{16,}()",
    "webhook signing tokens": r"()whsec_[A-Za-z0-9+/=_-]{16,}()",
    "GitHub's tokens": r"()(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}()",
    "tokens of npm and PyPI": r"()(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,})()",
    "JSON web tokens": r"()eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*()",
    "headers that authorise": rf"((?i:(?:proxy-)?authorization)[\"']?{_GAP}[:=]{_GAP}[\"']?"
    r"(?:(?i:basic|bearer|token|digest|negotiate)[ \t]+)?)[^\s\"',;\x1b]+()",
    "headers with a token": r"((?i:private-token|job-token|deploy-token|x-gitlab-token)[\"']?"
    rf"{_GAP}[:=]{_GAP}[\"']?)[^\s\"',;\x1b]+()",
    "bearer tokens": r"((?i:bearer)[ \t]+)[A-Za-z0-9._~+/=-]{16,}()",
    "passwords in URLs": r"(://[^\s/:@\"'<>]*:)[^\s/@\"'<>]+(@)",
    "tokens in URLs": r"(://)[A-Za-z0-9_.~%-]{20,}(@)",
    "variables by their name": rf"({_NAME}(?:[\"']?{_GAP}=|[\"']{_GAP}:){_GAP}[\"']?)[^\s\"'\x1b]{{4,}}()",
    "private keys on one line": r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----).+()",
}
_KEY_BEGINS = re2.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*$")
#: A line of such a block, behind what Toolforge puts before each line.
_KEY_LINE = re2.compile(
    r"^((?:\[[\w-]{1,64}\] (?:\d{4}-\d\d-\d\dT\S{1,40} ?)?)?)"
    r"[\s>|\"'+,]*(?:[A-Za-z0-9+/=]*|(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): .*)"
    r"(?:\\n)?[\s\"'+,]*$"
)


class Mask:
    """Replaces `secrets`, but for those that could be usual words, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        forms = {form for secret in self._secrets for form in _forms(secret)}
        values = [re2.escape(form) for form in sorted(forms, key=len, reverse=True)]
        patterns = [f"(){value}()" for value in values] + list(SHAPES.values())
        self._patterns = [re2.compile(pattern) for pattern in patterns]
        self._any = [re2.compile(pattern) for pattern in _any_of(patterns)]

    def also(self, secrets: Iterable[str]) -> Mask:
        """One that replaces these, too."""
        more = tuple(secrets)
        return _mask_of((*self._secrets, *more)) if more else self

    def text(self, text: str) -> str:
        """Any text, of however many lines."""
        return "\n".join(self.lines(text.split("\n")))

    def lines(self, lines: Iterable[str]) -> Iterator[str]:
        """Each line as it may be seen; as many as come in."""
        left = 0
        for line in map(_sound, lines):
            key_line = _KEY_LINE.search(line) if left else None
            if key_line is not None:
                left -= 1
                yield f"{key_line[1]}{MASKED}"
                continue
            left = _LONGEST_KEY_LINES if _KEY_BEGINS.search(line) else 0
            yield self._line(line)

    def _line(self, line: str) -> str:
        if not any(pattern.search(line) for pattern in self._any):
            return line
        for pattern in self._patterns:
            line = pattern.sub(_masked, line)
        return line


@lru_cache(maxsize=32)
def _mask_of(secrets: tuple[str, ...]) -> Mask:
    # Made for each step of a deployment from the same ones.
    return Mask(secrets)


def _forms(secret: str) -> Iterator[str]:
    """How a secret may stand in a line: as it is, percent-encoded, as JSON or in base64; of lines each."""
    for line in secret.split("\n"):
        pieces = (line[begin : begin + _LONGEST_PIECE] for begin in range(0, len(line), _LONGEST_PIECE))
        yield from (piece for piece in pieces if len(piece) >= SHORTEST_SECRET)
    if SHORTEST_SECRET <= len(secret) <= _LONGEST_ENCODED:
        yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
        yield from (json.dumps(secret, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
        yield from _in_base64(secret.encode("utf-8", "replace"))


def _in_base64(value: bytes) -> Iterator[str]:
    """What base64 makes of it wherever in other bytes it begins, but for signs that those have a part in."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).rstrip(b"=").decode()
        own = encoded[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        if len(own) >= SHORTEST_SECRET:
            yield from (own, own.replace("+", "-").replace("/", "_"))


def _any_of(patterns: Sequence[str]) -> Iterator[str]:
    """Expressions that find what one of `patterns` does; RE2 takes none that is too large."""
    together: list[str] = []
    size = 0
    for pattern in patterns:
        if together and size + len(pattern) > _LARGEST_PATTERN:
            yield "|".join(together)
            together, size = [], 0
        together.append(f"(?:{pattern})")
        size += len(pattern)
    if together:
        yield "|".join(together)


#: Knows shapes alone.
BY_SHAPE = Mask()


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}{MASKED}{match[2]}"


def _sound(text: str) -> str:
    # What no UTF-8 can hold, RE2 cannot read.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
