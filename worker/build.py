"""The steps of a build: start it (or find the one already started), watch it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from orchestrator import outcome as out
from orchestrator.components import own_source
from orchestrator.diagnosis import explain_build, explain_refusal
from orchestrator.jobs import component_image, image_names, to_build
from orchestrator.outcome import KeptLog, Outcome
from orchestrator.preview import REBUILD
from orchestrator.runtimes import REFUSALS
from orchestrator.toolforge import AccountClient, BadRequest, Build, BuildStatus, Gone, ToolforgeError
from worker import envvars
from worker.step import Site, kept

#: A worker that was cut off may have asked for a build just before.
TAKEOVER_SECONDS = 5.0
_RESOLVE_TRIES = 2
#: The verdict is known: a log that drips must not hold it up for longer.
_LOG_SECONDS = 30.0
#: How long a cancelled build may take to end.
CANCEL_SECONDS = 120.0
#: No build needs more lines; a build that prints without end must not fill the memory.
_LINES = 200_000


def start(site: Site) -> Outcome:
    """Adopt the build with our image name, or start it; the resolved commit must be the wanted one.

    After that of the commit those follow, one by one, that its components need from other repositories.
    """
    deployment = site.deployment
    if deployment.image is not None:
        return _start_component(site)
    adopted = next(
        (one for one in _started(site, deployment.image_name) if _is_wanted(site, one.resolved_ref)), None
    )
    if adopted is not None:
        return out.BuildStarted(adopted.id, merged_sha=_merged(site, adopted.resolved_ref))
    if may_still_appear(site):
        return out.BuildAwaited(TAKEOVER_SECONDS)
    merge = site.merged_now() if site.project.rules.merged_result and not site.preview.is_branch else None
    if merge is not None and not site.is_merge(merge):
        head = site.head_now()
        if head != deployment.sha:
            return out.WrongCommit(None, head)
        return out.NotNow("GitLab has not merged the newest commit with its target branch yet", seconds=2.0)
    tree = site.tree(merge or deployment.sha)
    image = _image_of(site, merge or deployment.sha, tree)
    if image is not None:
        return out.BuildReused(image, tree, merge)
    if not site.preview.is_from_project:
        # A stranger can push between the approval and now: what was not approved must not even be built.
        head = site.head_now()
        if head != deployment.sha:
            return out.WrongCommit(None, head)
    return _start_new(site, merge, tree)


def _start_new(site: Site, merge: str | None, tree: str) -> Outcome:
    if (lost := envvars.are_lost(site)) is not None:
        # Known now, and not only when it has been built.
        return lost
    site.guard()
    try:
        build_id, resolved = site.account.start_build(
            source_url=site.project.git_url,
            ref=ref_of(site, is_merge=merge is not None),
            image_name=site.deployment.image_name,
            envvars=site.config.build.envvars,
            latest=own_source(site.config.components).latest,
        )
    except BadRequest as error:
        return _refused(site, error)
    if not _is_wanted(site, resolved):
        return out.WrongCommit(build_id, resolved)
    # The target branch may have moved on in the meantime: then these are other files than were asked about.
    return out.BuildStarted(
        build_id, tree if resolved == (merge or resolved) else "", _merged(site, resolved)
    )


def ref_of(site: Site, *, is_merge: bool) -> str:
    """What is built, by a name that nothing else in the repository can have."""
    if site.preview.is_branch:
        return f"refs/heads/{site.preview.source_branch}"
    return f"refs/merge-requests/{site.preview.iid}/{'merge' if is_merge else 'head'}"


def _refused(site: Site, error: BadRequest, of: str = "") -> Outcome:
    if "Failed to resolve ref" in str(error) and site.deployment.attempts < _RESOLVE_TRIES:
        # GitLab may be away for a moment, which builds-api cannot tell from a private repository.
        return out.NotNow(str(error), seconds=2.0)
    failure = explain_refusal(str(error))
    if of:
        remedy = "Builds need a repository that anybody can clone, and a branch or tag that is there."
        failure = replace(failure, summary=f"component {of}: {failure.summary}", remedy=remedy)
    return out.StageFailed(failure)


def _started(site: Site, image_name: str) -> list[Build]:
    """The builds of that image, but for one that failed before and is made up for now."""
    over = site.deployment.retry.build_id if site.deployment.retry else None
    return [one for one in site.account.builds() if one.image_name == image_name and one.id != over]


def _start_component(site: Site) -> Outcome:
    wanted = to_build(site.deployment)
    assert wanted is not None, "there is nothing else to build"
    name, source = wanted
    image_name = component_image(site.deployment, name)
    adopted = next(iter(_started(site, image_name)), None)
    if adopted is not None:
        return out.BuildStarted(adopted.id)
    if may_still_appear(site):
        return out.BuildAwaited(TAKEOVER_SECONDS)
    image = _still_there(site, site.reusable_component(name, source))
    if image is not None:
        return out.BuildReused(image)
    site.guard()
    try:
        build_id, _ = site.account.start_build(
            source_url=str(source.repository), ref=source.ref, image_name=image_name, latest=source.latest
        )
    except BadRequest as error:
        return _refused(site, error, name)
    return out.BuildStarted(build_id)


def _is_wanted(site: Site, resolved: str) -> bool:
    """True for the deployment's commit, and for a merge of it where that is wanted."""
    if resolved == site.deployment.sha:
        return True
    return site.project.rules.merged_result and site.is_merge(resolved)


