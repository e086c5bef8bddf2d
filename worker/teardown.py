"""Taking away: what a deployment leaves behind, and all that an account holds."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import outcome as out
from orchestrator.outcome import CleaningOutcome, Outcome
from orchestrator.toolforge import AccountClient, StoreUse
from worker import build, deploy
from worker.step import Site


def tidy(site: Site) -> Outcome:
    """Remove what the deployment started and nobody needs: a running build, the candidate, a bad job."""
    if site.deployment.holds_build_slot and build.stop(site):
        return out.TidyGoesOn()
    deploy.remove_jobs(site)
    return out.Tidied()


def clean(account: AccountClient, guard: Callable[[], None], *, is_late: bool) -> tuple[CleaningOutcome, int]:
    """Empty the account and look again; returns what came of it and the bytes its store held at first.

    Everything in it may be repeated: what is gone is not missed. A build that still ends could push an image
    after the images were deleted, so those come last and only when no build runs. `is_late` says that
    cancelled builds have had their time.
    """
    before = account.store_use()
    if _remove_all(account, before, guard, is_late=is_late):
        return out.CleaningGoesOn("a cancelled build has not ended yet"), before.used
    remaining = _remaining(account)
    if remaining:
        return out.CleaningGoesOn(remaining), before.used
    return out.Cleaned(before.used, 0), before.used


def _remove_all(account: AccountClient, store: StoreUse, guard: Callable[[], None], *, is_late: bool) -> bool:
    """One round of deletions; True when builds are still running, and so images were left alone."""
    builds = account.builds()
    running = [one for one in builds if not one.has_ended]
    for going in running:
        guard()
        build.end_build(account, going.id, is_late=is_late)
    for job in account.jobs():
        guard()
        account.delete_job(job.name)
    for name in account.envvars():
        guard()
        account.delete_envvar(name)
    if running:
        return True
    for ended in builds:
        guard()
        account.delete_build(ended.id)
    if store.used:
        guard()
        account.delete_images()
    return False


def _remaining(account: AccountClient) -> str:
    """What a last look still finds, in words; empty when the account is."""
    found = [
        f"{len(items)} {name}"
        for name, items in (
            ("jobs", account.jobs()),
            ("builds", account.builds()),
            ("envvars", account.envvars()),
        )
        if items
    ]
    used = account.store_use().used
    if used:
        found.append(f"{used} bytes of images")
    return ", ".join(found)
