"""Whether a webhook that fails is still sent to. Pure.

As GitLab since 17.11 (`app/models/concerns/web_hooks/auto_disabling.rb`; gitlab-org/gitlab!166329): an
answer of 2xx or 3xx is a success; anything else, 4xx, 5xx and no answer alike, is a failure. After the
fourth failure in a row the hook pauses, after each further one twice as long, up to a day; after the
fortieth it is disabled. A success (a test delivery among them) enables it again. Self-managed instances have
this switched off unless they choose it.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploy.local.gitlab.model import Hook

FAILURES_BEFORE_PAUSE = 4
FAILURES_BEFORE_END = 40
_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """The instance's choice: whether hooks are disabled at all, and the first and longest pause (seconds)."""

    enabled: bool
    first_pause: float
    longest_pause: float


def alert_status(hook: Hook, patience: Patience, now: float) -> str:
    """`executable`, `temporarily_disabled` or `disabled`, as the API calls it; `now` in epoch seconds."""
    if not patience.enabled:
        return "executable"
    if hook.failures >= FAILURES_BEFORE_END:
        return "disabled"
    paused = hook.disabled_until is not None and hook.disabled_until >= now
    return "temporarily_disabled" if paused else "executable"


def succeeded(hook: Hook) -> None:
    """Forget what failed before."""
    hook.failures, hook.disabled_until = 0, None


def failed(hook: Hook, patience: Patience, now: float) -> None:
    """Count a failure. What fails while the hook is not sent to (a test delivery) does not count."""
    if alert_status(hook, patience, now) != "executable":
        return
    hook.failures = min(hook.failures + 1, FAILURES_BEFORE_END)
    if hook.failures >= FAILURES_BEFORE_PAUSE:
        pause = patience.first_pause * _GROWTH ** (hook.failures - FAILURES_BEFORE_PAUSE)
        hook.disabled_until = now + min(pause, patience.longest_pause)
