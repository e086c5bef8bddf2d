"""The description of the API (OpenAPI 3.1), made from the operations and their models. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from web.shapes import Body, ProblemOut, Query

_REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
_GIVEN: Literal["serialization"] = "serialization"
_TAKEN: Literal["validation"] = "validation"
_USUAL = {
    400: "A parameter is wrong.",
    401: "The token does not count, or not any more.",
    403: "You, or your token, may not read this.",
    503: "A part does not answer.",
}
_CHOICE = re.compile(r"any\((?P<words>[^)]*)\)")


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked, or done."""

    #: As Flask writes it, from the API's root.
    rule: str
    name: str
    summary: str
    query: type[Query]
    returns: type[BaseModel]
    #: What is sent to do something; None: it only reads.
    body: type[Body] | None = None
    media_type: str = "application/json"
    #: What can go wrong besides a bad parameter: status and reason.
    errors: Mapping[int, str] = field(default_factory=dict)
    #: Maintainers' alone, also to read.
    is_setting: bool = False

    @property
    def method(self) -> str:
        """As OpenAPI writes it."""
        return "get" if self.body is None else "post"

    @property
    def path(self) -> str:
        """As OpenAPI writes it."""
        return _PARAMETER.sub(r"{\g<name>}", self.rule)

    def parameters(self) -> list[dict[str, Any]]:
        """Those in the path and those behind it."""
        return [*map(_in_path, _PARAMETER.finditer(self.rule)), *_in_query(self.query)]


def _in_path(match: re.Match[str]) -> dict[str, Any]:
    choice = _CHOICE.search(match[0])
    schema: dict[str, Any] = {"type": "string"}
    if choice:
        schema = {"type": "string", "enum": [word.strip() for word in choice["words"].split(",")]}
    elif match["kind"] == "int":
        schema = {"type": "integer", "minimum": 0}
    return {"name": match["name"], "in": "path", "required": True, "schema": schema}


def _in_query(query: type[Query]) -> list[dict[str, Any]]:
    schema = TypeAdapter(query).json_schema()
    found = []
    for name, given in schema.get("properties", {}).items():
        inlined = _inlined(given, schema.get("$defs", {}))
        description = inlined.pop("description", "")
        # That a parameter may be left out is said by its not being required.
        if "anyOf" in inlined:
            kinds = [one for one in inlined.pop("anyOf") if one != {"type": "null"}]
            inlined = {**inlined, **kinds[0]}
            inlined.pop("default", None)
        inlined.pop("title", None)
        parameter = {"name": name, "in": "query", "required": False, "schema": inlined}
        found.append({**parameter, "description": description})
    return found


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found = definitions[schema["$ref"].rpartition("/")[2]]
        return {key: value for key, value in found.items() if key not in {"title", "description"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def describe(operations: Sequence[Operation], *, server: str, version: str) -> dict[str, Any]:
    """The whole description."""
    given = {(operation.returns, _GIVEN) for operation in operations} | {(ProblemOut, _GIVEN)}
    taken = {(operation.body, _TAKEN) for operation in operations if operation.body}
    ordered = sorted(given | taken, key=lambda one: (one[0].__name__, one[1]))
    names, schemas = models_json_schema(ordered, ref_template=_REFERENCE)
    references = {model: schema for (model, _), schema in names.items()}
    problem = {"application/problem+json": {"schema": references[ProblemOut]}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Toolforge Preview",
            "version": version,
            "description": "What runs where, and how it got there. What changes something is asked by POST, "
            "with a token of somebody with the Developer role in the project; what is set for a project is "
            "Maintainers', also to read. Lists are read part by part: "
            "pass `next` as `before`. Answers have an ETag.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": f"{server}/api/v1"}],
        # Whether what is read needs a token, too, is a setting.
        "security": [{}, {"token": []}],
        "paths": {one.path: {one.method: _operation(one, references, problem)} for one in operations},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    operation: Operation, references: Mapping[Any, Any], problem: Mapping[str, Any]
) -> dict[str, Any]:
    errors = {**_USUAL, **operation.errors}
    described = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": operation.parameters(),
        "responses": {
            "200": {
                "description": inspect.getdoc(operation.returns) or "",
                "content": {operation.media_type: {"schema": references[operation.returns]}},
            },
            **{str(code): {"description": words, "content": problem} for code, words in errors.items()},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": references[operation.body]}}
        described["requestBody"] = {"required": bool(operation.body.model_fields), "content": content}
    if operation.body is not None or operation.is_setting:
        described["security"] = [{"token": []}]
    return described
