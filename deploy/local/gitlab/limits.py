"""How often something may be asked for in a minute (GitLab's `ApplicationRateLimiter`: fixed windows)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable


class PerMinute:
    """Counts, forgotten whenever a new minute begins."""

    def __init__(self) -> None:
        self._minute = 0
        self._taken: Counter[Hashable] = Counter()

    def take(self, key: Hashable, most: int) -> bool:
        """Count one more of something; False when there were `most` of it in this minute already."""
        minute = int(time.time()) // 60
        if minute != self._minute:
            self._minute = minute
            self._taken.clear()
        self._taken[key] += 1
        return self._taken[key] <= most
