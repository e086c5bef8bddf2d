"""What Toolforge's APIs are told and answer, as typed objects and named errors; knows no network.

Unknown fields are ignored, missing ones are normal, unknown words become ``unknown``. Only what would be
taken for something else (no quota for an empty store, no list for an empty one) is refused, with an error.

::

    ToolforgeError
    ├── Busy (TryLater)         429 or 5xx: do less, later
    │   └── TooManyBuilds       the account's parallel builds are used up
    ├── QuotaFull (TryLater)    the account's jobs or its image store are at their limit
    ├── Unreachable (TryLater)  the request was not served; nothing happened
    ├── AnswerLost (TryLater)   the request may have been served: look before repeating
    ├── BadRequest              the API's own words say what is wrong with it
    ├── NotAllowed              the credentials were refused
    ├── Gone                    there is no such build, job or envvar
    └── AlreadySo               409: it has ended, or exists, already
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.client import responses
from typing import Any, NamedTuple

from orchestrator.errors import PreviewError, TryLater

_BYTES = {"B": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
#: A log line is cut there: a stream without line ends must not fill the memory.
_LINE_BYTES = 2**20
#: jobs-api's objects, and Harbor's store, as their errors call them (contract 3.4 and 5).
_FULL = re.compile(r"Out of quota|will exceed the configured upper limit")


class ToolforgeError(PreviewError):
    """Toolforge did not do what it was asked for."""


class Busy(ToolforgeError, TryLater):
    """Toolforge asks for less, or is broken just now."""


class TooManyBuilds(Busy):
    """The account runs as many builds as Toolforge allows."""


class QuotaFull(ToolforgeError, TryLater):
    """The account holds as much as Toolforge allows."""


class Unreachable(ToolforgeError, TryLater):
    """Toolforge could not be reached; nothing happened."""


class AnswerLost(ToolforgeError, TryLater):
    """The answer did not arrive; the effect may have happened."""


class BadRequest(ToolforgeError):
    """Toolforge says that the request is wrong."""


class NotAllowed(ToolforgeError):
    """Toolforge refused the account's credentials."""


class Gone(ToolforgeError):
    """Toolforge does not know it, or not any more."""


class AlreadySo(ToolforgeError):
    """It has ended, or exists, already."""


class Api(StrEnum):
    """The APIs, by the first part of their paths."""

    BUILDS = "builds"
    JOBS = "jobs"
    ENVVARS = "envvars"


@dataclass(frozen=True)
class JobSpec:
    """A continuous job, or one with a schedule; `image` carries its digest."""

    name: str
    image: str
    command: str
    #: None: it does not listen.
    port: int | None
    publish: bool
    #: Toolforge asks there whether it is ready; None: whether the port is open.
    health_path: str | None = None
    #: Toolforge runs this in the job instead.
    health_script: str | None = None
    replicas: int | None = None
    #: The times at which it runs, as cron has them; None: always.
    schedule: str | None = None
    #: Of a scheduled job: seconds that it may run, and how often it is tried again.
    timeout: int | None = None
    retry: int | None = None
    #: ``512Mi`` and ``500m`` or ``0.5``; None: jobs-api's own defaults.
    memory: str | None = None
    cpu: str | None = None

    def body(self) -> dict[str, Any]:
        """The request's body: only what is set, since jobs-api refuses keys and nulls it does not know."""
        body: dict[str, Any] = {
            "name": self.name,
            "imagename": self.image,
            "cmd": self.command,
            "job_type": "continuous" if self.schedule is None else "scheduled",
            # What runs is a stranger's code: it must not see the tool's home with its credentials.
            "mount": "none",
        }
        wanted = {
            "port": self.port,
            "publish": "/" if self.publish else None,
            "health_check": self._health_check(),
            "replicas": self.replicas,
            "schedule": self.schedule,
            "timeout": self.timeout,
            "retry": self.retry,
            "memory": self.memory,
            "cpu": self.cpu,
        }
        return body | {name: value for name, value in wanted.items() if value is not None}

    def _health_check(self) -> dict[str, str] | None:
        if self.health_script is not None:
            return {"type": "script", "script": self.health_script}
        return None if self.health_path is None else {"type": "http", "path": self.health_path}


class BuildStatus(StrEnum):
    """builds-api's words, without their prefix."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    #: Also what a live build can say for a moment.
    UNKNOWN = "unknown"


class Health(StrEnum):
    """What an API says of itself."""

    OK = "ok"
    ERROR = "error"
    UNKNOWN = "unknown"


class NewBuild(NamedTuple):
    """A build that was asked for."""

    id: str
    #: The commit that its ref stood for.
    resolved_ref: str


@dataclass(frozen=True)
class Build:
    """A build of the account."""

    id: str
    status: BuildStatus
    message: str
    has_ended: bool
    image_name: str
    resolved_ref: str
    destination_image: str

    @property
    def image(self) -> str | None:
        """The image by its digest, None before there is one."""
        return self.destination_image if "@sha256:" in self.destination_image else None


@dataclass(frozen=True)
class Job:
    """A job of the account."""

    name: str
    #: A process runs, its probe passes, and it is what was configured.
    is_ready: bool
    #: How often it was restarted after it exited.
    restarts: int
    exit_code: int | None
    #: jobs-api's own words for its state.
    reason: str
    #: The image that it was configured with, without the registry's host; empty when jobs-api does not say.
    image: str = ""

    @property
    def has_crashed(self) -> bool:
        """True when its process exited at least once."""
        return self.restarts > 0 or self.exit_code is not None


@dataclass(frozen=True)
class StoreUse:
    """How full the account's image store is, in bytes."""

    used: int
    #: None when there is none, or none that can be read.
    limit: int | None = None


