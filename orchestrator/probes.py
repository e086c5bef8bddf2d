"""Tiny repositories of our own, by whose builds it is learned what the builders have. Pure.

There is one for each language whose builds say which version they used; it takes what it is given. Of Node.js
and Go that is the newest one, of Python it need not be: so there is one for the version of Python that comes
next. And there is one for each version that somebody waits for. Each is a branch of a repository that the web
process serves (``tinygit.py``), and is made of its name alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.outcome import Pin
from orchestrator.runtimes import BUILDERS, LATEST, RuntimeSeen, is_plain, pin_file, there
from orchestrator.tinygit import Commit, commit

#: So many versions that somebody waits for are asked for at most.
MOST_AWAITED = 10
#: A try that ended without a verdict, as when Toolforge was away, is repeated after so long.
AGAIN_SECONDS = 86400.0

_MESSAGE = "A tool without a purpose: its build shows what the builder has"


def _python(version: str) -> Mapping[str, str]:
    asked = {".python-version": f"{version}\n"} if version else {}
    return asked | {
        "requirements.txt": "# Nothing is needed.\n",
        "Procfile": "web: python -m http.server $PORT\n",
    }


def _node(version: str) -> Mapping[str, str]:
    package = {"name": "probe", "version": "1.0.0"}
    lock = package | {"lockfileVersion": 3, "requires": True, "packages": {"": package}}
    # Where nothing is asked for, the buildpack takes an older one, which has long-term support.
    asked = {"engines": {"node": version or "*"}}
    serve = 'require("http").createServer((_, answer) => answer.end("ok\\n")).listen(process.env.PORT);\n'
    return {
        "package.json": json.dumps(package | asked, indent=2) + "\n",
        "package-lock.json": json.dumps(lock, indent=2) + "\n",
        "index.js": serve,
        "Procfile": "web: node index.js\n",
    }


def _go(version: str) -> Mapping[str, str]:
    asked = f"\ngo {version}\n" if version else ""
    return {
        "go.mod": f"module probe\n{asked}",
        "main.go": 'package main\n\nimport (\n\t"net/http"\n\t"os"\n)\n\n'
        "func main() {\n"
        '\tpanic(http.ListenAndServe(":"+os.Getenv("PORT"), http.NotFoundHandler()))\n'
        "}\n",
        "Procfile": "web: probe\n",
    }


#: The languages of which a build's log says which version was used, by what their branches are called.
_LANGUAGES: Mapping[str, tuple[str, Callable[[str], Mapping[str, str]]]] = {
    "python": ("Python", _python),
    "nodejs": ("Node.js", _node),
    "go": ("Go", _go),
}
_PYTHON = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.\d{1,9})?$", re.ASCII)
_NAME = re.compile(rf"({'|'.join(_LANGUAGES)})(?:-(\d{{1,3}}(?:\.\d{{1,3}}){{0,2}}))?", re.ASCII)


@dataclass(frozen=True)
class Probe:
    """One repository, to be built by one builder."""

    #: Of the branch: ``python``, ``python-3.14``.
    name: str
    #: Of :data:`runtimes.BUILDERS`.
    builder: str

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The version that it asks for, if it does."""
        language, version = _parts(self.name)
        runtime, _ = _LANGUAGES[language]
        return (Pin(runtime, version, pin_file(runtime)),) if version else ()

    @property
    def config(self) -> Mapping[str, object]:
        """As if a repository's own file chose the builder (see ``repoconfig.restored``)."""
        if self.builder != LATEST:
            return {}
        run = {"command": "web", "port": 8000, "publish": "/"}
        return {"components": {"web": {"build": {"use_latest_versions": True}, "run": run}}}


@dataclass(frozen=True)
class Tried:
    """What is known of a probe; times in seconds since the epoch, None: never."""

    probe: Probe
    #: Its newest try: the deployment, and when it was begun.
    deployment_id: int | None = None
    tried_at: float | None = None
    #: That ended without a verdict, and is repeated then; None: it did not.
    again_at: float | None = None
    #: When there was a verdict last, whether it was built, and why not.
    checked_at: float | None = None
    was_built: bool | None = None
    why: str = ""

    def is_due(self, changed_at: float, every: float, now: float) -> bool:
        """Whether it is to be built: after `every` seconds, or since the builder has changed."""
        if self.again_at is not None:
            return now >= self.again_at
        checked_at = self.checked_at or 0.0
        return now - checked_at >= every or changed_at > checked_at


def branch(name: str) -> Commit:
    """What the branch of that name has."""
    language, version = _parts(name)
    _, files = _LANGUAGES[language]
    return commit(files(version), _MESSAGE)


def _parts(name: str) -> tuple[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"no probe is called {name!r}")
    return match[1], match[2] or ""


def wanted(awaited: Iterable[tuple[Pin, str]], seen: Sequence[RuntimeSeen], now: float) -> Sequence[Probe]:
    """All there should be, for what somebody waits for, each with the builder that has to have it.

    What is not refused is left to whoever wants it: that builds.
    """
    refused = {(one.builder, one.runtime, one.wanted) for one in seen if one.is_refused(now)}
    slugs = {runtime: slug for slug, (runtime, _) in _LANGUAGES.items()}
    asked = [
        Probe(f"{slugs[pin.runtime]}-{pin.wanted}", builder)
        for pin, builder in awaited
        if pin.runtime in slugs and is_plain(pin.wanted) and (builder, pin.runtime, pin.wanted) in refused
    ]
    known = [one for one in dict.fromkeys(asked) if _NAME.fullmatch(one.name)]
    usual = [Probe(slug, builder) for builder in BUILDERS for slug in _LANGUAGES]
    return list(dict.fromkeys([*usual, *_next_pythons(seen, now), *known[:MOST_AWAITED]]))


def _next_pythons(seen: Sequence[RuntimeSeen], now: float) -> list[Probe]:
    """Of each builder that is known to have any Python, the version after the newest."""
    found = []
    for builder in BUILDERS:
        known = there([one for one in seen if one.builder == builder and one.runtime == "Python"], now)
        versions = [match for _, version in known if (match := _PYTHON.match(version))]
        newest = max(((int(match[1]), int(match[2])) for match in versions), default=None)
        if newest is not None:
            found.append(Probe(f"python-{newest[0]}.{newest[1] + 1}", builder))
    return [one for one in found if _NAME.fullmatch(one.name)]


def next_due(known: Iterable[Tried], changed_at: float, every: float, now: float) -> Probe | None:
    """The one to be built next, that which was tried longest ago; None: none is due."""
    due = [one for one in known if one.is_due(changed_at, every, now)]
    return min(due, key=lambda one: one.tried_at or 0.0).probe if due else None
