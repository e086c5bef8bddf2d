"""The kinds of values that a repository's own file may hold, with their limits.

Pure. The file is a stranger's: how long everything may be is limited, and regular expressions are RE2's,
whose time grows with the text only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import re2
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
)
from pydantic.config import JsonDict

from orchestrator.durations import seconds_of
from orchestrator.jsonpath import parse_path

#: A try of a check may take so long at most.
LONGEST_CHECK_SECONDS = 60.0
MOST_PATTERN = 500
#: What RE2 may take of memory for one expression, and the steps that its program may have: the time of a
#: search is at most their product with the length of the text, here about a second.
_PATTERN_BYTES = 2**18
_PATTERN_STEPS = 1000


class Model(BaseModel):
    """Keys and values of a file, of which none may be unknown or of another kind."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True)
class Bounds:
    """What an operator lets a repository ask for; times in seconds."""

    memory_bytes: int = 2 * 2**30
    cpu: float = 1.0
    longest_live_seconds: float = 14 * 86400.0
    longest_min_live_seconds: float = 86400.0


def _one_or_many(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def pattern(text: str) -> Any:
    """The compiled regular expression, which RE2 keeps; ValueError when it is none, or too large."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        compiled = re2.compile(text, options=options)
    except re2.error as error:
        words = error.args[0] if error.args else b""
        raise ValueError(words.decode("utf-8", "replace") if isinstance(words, bytes) else words) from None
    if compiled.programsize > _PATTERN_STEPS:
        raise ValueError("it is too large; repeat less")
    return compiled


def _is_pattern(text: str) -> str:
    pattern(text)
    return text


def _is_json_path(text: str) -> str:
    parse_path(text)
    return text


_SIZES = {"Mi": 2**20, "Gi": 2**30}


def bytes_of(size: str) -> int:
    """Bytes of a size such as 512Mi or 1.5Gi."""
    return int(float(size[:-2]) * _SIZES[size[-2:]])


def cpus_of(share: str | float) -> float:
    """Processors in 500m, "0.5" or 0.5."""
    text = str(share)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bounds(info: ValidationInfo) -> Bounds | None:
    return info.context if isinstance(info.context, Bounds) else None


def _memory_is_allowed(value: str, info: ValidationInfo) -> str:
    bounds = _bounds(info)
    if bounds is not None and not 2**20 <= bytes_of(value) <= bounds.memory_bytes:
        raise ValueError(f"at most {bounds.memory_bytes // 2**20}Mi here, and 1Mi at least")
    return value


def _cpu_is_allowed(value: str | float, info: ValidationInfo) -> str | float:
    bounds = _bounds(info)
    if bounds is not None and not 0.001 <= cpus_of(value) <= bounds.cpu:
        raise ValueError(f"at most {bounds.cpu:g} here, and 1m at least")
    return value


def _life_is_allowed(value: str, info: ValidationInfo) -> str:
    bounds = _bounds(info)
    is_max = info.field_name == "max"
    longest = bounds and (bounds.longest_live_seconds if is_max else bounds.longest_min_live_seconds)
    if isinstance(longest, float) and seconds_of(value) > longest:
        raise ValueError(f"at most {longest / 3600:g}h here")
    return value


def is_not_ours(names: Mapping[str, str]) -> Mapping[str, str]:
    """TOOL_... are Toolforge's own, PREVIEW_... ours."""
    taken = [name for name in names if name.startswith(("TOOL_", "PREVIEW_"))]
    if taken:
        raise ValueError(f"{taken[0]} is set by others: names must not begin with TOOL_ or PREVIEW_")
    return names


Path = Annotated[str, StringConstraints(pattern=r"^/(?:[^/\s#][^\s#]*)?$", max_length=500)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]+$", max_length=500)]
_Status = Annotated[int, Field(ge=100, le=599)]
_Pattern = Annotated[
    str, StringConstraints(min_length=1, max_length=MOST_PATTERN), AfterValidator(_is_pattern)
]
JsonPath = Annotated[str, StringConstraints(max_length=200), AfterValidator(_is_json_path)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Scalar = Annotated[str, StringConstraints(max_length=1000)] | int | float | bool | None
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$")]
_Glob = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Label = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Duration = Annotated[
    str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}[mhd]$"), AfterValidator(_life_is_allowed)
]
Memory = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,6}(?:\.[0-9]{1,3})?(?:Mi|Gi)$"),
    AfterValidator(_memory_is_allowed),
]
_Share = Annotated[str, StringConstraints(pattern=r"^(?:[0-9]{1,6}m|[0-9]{1,3}(?:\.[0-9]{1,3})?)$")]
Cpu = Annotated[_Share | int | float, AfterValidator(_cpu_is_allowed)]
EnvvarValue = Annotated[str, StringConstraints(max_length=4000)]
#: builds-api's and envvars-api's own rules differ (contract 2.1 and 4).
BuildName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z_0-9]{2,}$", max_length=100)]
RunName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z_0-9]{2,}[A-Z0-9]$", max_length=100)]


class Resources(Model):
    """What a job is given."""

    memory: Memory | None = Field(
        default=None, description="Memory of the job.", title="a size such as 512Mi or 1Gi"
    )
    cpu: Cpu | None = Field(
        default=None,
        description="Processors of the job.",
        title='a share of processors such as 500m or "0.5"',
    )


def _many(of: Any, most: int) -> BeforeValidator:
    """One may be given without the list."""
    return BeforeValidator(
        _one_or_many, json_schema_input_type=of | Annotated[list[of], Field(max_length=most)]
    )


SomeStatus = Annotated[tuple[_Status, ...], Field(max_length=10), _many(_Status, 10)]
Texts = Annotated[tuple[_Text, ...], Field(max_length=10), _many(_Text, 10)]
Patterns = Annotated[tuple[_Pattern, ...], Field(max_length=5), _many(_Pattern, 5)]
Globs = Annotated[tuple[_Glob, ...], Field(max_length=50), _many(_Glob, 50)]
Labels = Annotated[tuple[_Label, ...], Field(max_length=50), _many(_Label, 50)]
#: For the JSON Schema: no keys but those that fit.
NO_OTHERS: JsonDict = {"additionalProperties": False}


_GLOB_PARTS = re.compile(r"(\*\*/|\*\*|\*|\?)")
_GLOB_MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matches(globs: tuple[str, ...], name: str) -> bool:
    """True when a pattern fits all of `name`: * and ? within a folder, ** over folders."""

    def translated(glob: str) -> str:
        parts = _GLOB_PARTS.split(glob)
        return "".join(_GLOB_MEANINGS.get(part) or re2.escape(part) for part in parts)

    return any(pattern(f"(?s){translated(glob)}").fullmatch(name) for glob in globs)
