"""Editathon clock: one moment in several places."""

import os
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PLACES = {"Lima": -5, "London": 0, "Accra": 0, "Berlin": 1, "Delhi": 5.5, "Tokyo": 9}


def page(now):
    start = now.replace(hour=15, minute=0, second=0, microsecond=0) + timedelta(days=1)
    rows = "".join(
        f"<tr><td>{place}<td>{start.astimezone(timezone(timedelta(hours=hours))):%A %H:%M}"
        for place, hours in PLACES.items()
    )
    return f"<!doctype html><title>Editathon clock</title><h1>The editathon begins</h1><table>{rows}</table>"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"ok" if self.path == "/healthz" else page(datetime.now(UTC)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
