"""Serves the static files of one image: a program of its own, standing in for the buildpack's Caddy.

Run as a file with `--root`, `--index` and maybe `--not-found FILE [--not-found-status N]`, in the image's
folder; it listens on 127.0.0.1 at $PORT. Nothing above the root is served, nor files whose names begin with a
dot.
"""

from __future__ import annotations

import argparse
import http.server
import os
import signal
import sys
import threading
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any


class StaticHandler(http.server.SimpleHTTPRequestHandler):
    """Files below the root; a page of the site for what is missing, if it names one."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, index: str, not_found: str, status: int, **kwargs: Any) -> None:
        self.index_pages = (index,)
        self._not_found = not_found
        self._status = status
        super().__init__(*args, **kwargs)

    def send_head(self) -> Any:
        """Answer with the file, or the site's page for a missing one; never a hidden file or a listing."""
        if any(part.startswith(".") for part in self.path.split("?")[0].split("/") if part != ".well-known"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        path = Path(self.translate_path(self.path))
        if path.exists() or not self._not_found:
            return super().send_head()
        body = (Path(self.directory) / self._not_found).read_bytes()
        self.send_response(self._status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    def list_directory(self, path: Any) -> Any:
        """No listings."""
        self.send_error(HTTPStatus.NOT_FOUND)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default="public")
    parser.add_argument("--index", default="index.html")
    parser.add_argument("--not-found", default="")
    parser.add_argument("--not-found-status", type=int, default=404)
    given = parser.parse_args()
    handler = partial(
        StaticHandler,
        directory=given.root,
        index=given.index,
        not_found=given.not_found,
        status=given.not_found_status,
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serving {given.root} at port {os.environ['PORT']}", file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
