"""What people may do in a project, as GitLab says, remembered for less than a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from orchestrator.gitlab import GitLab, GitLabBusy

#: Rights that are taken away in GitLab are gone here after this time at most.
REMEMBERED_SECONDS = 60.0
_MOST = 1000


class Rights:
    """The access levels of users in projects; may be shared between threads.

    When GitLab does not answer, it is not asked for `rest_seconds`, and who asks meanwhile is told at once.
    """

    def __init__(self, gitlab: GitLab, *, rest_seconds: float = 0.0) -> None:
        self._gitlab = gitlab
        self._rest_seconds = rest_seconds
        self._rests_until = float("-inf")
        self._lock = threading.Lock()
        self._known: dict[tuple[Any, ...], tuple[float, int]] = {}

    def level(self, project_id: int, user_id: int) -> int:
        """GitLab's access level of the user in the project, 0 for none; ids are GitLab's.

        Raises what :meth:`GitLab.access_level` raises.
        """
        return self._known_or((project_id, user_id), lambda: self._gitlab.access_level(project_id, user_id))

    def is_still(self, user_id: int, name: str) -> bool:
        """True while the user has this name (in any case of letters), and an account that is not blocked.

        Raises what :meth:`GitLab.active_name` raises.
        """

        def is_so() -> bool:
            present = self._gitlab.active_name(user_id)
            return present is not None and present.lower() == name.lower()

        return bool(self._known_or((user_id, name, "name"), is_so))

    def _known_or(self, key: tuple[Any, ...], ask: Callable[[], int]) -> int:
        now = time.monotonic()
        with self._lock:
            asked_at, known = self._known.get(key, (float("-inf"), 0))
        if now - asked_at < REMEMBERED_SECONDS:
            return known
        if now < self._rests_until:
            raise GitLabBusy("GitLab did not answer a moment ago")
        try:
            known = ask()
        except GitLabBusy:
            self._rests_until = time.monotonic() + self._rest_seconds
            raise
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = (now, known)
        return known
