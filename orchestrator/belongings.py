"""What of the things in an account is ours, and what somebody else put there.

Pure. A thing is ours when its name says so and our database agrees: images are called ``mr<iid>-d<id>``, and
a deployment of that id and merge request must have had a lease of this account. A name alone is not enough:
another installation of this service gives the same ones. What is not ours is never touched, only named.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.components import beside
from orchestrator.jobs import image_names
from orchestrator.preview import Deployment, State, Step
from orchestrator.repoconfig import restored
from orchestrator.toolforge_answers import Build, Job

#: The one published job of an account: its name stays, so that an update swaps the image in place.
PUBLISHED_JOB = "preview"
#: Envvars of that name are ours. Others are the operators' own, such as dummy settings, and stay, but for
#: those that deployments have asked for (see ``pool.Account.our_envvars``).
ENVVAR_PREFIX = "PREVIEW_"
#: Tells a tool at which address it is served.
ADDRESS_ENVVAR = "PREVIEW_URL"

#: A deployment's own, or one that was built for a component of it.
_IMAGE_NAME = re.compile(r"mr([0-9]{1,9})-d([0-9]{1,9})(?:-[-a-z0-9]+)?")
#: The web part's, or a component's.
_CANDIDATE_NAME = re.compile(r"candidate-d([0-9]{1,9})(?:-[-a-z0-9]+)?")
#: ``HOST/tool-T/NAME:TAG@DIGEST``, of which the project and the name are always there.
_REFERENCE = re.compile(r"(?:[^/]+/)?tool-(?P<tool>[^/:@]+)/(?P<name>[^/:@]+)(?::[^/:@]*)?(?:@[^/@]*)?")
#: The trigger of a stand-in: no deployment of ours has it.
_FORGOTTEN = "forgotten"
_NAMED = 3
_NAME_LENGTH = 60


@dataclass(frozen=True)
class Holdings:
    """Things in an account, as Toolforge lists them."""

    jobs: Sequence[Job] = ()
    builds: Sequence[Build] = ()
    #: Names of the account's images that have a tag; builds-api deletes all at once or none.
    images: Sequence[str] = ()
    #: Names of envvars.
    envvars: Sequence[str] = ()
    #: What the image store holds.
    bytes_used: int = 0
    #: None: no limit, or none that is known.
    bytes_limit: int | None = None

    def __bool__(self) -> bool:
        """True when there is anything."""
        return bool(self.jobs or self.builds or self.images or self.envvars or self.bytes_used)

    def words(self) -> str:
        """What there is, for people: some names of each kind, and how many more."""
        named = [
            _some("job", [job.name for job in self.jobs]),
            _some("build", [build.id for build in self.builds]),
            _some("image", self.images),
            _some("envvar", self.envvars),
        ]
        if self.bytes_used and not self.images:
            named.append(f"{self.bytes_used} bytes of images")
        return ", ".join(words for words in named if words)


@dataclass(frozen=True)
class Sorted:
    """The things in an account by whose they are; the operators' envvars are in neither."""

    ours: Holdings
    foreign: Holdings

    def taken_over(self) -> Sorted:
        """The same with everything taken for ours, as an operator may order."""
        ours, foreign = self.ours, self.foreign
        everything = Holdings(
            jobs=(*ours.jobs, *foreign.jobs),
            builds=(*ours.builds, *foreign.builds),
            images=(*ours.images, *foreign.images),
            envvars=ours.envvars,
            bytes_used=max(ours.bytes_used, foreign.bytes_used),
            bytes_limit=ours.bytes_limit,
        )
        return Sorted(everything, Holdings())


def own_images(tool: str, listed: Iterable[str]) -> tuple[str, ...]:
    """The names of those listed images that are the tool's own, each once; Toolforge's are left out."""
    matches = (_REFERENCE.fullmatch(reference) for reference in listed)
    return tuple(dict.fromkeys(match["name"] for match in matches if match and match["tool"] == tool))


def image_of(tool: str, reference: str) -> str:
    """The name of that image of the tool's own; empty for an image of somebody else's."""
    return next(iter(own_images(tool, [reference])), "")


def deployment_ids(tool: str, held: Holdings) -> frozenset[int]:
    """The ids of the deployments whose the things in account `tool` are, by their names."""
    names = [*held.images, *(build.image_name for build in held.builds)]
    names += own_images(tool, (job.image for job in held.jobs))
    by_image = (int(match[2]) for match in map(_IMAGE_NAME.fullmatch, names) if match)
    by_job = (candidate_id(job.name) for job in held.jobs)
    return frozenset([*by_image, *(number for number in by_job if number is not None)])


