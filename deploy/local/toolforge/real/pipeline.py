"""The steps of one build in Tekton's order, from the clone to a measured folder."""

from __future__ import annotations

import asyncio
import tomllib

from deploy.local.toolforge.engine import BuildFailed, BuiltImage
from deploy.local.toolforge.real import detect, node_app, other_apps, procfile, python_app, static_app
from deploy.local.toolforge.real.clone import clone
from deploy.local.toolforge.real.context import BuildContext, Outcome, tree_digest, tree_size
from deploy.local.toolforge.registry import format_bytes

BUILDPACKS = {"python": "heroku/python", "nodejs": "heroku/nodejs", "static": "heroku/static-web-server"}


async def run(context: BuildContext) -> BuiltImage:
    """Build; raises `BuildFailed` with the reason in the log."""
    await clone(context)
    context.say("Running the detection of buildpacks", "step-prepare")
    language = _detect(context)
    outcome = await _build(context, language)
    try:
        outcome.processes |= procfile.read(context.app)
    except procfile.InvalidProcfile:
        raise context.error(
            "Invalid Procfile format", "Please check that every line of it reads `name: command`."
        ) from None
    if outcome.processes:
        names = ", ".join(sorted(outcome.processes))
        context.say(f"## Procfile\n\n- Processes: {names}")
    return await _measure(context, outcome)


def _detect(context: BuildContext) -> str:
    step = "step-detect"
    _report_packages(context)
    found = detect.languages(context.app)
    if not found:
        context.say("ERROR: No buildpack groups passed detection.", step)
        context.say(
            "ERROR: Please check that you are running against the correct path.\n"
            "ERROR: failed to detect: no buildpacks participating",
            step,
        )
        raise BuildFailed("no buildpacks participating")
    group = [BUILDPACKS.get(found[0], f"heroku/{found[0]}")]
    if found[0] not in ("nodejs", "static") and "nodejs" in found:
        group.insert(0, "heroku/nodejs")
    if (context.app / "Procfile").is_file():
        group.append("heroku/procfile")
    _report_group(context, group)
    return found[0]


def _report_group(context: BuildContext, group: list[str]) -> None:
    """The list as buildpacks/lifecycle prints it (phase/detector.go), with their versions."""
    # Those that take part only where they are asked for are counted all the same.
    considered = {*group, "heroku/deb-packages", "heroku/procfile"}
    width = max(map(len, group))
    lines = [f"{name:<{width}} {context.builder.buildpacks[name]}" for name in group]
    if len(considered) != len(group):
        lines.insert(0, f"{len(group)} of {len(considered)} buildpacks participating")
    context.say("\n".join(lines), "step-detect")


def _report_packages(context: BuildContext) -> None:
    try:
        detect.project_descriptor(context.app)
    except tomllib.TOMLDecodeError as error:
        context.say(f"ERROR: failed to read project.toml: {error}", "step-detect")
        raise BuildFailed("project.toml") from None
    if packages := detect.apt_packages(context.app):
        context.say(
            f"Debian packages asked for: {', '.join(packages)}\n"
            "This local Toolforge does not install them: what this machine has is what there is.",
            "step-inject-buildpacks",
        )


async def _build(context: BuildContext, language: str) -> Outcome:
    beside: dict[str, str] = {}
    if language in ("python", "ruby", "php") and (context.app / "package.json").is_file():
        # Toolforge adds Node.js for the front-end assets of an app in another language.
        beside = (await node_app.build(context)).environment
    if language == "python":
        outcome = await python_app.build(context)
    elif language == "nodejs":
        outcome = await node_app.build(context)
    elif language == "static":
        outcome = await static_app.build(context)
    elif language == "php":
        outcome = await other_apps.build_php(context)
    elif language == "ruby":
        outcome = await other_apps.build_ruby(context)
    else:
        outcome = await other_apps.build_unsupported(context, language)
    outcome.environment = beside | outcome.environment
    return outcome


async def _measure(context: BuildContext, outcome: Outcome) -> BuiltImage:
    digest, size = await asyncio.to_thread(lambda: (tree_digest(context.app), tree_size(context.app)))
    layers = {digest: size}
    for name, folder in outcome.layers.items():
        key = f"{name}:{folder.name}" if folder.parent.name == "layers" else f"{name}:{digest}"
        layers[key] = await asyncio.to_thread(tree_size, folder)
    total = sum(layers.values())
    context.say(
        "\n".join(f"Adding layer '{name}'" for name in outcome.layers) or "Adding layer 'app'", "step-export"
    )
    limit = context.world.settings.max_image_bytes
    if total > limit:
        context.say(
            f"ERROR: failed to export: the image has {format_bytes(total)}, this local Toolforge takes "
            f"{format_bytes(limit)} at most",
            "step-export",
        )
        raise BuildFailed("image too large")
    return BuiltImage(layers, outcome.processes, str(context.folder), outcome.environment)
