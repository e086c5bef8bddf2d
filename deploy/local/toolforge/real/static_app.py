"""Builds a static site: nothing but project.toml's own command; a small server is its `web` process."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from deploy.local.toolforge.real import static_server
from deploy.local.toolforge.real.context import BuildContext, Outcome
from deploy.local.toolforge.real.detect import static_settings


async def build(context: BuildContext) -> Outcome:
    """Check the document root. Raises `BuildFailed` when it is missing or leaves the repository."""
    context.say("# Static Web Server\n\n- Installing a static web server")
    settings = static_settings(context.app)
    command = settings.get("build", {})
    if command.get("command"):
        argv = [str(command["command"]), *(str(word) for word in command.get("args", []))]
        context.say(f"- Running build command `{shlex.join(argv)}`")
        if await context.run(argv, indent="  "):
            raise context.bang("Failed to execute the static build command")
    root = str(settings.get("root", "public"))
    folder = (context.app / root).resolve()
    if not folder.is_dir() or not folder.is_relative_to(context.app.resolve()):
        raise context.bang(f"The document root `{root}` does not exist")
    return Outcome({"web": _serve(settings, root)})


def _serve(settings: dict[str, object], root: str) -> str:
    argv = [sys.executable, "-I", "-S", str(Path(static_server.__file__)), "--root", root]
    argv += ["--index", str(settings.get("index", "index.html"))]
    errors = settings.get("errors", {})
    missing = errors.get("404", {}) if isinstance(errors, dict) else {}
    if isinstance(missing, dict) and missing.get("file_path"):
        argv += ["--not-found", str(missing["file_path"])]
        argv += ["--not-found-status", str(int(missing.get("status", 404)))]
    return "exec " + shlex.join(argv)
