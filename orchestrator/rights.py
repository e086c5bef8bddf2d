"""What people may do in a project, as GitLab says, remembered for less than a minute."""

from __future__ import annotations

import threading
import time

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
        self._known: dict[tuple[int, int], tuple[float, int]] = {}

    def level(self, project_id: int, user_id: int) -> int:
        """GitLab's access level of the user in the project, 0 for none; ids are GitLab's.

        Raises what :meth:`GitLab.access_level` raises.
        """
        key, now = (project_id, user_id), time.monotonic()
        with self._lock:
            asked_at, level = self._known.get(key, (float("-inf"), 0))
        if now - asked_at < REMEMBERED_SECONDS:
            return level
        if now < self._rests_until:
            raise GitLabBusy("GitLab did not answer a moment ago")
        try:
            level = self._gitlab.access_level(project_id, user_id)
        except GitLabBusy:
            self._rests_until = time.monotonic() + self._rest_seconds
            raise
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = (now, level)
        return level
