"""`step-clone`: the resolved commit, one deep, as Tekton's git-clone task shows it."""

from __future__ import annotations

from deploy.local.toolforge.engine import BuildFailed
from deploy.local.toolforge.real.context import BuildContext, remove_tree
from deploy.local.toolforge.refs import git_environment

STEP = "step-clone"


async def clone(context: BuildContext) -> None:
    """Check out the build's commit into `app`. Raises `BuildFailed` with git's own words in the log."""
    build = context.build
    context.app.mkdir(parents=True)
    await _git(context, "init", "--quiet", "--initial-branch=main", ".")
    if await _git(context, "fetch", "--quiet", "--depth=1", "--", build.source_url, build.resolved_ref):
        # Some servers give only what a ref points at; the ref may have moved on since, which then shows
        # below.
        code = await _git(context, "fetch", "--quiet", "--depth=1", "--", build.source_url, build.ref)
        if code:
            raise BuildFailed("git fetch failed")
    if await _git(context, "checkout", "--quiet", "--detach", build.resolved_ref):
        raise BuildFailed("git checkout failed")
    await _git(context, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    context.say(f"Successfully cloned {build.source_url} @ {build.resolved_ref}", STEP)
    context.say(f"RESULT_SHA={build.resolved_ref}", STEP)
    remove_tree(context.app / ".git")


async def _git(context: BuildContext, *arguments: str) -> int:
    env = git_environment(context.environment, context.world.empty_home)
    argv = ["git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", *arguments]
    return await context.run(argv, step=STEP, env=env)
