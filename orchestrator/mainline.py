"""Whether the default branch of a project still deploys: when it is looked at, and what is told of it. Pure.

It is a deployment like others, of a preview without a merge request; what is particular about it stands in
``preview.Deployment.is_spare``: it uses what nobody needs, is tried without being published, and is kept for
nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from orchestrator.markdown import code, fence
from orchestrator.outcome import AWAY, Failure
from orchestrator.preview import Deployment, State
from orchestrator.report import instant

_PLAIN_NAME = re.compile(r"[\w./-]{1,100}")
#: Looked at anew after so long, even where nothing has changed.
WEEK_SECONDS = 7 * 86400.0
#: A try that ended without a verdict, as when Toolforge was away, is repeated after so long.
_AGAIN_SECONDS = 3600.0


@dataclass(frozen=True)
class Verdict:
    """What is known of a project's default branch; times in seconds since the epoch, None: never."""

    project_id: int
    #: When there was a verdict last.
    checked_at: float | None = None
    #: When it was last seen to deploy, and at which commit.
    good_at: float | None = None
    good_sha: str | None = None
    #: The last time that it broke: when it was first seen not to, at which commit, and when it did again.
    broken_at: float | None = None
    broken_sha: str | None = None
    mended_at: float | None = None
    #: Why, by the newest verdict; None while it deploys.
    failure: Failure | None = None

    @property
    def is_broken(self) -> bool:
        """True while the newest verdict is a bad one."""
        return self.failure is not None


def is_due(
    verdict: Verdict, newest: Deployment | None, head_sha: str | None, builder_changed_at: float, now: float
) -> bool:
    """Whether the default branch is to be built: weekly, when the builder has changed, or when it was mended.

    `newest` is the deployment before, `head_sha` the present head (None: not asked for yet). Commits alone
    are no reason, for merge requests are built anyway; but what is broken is looked at anew with each.
    """
    if newest is not None and newest.is_pending:
        return False
    if newest is not None and not is_verdict(newest):
        # One that gave way to a merge request comes back as soon as the pool is idle again.
        return newest.state is not State.FAILED or now - newest.created_at >= _AGAIN_SECONDS
    if verdict.checked_at is None or now - verdict.checked_at >= WEEK_SECONDS:
        return True
    is_other = newest is not None and head_sha is not None and newest.sha != head_sha
    return builder_changed_at > verdict.checked_at or (verdict.is_broken and is_other)


def may_be_due(verdict: Verdict, newest: Deployment | None, builder_changed_at: float, now: float) -> bool:
    """Whether GitLab has to be asked for the head; False: nothing that it says would make a difference."""
    is_pending = newest is not None and newest.is_pending
    return is_pending or verdict.is_broken or is_due(verdict, newest, None, builder_changed_at, now)


def is_verdict(ended: Deployment) -> bool:
    """True where an end says something of the commit: not where Toolforge, GitLab or the pool failed it."""
    if ended.state is State.FAILED:
        failure = ended.failure
        return (
            failure is not None and failure.stage not in {"toolforge", "store"} and AWAY not in failure.facts
        )
    return ended.state is State.STOPPED


def judged(before: Verdict, ended: Deployment, now: float) -> Verdict:
    """What is known after a deployment of the default branch has ended."""
    if not is_verdict(ended):
        return before
    checked = replace(before, checked_at=now)
    if ended.state is State.STOPPED:
        mended_at = now if before.is_broken else before.mended_at
        return replace(checked, good_at=now, good_sha=ended.sha, mended_at=mended_at, failure=None)
    if before.is_broken:
        return replace(checked, failure=ended.failure)
    return replace(checked, broken_at=now, broken_sha=ended.sha, mended_at=None, failure=ended.failure)


# --- the issue ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Issue:
    """The one issue of a project, as it should be."""

    title: str
    description: str
    is_open: bool


def marker(project_id: int) -> str:
    """The hidden comment by which our one issue is found again."""
    return f"<!-- toolforge-preview-branch:{project_id} -->"


def issue(verdict: Verdict, branch: str, page_url: str) -> Issue | None:
    """The issue that a project should have; None where nothing has ever been broken."""
    if verdict.broken_at is None:
        return None
    lead = [marker(verdict.project_id), f"[Tries of it, and their logs]({page_url})"]
    # GitLab looks for mentions in titles, too.
    name = branch if _PLAIN_NAME.fullmatch(branch) else "The default branch"
    title = f"{name} does not deploy on Toolforge any more"
    failure = verdict.failure
    if failure is None:
        mended = f"It deploys again since {instant(verdict.mended_at or verdict.broken_at)}."
        return Issue(title, "\n\n".join([lead[0], mended, lead[1]]), is_open=False)
    parts = [lead[0], _when(verdict, branch)]
    parts += [f"**What happened:** {code(failure.summary)}", f"**What to do:** {failure.remedy}"]
    shown = [f"- {code(line.text)}" for line in failure.evidence if line.text.strip()]
    if shown:
        parts.append("**Where it shows:**\n\n" + "\n".join(shown))
    elif failure.excerpt.strip():
        parts.append("The last lines that say something:\n\n" + fence(failure.excerpt))
    parts += [lead[1], "This issue is closed by itself once the branch deploys again."]
    return Issue(title, "\n\n".join(parts), is_open=True)


def _when(verdict: Verdict, branch: str) -> str:
    good = "It has not been seen to deploy before."
    if verdict.good_at is not None:
        good = f"It last did on {instant(verdict.good_at)}, at commit {code((verdict.good_sha or '')[:12])}."
    since = instant(verdict.broken_at or 0.0)
    at = code((verdict.broken_sha or "")[:12])
    return (
        f"The branch {code(branch)} is built now and then on Toolforge, and started without being published. "
        f"Since {since}, at commit {at}, that fails. {good}"
    )
