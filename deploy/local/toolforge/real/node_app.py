"""Builds a Node.js app: `npm ci` or `npm install`, its build script, then without development dependencies.

Error lines: contract 7.4 (heroku/buildpacks-nodejs).
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from deploy.local.toolforge.real import node_version
from deploy.local.toolforge.real.context import BuildContext, Outcome

LOCKS = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "yarn.lock": "yarn",
    "pnpm-lock.yaml": "pnpm",
}
HOOKS = ("heroku-prebuild", "heroku-build", "build", "heroku-postbuild")


async def build(context: BuildContext) -> Outcome:
    """Install and build in place. Raises `BuildFailed` with the buildpack's own error in the log."""
    context.say("## Heroku Node.js\n\n- Checking Node.js version")
    package = _package(context)
    await _check_version(context, package)
    manager = _manager(context)
    if shutil.which("node") is None or shutil.which(manager) is None:
        raise context.unsupported("Node.js", f"There is no `{'node' if manager == 'npm' else manager}` here.")
    await _install(context, package, manager)
    await _scripts(context, package, manager)
    if package.get("devDependencies") and manager == "npm":
        await context.run(["npm", "prune", "--omit=dev", "--no-audit", "--no-fund"], indent="  ")
    return Outcome(_processes(context, package), {"NODE_ENV": "production"})


def _package(context: BuildContext) -> dict[str, Any]:
    try:
        package = json.loads((context.app / "package.json").read_text(encoding="utf-8"))
        if not isinstance(package, dict):
            raise ValueError("it is not an object")
    except (ValueError, UnicodeDecodeError) as error:
        raise context.bang("Error parsing `./package.json`", str(error)) from None
    return package


async def _check_version(context: BuildContext, package: dict[str, Any]) -> None:
    engines = package.get("engines")
    wanted = engines.get("node") if isinstance(engines, dict) else None
    if isinstance(wanted, str):
        context.say(f"  - Detected Node.js version range: {wanted}")
    else:
        wanted = f"{context.builder.node[-1].split('.')[0]}.x"
        context.say(f"  - Node.js version not specified, using `{wanted}`")
    try:
        found = node_version.resolve(wanted, context.builder.node)
    except node_version.BadRange:
        raise context.bang("Error parsing `./package.json`", f"Invalid version range: {wanted}") from None
    if found is None:
        raise context.bang(
            f"Unknown Node.js version: {wanted}",
            "The Node.js version provided could not be resolved to a known release in this buildpack's\n"
            "inventory of Node.js releases.",
        )
    context.say(f"  - Resolved Node.js version: `{found}`")
    _, lines = await context.capture(["node", "--version"]) if shutil.which("node") else (1, [""])
    context.say(f"  - This local Toolforge builds with Node.js {lines[0]} of this machine")


def _manager(context: BuildContext) -> str:
    for lock, manager in LOCKS.items():
        if (context.app / lock).is_file():
            return manager
    return "npm"


async def _install(context: BuildContext, package: dict[str, Any], manager: str) -> None:
    wanted = {key: package.get(key) for key in ("dependencies", "devDependencies", "optionalDependencies")}
    if not any(wanted.values()) and not package.get("workspaces"):
        context.say("- Installing node modules\n  - (no dependencies)")
        return
    locked = any((context.app / lock).is_file() for lock, name in LOCKS.items() if name == manager)
    argv = {
        "npm": ["npm", "ci" if locked else "install", "--no-audit", "--no-fund", "--include=dev"],
        "yarn": ["yarn", "install", "--frozen-lockfile"],
        "pnpm": ["pnpm", "install", "--frozen-lockfile"],
    }[manager]
    context.say(f"- Installing node modules\n  - Running `{' '.join(argv[:2])}`")
    if code := await context.run(argv, indent="      "):
        raise context.bang(
            "Failed to install Node modules",
            f"The command `{' '.join(argv[:2])}` exited with status {code}. See the log output above.",
        )


async def _scripts(context: BuildContext, package: dict[str, Any], manager: str) -> None:
    scripts = package.get("scripts")
    if not isinstance(scripts, dict):
        return
    for hook in HOOKS:
        if hook not in scripts or (hook == "build" and "heroku-build" in scripts):
            continue
        context.say(f"- Running scripts\n  - Running `{manager} run {hook}`")
        if code := await context.run([manager, "run", hook], indent="      "):
            raise context.bang(
                "Failed to execute build script",
                f"The script `{hook}` exited with status {code}. See the log output above.",
            )


def _processes(context: BuildContext, package: dict[str, Any]) -> dict[str, str]:
    """The default process: the start script, else `node server.js` or `index.js`."""
    scripts = package.get("scripts")
    if isinstance(scripts, dict) and "start" in scripts:
        return {"web": "npm start"}
    for name in ("server.js", "index.js"):
        if (context.app / name).is_file():
            return {"web": f"node {name}"}
    return {}