@dataclass(frozen=True)
class JobQuota:
    """One of the limits of the account's jobs, in jobs-api's own words."""

    category: str
    name: str
    limit: str
    #: Empty for limits of a single job.
    used: str


@dataclass(frozen=True)
class JobImage:
    """An image that a job of the account may run."""

    short_name: str
    name: str


def named_error(method: str, status: int, headers: Mapping[str, str], body: bytes) -> ToolforgeError:
    """The error that an answer without success stands for, with the API's own words."""
    words = error_words(status, body)
    if status == 400 and _is_page(body) and b"certificate" in body[:2000].lower():
        # The gateway's own page, before any of the APIs is asked.
        return NotAllowed("the gateway refused the account's certificate")
    if (status >= 500 or status == 403) and _FULL.search(words):
        return QuotaFull(words, seconds=_retry_after(headers))
    if status in {401, 403}:
        # builds-api says 401 for the id of a build that is not the tool's.
        return Gone(words) if "does not exist or belong to tool" in words else NotAllowed(words)
    if status == 404:
        return Gone(words)
    if status == 409:
        return TooManyBuilds(words) if "too many builds" in words else AlreadySo(words)
    if status == 504 and method != "GET":
        # The gateway passed it on and gave up waiting.
        return AnswerLost(words)
    if status == 429 or status >= 500:
        return Busy(words, seconds=_retry_after(headers))
    if status < 400:
        return Unreachable(f"{words}: the gateway did not pass the request on")
    return BadRequest(words)


def error_words(status: int, body: bytes) -> str:
    """What an error's body says, whichever of the APIs wrote it, in one line of at most 500 characters."""
    try:
        words = _words(_parsed(body))
    except ValueError:
        words = []
    return " ".join("; ".join(words).split())[:500] or f"HTTP {status} {responses.get(status, '')}".strip()


def _words(body: object) -> list[str]:
    match body:
        case str():
            return [_text(body)]
        case {"messages": {"error": [*words]}} | {"error": [*words]}:
            return [_text(word) for word in words]
        case {"message": str(word)} | {"error": str(word)} | {"detail": str(word)}:
            return [_text(word)]
        case {"detail": [*problems]}:
            return [_text(f"{problem.get('loc')}: {problem.get('msg')}") for problem in _items(problems)]
    return []


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] not in {b"{", b'"', b"["}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The pause that is asked for: seconds, or a moment, counted from the answer's own date."""
    value = headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,6}", value):
        return float(value)
    try:
        pause = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return max(pause.total_seconds(), 0.0)


def parse_object(body: bytes) -> Mapping[str, Any]:
    """The object that an answer is; ValueError for anything else."""
    value = _parsed(body)
    if not isinstance(value, dict):
        raise ValueError("the answer is no object")
    return value


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None


def warnings_in(answer: Mapping[str, Any]) -> list[str]:
    """What an API warns of in an answer (deprecations, a store that is nearly full), a line each."""
    words = [
        " ".join(_text(word).split())[:500] for word in _list(_mapping(answer.get("messages")).get("warning"))
    ]
    return [word for word in words if word]


def parse_bytes(text: str) -> int:
    """Bytes from builds-api's quota texts, such as ``512.34Mi`` or ``0B``; :class:`Busy` for other texts."""
    match = re.fullmatch(r"(-?[0-9]{1,18}(?:\.[0-9]{1,18})?)(B|Ki|Mi|Gi|Ti)", text)
    if match is None:
        raise Busy(f"builds-api told a quota that cannot be read: {text[:40]!r}")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_store_use(answer: Mapping[str, Any]) -> StoreUse:
    """The image store's use in an answer of builds-api's quotas; :class:`Busy` when it names none."""
    for category in _items(_mapping(answer.get("quota")).get("categories")):
        for item in _items(category.get("items")):
            if item.get("name") == "Storage":
                return StoreUse(parse_bytes(_text(item.get("used"))), _limit(_text(item.get("limit"))))
    raise Busy("builds-api named no storage quota")


def _limit(text: str) -> int | None:
    try:
        return parse_bytes(text)
    except Busy:
        return None  # "Unlimited"


