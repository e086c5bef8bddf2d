"""The ways in which the REST API says no, with GitLab's own bodies."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer that is not a success; `body` is what is sent as JSON."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers or {}


def not_found(what: str = "") -> ApiError:
    """404 with the thing's name, as `404 Project Not Found`."""
    return ApiError(404, {"message": f"404 {what} Not Found" if what else "404 Not found"})


def forbidden(why: str = "") -> ApiError:
    """403: known who asks, but they may not."""
    return ApiError(403, {"message": f"403 Forbidden - {why}" if why else "403 Forbidden"})


def unauthorized() -> ApiError:
    """401: nobody known asks."""
    return ApiError(401, {"message": "401 Unauthorized"})


def bad_request(message: Any) -> ApiError:
    """400 with a message of GitLab's models: a string, a list, or field -> list of texts."""
    return ApiError(400, {"message": message})


def bad_parameter(text: str) -> ApiError:
    """400 with the text of GitLab's parameter check, as `name is missing`."""
    return ApiError(400, {"error": text})


def insufficient_scope(needed: str) -> ApiError:
    """403 for a token that lacks a scope."""
    return ApiError(
        403,
        {
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the access token.",
            "scope": needed,
        },
    )


def invalid_token(why: str) -> ApiError:
    """401 for a token that was revoked or has expired."""
    return ApiError(401, {"error": "invalid_token", "error_description": why})
