"""Reading along with a log while what it is of runs, from Redis: for pages, the API and the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from redis import Redis
from redis.exceptions import RedisError

from orchestrator.livelog import Batch, LiveLog
from orchestrator.preview import Deployment, State
from orchestrator.store import Store

_WAIT_SECONDS = 2.0
#: While a deployment is in this state its log of this kind is followed.
_FOLLOWED = {"build": State.BUILDING, "job": State.LIVE}


def can_be_followed(deployment: Deployment, kind: str) -> bool:
    """True while its build runs, or while its tool is live."""
    return deployment.state is _FOLLOWED.get(kind)


class Watched:
    """The log of one deployment's build, or of its tool, as it comes.

    `call` has a worker follow it, where none does yet.
    """

    def __init__(
        self,
        store: Store,
        redis: Redis,
        prefix: str,
        deployment_id: int,
        kind: str,
        *,
        call: Callable[[int], None],
    ) -> None:
        self._store = store
        self._log = LiveLog(redis, prefix, deployment_id, kind)
        self._deployment_id = deployment_id
        self._kind = kind
        self._call = call

    def so_far(self, after: str, *, wait_seconds: float = 0.0) -> list[Batch]:
        """What there is after the place `after`; to look has it followed. Raises Redis's errors."""
        if self._log.want():
            self._call(self._deployment_id)
        return self._log.after(after, wait_seconds=wait_seconds)

    def batches(self, after: str) -> Iterator[list[Batch]]:
        """The lines as they come, nothing for a moment without any; ends with what runs.

        Ends, too, when Redis is away: live lines are all that needs it.
        """
        while True:
            try:
                found = self.so_far(after, wait_seconds=_WAIT_SECONDS)
            except RedisError:
                # Not at once again, with everybody who looks.
                time.sleep(_WAIT_SECONDS)
                return
            if found:
                after = found[-1].id
            elif not self.still_runs():
                return
            yield found

    def still_runs(self) -> bool:
        """True while more may come."""
        with self._store.read() as tx:
            return can_be_followed(tx.deployment(self._deployment_id), self._kind)
