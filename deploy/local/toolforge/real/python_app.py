"""Builds a Python app: a virtual environment with what requirements.txt, poetry.lock or uv.lock says.

Titles and conditions: contract 7.4 and heroku/buildpacks-python. The interpreter is this machine's: the one
of the asked version when it is on PATH, else its `python3`, which the log says.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from deploy.local.toolforge.real import python_version
from deploy.local.toolforge.real.context import BuildContext, Outcome, remove_tree

MANAGERS = {"requirements.txt": "pip", "poetry.lock": "Poetry", "uv.lock": "uv"}
#: Lines that depend on nothing but the index: only then may an environment be shared between builds.
PLAIN_REQUIREMENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-\[\], ]*([<>=!~;].*)?$")


async def build(context: BuildContext) -> Outcome:
    """Make the environment. Raises `BuildFailed` with the buildpack's own error in the log."""
    context.header("Determining Python version")
    manager = _manager(context)
    wanted, origin = python_version.requested(context, manager)
    python_version.check(context, wanted)
    interpreter, version = await _interpreter(context, wanted, origin)
    said = f"specified in {origin}" if origin == ".python-version" else "by default"
    context.say(f"Using Python {wanted} {said}")
    if not f"{version}.".startswith(f"{wanted}."):
        context.say(f"This machine has no Python {wanted}: the local Toolforge builds with its {version}")
    context.header(f"Installing dependencies using {manager}")
    venv = await _environment(context, manager, interpreter, version)
    await _collect_static(context, venv)
    environment = {
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv / 'bin'}:{context.environment['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
    }
    return Outcome({}, environment, {"heroku/python:venv": venv})


def _manager(context: BuildContext) -> str:
    found = [manager for file, manager in MANAGERS.items() if (context.app / file).is_file()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise context.error(
            "Couldn't find any supported Python package manager files",
            "Your app must have either a pip requirements file ('requirements.txt'),\n"
            "Poetry lockfile ('poetry.lock') or uv lockfile ('uv.lock') in the root\n"
            "directory of its source code, so your app's dependencies can be installed.",
        )
    files = [file for file, manager in MANAGERS.items() if manager in found]
    listed = "\n".join(f"{file} ({MANAGERS[file]})" for file in files)
    raise context.error(
        "Multiple Python package manager files were found",
        f"Exactly one package manager file must be present in your app's source code,\n"
        f"however, several were found:\n\n{listed}\n\nDecide which package manager you want to use with "
        "your app, and then delete\nthe file(s) and any config from the others.",
    )


async def _interpreter(context: BuildContext, wanted: str, origin: str) -> tuple[str, str]:
    """A program and its version: this machine's own, unless a pin names another that really runs here."""
    own = platform.python_version()
    minor = ".".join(wanted.split(".")[:2])
    pinned = origin == ".python-version" and not own.startswith(f"{minor}.")
    if pinned and (path := shutil.which(f"python{minor}")):
        program = "import platform; print(platform.python_version())"
        code, lines = await context.capture([path, "-I", "-S", "-c", program])
        if code == 0 and lines:
            return path, lines[0]
    own_path = Path(sys.base_exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return (str(own_path) if own_path.exists() else sys.executable), own


async def _environment(context: BuildContext, manager: str, interpreter: str, version: str) -> Path:
    key = _shared_key(context, manager, version)
    if key is None:
        venv = context.folder / "venv"
        await _fill(context, manager, interpreter, venv)
        return venv
    venv = context.world.folder("layers") / key
    if (venv / ".complete").exists():
        context.say("Using cached dependencies")
        os.utime(venv / ".complete")
        return venv
    async with context.world.lock(key):
        if not (venv / ".complete").exists():
            await _fill_shared(context, manager, interpreter, venv)
    return venv


async def _fill_shared(context: BuildContext, manager: str, interpreter: str, venv: Path) -> None:
    remove_tree(venv)
    try:
        await _fill(context, manager, interpreter, venv)
    except BaseException:
        remove_tree(venv)
        raise
    (venv / ".complete").touch()


def _shared_key(context: BuildContext, manager: str, version: str) -> str | None:
    """The name of the environment that builds with these requirements share; None when it depends on more."""
    if manager != "pip" or context.build.envvars:
        return None
    text = (context.app / "requirements.txt").read_text(encoding="utf-8", errors="replace")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    if not all(PLAIN_REQUIREMENT.match(line) for line in lines if line):
        return None
    wanted = "\n".join(sorted(line for line in lines if line))
    return "python-" + hashlib.sha256(f"{version}\n{wanted}".encode()).hexdigest()[:32]


async def _fill(context: BuildContext, manager: str, interpreter: str, venv: Path) -> None:
    argv = [interpreter, "-m", "venv", "--without-pip", str(venv)]
    if await context.run(argv):
        raise context.error("Unable to create a virtual environment", f"{interpreter} -m venv failed.")
    if manager == "pip":
        failed = await _pip(context, venv)
    elif manager == "uv":
        failed = await _uv(context, venv)
    else:
        failed = await _poetry(context, venv)
    if failed:
        file = next(file for file, name in MANAGERS.items() if name == manager)
        raise context.error(
            f"Unable to install dependencies using {manager}",
            f"The '{manager}' command to install the app's dependencies from\n'{file}' failed "
            f"(exit status: {failed}).\n\nSee the log output above for more information.",
        )


async def _pip(context: BuildContext, venv: Path) -> int:
    text = (context.app / "requirements.txt").read_text(encoding="utf-8", errors="replace")
    if not any(line.split("#")[0].strip() for line in text.splitlines()):
        context.say("Running 'pip install -r requirements.txt'\n(nothing to install)")
        return 0
    context.say("Running 'pip install -r requirements.txt'")
    return await context.run([*_pip_for(venv), "-r", "requirements.txt"], indent="  ")


def _pip_for(venv: Path) -> list[str]:
    """The server's own pip, working on another environment: making one in each would take seconds."""
    quiet = ["--no-warn-script-location", "--progress-bar", "off"]
    return [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", *quiet]


async def _uv(context: BuildContext, venv: Path) -> int:
    uv = await _tool(context, "uv")
    env = {
        "UV_PROJECT_ENVIRONMENT": str(venv),
        "UV_PYTHON": str(venv / "bin" / "python"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": str(context.world.folder("cache", "uv")),
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "copy",
    }
    context.say("Running 'uv sync --locked --no-default-groups'")
    return await context.run([uv, "sync", "--locked", "--no-default-groups"], indent="  ", env=env)


async def _poetry(context: BuildContext, venv: Path) -> int:
    poetry = await _tool(context, "poetry")
    env = {
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv / 'bin'}:{context.environment['PATH']}",
        "POETRY_CACHE_DIR": str(context.world.folder("cache", "poetry")),
        "POETRY_NO_INTERACTION": "1",
    }
    context.say("Running 'poetry sync --only main'")
    return await context.run([poetry, "sync", "--only", "main", "--no-ansi"], indent="  ", env=env)


async def _tool(context: BuildContext, name: str) -> str:
    """uv or Poetry: the machine's, or one installed into an environment of its own at first use."""
    if found := shutil.which(name):
        return found
    venv = context.world.folder("cache", "tools") / name
    program = venv / "bin" / name
    async with context.world.lock(name):
        if not (venv / ".complete").exists():
            remove_tree(venv)
            context.say(f"Installing {name}")
            python = sys.executable
            failed = await context.run([python, "-m", "venv", "--without-pip", str(venv)])
            failed = failed or await context.run([*_pip_for(venv), "--quiet", name])
            if failed:
                raise context.error(f"Unable to install {name}", "Is the package index reachable?")
            (venv / ".complete").touch()
    return str(program)


async def _collect_static(context: BuildContext, venv: Path) -> None:
    """Django's static files, as the buildpack does it when the app uses them."""
    if not (context.app / "manage.py").is_file() or not (venv / "bin" / "django-admin").exists():
        return
    context.header("Generating Django static files")
    python = str(venv / "bin" / "python")
    env = {"VIRTUAL_ENV": str(venv), "PATH": f"{venv / 'bin'}:{context.environment['PATH']}"}
    code, lines = await context.capture([python, "manage.py", "help", "collectstatic"], env=env)
    if code and any("Unknown command" in line for line in lines):
        context.say(
            "Skipping automatic static file generation since the 'collectstatic' command is not enabled"
        )
        return
    if code:
        raise context.error(
            "Unable to inspect Django configuration",
            "The 'python manage.py help collectstatic' Django management command\n"
            "(used to check whether Django's static files feature is enabled)\n"
            f"failed (exit status: {code}).\n\nDetails:\n\n" + "\n".join(lines),
        )
    if await context.run([python, "manage.py", "collectstatic", "--link", "--noinput"], env=env, indent="  "):
        raise context.error(
            "Unable to generate Django static files",
            "The 'python manage.py collectstatic --link --noinput' Django management\n"
            "command to generate static files failed.\n\nThis is most likely due an issue in your "
            "application code or Django\nconfiguration. See the log output above for more information.",
        )
