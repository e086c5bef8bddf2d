"""What an account really holds: Toolforge is asked first, then the database whose that is."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import belongings
from orchestrator.belongings import Holdings, Sorted
from orchestrator.pool import Account
from orchestrator.store import Store
from orchestrator.toolforge import AccountClient

#: Tells whose the things are.
Sort = Callable[[Holdings], Sorted]


def look(account: AccountClient) -> Holdings:
    """Everything that the account holds."""
    store = account.store_use()
    builds = account.builds()
    jobs = account.jobs()
    envvars = account.envvars()
    listed = [name for image in account.job_images() for name in (image.short_name, image.name)]
    return Holdings(
        jobs=jobs,
        builds=builds,
        images=belongings.own_images(account.tool, listed),
        envvars=envvars,
        bytes_used=store.used,
        bytes_limit=store.limit,
    )


def sorter(store: Store, account: Account) -> Sort:
    """Tells whose the things in `account` are, by the database as it is when it is asked."""

    def sort(held: Holdings) -> Sorted:
        with store.read() as tx:
            deployments = tx.leased_deployments(account.id, belongings.deployment_ids(account.name, held))
        known = {deployment.id: deployment for deployment in deployments}
        return belongings.sort(account.name, held, known, was_leased=account.fence > 0)

    return sort
