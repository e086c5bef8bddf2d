"""Which version of a language a repository asks for, and what Toolforge's builder did with that before. Pure.

Nothing is known beforehand: what the builder has changes with it. What it refused, in the very words that the
repository now uses, it refuses again, until a build shows otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.diagnosis import CAUSES
from orchestrator.outcome import Failure, Pin

#: Toolforge's builders: the one that is used where nothing is said, and its successor.
DEFAULT, LATEST = "default", "latest"
BUILDERS = (DEFAULT, LATEST)
#: By what something is shown: a build of a project, or one of a tiny repository of our own.
PROJECT, PROBE = "project", "probe"
#: What is known is kept for so long after the refusal.
KEPT_SECONDS = 90 * 86400.0
#: A file with a pin is read so far.
MOST_BYTES = 100_000
#: A refusal that is older says nothing about the builder of today.
_FORGOTTEN_SECONDS = 14 * 86400.0
#: What can be a version, or a range of them; anything else is no pin.
_VERSION = re.compile(r"[\w.^~<>=*|, -]{1,60}", re.ASCII)
#: A version, or the beginning of one: what begins so is one of it.
_PLAIN = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}", re.ASCII)


@dataclass(frozen=True)
class RuntimeSeen:
    """What became of the builds with a version; times in seconds since the epoch, None: never."""

    runtime: str
    #: A version, or in the words of a repository what it asked for.
    wanted: str
    #: When a build failed since the builder does not have it, and as what it was told; empty: none did.
    refused_at: float | None = None
    cause: str = ""
    #: When one was built with it last.
    seen_at: float | None = None
    #: Of :data:`BUILDERS`.
    builder: str = DEFAULT
    #: By what the newest of both was shown: :data:`PROJECT`, :data:`PROBE`.
    source: str = PROJECT

    def is_refused(self, now: float) -> bool:
        """True while nothing speaks against its being refused again."""
        if self.refused_at is None or self.refused_at < now - _FORGOTTEN_SECONDS:
            return False
        return self.seen_at is None or self.seen_at < self.refused_at


#: The causes that say that the builder does not have a version, and of what.
REFUSALS: Mapping[str, str] = {
    "python-version-missing": "Python",
    "python-version-eol": "Python",
    "node-version-missing": "Node.js",
    "node-version-eol": "Node.js",
    "go-version-missing": "Go",
    "java-version-missing": "Java",
    "dotnet-version-missing": ".NET",
}
#: Those of them that a newer builder may mend, with PHP, of which no file is read.
MISSING: Mapping[str, str] = {
    **{cause: runtime for cause, runtime in REFUSALS.items() if cause.endswith("-missing")},
    "php-version-missing": "PHP",
}


def _python(text: str) -> str | None:
    lines = [line.strip() for line in text.splitlines()]
    versions = [line for line in lines if line and not line.startswith("#")]
    return versions[0] if len(versions) == 1 else None


def _node(text: str) -> str | None:
    return _in_json(text, "engines", "node")


def _dotnet(text: str) -> str | None:
    return _in_json(text, "sdk", "version")


def _in_json(text: str, *names: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _line(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.MULTILINE)

    def read(text: str) -> str | None:
        match = compiled.search(text)
        return match[1].strip() if match else None

    return read


#: Where each is asked for, and how that is read.
_FILES: Mapping[str, tuple[str, Callable[[str], str | None]]] = {
    "Python": (".python-version", _python),
    "Node.js": ("package.json", _node),
    "Go": ("go.mod", _line(r"^go[ \t]+(\S{1,60})")),
    "Java": ("system.properties", _line(r"^java\.runtime\.version[ \t]*[=:][ \t]*(\S{1,60})")),
    ".NET": ("global.json", _dotnet),
}
#: As what a buildpack says that it has a version (heroku/buildpacks-python, -nodejs and -go).
_RESOLVED: Mapping[str, re.Pattern[str]] = {
    "Python": re.compile(r"(?:Using|Installing) Python (\d{1,3}(?:\.\d{1,3}){1,2})"),
    "Node.js": re.compile(r"Resolved Node\.js version: `?v?(\d{1,3}(?:\.\d{1,3}){1,2})"),
    "Go": re.compile(r"Resolved Go version: (?:go)?(\d{1,3}(?:\.\d{1,3}){1,2})"),
}


def pins(runtimes: Iterable[str], read: Callable[[str], bytes | None]) -> tuple[Pin, ...]:
    """What a commit asks for of `runtimes`; `read` brings a file's beginning, None where there is none."""
    found = []
    for runtime in sorted(runtimes):
        file, parse = _FILES[runtime]
        content = read(file)
        wanted = parse(content.decode("utf-8", "replace")) if content is not None else None
        if wanted is not None and _VERSION.fullmatch(wanted):
            found.append(Pin(runtime, wanted, file))
    return tuple(found)


