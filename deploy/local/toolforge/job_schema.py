"""What a job's body may be: jobs-api's models, with FastAPI's 422 for what they refuse (contract 3.2).

The body is an undiscriminated union of three kinds, so an error's `loc` shows every kind.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from deploy.local.toolforge.settings import JobLimits

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
MAX_NAME = 52
QUANTITY = re.compile(r"^([0-9]*\.?[0-9]+)(m|k|M|G|Ki|Mi|Gi|)$")
MANUAL = "https://wikitech.wikimedia.org/wiki/Help:Toolforge/Jobs_framework"
UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "": 1}


class BadJob(Exception):
    """A 400: the text is what jobs-api says."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HttpHealthCheck(_Strict):
    """An HTTP request inside the container."""

    type: Literal["http"]
    path: str


class ScriptHealthCheck(_Strict):
    """A script inside the container."""

    type: Literal["script"]
    script: str


#: Described, and refused with texts of its own.
_Name = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME.pattern, "maxLength": MAX_NAME})]
_Quantity = Annotated[str, WithJsonSchema({"type": "string", "pattern": QUANTITY.pattern})]


class _CommonJob(_Strict):
    name: _Name
    cmd: str
    imagename: str
    filelog: bool = False
    filelog_stdout: str | None = None
    filelog_stderr: str | None = None
    emails: Literal["none", "all", "onfinish", "onfailure"] = "none"
    retry: Annotated[int, Field(ge=0, le=5)] = 0
    mount: Literal["all", "none"] = "none"
    memory: _Quantity = "512Mi"
    cpu: _Quantity = "100m"


class NewOneOffJob(_CommonJob):
    """Runs once."""

    job_type: Literal["one-off"] = "one-off"


class NewScheduledJob(_CommonJob):
    """Runs by a schedule."""

    job_type: Literal["scheduled"] = "scheduled"
    schedule: str
    timeout: Annotated[int, Field(ge=0)] | None = None


class NewContinuousJobWithoutPublish(_CommonJob):
    """Runs always (a server older than `publish`)."""

    job_type: Literal["continuous"] = "continuous"
    continuous: bool = True
    replicas: Annotated[int, Field(ge=0)] = 1
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    port_protocol: Literal["tcp", "udp"] = "tcp"
    health_check: Annotated[HttpHealthCheck | ScriptHealthCheck, Field(discriminator="type")] | None = None


class NewContinuousJob(NewContinuousJobWithoutPublish):
    """Runs always."""

    publish: Literal["/"] | None = None


AnyJob = NewOneOffJob | NewScheduledJob | NewContinuousJob
_NEW: TypeAdapter[Any] = TypeAdapter(NewOneOffJob | NewScheduledJob | NewContinuousJob)
_OLD: TypeAdapter[Any] = TypeAdapter(NewOneOffJob | NewScheduledJob | NewContinuousJobWithoutPublish)
_KINDS: dict[str, type[_CommonJob]] = {
    "one-off": NewOneOffJob,
    "scheduled": NewScheduledJob,
    "continuous": NewContinuousJob,
}


def description(place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a body may be, as a JSON schema, and the parts that it refers to by `place` and their names."""
    schema = _NEW.json_schema(ref_template=f"{place}{{model}}")
    return schema, schema.pop("$defs")


def validation_errors(error: ValidationError) -> list[dict[str, Any]]:
    """The errors as FastAPI lists them, each `loc` beginning with `body`."""
    return [
        {"type": one["type"], "loc": ["body", *one["loc"]], "msg": one["msg"], "input": one["input"]}
        for one in error.errors(include_url=False)
    ]


def parse(body: Any, *, publish: bool) -> dict[str, Any]:
    """The explicitly set fields of a job. Raises pydantic's ValidationError (a 422) or `BadJob` (a 400)."""
    job = (_NEW if publish else _OLD).validate_python(body)
    _check_name(job.name)
    spec: dict[str, Any] = job.model_dump(exclude_unset=True)
    spec["job_type"] = job.job_type
    if job.job_type == "continuous":
        _check_port(spec)
    _check_command(spec["cmd"])
    for name in ("memory", "cpu"):
        if name in spec:
            quantity(spec[name])
    return spec


def completed(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec with every default filled in."""
    return _KINDS[spec["job_type"]](**spec).model_dump()


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME:
        raise BadJob(f"Invalid job name, it can't be longer than {MAX_NAME} characters. See {MANUAL}")
    if not NAME.fullmatch(name):
        raise BadJob(f"Invalid job name. See the documentation at {MANUAL}")


def _check_port(spec: dict[str, Any]) -> None:
    port = spec.get("port")
    if (spec.get("health_check") or {}).get("type") == "http" and port is None:
        raise _value_error(spec, "Port must be set for HTTP health checks")
    if spec.get("publish") is None:
        return
    if port is None:
        raise _value_error(spec, "publish requires port to be set")
    if spec.get("port_protocol", "tcp") != "tcp":
        raise _value_error(spec, "publish requires port_protocol set to tcp")


def _value_error(spec: dict[str, Any], text: str) -> BadJob:
    """pydantic's text for an error of a whole model, which jobs-api passes on as it is."""
    return BadJob(
        f"1 validation error for ContinuousJob\n  Value error, {text} "
        f"[type=value_error, input_value={spec!r:.60}, input_type=dict]"
    )


def _check_command(command: str) -> None:
    try:
        shlex.split(command)
    except ValueError as error:
        raise BadJob(f"Invalid command: {error}") from None


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: bytes, or CPUs. Raises `BadJob`."""
    match = QUANTITY.fullmatch(text.strip())
    if not match:
        raise BadJob(f"Unable to parse quantity '{text}'")
    number, unit = match.groups()
    return float(number) / 1000 if unit == "m" else float(number) * UNITS[unit]


def normalised(spec: dict[str, Any]) -> dict[str, Any]:
    """Memory and CPU as jobs-api reads them back: `0.5Gi`, `0.1`."""
    shown = dict(spec)
    if "memory" in shown:
        shown["memory"] = f"{quantity(shown['memory']) / 1024**3:.4g}Gi"
    if "cpu" in shown:
        shown["cpu"] = f"{quantity(shown['cpu']):.4g}"
    return shown


def check_limits(spec: dict[str, Any], limits: JobLimits) -> None:
    """Per-container limits: 400 with jobs-api's text."""
    for name, most, least in (
        ("memory", limits.job_memory, limits.min_memory),
        ("cpu", limits.job_cpu, limits.min_cpu),
    ):
        if name not in spec:
            continue
        asked = quantity(spec[name])
        if asked > most:
            raise BadJob(
                f"Requested {name} {spec[name]} is over maximum allowed per container ({_amount(name, most)})"
            )
        if asked < least:
            raise BadJob(
                f"Requested {name} {spec[name]} is less than minimum allowed per container "
                f"({_amount(name, least)})"
            )


def _amount(name: str, number: float) -> str:
    return f"{number / 1024**3:.4g}Gi" if name == "memory" else f"{number:.4g}"
