"""Editathon clock: one moment in several places, nearest first (not finished)."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PLACES = {"Lima": -5, "London": 0, "Berlin": 1}


def page():
    ordered = sorted(PLACES, key=lambda place: PLACES[place].distance)
    return "<h1>The editathon begins</h1>" + ", ".join(ordered)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, body = 200, page().encode()
        except AttributeError as problem:
            print(f"AttributeError: {problem}", file=sys.stderr, flush=True)
            status, body = 500, b"<h1>Internal Server Error</h1>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
