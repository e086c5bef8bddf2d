"""Which buildpacks take part, by the files they look for, in the order of Heroku's builder:24.

Order and groups: heroku/cnb-builder-images builder-24/builder.toml (Node.js alone comes last, because
projects in other languages often have a package.json). Python's files: heroku/buildpacks-python
src/detect.rs. Static files: builder:24 itself has no buildpack for them; `public/index.html` is what
heroku/website detects, and project.toml can name heroku/static-web-server with another root
(heroku/buildpacks-frontend-web).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

PYTHON_FILES = (
    ".python-version",
    "__init__.py",
    "app.py",
    "main.py",
    "manage.py",
    "pdm.lock",
    "Pipfile",
    "Pipfile.lock",
    "poetry.lock",
    "pyproject.toml",
    "requirements.txt",
    "runtime.txt",
    "server.py",
    "setup.cfg",
    "setup.py",
    "uv.lock",
    "requeriments.txt",
    "requirement.txt",
    "requirements",
    "requirements.text",
    "Requirements.txt",
    "requirements.txt.txt",
    "requirments.txt",
    "__pycache__",
    ".venv",
    "venv",
)
JAVA_FILES = (
    "pom.xml",
    "pom.atom",
    "pom.clj",
    "pom.groovy",
    "pom.rb",
    "pom.scala",
    "pom.yaml",
    "pom.yml",
    "gradlew",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
)
STATIC_BUILDPACKS = ("heroku/website", "heroku/static-web-server")


def languages(app: Path) -> list[str]:
    """What a repository is, best first: `python`, `ruby`, `java`, ... as in the table below; or nothing."""
    return [name for name, detects in _DETECTORS if detects(app)]


def project_descriptor(app: Path) -> dict[str, Any]:
    """project.toml as data; empty when there is none. Raises tomllib.TOMLDecodeError."""
    path = app / "project.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def static_settings(app: Path) -> dict[str, Any]:
    """`[com.heroku.static-web-server]` of project.toml."""
    try:
        settings = project_descriptor(app).get("com", {}).get("heroku", {}).get("static-web-server", {})
    except (tomllib.TOMLDecodeError, AttributeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def apt_packages(app: Path) -> list[str]:
    """The Debian packages a repository asks for, in project.toml or an Aptfile."""
    named: list[str] = []
    try:
        wanted = project_descriptor(app).get("com", {}).get("heroku", {}).get("buildpacks", {})
        for one in wanted.get("deb-packages", {}).get("install", []):
            named.append(one if isinstance(one, str) else str(one.get("name", one)))
    except (tomllib.TOMLDecodeError, AttributeError):
        pass
    aptfile = app / "Aptfile"
    if aptfile.is_file():
        lines = aptfile.read_text(encoding="utf-8", errors="replace").splitlines()
        named += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return named


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda app: any((app / name).exists() for name in names)


def _has_suffix(*suffixes: str) -> Callable[[Path], bool]:
    return lambda app: any(path.suffix in suffixes for path in app.iterdir())


def _is_static(app: Path) -> bool:
    root = static_settings(app).get("root", "public")
    return (app / str(root) / str(static_settings(app).get("index", "index.html"))).is_file() or (
        _names_static_buildpack(app)
    )


def _names_static_buildpack(app: Path) -> bool:
    try:
        groups = project_descriptor(app).get("io", {}).get("buildpacks", {}).get("group", [])
        return any(group.get("id") in STATIC_BUILDPACKS for group in groups)
    except (tomllib.TOMLDecodeError, AttributeError):
        return False


_DETECTORS: list[tuple[str, Callable[[Path], bool]]] = [
    ("python", _has(*PYTHON_FILES)),
    ("ruby", _has("Gemfile")),
    ("java", _has(*JAVA_FILES)),
    ("scala", _has("build.sbt", "project/build.properties")),
    ("go", _has("go.mod")),
    ("php", _has("composer.json", "index.php")),
    ("dotnet", _has_suffix(".sln", ".slnx", ".csproj", ".fsproj", ".vbproj")),
    ("nodejs", _has("package.json")),
    ("static", _is_static),
]
