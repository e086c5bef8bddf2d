"""The way out of a browser that shows a stranger's page: to one host and its ports, and nowhere else.

A proxy (SOCKS 5, RFC 1928) on loopback that the browser has to use for everything. It is told names, not
addresses: what the page asks for is compared with what it may ask for, and only then is a name looked up. So
a page can neither reach what listens on this machine or in the network around it, nor have a name of its own
point there.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_VERSION, _CONNECT, _NO_PASSWORD = 5, 1, 0
_IPV4, _NAME, _IPV6 = 1, 3, 4
_DONE, _FAILED, _NOT_ALLOWED = 0, 1, 2
_CHUNK_BYTES = 65536


class OnlyThere:
    """What may be reached: the scheme's port of `address` at its host, at most `most_bytes` of it.

    A tool behind Toolforge's proxy may redirect to its own name with http, which leads back to https: where
    the address has a usual port, both usual ports count, as for the smoke checks.
    """

    def __init__(self, address: str, *, most_bytes: int) -> None:
        parts = urlsplit(address)
        self._host = (parts.hostname or "").lower()
        own = parts.port or _PORTS[parts.scheme]
        self._ports = frozenset(_PORTS.values()) if own in _PORTS.values() else frozenset({own})
        self._left = most_bytes
        self._connections: set[asyncio.Task[None]] = set()
        #: What was asked for and is elsewhere.
        self.refused = 0

    def has(self, host: str, port: int) -> bool:
        """True for what may be reached."""
        return host.lower() == self._host and port in self._ports

    def is_at(self, url: str) -> bool:
        """True for the address of a page that may be shown."""
        try:
            parts = urlsplit(url)
            return parts.scheme in _PORTS and self.has(
                parts.hostname or "", parts.port or _PORTS[parts.scheme]
            )
        except ValueError:
            return False

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[int]:
        """Listen on loopback while the block runs; the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):
                await self._connect(reader, writer)
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _greet(reader, writer)
        host, port = await _wanted(reader)
        if not self.has(host, port):
            self.refused += 1
            await _answer(writer, _NOT_ALLOWED)
            return
        try:
            there, way = await asyncio.open_connection(_place(host), port)
        except OSError:
            await _answer(writer, _FAILED)
            return
        try:
            await _answer(writer, _DONE)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, way))
                both.create_task(self._pass_on(there, writer))
        except* OSError:
            # One side is gone, or had too much: so is the other.
            pass
        finally:
            way.close()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """To the end, or until nothing more may pass: then the connection is closed from here."""
        while chunk := await source.read(_CHUNK_BYTES):
            self._left -= len(chunk)
            if self._left < 0:
                raise ConnectionAbortedError("too much")
            sink.write(chunk)
            await sink.drain()
        with suppress(OSError):
            sink.write_eof()


def _place(host: str) -> str:
    # RFC 6761: names under .localhost mean this machine; not every resolver knows.
    return "127.0.0.1" if host.lower().endswith(".localhost") else host


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    version, methods = await reader.readexactly(2)
    if version != _VERSION or _NO_PASSWORD not in await reader.readexactly(methods):
        raise ValueError("no SOCKS 5 without a password")
    writer.write(bytes([_VERSION, _NO_PASSWORD]))


async def _wanted(reader: asyncio.StreamReader) -> tuple[str, int]:
    """The host, by name or number, and the port that is asked for."""
    version, command, _, kind = await reader.readexactly(4)
    if version != _VERSION or command != _CONNECT:
        raise ValueError("no connection is asked for")
    if kind == _NAME:
        (length,) = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode("ascii")
    else:
        host = str(ipaddress.ip_address(await reader.readexactly({_IPV4: 4, _IPV6: 16}[kind])))
    return host, int.from_bytes(await reader.readexactly(2), "big")


async def _answer(writer: asyncio.StreamWriter, what: int) -> None:
    writer.write(bytes([_VERSION, what, 0, _IPV4, 0, 0, 0, 0, 0, 0]))
    await writer.drain()
