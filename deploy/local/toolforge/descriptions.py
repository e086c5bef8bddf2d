"""The services' own descriptions, served without a certificate at `/openapi.json` and `/{api}/openapi.json`.

They are made from the routes that are really served: paths, methods and operation names, no schemas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.local.toolforge.gateway import Api


def description(prefix: str, apis: Iterable[Api]) -> dict[str, Any]:
    """The description of one service (its prefix, such as `/jobs`), or of all together (an empty prefix)."""
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        if prefix in ("", api.prefix):
            for operation, method, path, _ in api.routes():
                shown = path if not prefix else path.removeprefix(prefix)
                if not path.endswith("/"):
                    paths.setdefault(shown, {})[method.lower()] = _operation(operation, path)
    title = f"Toolforge {prefix.strip('/') or 'API'}".strip()
    return {"openapi": "3.1.0", "info": {"title": title, "version": "local"}, "paths": paths}


def _operation(operation: str, path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return {
        "operationId": operation,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ],
        "responses": {"200": {"description": "Success"}},
    }
