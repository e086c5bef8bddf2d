"""Which Python a repository asks for, and whether the builder has it (heroku/buildpacks-python).

Files and rules: src/python_version.rs and src/python_version_file.rs; error titles: contract 7.4.
"""

from __future__ import annotations

import re

from deploy.local.toolforge.real.context import BuildContext


def requested(context: BuildContext, manager: str) -> tuple[str, str]:
    """The wanted `X.Y` or `X.Y.Z`, and where it was said. Raises `BuildFailed`."""
    app = context.app
    if (app / "runtime.txt").exists():
        raise context.error(
            "The runtime.txt file isn't supported",
            "The runtime.txt file can no longer be used, since it has been replaced by the more\n"
            "widely supported .python-version file.\n\nPlease delete your runtime.txt file and create "
            "a .python-version file instead.",
        )
    path = app / ".python-version"
    if path.is_file():
        return _parse(context, path.read_text(encoding="utf-8", errors="replace")), ".python-version"
    if manager == "uv":
        raise context.error(
            "No Python version was specified",
            "When using the package manager uv on Heroku, you must specify your app's Python\n"
            "version with a .python-version file.",
        )
    return context.builder.python[-1], "buildpack default"


def check(context: BuildContext, version: str) -> None:
    """Raise the buildpack's error when the builder does not have the version."""
    major, minor = (int(part) for part in version.split(".")[:2])
    offered = [tuple(int(part) for part in one.split(".")) for one in context.builder.python]
    if (major, minor) in offered:
        return
    if (major, minor) < min(offered):
        raise context.error(
            "The requested Python version has reached end-of-life",
            f"Python {major}.{minor} has reached its upstream end-of-life, and is therefore no longer\n"
            "receiving security updates:\nhttps://devguide.python.org/versions/#supported-versions\n\n"
            "As such, it's no longer supported by this buildpack.",
        )
    newest = ".".join(str(part) for part in max(offered))
    raise context.error(
        "The requested Python version isn't recognised",
        f"The requested Python version {major}.{minor} isn't recognised.\n\n"
        f"Check that this Python version has been officially released, and that this builder\n"
        f"({context.builder.name}) has it: its newest is {newest}.",
    )


def _parse(context: BuildContext, contents: str) -> str:
    lines = [line.strip() for line in contents.splitlines()]
    versions = [line for line in lines if line and not line.startswith("#")]
    if len(versions) == 1 and re.fullmatch(r"\d+\.\d+(\.\d+)?", versions[0], re.ASCII):
        return versions[0]
    found = "\n".join(versions) or "(nothing)"
    raise context.error(
        "Invalid Python version in .python-version",
        "The Python version specified in '.python-version' isn't in the correct format.\n\n"
        f"The following version was found:\n{found}\n\n"
        "However, the version must be specified as either:\n1. '<major>.<minor>' (recommended)\n"
        "2. '<major>.<minor>.<patch>'",
    )
