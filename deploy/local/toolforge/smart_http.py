"""`git ls-remote` over HTTP without a process: reads the ref advertisement, for load runs with the synthetic
engine.

Protocol: git's own gitprotocol-http and gitprotocol-pack manual pages (version 0 advertisement).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import aiohttp

from deploy.local.toolforge.refs import RefError

LINE = re.compile(rb"^([0-9a-f]{40,64}) ([^\0\n]+)")


ADVERTISEMENT = "application/x-git-upload-pack-advertisement"


class NotSmart(Exception):
    """The server speaks another protocol: git itself has to ask it."""


class Remotes:
    """Asks servers for their refs, over kept connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def resolve(self, url: str, ref: str) -> str:
        """The first sha that ls-remote would print. Raises `RefError` as `refs.resolve` does."""
        wanted = ref or "HEAD"
        for sha, name in await self._refs(url):
            if fnmatchcase(f"/{name}", f"*/{wanted}"):
                return sha
        raise RefError(f"unable to resolve ref {wanted} from {url}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def _refs(self, url: str) -> list[tuple[str, str]]:
        self._session = self._session or aiohttp.ClientSession()
        address = f"{url.rstrip('/')}/info/refs?service=git-upload-pack"
        try:
            async with self._session.get(address, headers={"User-Agent": "git/2.39"}) as answer:
                if answer.status != 200:
                    raise RefError("exit status 128")
                if answer.content_type != ADVERTISEMENT:
                    raise NotSmart
                return list(parse_advertisement(await answer.read()))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            raise RefError("exit status 128") from None


def parse_advertisement(data: bytes) -> list[tuple[str, str]]:
    """(sha, ref) pairs of a version 0 advertisement, in its order, HEAD first. Raises ValueError."""
    found, position = [], 0
    while position < len(data):
        length = int(data[position : position + 4], 16)
        line = data[position + 4 : position + max(length, 4)]
        if match := LINE.match(line):
            found.append((match[1].decode(), match[2].decode("utf-8", "replace")))
        position += max(length, 4)
    return found
