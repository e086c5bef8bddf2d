"""Small real servers that answer what a test tells them, however odd."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.background import Background


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; it is sent `after_seconds`, unless the server is closed before."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    after_seconds: float = 0.0


class WebServer(Background):
    """Answers each path as told (404 otherwise) and remembers what was asked; a context manager."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.methods: list[str] = []
        closing = self._closing = threading.Event()
        asked, methods = self.asked, self.methods

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.headers.get("Host", ""), self.path))
                methods.append(self.command)
                answer = answers.get(self.path, Answer(404))
                closing.wait(answer.after_seconds)
                with suppress(OSError):
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(answer.body)

            do_HEAD = do_POST = do_OPTIONS = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        super().__init__(server)
        self.port = server.server_port

    def __exit__(self, *problem: object) -> None:
        self._closing.set()
        super().__exit__(*problem)

    @property
    def address(self) -> str:
        """Its address, as that of a preview."""
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def talking(speak: Callable[[socket.socket], None], heard: list[bytes] | None = None) -> Iterator[str]:
    """The address of a server that treats each connection as `speak` does, after it has `heard` something."""
    requests = [] if heard is None else heard
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    requests.append(connection.recv(65536))
                    speak(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)
