"""The second opinion: the same commit built once more with Toolforge's latest builder. Pure.

It is asked when a build has failed since the current builder does not have a version. It says whether waiting
will help, or the other builder does already. It changes nothing about the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.components import own_source
from orchestrator.diagnosis.engine import Confidence
from orchestrator.markdown import code, plain
from orchestrator.outcome import Failure, Opinion, Says
from orchestrator.preview import OPINION_STEPS, Deployment
from orchestrator.repoconfig import restored
from orchestrator.runtimes import DEFAULT, LATEST, MISSING, RuntimeSeen, is_plain, there, version_order

#: How the latest builder is chosen: by the option of Toolforge's own command, and in a component's file.
HOW_TO_SWITCH = (
    "On Toolforge start the build with `toolforge build start --use-latest-versions`, or set "
    "`use_latest_versions: true` in the `build` of the component."
)


def builder_of(deployment: Deployment) -> str:
    """The builder that its repository asks for."""
    return LATEST if own_source(restored(deployment.config).components).latest else DEFAULT


def is_wanted(deployment: Deployment, failure: Failure) -> bool:
    """Whether the latest builder could say more about the build of `deployment` that failed for this."""
    if deployment.image is not None or deployment.is_spare:
        return False
    return is_missing(failure) and builder_of(deployment) == DEFAULT


def is_missing(failure: Failure) -> bool:
    """Whether it surely failed since the builder does not have a version."""
    return failure.cause in MISSING and failure.confidence == Confidence.CERTAIN


def newest(runtime: str, seen: Iterable[RuntimeSeen], now: float) -> str:
    """The newest version of a language that a build was made with, in any builder; empty: none is known."""
    versions = (version for language, version in there(seen, now) if language == runtime)
    version = max(filter(is_plain, versions), key=version_order, default="")
    # Of Python, a minor version is asked for.
    return ".".join(version.split(".")[:2]) if runtime == "Python" else version


def lacks(failure: Failure | None, quoted: Callable[[str], str] = plain) -> str:
    """What a blocked deployment waits for, in a sentence's middle; `quoted` makes foreign words safe."""
    facts = failure.facts if failure is not None else {}
    version, known = facts.get("version", ""), facts.get("newest", "")
    what = " ".join(word for word in (facts.get("runtime", "its version"), quoted(version)) if word)
    return f"{what} is not in the builder yet" + (f" (newest {quoted(known)})" if known else "")


def told(deployment: Deployment) -> str:
    """What is told of it, as Markdown; empty where it was not asked, or did not answer."""
    if deployment.step in OPINION_STEPS:
        return "The same commit is being built once more, with Toolforge's latest builder."
    opinion, failure = deployment.opinion, deployment.failure
    if opinion is None or opinion.says is None or failure is None:
        return ""
    return _told(opinion, failure)


def _told(opinion: Opinion, failure: Failure) -> str:
    what = _what(failure)
    match opinion.says:
        case Says.BUILDS:
            return f"It will build with the latest builder, which has {what}. {HOW_TO_SWITCH}"
        case Says.LACKS:
            known = f"; newest is {code(opinion.newest)}" if opinion.newest else ""
            return f"Not available on Toolforge yet: the latest builder does not have {what}, either{known}."
        case _:
            return f"With the latest builder the build fails, too, for another reason: {code(opinion.why)}."


def _what(failure: Failure) -> str:
    version = failure.facts.get("version", "")
    return f"{MISSING[failure.cause]} {code(version)}" if version else f"that {MISSING[failure.cause]}"
