"""The shapes in which Toolforge's services answer, above all their errors (contract section 1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web


class ApiError(Exception):
    """An answer other than success; `payload` is sent as JSON, or as text of another `content_type`."""

    def __init__(
        self,
        status: int,
        payload: Any,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {payload}")
        self.status = status
        self.payload = payload
        self.content_type = content_type
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The answer to send."""
        if self.content_type == "application/json":
            return web.json_response(self.payload, status=self.status, headers=self.headers)
        return web.Response(
            text=self.payload, status=self.status, content_type=self.content_type, headers=self.headers
        )


def as_go_reads(data: bytes) -> Any:
    """JSON as Go's decoder gives it, half a surrogate pair being replaced. Raises ValueError."""
    text = json.dumps(json.loads(data), ensure_ascii=False)
    return json.loads(text.encode("utf-8", "replace"))


def messages_error(status: int, text: str) -> ApiError:
    """builds-api's and envvars-api's handlers: the lists stand at the top level, not under `messages`."""
    return ApiError(status, {"error": [text]})


def echo_error(status: int, text: str) -> ApiError:
    """builds-api's framework and request validator."""
    return ApiError(status, {"message": text})


def wrapped_error(status: int, text: str) -> ApiError:
    """logs-api (and newer jobs-api servers)."""
    return ApiError(status, {"messages": {"error": [text]}})


def fastapi_error(status: int, detail: Any) -> ApiError:
    """jobs-api's framework: `{"detail": ...}`."""
    return ApiError(status, {"detail": detail})


def plain_error(status: int, text: str) -> ApiError:
    """The gateway's own word; clients must treat it as opaque text."""
    return ApiError(status, text, content_type="text/plain")


def nginx_error(status: int, reason: str, headers: dict[str, str] | None = None) -> ApiError:
    """nginx's HTML page, as it stands in front of the services."""
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return ApiError(status, page, content_type="text/html", headers=headers)


def rfc3339(moment: float | None) -> str:
    """A moment as Kubernetes writes it; the empty string when there is none (contract 2.3)."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_nano(moment_ns: int) -> str:
    """The stamp of a container's log line: nine digits."""
    seconds, rest = divmod(moment_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def go_duration(seconds: float) -> str:
    """A duration as jobs-api writes it: `24d24h59m45s`, `45s`."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join([*parts, f"{left}s"])