def _merged(site: Site, resolved: str) -> str | None:
    return None if resolved == site.deployment.sha else resolved


def _image_of(site: Site, sha: str, tree: str) -> str | None:
    """An image of the same files that the account still has, unless a new one was asked for."""
    return _still_there(site, site.reusable(sha, tree))


def _still_there(site: Site, image: str | None) -> str | None:
    if image is None or site.deployment.trigger == REBUILD:
        return None
    there = (found.name.partition("@")[0] for found in site.account.job_images())
    return image if any(name and image.partition("@")[0].endswith(name) for name in there) else None


def may_still_appear(site: Site) -> bool:
    """True while an earlier POST, whose answer nobody heard, may still make its build."""
    unsure_until = site.deployment.unsure_until
    return site.is_takeover if unsure_until is None else site.now < unsure_until


def watch(site: Site) -> Outcome:
    """See whether the build has ended, and how; its log is taken along before it can vanish."""
    assert site.deployment.build_id is not None
    try:
        build = site.account.build(site.deployment.build_id)
    except Gone:
        return out.BuildVanished()
    match build.status:
        case BuildStatus.SUCCESS if build.image is not None:
            return _succeeded(site, build, build.image)
        case BuildStatus.FAILURE | BuildStatus.TIMEOUT | BuildStatus.CANCELLED:
            return _failed(site, build)
        case BuildStatus.UNKNOWN if build.has_ended:
            return _failed(site, build)
        case _:
            return out.BuildGoesOn(has_begun=build.status is not BuildStatus.PENDING)


def _succeeded(site: Site, build: Build, image: str) -> Outcome:
    """The verdict on the build; how full the store is now is told where it can be had."""
    # Of a component's build only a failure is worth the place of the commit's own log.
    log = log_of(site, build) if site.deployment.image is None else None
    try:
        store = site.account.store_use()
    except ToolforgeError:
        return out.BuildSucceeded(image, log)
    return out.BuildSucceeded(image, log, store.used, store.limit)


def _failed(site: Site, build: Build) -> Outcome:
    log = log_of(site, build)
    failure = explain_build(log.text, build.message)
    wanted = to_build(site.deployment) if site.deployment.image is not None else None
    if wanted is not None:
        return out.StageFailed(replace(failure, summary=f"component {wanted[0]}: {failure.summary}"), log)
    runtime = REFUSALS.get(failure.cause)
    return out.StageFailed(failure, log, site.pins(runtime) if runtime else ())


def log_of(site: Site, build: Build) -> KeptLog:
    """The build's log; what of it arrived when the stream breaks. The verdict does not depend on it."""

    def lines() -> Iterator[str]:
        deadline = time.monotonic() + _LOG_SECONDS
        try:
            for line in islice(site.account.build_log(build.id), _LINES):
                yield line
                if time.monotonic() > deadline:
                    yield "[toolforge-preview] the rest of the log took too long to arrive"
                    return
        except ToolforgeError as error:
            yield f"[toolforge-preview] the rest of the log could not be read: {error}"

    return kept(lines(), site.settings.log_limit_bytes)


def stop(site: Site) -> bool:
    """Cancel the deployment's build if it runs; True while it has not ended and so keeps its slot."""
    names = image_names(site.deployment)
    going = [build for build in site.account.builds() if build.image_name in names and not build.has_ended]
    is_late = site.now - site.deployment.step_since > CANCEL_SECONDS
    for build in going:
        site.guard()
        end_build(site.account, build.id, is_late=is_late)
    return bool(going) or may_still_appear(site)


def end_build(account: AccountClient, build_id: str, *, is_late: bool) -> None:
    """Cancel a build; one that goes on long after that is deleted, which kills it."""
    if is_late:
        account.delete_build(build_id)
    else:
        account.cancel_build(build_id)
