"""A TLS server that writes exactly the bytes that a test tells it to, well-formed or not."""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.local.toolforge.rig import until

#: What to do with a connection once a request has arrived; the connection is closed afterwards.
Behaviour = Callable[[ssl.SSLSocket], None]


def writes(*pieces: bytes, pause: float = 0.0) -> Behaviour:
    """Write the pieces one after another."""

    def behave(connection: ssl.SSLSocket) -> None:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            connection.sendall(piece)

    return behave


class RawGateway:
    """Reads one request a connection, then does what `behave` says. `open_connections` counts.

    With `resets` it does neither, and throws each connection away once the handshake is done.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.behave: Behaviour = writes()
        self.resets = False
        self.requests: list[bytes] = []
        self.open_connections = 0
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), _accepted(context, self.request) as connection:
                    outer.open_connections += 1
                    try:
                        if outer.resets:
                            _reset(connection)
                            return
                        outer.requests.append(_request(connection))
                        outer.behave(connection)
                    finally:
                        outer.open_connections -= 1

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> RawGateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def is_left(self) -> bool:
        """Wait until nobody is connected any more."""
        return bool(until(lambda: self.open_connections == 0))


def _accepted(context: ssl.SSLContext, plain: socket.socket) -> ssl.SSLSocket:
    connection = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    try:
        connection.do_handshake()
    except OSError:
        with connection, suppress(OSError):
            # As nginx does: closing with something unread would reset the connection, and could take back
            # the alert that says why.
            connection.settimeout(5.0)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        raise
    return connection


def _reset(connection: ssl.SSLSocket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Not `with`, which would say goodbye.
    socket.socket(fileno=connection.detach()).close()


def _request(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: ssl.SSLSocket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data
