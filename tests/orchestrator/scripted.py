"""A gateway and a GitLab that answer whatever a test tells them, over real connections."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from tests.background import Background


@dataclass(frozen=True)
class Answer:
    """One answer; a body that is no bytes is sent as JSON."""

    body: object = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Scripted(Background):
    """Answers every request with `answer`, or with what `answer_to(method, path)` gives."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = Answer()
        self.answer_to: Callable[[str, str], Answer] | None = None
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            #: One packet an answer: two would wait for each other.
            wbufsize = 65536

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                given = outer.answer_to(self.command, self.path) if outer.answer_to else outer.answer
                data = given.data()
                with suppress(OSError):
                    self.send_response(given.status)
                    for name, value in given.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that do not trust us leave in the middle of the handshake."""

        server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls is not None:
            scheme = "https"
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        super().__init__(server)
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"


@dataclass(frozen=True)
class Authority:
    """A certificate authority with a server's context and a client's files."""

    ca_file: Path
    context: ssl.SSLContext
    credentials: Mapping[str, str]


def an_authority(folder: Path) -> Authority:
    """An authority of its own, which nobody trusts unless told."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client = authority.issue_cert("dev-1")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    credentials = {"cert": str(folder / "client.crt"), "key": str(folder / "client.key")}
    return Authority(folder / "ca.pem", context, credentials)
