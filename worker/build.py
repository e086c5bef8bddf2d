"""The steps of a build: start it (or find the one already started), watch it."""

from __future__ import annotations

from itertools import islice

from orchestrator import outcome as out
from orchestrator.diagnosis import explain_build
from orchestrator.outcome import Failure, Outcome
from orchestrator.toolforge import BadRequest, Build, BuildStatus, Gone, ToolforgeError
from worker.step import Site, kept

#: No build needs more lines; a build that prints without end must not fill the memory.
_LINES = 200_000


def start(site: Site) -> Outcome:
    """Adopt the build with our image name, or start it; the resolved commit must be the wanted one."""
    deployment = site.deployment
    mine = [build for build in site.account.builds() if build.image_name == deployment.image_name]
    adopted = next((build for build in mine if build.resolved_ref == deployment.sha), None)
    if adopted is not None:
        return out.BuildStarted(adopted.id)
    site.guard()
    try:
        build_id, resolved = site.account.start_build(
            source_url=site.project.git_url,
            ref=f"refs/merge-requests/{site.preview.iid}/head",
            image_name=deployment.image_name,
        )
    except BadRequest as error:
        return out.StageFailed(
            Failure(
                stage="build",
                summary=f"Toolforge would not start the build: {error}",
                remedy="Builds need a repository that anybody can clone; check that the project is public.",
            )
        )
    if resolved != deployment.sha:
        return out.WrongCommit(build_id, resolved)
    return out.BuildStarted(build_id)


def watch(site: Site) -> Outcome:
    """See whether the build has ended, and how; its log is taken along before it can vanish."""
    assert site.deployment.build_id is not None
    try:
        build = site.account.build(site.deployment.build_id)
    except Gone:
        return out.BuildVanished()
    match build.status:
        case BuildStatus.SUCCESS if build.image is not None:
            return out.BuildSucceeded(build.image, kept(_log(site, build), site.settings.log_limit_bytes))
        case BuildStatus.FAILURE | BuildStatus.TIMEOUT | BuildStatus.CANCELLED:
            return _failed(site, build)
        case BuildStatus.UNKNOWN if build.has_ended:
            return _failed(site, build)
        case _:
            return out.BuildGoesOn()


def _failed(site: Site, build: Build) -> Outcome:
    log = kept(_log(site, build), site.settings.log_limit_bytes)
    return out.StageFailed(explain_build(log.text, build.message), log)


def _log(site: Site, build: Build) -> list[str]:
    """The build's log; what of it arrived when the stream breaks. The verdict does not depend on it."""
    lines: list[str] = []
    try:
        lines.extend(islice(site.account.build_log(build.id), _LINES))
    except ToolforgeError as error:
        lines.append(f"[toolforge-preview] the rest of the log could not be read: {error}")
    return lines


def stop(site: Site) -> bool:
    """Cancel the deployment's build if it runs; True while it has not ended and so keeps its slot."""
    going = [
        build
        for build in site.account.builds()
        if build.image_name == site.deployment.image_name and not build.has_ended
    ]
    for build in going:
        site.guard()
        site.account.cancel_build(build.id)
    return bool(going)
