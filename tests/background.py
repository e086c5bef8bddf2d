"""Servers of the tests' own that run in a thread of the test's process."""

from __future__ import annotations

import socketserver
import threading
from typing import Self


class Background:
    """A context manager in which `server` serves."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