def parse_job_quotas(answer: Mapping[str, Any]) -> list[JobQuota]:
    """The limits in an answer of jobs-api's quotas."""
    return [
        JobQuota(*(_text(word) for word in (category.get("name"), *map(item.get, ("name", "limit", "used")))))
        for category in _items(_mapping(answer.get("quota")).get("categories"))
        for item in _items(category.get("items"))
    ]


def parse_images(answer: Mapping[str, Any]) -> list[JobImage]:
    """The images in an answer of jobs-api's images."""
    return [
        JobImage(_text(item.get("shortname")), _text(item.get("image"))) for item in listed(answer, "images")
    ]


def parse_health(answer: Mapping[str, Any]) -> Health:
    """builds-api says it at the top, jobs-api under ``health``."""
    word = _text(answer.get("status") or _mapping(answer.get("health")).get("status")).lower()
    return Health(word) if word in set(Health) else Health.UNKNOWN


def parse_new_build(answer: Mapping[str, Any]) -> NewBuild:
    """The build that was started; :class:`AnswerLost` when the answer does not name it."""
    new = _mapping(answer.get("new_build"))
    if not _text(new.get("name")):
        raise AnswerLost("builds-api did not name the build that it started")
    return NewBuild(_text(new.get("name")), _text(new.get("resolved_ref")))


def parse_build(item: object) -> Build:
    """A build; :class:`Busy` when there is none where one should be."""
    if not isinstance(item, dict):
        raise Busy("builds-api's answer holds no build")
    parameters = _mapping(item.get("parameters"))
    word = _text(item.get("status")).removeprefix("BUILD_").lower()
    return Build(
        id=_text(item.get("build_id")),
        status=BuildStatus(word) if word in set(BuildStatus) else BuildStatus.UNKNOWN,
        message=_text(item.get("message")),
        has_ended=bool(_text(item.get("end_time"))),
        image_name=_text(parameters.get("image_name")),
        resolved_ref=_text(item.get("resolved_ref")),
        destination_image=_text(item.get("destination_image")),
    )


def parse_job(item: object) -> Job:
    """A job; :class:`Busy` when there is none where one should be."""
    if not isinstance(item, dict):
        raise Busy("jobs-api's answer holds no job")
    status = _mapping(item.get("status"))
    words = " ".join(_text(word) for word in _list(status.get("messages")))
    restarts = re.search(r"restarted \(([0-9]{1,9})\)", words)
    exit_code = re.search(r"exitcode (-?[0-9]{1,9})", words)
    is_ready = (
        status.get("short") == "running"
        and item.get("status_short") == "Running"
        and status.get("up_to_date", True) is not False
    )
    told = " ".join([words, _text(item.get("status_short")), _text(item.get("status_long"))])
    return Job(
        name=_text(item.get("name")),
        is_ready=is_ready,
        restarts=int(restarts[1]) if restarts else 0,
        exit_code=int(exit_code[1]) if exit_code else None,
        reason=told.strip()[:500],
        image=_text(item.get("imagename")) or _text(item.get("image")),
    )


@dataclass(frozen=True)
class JobLine:
    """A line that a job has written."""

    #: When, as Toolforge says it, to the nanosecond.
    moment: str
    message: str

    @property
    def at(self) -> float:
        """The same in seconds since the epoch; 0 for what is no moment."""
        try:
            return datetime.fromisoformat(self.moment).timestamp()
        except (ValueError, OverflowError):
            return 0.0


def parse_job_log(answer: Mapping[str, Any]) -> list[JobLine]:
    """The lines of logs-api's page with the newest entry first, the oldest line first."""
    entries = _items(_mapping(answer.get("data")).get("logs"))
    return [JobLine(_text(one.get("datetime")), _text(one.get("message"))) for one in reversed(entries)]


def parse_envvar_names(answer: Mapping[str, Any]) -> list[str]:
    """The names in a list of envvars; their values are left where they are."""
    return [_text(item.get("name")) for item in listed(answer, "envvars")]


def listed(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of a list, a missing one being empty; :class:`Busy` for what is no list."""
    value = answer.get(key)
    if value is not None and not isinstance(value, list):
        raise Busy(f"an answer of Toolforge holds no list of {key}")
    return _items(value)


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream, which breaks them anywhere; one without end is cut."""
    pending = b""
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending = (pending + first)[:_LINE_BYTES]
        for other in others:
            yield pending
            pending = other
    yield pending


def log_line(raw: bytes) -> str | None:
    """The text of one line of a build's log; None for blanks and for what is cut.

    What goes wrong after the first line is a last one with an ``error`` (contract 2.4).
    """
    try:
        entry = _parsed(raw.decode("utf-8", "replace").encode()) if raw.strip() else None
    except ValueError:
        return None
    match entry:
        case {"line": str(line)}:
            return _text(line)
        case {"error": [*words]}:
            return "[toolforge] " + "; ".join(_text(word) for word in words)
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]


def _text(value: object) -> str:
    """A text that can be stored: JSON can hold halves of characters, which nothing can encode."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
