"""From the text of a ``.toolforge-preview.yaml`` to a configuration, or to what is wrong with it.

Pure. Nothing is guessed: an unknown key is a mistake, and the nearest known one is named.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from orchestrator import located
from orchestrator.located import Document, KeyPath, Place, Unreadable
from orchestrator.markdown import plain
from orchestrator.repoconfig import FILE_NAME, RepoConfig
from orchestrator.repovalues import Bounds

#: So many mistakes are told at once.
_MOST_PROBLEMS = 20
_SHOWN = 40


@dataclass(frozen=True)
class Problem:
    """One mistake in the file; line and column from 1."""

    line: int
    column: int
    #: ``checks[0].status``; empty for the file as a whole.
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"line {self.line}, column {self.column}: {key}{self.message}"


class WrongFile(Exception):
    """The file has mistakes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{FILE_NAME}, {problem}" for problem in problems))
        self.problems = tuple(problems)


def parse(content: bytes, bounds: Bounds) -> RepoConfig:
    """The configuration in a file; raises :class:`WrongFile` with every mistake that was found."""
    try:
        document = located.read(content)
    except Unreadable as error:
        place = error.place
        raise WrongFile([Problem(place.line, place.column, _words(error.path), str(error))]) from None
    value = {} if document.value is None else document.value
    try:
        return RepoConfig.model_validate(value, context=bounds)
    except ValidationError as error:
        problems = _problems(document, error)
        raise WrongFile(problems[:_MOST_PROBLEMS]) from None


def _problems(document: Document, error: ValidationError) -> list[Problem]:
    found: dict[KeyPath, Problem] = {}
    for mistake in error.errors(include_url=False):
        path = _path_in(document, mistake["loc"])
        place, message = _said(document, path, mistake)
        # Where a value may be one thing or another, each of them says that it is not.
        found.setdefault(path, Problem(place.line, place.column, _words(path), message))
    return sorted(found.values(), key=lambda problem: (problem.line, problem.column))


def _path_in(document: Document, loc: tuple[str | int, ...]) -> KeyPath:
    """The longest way into the file along `loc`, in which there are also names of types."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) not in document.values:
            break
        path = (*path, part)
    return path


def _said(document: Document, path: KeyPath, mistake: Any) -> tuple[Place, str]:
    at_value = document.values.get(path, Place(1, 1))
    at_key = document.keys.get(path, at_value)
    if mistake["type"] == "extra_forbidden":
        return at_key, _unknown(path)
    if mistake["type"] == "missing":
        return at_key, f"the key {mistake['loc'][-1]} is missing"
    own_words = (
        f" ({mistake['msg'].removeprefix('Value error, ')})" if mistake["type"] == "value_error" else ""
    )
    if own_words and isinstance(mistake["input"], Mapping):
        return at_key, own_words[2:-1]
    is_key = mistake["loc"][-1:] == ("[key]",)
    _, field = _at(path[:-1] if is_key else path)
    expected = field.title if field is not None else "keys and values"
    got = "" if is_key else f"; got {_shown(mistake['input'])}"
    return at_key if is_key else at_value, f"expected {expected}{own_words}{got}"


def _unknown(path: KeyPath) -> str:
    known = _known_keys(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown key; {hint}"


def _known_keys(path: KeyPath) -> list[str]:
    model, _ = _at(path)
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _at(path: KeyPath) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model whose keys may stand at `path`, and the field that the value there is, or is part of."""
    model: type[BaseModel] | None = RepoConfig
    field: FieldInfo | None = None
    #: Of a mapping whose keys may be any: what its values are.
    of_values: type[BaseModel] | None = None
    for name in (part for part in path if isinstance(part, str)):
        if of_values is not None:
            model, field, of_values = of_values, None, None
            continue
        found = _field_of(model, name) if model is not None else None
        if found is None:
            return None, field
        field, model = found, next(_models_in(found.annotation), None)
        if get_origin(found.annotation) is dict:
            model, of_values = None, model
    return model, field


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _field_of(model: type[BaseModel], key: str) -> FieldInfo | None:
    fields: Mapping[str, FieldInfo] = model.model_fields
    return next((field for name, field in fields.items() if (field.alias or name) == key), None)


def _words(path: KeyPath) -> str:
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in path)
    return words.removeprefix(".")


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case tuple():
            return f"a list of {len(value)}"
        case str():
            return f'"{_cut(value)}"'
    return _cut(str(value))


def _cut(text: str) -> str:
    line = " ".join(plain(text[:1000]).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}\u2026"
