"""What an account really holds: Toolforge is asked first, then the database whose that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator import belongings
from orchestrator.belongings import Holdings, Sorted
from orchestrator.pool import Account
from orchestrator.preview import Deployment
from orchestrator.store import Store
from orchestrator.toolforge import AccountClient

#: Finds the deployments that things belong to, by their ids.
Know = Callable[[Holdings], Mapping[int, Deployment]]
#: Tells whose things are.
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


def knower(store: Store, account: Account) -> Know:
    """Finds the deployments that things in `account` belong to, in the database as it is when it is asked.

    For those that it has forgotten by being put back stand-ins are found.
    """

    def know(held: Holdings) -> Mapping[int, Deployment]:
        ids = belongings.deployment_ids(account.name, held)
        with store.read() as tx:
            known = {deployment.id: deployment for deployment in tx.leased_deployments(account.id, ids)}
        if account.forgotten_after is None:
            return known
        return {**belongings.forgotten(account.name, held, after=account.forgotten_after), **known}

    return know


def sorter(store: Store, account: Account) -> Sort:
    """Tells whose the things in `account` are, by the database as it is when it is asked."""
    know = knower(store, account)

    def sort(held: Holdings) -> Sorted:
        return belongings.sort(
            account.name,
            held,
            know(held),
            was_leased=account.fence > 0,
            envvars=account.our_envvars | account.forgotten_envvars(held.envvars),
        )

    return sort
