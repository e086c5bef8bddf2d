"""A GitLab on this machine, as far as a tool needs it that lives on merge requests.

Real bare git repositories, the REST API version 4 with its quirks, webhooks, sign-in, pages for people, and
faults on demand. `with LocalGitLab(state_dir=...) as gl:` in a test, `python -m deploy.local.gitlab` as a
program.
"""

from __future__ import annotations

from deploy.local.gitlab.server import AlreadyRunning, LocalGitLab, read_ready

__all__ = ["AlreadyRunning", "LocalGitLab", "read_ready"]