def owner(image_name: str, known: Mapping[int, Deployment]) -> Deployment | None:
    """Whose an image of that name is; `known` are the deployments that have had a lease of the account."""
    match = _IMAGE_NAME.fullmatch(image_name)
    deployment = known.get(int(match[2])) if match else None
    if match is None or deployment is None:
        return None
    if _is_forgotten(deployment):
        return deployment if deployment.iid == int(match[1]) else None
    return deployment if image_name in image_names(deployment) else None


def forgotten(tool: str, held: Holdings, *, after: int) -> Mapping[int, Deployment]:
    """Stand-ins for deployments numbered above `after`, whose rows are gone, by the names of their things.

    Each has ended, and was under no lease that is known, so that nobody needs what it left.
    """
    names = [*held.images, *(build.image_name for build in held.builds)]
    names += own_images(tool, (job.image for job in held.jobs))
    matches = [match for match in map(_IMAGE_NAME.fullmatch, names) if match]
    iids = {int(match[2]): int(match[1]) for match in matches}
    candidates = (candidate_id(job.name) for job in held.jobs)
    iids = {number: 0 for number in candidates if number is not None} | iids
    return {number: _stand_in(number, iid) for number, iid in iids.items() if number > after}


def _stand_in(number: int, iid: int) -> Deployment:
    return Deployment(
        id=number,
        preview_id=0,
        iid=iid,
        sha="",
        state=State.STOPPED,
        step=Step.NONE,
        created_at=0.0,
        since=0.0,
        step_since=0.0,
        due_at=None,
        trigger=_FORGOTTEN,
        actor="",
    )


def _is_forgotten(deployment: Deployment) -> bool:
    return deployment.trigger == _FORGOTTEN


def is_our_job(tool: str, job: Job, known: Mapping[int, Deployment]) -> bool:
    """True for a job of account `tool` that is called like one of ours and runs an image of ours.

    That image may be one that was built for another deployment of the same files, whose components have the
    same names.
    """
    built_for = owner(image_of(tool, job.image), known)
    if built_for is None:
        return False
    if _is_forgotten(built_for):
        # Which components it had is not known any more.
        return True
    is_named = job.name == PUBLISHED_JOB or candidate_id(job.name) in known
    return is_named or job.name in component_jobs(built_for)


def component_jobs(deployment: Deployment) -> frozenset[str]:
    """The names of the jobs that a deployment has beside the published one."""
    return frozenset(beside(restored(deployment.config).components))


def candidate_id(job_name: str) -> int | None:
    """The id of the deployment that is tried out by a job of that name."""
    match = _CANDIDATE_NAME.fullmatch(job_name)
    return int(match[1]) if match else None


def others_envvars(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are not ours by their beginning."""
    return tuple(name for name in names if not name.startswith(ENVVAR_PREFIX))


def sort(
    tool: str,
    held: Holdings,
    known: Mapping[int, Deployment],
    *,
    was_leased: bool,
    envvars: Container[str] = (),
) -> Sorted:
    """Tell ours from foreign things in account `tool`; `envvars` are ours besides those named like it.

    What is in the image store without being listed is ours when the account `was_leased` before: an image
    whose tag was lost, or one that cannot be listed just now.
    """
    our_jobs = tuple(job for job in held.jobs if is_our_job(tool, job, known))
    our_builds = tuple(build for build in held.builds if owner(build.image_name, known))
    our_images = tuple(name for name in held.images if owner(name, known))
    foreign_images = tuple(name for name in held.images if name not in our_images)
    is_ours = bool(our_images) or (was_leased and not foreign_images)
    return Sorted(
        ours=Holdings(
            jobs=our_jobs,
            builds=our_builds,
            images=our_images,
            envvars=tuple(n for n in held.envvars if n.startswith(ENVVAR_PREFIX) or n in envvars),
            bytes_used=held.bytes_used if is_ours else 0,
            bytes_limit=held.bytes_limit,
        ),
        foreign=Holdings(
            jobs=tuple(job for job in held.jobs if job not in our_jobs),
            builds=tuple(build for build in held.builds if build not in our_builds),
            images=foreign_images,
            bytes_used=held.bytes_used if foreign_images or not is_ours else 0,
            bytes_limit=held.bytes_limit,
        ),
    )


def refusal(foreign: Holdings) -> str:
    """Why an account with such things in it is not used."""
    return f"somebody else uses it: found {foreign.words()}"


def _some(kind: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(name[:_NAME_LENGTH] for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{kind if len(names) == 1 else f'{len(names)} {kind}s'} {shown}{more}"
