"""The workers' pulse: each sweep leaves a mark in Redis that is soon gone again."""

from __future__ import annotations

from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError

#: A sweep comes every second. So many missed ones are no busy moment any more.
_FORGOTTEN_SECONDS = 30


class Pulse:
    """Left by workers, felt by whoever asks whether any works."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._key = f"{prefix}:swept"

    def beat(self) -> None:
        """A sweep has ended. A Redis that is away loses nothing but this."""
        with suppress(RedisError):
            self._redis.set(self._key, 1, ex=_FORGOTTEN_SECONDS)

    def forget(self) -> None:
        """Feel nothing before the next sweep has ended. Raises :class:`RedisError` when Redis is away."""
        self._redis.delete(self._key)

    def is_felt(self) -> bool:
        """True when a sweep ended not long ago. Raises :class:`RedisError` when Redis is away."""
        return bool(self._redis.exists(self._key))
