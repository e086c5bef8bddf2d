"""What is to be done about an account that does not hold what the database says.

Pure. The account was looked at first and the database after that, so that nothing that was started in the
meantime is taken for an orphan. On a leased account only that is removed which nobody can need any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.belongings import (
    PUBLISHED_JOB,
    Holdings,
    Sorted,
    candidate_id,
    component_jobs,
    image_of,
    owner,
)
from orchestrator.jobs import image_of_job
from orchestrator.pool import Account
from orchestrator.preview import Deployment, State
from orchestrator.toolforge_answers import Job

#: Said on the timeline of a preview that the janitor has taken down.
LOST = "its job and image are gone"
_DIGEST = re.compile(r"@(sha256:[0-9a-f]+)$")
#: On the way to the address, or at it.
_NEAR_THE_ADDRESS = frozenset({State.STARTING, State.CHECKING})


@dataclass(frozen=True)
class Findings:
    """What nobody needs in a leased account, and what is missing there."""

    #: Names of jobs that nothing explains any more.
    jobs: Sequence[str] = ()
    #: Ids of builds that run without anybody waiting for them, ...
    running: Sequence[str] = ()
    #: ... and of ended ones of an older lease.
    ended: Sequence[str] = ()
    #: Images of an older lease, which cannot be deleted one by one.
    images: Sequence[str] = ()
    #: The live deployment whose job is not at the address.
    lost: Deployment | None = None
    #: Its image is still there, so that the job can be put back.
    can_be_put_back: bool = False


def compare(
    account: Account,
    held: Holdings,
    found: Sorted,
    known: Mapping[int, Deployment],
    going: Sequence[Deployment],
    looked_at: float,
) -> Findings:
    """What is wrong with a leased account, of which `held` was seen at `looked_at` or a little later.

    `found` are the same things by whose they are, `known` the deployments that they belong to, `going` those
    under the present lease that are not settled.
    """
    lost = _lost(held, found, going, looked_at)
    builds = [(build, owner(build.image_name, known)) for build in found.ours.builds]
    return Findings(
        jobs=tuple(job.name for job in found.ours.jobs if _is_orphan(job, account, known, going)),
        running=tuple(b.id for b, of in builds if not b.has_ended and _is_over(of, account)),
        ended=tuple(b.id for b, of in builds if b.has_ended and _is_older(of, account)),
        images=tuple(name for name in held.images if _is_older(owner(name, known), account)),
        lost=lost,
        can_be_put_back=lost is not None and image_of(account.name, lost.image or "") in held.images,
    )


def may_take_down(recently: int, live: int, share: float) -> bool:
    """Whether one more preview may be taken down, after so many `recently`, with so many `live` now.

    At least one may: but a Toolforge that says "nothing there" of everything must not take everything down.
    """
    return recently < max(int((live + recently) * share), 1)


def _is_older(deployment: Deployment | None, account: Account) -> bool:
    """True for what was made under an older lease of the account."""
    if deployment is None:
        return False
    return (deployment.account_id, deployment.fence) != (account.id, account.fence)


def _is_over(deployment: Deployment | None, account: Account) -> bool:
    """True for what nobody watches any more."""
    return deployment is not None and (deployment.is_settled or _is_older(deployment, account))


def _is_orphan(
    job: Job, account: Account, known: Mapping[int, Deployment], going: Sequence[Deployment]
) -> bool:
    number = candidate_id(job.name)
    if number is not None:
        return _is_over(known.get(number), account)
    needed = (d for d in going if d.has_jobs)
    return not any(job.name == PUBLISHED_JOB or job.name in component_jobs(d) for d in needed)


def _is_near_the_address(deployment: Deployment) -> bool:
    return deployment.state in _NEAR_THE_ADDRESS or deployment.is_at_the_address


def _lost(held: Holdings, found: Sorted, going: Sequence[Deployment], looked_at: float) -> Deployment | None:
    """The deployment of which a job is not as it should be; none while another is on its way there."""
    live = next((d for d in going if d.state is State.LIVE and d.since < looked_at), None)
    if live is None or any(_is_near_the_address(d) for d in going if d is not live):
        return None
    jobs = {job.name: job for job in held.jobs}

    def is_lost(name: str) -> bool:
        job = jobs.get(name)
        if job is None:
            return True
        # Somebody else's image under our job's name is theirs to take away.
        return job in found.ours.jobs and _digest(job.image) != _digest(image_of_job(live, name))

    return live if any(map(is_lost, [PUBLISHED_JOB, *component_jobs(live)])) else None


def _digest(reference: str) -> str:
    match = _DIGEST.search(reference)
    return match[1] if match else ""
