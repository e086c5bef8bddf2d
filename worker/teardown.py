"""Taking away: what a deployment leaves behind, and all of ours that an account holds."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import outcome as out
from orchestrator.belongings import Sorted, others_envvars, refusal
from orchestrator.outcome import CleaningOutcome, Outcome
from orchestrator.toolforge import AccountClient
from worker import build, deploy
from worker.holdings import Sort, look
from worker.step import Site


def tidy(site: Site) -> Outcome:
    """Remove what the deployment started and nobody needs: a running build, the candidate, a bad job."""
    if site.deployment.holds_build_slot and build.stop(site):
        return out.TidyGoesOn()
    deploy.remove_jobs(site)
    deploy.restore_envvars(site)
    return out.Tidied()


def clean(
    account: AccountClient, sort: Sort, guard: Callable[[], None], *, is_late: bool, everything: bool = False
) -> tuple[CleaningOutcome, int]:
    """Empty the account of what is ours and look again; returns what came of it, and what its store held.

    Everything in it may be repeated: what is gone is not missed. A build that still ends could push an image
    after the images were deleted, so those come last and only when no build runs. `is_late` says that
    cancelled builds, and a registry that was away, have had their time, `everything` that an operator wants
    what is foreign deleted, too.
    """
    held = look(account)
    found = sort(held).taken_over() if everything else sort(held)
    if found.ours.bytes_used and not found.ours.images and not is_late:
        # The list is empty, too, while the registry is away for a moment, and may hide somebody else's image.
        return out.CleaningGoesOn("images that are not listed"), held.bytes_used
    builds_run = _remove(account, found, guard, is_late=is_late)
    if found.foreign:
        return out.FoundForeign(refusal(found.foreign)), held.bytes_used
    if builds_run:
        return out.CleaningGoesOn("a cancelled build has not ended yet"), held.bytes_used
    after = look(account)
    left = sort(after).taken_over() if everything else sort(after)
    if left.foreign:
        return out.FoundForeign(refusal(left.foreign)), held.bytes_used
    if left.ours:
        return out.CleaningGoesOn(left.ours.words()), held.bytes_used
    own = others_envvars(after.envvars)
    return out.Cleaned(held.bytes_used, 0, held.bytes_limit, own), held.bytes_used


def _remove(account: AccountClient, found: Sorted, guard: Callable[[], None], *, is_late: bool) -> bool:
    """One round of deletions of what is ours; True when builds still run, and so images were left alone.

    Images can only be deleted all at once: not while anything foreign is there that may need one.
    """
    ours = found.ours
    running = [one for one in ours.builds if not one.has_ended]
    for going in running:
        guard()
        build.end_build(account, going.id, is_late=is_late)
    for job in ours.jobs:
        guard()
        account.delete_job(job.name)
    for name in ours.envvars:
        guard()
        account.delete_envvar(name)
    if running:
        return True
    for ended in ours.builds:
        guard()
        account.delete_build(ended.id)
    if ours.bytes_used and not found.foreign:
        guard()
        account.delete_images()
    return False