def every_runtime() -> frozenset[str]:
    """The languages of which it can be read which version a commit asks for."""
    return frozenset(_FILES)


def pin_file(runtime: str) -> str:
    """The file in which a language's version is asked for."""
    return _FILES[runtime][0]


def with_pin(runtime: str, content: bytes | None, version: str) -> tuple[str, str]:
    """What a pin's file asks for, empty for nothing, and its text when it asks for `version` instead.

    Raises ValueError where a file is not to be written by a machine.
    """
    if runtime != "Python":
        raise ValueError(f"{pin_file(runtime)} is to be changed by hand")
    before = _python(content.decode("utf-8", "replace")) if content is not None else None
    return before or "", f"{version}\n"


def versions(log: str) -> Mapping[str, str]:
    """With which version of which language a build was made, by its log, where a buildpack says so."""
    found = {runtime: pattern.findall(log) for runtime, pattern in _RESOLVED.items()}
    return {runtime: all_of_them[-1] for runtime, all_of_them in found.items() if all_of_them}


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """By which versions are sorted: by their numbers, then by what else there is."""
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version)), version


def is_plain(version: str) -> bool:
    """Whether it is a version, and no range or name."""
    return _PLAIN.fullmatch(version) is not None


def was_used(runtime: str, log: str) -> bool:
    """Whether a build that went well was made with `runtime`; of some no log says so."""
    return runtime not in _RESOLVED or runtime in versions(log)


def _was_shown(pin: Pin, refused: RuntimeSeen, seen: Iterable[RuntimeSeen]) -> bool:
    """Whether a build was made since with what a plain version stands for, as 3.14.1 does for 3.14."""
    since = refused.refused_at or 0.0
    later = (one for one in seen if one.runtime == pin.runtime and (one.seen_at or 0.0) > since)
    return any(_is_one_of(one.wanted, pin.wanted) for one in later)


def _is_one_of(version: str, line: str) -> bool:
    """Whether a version is one of those that a plain one stands for."""
    return is_plain(line) and version.startswith(f"{line}.")


def there(seen: Iterable[RuntimeSeen], now: float) -> list[tuple[str, str]]:
    """Languages and versions, or what was asked for, with which a build was made, and none refused since."""
    seen = list(seen)
    refused = [one for one in seen if one.is_refused(now)]

    def is_gone(used: RuntimeSeen) -> bool:
        return any(
            one.runtime == used.runtime
            and _is_one_of(used.wanted, one.wanted)
            and (one.refused_at or 0.0) > (used.seen_at or 0.0)
            for one in refused
        )

    used = [one for one in seen if one.seen_at is not None and not one.is_refused(now)]
    return [(one.runtime, one.wanted) for one in used if not is_gone(one)]


def warning(asked_for: Iterable[Pin], seen: Iterable[RuntimeSeen], now: float) -> Failure | None:
    """How a build of a commit that asks for this will fail; None: nothing speaks for that."""
    seen = list(seen)
    refused = {(one.runtime, one.wanted): one for one in seen if one.is_refused(now)}
    for pin in asked_for:
        one = refused.get((pin.runtime, pin.wanted))
        if one is not None and not _was_shown(pin, one, seen):
            cause = next(cause for cause in CAUSES if cause.id == one.cause)
            return Failure(
                stage="build",
                summary=f"Toolforge's builder refuses {pin.runtime} {pin.wanted}, which {pin.file} asks for",
                remedy=cause.remedy,
                cause=cause.id,
                confidence=cause.confidence,
                facts={"version": pin.wanted, "file": pin.file},
            )
    return None
