"""The DevTools protocol over a browser's pipe: JSON messages, each ended by a NUL.

(https://chromedevtools.github.io/devtools-protocol/; `--remote-debugging-pipe` speaks it without a port.)
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.errors import PreviewError

#: Called with the name of an event and what it says.
Listener = Callable[[str, Mapping[str, Any]], None]


class NoAnswer(PreviewError):
    """The browser refuses what is asked, or is gone."""


class Pipe:
    """A browser that listens on `into` and speaks on `out`."""

    def __init__(self, into: asyncio.StreamWriter, out: asyncio.StreamReader) -> None:
        self._into = into
        self._out = out
        self._numbers = itertools.count(1)
        self._awaited: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._listeners: dict[str, Listener] = {}
        self._is_open = True

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Take what the browser says while the block runs."""
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    def listen(self, session: str, listener: Listener) -> None:
        """Call `listener` with the events of a session."""
        self._listeners[session] = listener

    async def ask(self, method: str, *, session: str = "", **values: object) -> Mapping[str, Any]:
        """What the browser answers; raises :class:`NoAnswer` when it refuses or goes."""
        number = self.tell(method, session=session, **values)
        if not self._is_open:
            raise NoAnswer("the browser has ended")
        self._awaited[number] = asyncio.get_running_loop().create_future()
        answer = await self._awaited[number]
        result = answer.get("result")
        if not isinstance(result, dict):
            raise NoAnswer(f"{method}: {str(answer.get('error'))[:200]}")
        return result

    def tell(self, method: str, *, session: str = "", **values: object) -> int:
        """Ask without waiting; the number of the answer."""
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": values}
        if session:
            message["sessionId"] = session
        self._into.write(json.dumps(message).encode() + b"\0")
        return number

    async def _read(self) -> None:
        try:
            while True:
                self._take(json.loads((await self._out.readuntil(b"\0"))[:-1]))
        except (asyncio.IncompleteReadError, OSError):
            self._end("the browser has ended")
        except (asyncio.LimitOverrunError, ValueError, LookupError, TypeError, AttributeError) as error:
            self._end(f"what the browser says is not understood: {type(error).__name__}")

    def _end(self, why: str) -> None:
        self._is_open = False
        for awaited in self._awaited.values():
            if not awaited.done():
                awaited.set_exception(NoAnswer(why))

    def _take(self, message: Mapping[str, Any]) -> None:
        if "id" in message:
            awaited = self._awaited.pop(message["id"], None)
            if awaited is not None and not awaited.done():
                awaited.set_result(message)
            return
        listener = self._listeners.get(message.get("sessionId", ""))
        if listener is not None:
            listener(message["method"], message["params"])
