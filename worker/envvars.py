"""The envvars of an account's jobs: what the repository's file asks for, the project's secrets, the address.

A name that both the file and a secret have is the secret's. Only names that the account's row has as lent are
ever set for a deployment, so that whoever cleans it knows them, however it came to an end.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import outcome as out
from orchestrator.belongings import ADDRESS_ENVVAR
from orchestrator.outcome import Failure, Outcome
from orchestrator.pool import Account
from orchestrator.repoconfig import FILE_NAME, RepoConfig
from orchestrator.secret_rules import Opened
from orchestrator.toolforge import AccountClient
from worker.step import Site

#: An account of which it is not known what operators have set in it is looked at soon.
_LOOK_SECONDS = 5.0


def why_not(site: Site) -> Outcome | None:
    """Why the envvars of the deployment cannot be set; None when they can."""
    asked_for, own = site.config.run.envvars.keys(), site.place.own_envvars
    lent = site.secrets.only(site.place.lent_envvars)
    if (asked_for or lent.names) and own is None:
        return out.NotNow("the dev account's own envvars are not known yet", seconds=_LOOK_SECONDS)
    if taken := sorted(asked_for & {*(own or ())}):
        return out.StageFailed(_is_taken(f"{FILE_NAME}: run.envvars", taken, "Take it out of the file"))
    if taken := sorted(lent.names & {*(own or ())}):
        remedy = "A Maintainer removes it on the project's settings page"
        return out.StageFailed(_is_taken("secrets of the project", taken, remedy))
    return are_lost(site)


def are_lost(site: Site) -> Outcome | None:
    """That some of the secrets that the deployment gets cannot be read; None when all can."""
    names = site.secrets.only(site.place.lent_envvars).unreadable
    return out.StageFailed(_is_unreadable(names)) if names else None


def set_all(
    account: AccountClient,
    place: Account,
    address: str,
    config: RepoConfig,
    secrets: Opened,
    guard: Callable[[], None],
) -> None:
    """Give the account's jobs the envvars of `config` and `secrets`, and those only.

    They see them at their next start.
    Among them is where they are served. What operators have set themselves stays as it is, and so does what
    stands in the place of a secret that no key opens: there it was set for the same preview.
    """
    own, lent = {*(place.own_envvars or ())}, secrets.only(place.lent_envvars)
    wanted = {**config.run.envvars, **lent.values}
    kept = set() if place.shared else {*lent.unreadable}
    for name in sorted(place.our_envvars - wanted.keys() - kept):
        guard()
        account.delete_envvar(name)
    given = {name: value for name, value in wanted.items() if name not in own | kept}
    for name, value in {**given, ADDRESS_ENVVAR: address}.items():
        guard()
        account.set_envvar(name, value)


def _is_taken(what: str, names: list[str], remedy: str) -> Failure:
    return Failure(
        stage="configuration",
        summary=f"{what}: operators have set {', '.join(names)} in the dev account",
        remedy=f"{remedy}, or ask the operators of the previews what it is set to.",
    )


def _is_unreadable(names: tuple[str, ...]) -> Failure:
    return Failure(
        stage="configuration",
        summary=f"secrets of the project: no key of this installation opens {', '.join(names)}",
        remedy="A Maintainer sets it anew on the project's settings page, or operators put the key that it "
        "was encrypted with into `old_secret_keys`. Then comment `/preview`.",
    )
