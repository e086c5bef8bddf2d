"""Holds answers to the services' own descriptions, which lie beside the repository and are copied nowhere."""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import yaml
from openapi_schema_validator import OAS31Validator

REPOSITORY = Path(__file__).resolve().parents[3]
PREFIXES = {"/builds": "builds-api.openapi.yaml", "/jobs": "jobs-api.openapi.yaml"}

#: Where the contract's prose goes beyond a description: (operation, status) -> reason.
UNDESCRIBED_STATUS = {
    ("start", 409): "the parallel limit; the description has no 409 (contract 2.1)",
    ("start", 503): "Harbor trouble; the description has no 503 (contract 2.1)",
    ("quota", 503): "Harbor trouble (contract 2.6)",
    ("create", 201): "jobs-api answers 201, the description says 200 (contract 3.1)",
    ("create", 409): "the name exists (contract 3.4)",
    ("create", 422): "FastAPI's own validation (contract section 1)",
    ("update", 422): "FastAPI's own validation (contract section 1)",
    ("list", 422): "FastAPI's own validation (contract section 1)",
}
#: Fields taken out before an answer is held to its description, with the reason.
UNDESCRIBED_FIELDS = {
    "health_check": "null when unset: the description allows the type null, but its oneOf does not",
    "publish": "newer than the description",
}
#: A flaw of jobs-api's description: the status of every kind of job fits all three alternatives of a oneOf,
#: which therefore nothing can satisfy; it is read as anyOf.
AMBIGUOUS = ("components", "schemas", "DefinedCommonJob", "allOf", 1, "properties", "status")
#: Answers of the gateway itself; no service describes them.
GATEWAY_STATUS = {403, 429, 502, 504}


def folder() -> Path | None:
    """Where the contract lies, if it is here."""
    named = os.environ.get("TOOLFORGE_CONTRACT")
    for path in [Path(named)] if named else [REPOSITORY.parent / "shared" / "contract"]:
        if (path / "builds-api.openapi.yaml").is_file():
            return path
    return None


def require() -> Path:
    """The contract's folder, or a skip that says what is missing."""
    path = folder()
    if path is None:
        pytest.skip("the contract is not here: set TOOLFORGE_CONTRACT to its folder")
    return path


@functools.cache
def _document(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name.startswith("jobs"):
        status: Any = functools.reduce(lambda inner, key: inner[key], AMBIGUOUS, document)
        status["anyOf"] = status.pop("oneOf")
        # The description wants one replica at least; the code takes none, and shows it so (contract 3.2).
        defined = document["components"]["schemas"]["DefinedContinuousJob"]["allOf"][1]
        defined["properties"]["replicas"]["minimum"] = 0
    return document


def operation_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The operation of a request, or None when the description has no such path."""
    exact = sorted(document["paths"], key=lambda template: template.count("{"))
    for template in exact:
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in document["paths"][template]:
            return document["paths"][template][method.lower()]
    return None


def check(method: str, path: str, answer: requests.Response) -> None:
    """Assert that an answer is as its service describes it; nothing when the contract is not here."""
    where = folder()
    prefix = next((p for p in PREFIXES if path.startswith(f"{p}/")), None)
    if where is None or prefix is None or answer.status_code in GATEWAY_STATUS:
        return
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        return  # nginx's own page
    document = _document(where / PREFIXES[prefix])
    inner = path.removeprefix(prefix).split("?")[0]
    operation = operation_of(document, method, inner.rstrip("/") if prefix == "/jobs" else inner)
    if operation is None:
        return
    name, status = operation["operationId"], answer.status_code
    if (name, status) in UNDESCRIBED_STATUS:
        status = 200 if answer.ok else 0
    described = operation["responses"].get(str(status))
    if described is None and status == 500:
        return  # any service may break; jobs-api's description does not say so
    if described is None:
        assert (name, answer.status_code) in UNDESCRIBED_STATUS, f"{name} does not describe {status}"
        return
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    content = described.get("content", {}).get("application/json")
    if content and "json" in answer.headers.get("Content-Type", ""):
        _validate(document, content["schema"], answer.json())


def check_request(method: str, path: str, body: bytes) -> set[tuple[str, str]]:
    """Assert that a request is as its service describes it; its operation, or none of a described service's.

    envvars-api and logs-api have no description here.
    """
    where = folder()
    prefix = next((p for p in PREFIXES if path.startswith(f"{p}/")), None)
    if where is None or prefix is None:
        return set()
    document = _document(where / PREFIXES[prefix])
    inner, _, query = path.removeprefix(prefix).partition("?")
    operation = operation_of(document, method, inner)
    assert operation is not None, "no such path and method"
    known = {one["name"]: one["schema"] for one in operation.get("parameters", []) if one["in"] == "query"}
    for name, value in parse_qsl(query, keep_blank_values=True):
        assert name in known, f"no such parameter: {name}"
        _validate(document, known[name], json.loads(value) if known[name]["type"] != "string" else value)
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        _validate(document, schema, json.loads(body))
    else:
        assert body == b"", "no body is described"
    return {(prefix, operation["operationId"])}


def document(prefix: str) -> dict[str, Any]:
    """The description of one service."""
    return _document(require() / PREFIXES[prefix])


def operations() -> set[tuple[str, str]]:
    """Every operation that is described."""
    return {
        (prefix, operation["operationId"])
        for prefix, name in PREFIXES.items()
        for methods in _document(require() / name)["paths"].values()
        for operation in methods.values()
    }


def _validate(document: dict[str, Any], schema: dict[str, Any], body: Any) -> None:
    whole = {**schema, "components": document["components"]}
    errors = [f"{list(e.path)}: {e.message}" for e in OAS31Validator(whole).iter_errors(_without(body))]
    assert not errors, errors


def _without(body: Any) -> Any:
    if isinstance(body, dict):
        return {
            key: _without(value)
            for key, value in body.items()
            if not (key in UNDESCRIBED_FIELDS and (value is None or key == "publish"))
        }
    return [_without(one) for one in body] if isinstance(body, list) else body
