"""The services' own descriptions, served without a certificate at `/openapi.json` and `/{api}/openapi.json`.

They are made from the routes that are really served, with what may be asked: parameters and bodies. Answers
are described by their status only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from deploy.local.toolforge import builds_api, envvars_api, job_schema

if TYPE_CHECKING:
    from deploy.local.toolforge.gateway import Api

_TEXT, _YES_OR_NO, _NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
_JOBS, _JOB_PARTS = job_schema.description("#/components/schemas/")
_BODIES: dict[str, dict[str, Any]] = {
    "builds.start": {
        "type": "object",
        "required": ["source_url"],
        "properties": {
            "source_url": _TEXT,
            "ref": _TEXT,
            "image_name": _TEXT,
            "envvars": {
                "type": "object",
                "propertyNames": {"pattern": builds_api.ENVVAR_NAME.pattern},
                "additionalProperties": _TEXT,
            },
            "use_latest_versions": _YES_OR_NO,
            "use_deprecated_versions": _YES_OR_NO,
        },
    },
    "jobs.create": _JOBS,
    "jobs.update": _JOBS,
    "envvars.create": {
        "type": "object",
        "required": ["name", "value"],
        "properties": {"name": {"type": "string", "pattern": envvars_api.NAME.pattern}, "value": _TEXT},
    },
}
_QUERIES: dict[str, dict[str, Any]] = {
    "builds.logs": {"follow": _YES_OR_NO},
    "jobs.list": {"include_unset": _YES_OR_NO},
    "jobs.logs": {"follow": _YES_OR_NO, "lines": _NUMBER},
    "logs.get": {
        "direction": {"enum": ["newest_first", "oldest_first"]},
        "lines": _NUMBER,
        "since": {"type": "string", "format": "date-time"},
        "until": {"type": "string", "format": "date-time"},
    },
}
_ANSWERS = {"2XX": "Success", "4XX": "The request is refused", "5XX": "Toolforge is broken just now"}


def description(prefix: str, apis: Iterable[Api]) -> dict[str, Any]:
    """The description of one service (its prefix, such as `/jobs`), or of all together (an empty prefix)."""
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        if prefix in ("", api.prefix):
            for operation, method, path, _ in api.routes():
                shown = path if not prefix else path.removeprefix(prefix)
                if not path.endswith("/"):
                    paths.setdefault(shown, {})[method.lower()] = _operation(operation, method, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Toolforge {prefix.strip('/') or 'API'}", "version": "local"},
        "paths": paths,
        "components": {"schemas": _JOB_PARTS},
    }


def _operation(operation: str, method: str, path: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    query = _QUERIES.get(operation, {})
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    described: dict[str, Any] = {
        # PUT is another word for POST in jobs-api, and an operation's name must be its own.
        "operationId": f"{operation}.put" if (operation, method) == ("jobs.create", "PUT") else operation,
        "parameters": parameters,
        "responses": {status: {"description": words} for status, words in _ANSWERS.items()},
    }
    if operation in _BODIES:
        content = {"application/json": {"schema": _BODIES[operation]}}
        described["requestBody"] = {"required": True, "content": content}
    return described
