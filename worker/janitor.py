"""Compares what an account really holds with what the database says, and puts right what can be put right.

A free account in which anything is found is not touched here: it is cleaned. On a leased one only that is
removed which nobody can need any more, and a preview whose job is gone gets it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import belongings, inspection
from orchestrator.belongings import Holdings
from orchestrator.inspection import Findings
from orchestrator.outcome import Inspected
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment
from orchestrator.repoconfig import restored
from orchestrator.secret_rules import Opened
from orchestrator.settings import Settings
from orchestrator.toolforge import AccountClient, BadRequest
from worker import deploy, envvars
from worker.holdings import look

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """One account and how it is inspected."""

    account: Account
    client: AccountClient
    #: Where the account's published job is reached.
    address: str
    settings: Settings
    #: The deployments that things belong to, of those that have had a lease of the account.
    known: Callable[[Holdings], Mapping[int, Deployment]]
    #: The deployments under the present lease that are not settled, as they are when it is asked.
    going: Callable[[], Sequence[Deployment]]
    #: The secret envvars that a deployment gets.
    secrets: Callable[[Deployment], Opened]
    #: Raises when the claim is lost or the account's row has changed; to be asked before each effect.
    guard: Callable[[], None]
    now: float


def inspect(round_: Round) -> Inspected:
    """Look at everything in a free or leased account; says what was found and what became of it."""
    account = round_.account
    held = look(round_.client)
    known = round_.known(held)
    found = belongings.sort(account.name, held, known, was_leased=account.fence > 0)
    others = belongings.others_envvars(held.envvars)
    if account.state is AccountState.FREE:
        left = found.taken_over().ours.words()
        return Inspected(held.bytes_used, held.bytes_limit, left=left, envvars=others)

    def compare() -> Findings:
        return inspection.compare(account, held, found, known, round_.going(), round_.now)

    findings = compare()
    if findings.images:
        log.warning("account %s: images of older leases: %s", account.name, ", ".join(findings.images))
    removed = _remove(round_, findings, compare)
    put_back = _put_back(round_, findings, compare)
    lost = findings.lost
    return Inspected(
        held.bytes_used,
        held.bytes_limit,
        foreign=belongings.refusal(found.foreign) if found.foreign else "",
        removed=tuple(removed),
        put_back=put_back,
        lost=None if lost is None or findings.can_be_put_back else lost.id,
        envvars=others,
    )


def _remove(round_: Round, findings: Findings, compare: Callable[[], Findings]) -> list[str]:
    """Remove what is still unneeded just before it goes; says what it was."""
    client, removed = round_.client, []
    for name in findings.jobs:
        round_.guard()
        if name in compare().jobs:
            client.delete_job(name)
            removed.append(f"job {name} belonged to nothing and was deleted")
    for build_id in findings.running:
        round_.guard()
        client.cancel_build(build_id)
        removed.append(f"build {build_id} belonged to nothing and was cancelled")
    for build_id in findings.ended:
        round_.guard()
        client.delete_build(build_id)
        removed.append(f"build {build_id} belonged to an older lease and was deleted")
    return removed


def _put_back(round_: Round, findings: Findings, compare: Callable[[], Findings]) -> int | None:
    """Start the job of the live deployment again; its id if that was needed, and done."""
    lost = findings.lost
    if lost is None or lost.image is None or not findings.can_be_put_back:
        return None
    config = restored(lost.config)
    secrets = round_.secrets(lost)
    envvars.set_all(round_.client, round_.account, round_.address, config, secrets, round_.guard)
    round_.guard()
    if compare().lost != lost:
        return None
    has_changed = False
    for job in deploy.all_jobs(round_.settings, lost):
        round_.guard()
        try:
            has_changed |= round_.client.put_job(job)
        except BadRequest as error:
            # Refused jobs stay defined all the same, and would be taken for the lost one by the next look.
            log.warning("account %s: its preview could not be put back: %s", round_.account.name, error)
            round_.guard()
            round_.client.delete_job(job.name)
            return None
    return lost.id if has_changed else None
