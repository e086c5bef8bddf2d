"""The steps of a second opinion: have the latest builder build the same commit, and see what comes of it.

It is a courtesy to the author. Whatever stands in its way ends it, and what was started is removed.
"""

from __future__ import annotations

from orchestrator import outcome as out
from orchestrator.diagnosis import explain_build
from orchestrator.outcome import Outcome, Says
from orchestrator.toolforge import BadRequest, Build, BuildStatus, Gone, ToolforgeError
from worker import build
from worker.step import Site


def start(site: Site) -> Outcome:
    """Adopt the build with the opinion's image name, or start it; it has to be of the very same commit."""
    deployment = site.deployment
    adopted = next((one for one in site.account.builds() if one.image_name == deployment.opinion_name), None)
    if adopted is not None:
        return out.OpinionStarted(adopted.id)
    if build.may_still_appear(site):
        return out.BuildAwaited(build.TAKEOVER_SECONDS)
    # Also a stranger can push between the approval and now: what was not approved must not even be built.
    if site.head_now() != deployment.sha:
        return out.OpinionDropped("the merge request has another head by now")
    site.guard()
    try:
        new = site.account.start_build(
            source_url=site.project.git_url,
            ref=build.ref_of(site, is_merge=deployment.merged_sha is not None),
            image_name=deployment.opinion_name,
            envvars=site.config.build.envvars,
            latest=True,
        )
    except BadRequest as error:
        return out.OpinionDropped(str(error))
    if new.resolved_ref != deployment.built_sha:
        return out.OpinionDropped(f"it would be of {new.resolved_ref}")
    return out.OpinionStarted(new.id)


def watch(site: Site) -> Outcome:
    """See whether the build has ended, and what it says of the latest builder."""
    opinion = site.deployment.opinion
    assert opinion is not None
    assert opinion.build_id is not None
    try:
        ended = site.account.build(opinion.build_id)
    except Gone:
        return out.OpinionDropped("builds-api does not know its build any more")
    if ended.resolved_ref != site.deployment.built_sha:
        return out.OpinionDropped(f"it is of {ended.resolved_ref}")
    match ended.status:
        case BuildStatus.SUCCESS:
            return _given(site, ended, Says.BUILDS)
        case BuildStatus.FAILURE:
            return _failed(site, ended)
        case _ if ended.has_ended:
            return out.OpinionDropped(f"its build ended as {ended.status}")
        case _:
            return out.OpinionGoesOn()


def _failed(site: Site, ended: Build) -> Outcome:
    log = build.log_of(site, ended)
    failure = explain_build(log.text, ended.message)
    before = site.deployment.failure
    if failure.stage == "toolforge":
        return out.OpinionDropped(failure.summary)
    is_the_same = before is not None and failure.cause == before.cause
    return out.OpinionGiven(Says.LACKS if is_the_same else Says.FAILS, log, failure)


def _given(site: Site, ended: Build, says: Says) -> Outcome:
    log = build.log_of(site, ended)
    try:
        store = site.account.store_use()
    except ToolforgeError:
        return out.OpinionGiven(says, log)
    return out.OpinionGiven(says, log, bytes_used=store.used, bytes_limit=store.limit)
