"""Toolforge's builds-api, jobs-api, envvars-api and logs-api, as one account sees them.

Stands on ``toolforge_weld``'s client. Answers become small typed objects: unknown fields are ignored, missing
ones are normal, unknown words become ``unknown``. What goes wrong becomes one of the errors below, each named
by what the caller can do.

::

    ToolforgeError
    ├── Busy (TryLater)         429 or 5xx: do less, later
    │   └── TooManyBuilds       the account's parallel builds are used up
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import requests
from toolforge_weld.api_client import ToolforgeClient
from toolforge_weld.kubernetes_config import Kubeconfig

from orchestrator.credentials import Certificate, find_certificate
from orchestrator.errors import PreviewError, TryLater

#: Connect and read timeouts in seconds; job deletion may take 30 s and a build's start waits for git.
_TIMEOUT = (5.0, 60.0)
#: builds-api sends nothing for up to ten minutes while a followed build has not started.
_LOG_TIMEOUT = (5.0, 60.0)
_BYTES = {"B": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class ToolforgeError(PreviewError):
    """Toolforge did not do what it was asked for."""


class Busy(ToolforgeError, TryLater):
    """Toolforge asks for less, or is broken just now."""


class TooManyBuilds(Busy):
    """The account runs as many builds as Toolforge allows."""


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

    @property
    def has_crashed(self) -> bool:
        """True when its process exited at least once."""
        return self.restarts > 0 or self.exit_code is not None


@dataclass(frozen=True)
class StoreUse:
    """How full the account's image store is, in bytes."""

    used: int


@dataclass(frozen=True)
class JobSpec:
    """A continuous job; `image` carries its digest."""

    name: str
    image: str
    command: str
    port: int
    publish: bool

    def body(self) -> dict[str, Any]:
        """The request's body: only what is set, since jobs-api refuses keys and nulls it does not know."""
        body: dict[str, Any] = {
            "name": self.name,
            "imagename": self.image,
            "cmd": self.command,
            "job_type": "continuous",
            "port": self.port,
            # What runs is a stranger's code: it must not see the tool's home with its credentials.
            "mount": "none",
        }
        if self.publish:
            body["publish"] = "/"
        return body


class Toolforge:
    """All accounts of the pool at one gateway.

    `ca_file` None means the system's authorities; certificates are always verified.
    """

    def __init__(self, gateway_url: str, *, user_agent: str, ca_file: Path | None = None) -> None:
        self._gateway_url = gateway_url
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._idle: dict[object, list[AccountClient]] = {}

    @contextmanager
    def account(self, tool: str, credentials: Mapping[str, str]) -> Iterator[AccountClient]:
        """A client of one account, for the caller alone: a session must not be shared between threads.

        Connections are kept for the next caller, until the certificate's files change. Raises
        :class:`BadInput` when they cannot be read.
        """
        certificate = find_certificate(tool, credentials)
        idle = self._idle.setdefault((tool, certificate, certificate.fingerprint()), [])
        try:
            client = idle.pop()
        except IndexError:
            client = self._connect(tool, certificate)
        try:
            yield client
        finally:
            idle.append(client)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for clients in self._idle.values():
            while clients:
                clients.pop().close()

    def _connect(self, tool: str, certificate: Certificate) -> AccountClient:
        kubeconfig = Kubeconfig(
            current_server=self._gateway_url,
            current_namespace=f"tool-{tool}",
            client_cert_file=certificate.cert,
            client_key_file=certificate.key,
            ca_file=self._ca_file,
        )
        client = ToolforgeClient(server=self._gateway_url, kubeconfig=kubeconfig, user_agent=self._user_agent)
        # weld switches verification off when there is no ca_file, and the environment could undo either.
        client.session.verify = str(self._ca_file) if self._ca_file else True
        client.session.trust_env = False
        return AccountClient(client, tool)


class AccountClient:
    """Toolforge as tool `tool` sees it."""

    def __init__(self, client: ToolforgeClient, tool: str) -> None:
        self._client = client
        self.tool = tool

    def close(self) -> None:
        """Close the connections."""
        self._client.session.close()

    # --- builds-api -----------------------------------------------------------------------------------

    def start_build(self, *, source_url: str, ref: str, image_name: str) -> tuple[str, str]:
        """Start a build of `ref` (a full ref name: a commit does not resolve); returns its id and commit.

        Not safe to repeat: after :class:`AnswerLost` look for `image_name` in :meth:`builds`.
        """
        body = {"source_url": source_url, "ref": ref, "image_name": image_name}
        new = _mapping(self._call("POST", self._builds(), json=body).get("new_build"))
        return _text(new.get("name")), _text(new.get("resolved_ref"))

    def builds(self) -> list[Build]:
        """All builds that builds-api still knows, the newest first."""
        return [_build(item) for item in _items(self._call("GET", self._builds()).get("builds"))]

    def build(self, build_id: str) -> Build:
        """One build; :class:`Gone` when builds-api has pruned it."""
        return _build(self._call("GET", self._builds(build_id)).get("build"))

    def build_log(self, build_id: str) -> Iterator[str]:
        """The lines of a build's log so far, ``[container] time text``, colours included."""
        path = f"{self._builds(build_id)}/logs?follow=false"
        with _errors_named("GET"):
            for raw in self._client.get_raw_lines(path, timeout=_LOG_TIMEOUT):
                line = _log_line(raw)
                if line is not None:
                    yield line

    def cancel_build(self, build_id: str) -> None:
        """Ask for its end; it counts as running until its end time is set. Ended already is fine."""
        self._call("PUT", f"{self._builds(build_id)}/cancel", fine=(AlreadySo, Gone))

    def delete_build(self, build_id: str) -> None:
        """Remove the record of a build; its image stays."""
        self._call("DELETE", self._builds(build_id), fine=(Gone,))

    def store_use(self) -> StoreUse:
        """How full the image store is."""
        quota = _mapping(self._call("GET", f"/builds/v1/tool/{self.tool}/quotas").get("quota"))
        for category in _items(quota.get("categories")):
            for item in _items(category.get("items")):
                if item.get("name") == "Storage":
                    return StoreUse(parse_bytes(_text(item.get("used"))))
        raise Busy("builds-api named no storage quota")

    def delete_images(self) -> None:
        """Delete all images of the account. May fail half way; safe to repeat."""
        try:
            self._call("POST", f"/builds/v1/tool/{self.tool}/clean")
        except Busy as error:
            if "does not exist, have you started a build yet?" not in str(error):
                raise

    # --- jobs-api -------------------------------------------------------------------------------------

    def put_job(self, spec: JobSpec) -> None:
        """Create the job, or make the one of that name so. Safe to repeat."""
        self._call("PATCH", self._jobs(), json=spec.body())

    def jobs(self) -> list[Job]:
        """All jobs of the account."""
        return [_job(item) for item in _items(self._call("GET", self._jobs()).get("jobs"))]

    def job(self, name: str) -> Job:
        """One job; :class:`Gone` when there is none of that name."""
        return _job(self._call("GET", self._jobs(name)).get("job"))

    def delete_job(self, name: str) -> None:
        """Delete one job; may take 30 seconds. Gone already is fine."""
        self._call("DELETE", self._jobs(name), fine=(Gone,))

    def job_log(self, name: str, *, lines: int) -> list[str]:
        """The newest lines of a job's log, the oldest first; empty when nothing has arrived yet."""
        path = f"/logs/v1/tool/{self.tool}/job/{name}/logs?direction=newest_first&lines={lines}"
        try:
            data = _mapping(self._call("GET", path).get("data"))
        except Gone:
            return []
        return [_text(entry.get("message")) for entry in reversed(_items(data.get("logs")))]

    # --- envvars-api ----------------------------------------------------------------------------------

    def envvars(self) -> list[str]:
        """The names of the account's envvars, those that Toolforge itself sets left out."""
        answer = self._call("GET", f"/envvars/v1/tool/{self.tool}/envvars")
        names = [_text(item.get("name")) for item in _items(answer.get("envvars"))]
        return [name for name in names if not name.startswith("TOOL_")]

    def delete_envvar(self, name: str) -> None:
        """Delete one envvar. Gone already is fine."""
        self._call("DELETE", f"/envvars/v1/tool/{self.tool}/envvars/{name}", fine=(Gone,))

    # --- within ---------------------------------------------------------------------------------------

    def _builds(self, build_id: str | None = None) -> str:
        return f"/builds/v1/tool/{self.tool}/builds" + (f"/{_safe(build_id)}" if build_id is not None else "")

    def _jobs(self, name: str | None = None) -> str:
        return f"/jobs/v1/tool/{self.tool}/jobs" + (f"/{_safe(name)}" if name is not None else "")

    def _call(
        self, method: str, path: str, *, fine: tuple[type[ToolforgeError], ...] = (), **kwargs: Any
    ) -> Mapping[str, Any]:
        verb = getattr(self._client, method.lower())
        try:
            with _errors_named(method):
                return _mapping(verb(path, display_messages=False, timeout=_TIMEOUT, **kwargs))
        except fine:
            return {}


def _safe(name: str) -> str:
    """`name` as the last part of a path. An empty one would address, and delete, everything."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadRequest(f"'{name}' is no name of a build or job")
    return name


class _errors_named:
    """Turns what requests raises within the block into this module's errors."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            raise named_error(error.response) from None
        if isinstance(error, requests.exceptions.SSLError) and "alert" in repr(error).lower():
            raise NotAllowed("the gateway refused the account's certificate") from None
        if isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
            raise Unreachable(f"Toolforge cannot be reached: {type(error).__name__}") from None
        if isinstance(error, requests.ConnectionError) and _was_not_sent(error):
            raise Unreachable("Toolforge cannot be reached: the connection was refused") from None
        if isinstance(error, requests.RequestException):
            lost = Unreachable if self._method == "GET" else AnswerLost
            raise lost(f"Toolforge's answer did not arrive: {type(error).__name__}") from None
        if isinstance(error, OSError):
            raise NotAllowed(f"the account's certificate cannot be used: {type(error).__name__}") from None


def _was_not_sent(error: requests.ConnectionError) -> bool:
    return "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)


def named_error(response: requests.Response) -> ToolforgeError:
    """The error that an answer of 400 and above stands for, with the API's own words."""
    words = error_words(response)
    status = response.status_code
    if status == 400 and "certificate" in response.text[:2000].lower():
        # The gateway's own page, before any of the APIs is asked.
        return NotAllowed("the gateway refused the account's certificate")
    if status in {401, 403}:
        # builds-api says 401 for the id of a build that is not the tool's.
        return Gone(words) if "does not exist or belong to tool" in words else NotAllowed(words)
    if status == 404:
        return Gone(words)
    if status == 409:
        return TooManyBuilds(words) if "too many builds" in words else AlreadySo(words)
    if status == 429 or status >= 500:
        return Busy(words, seconds=_retry_after(response))
    return BadRequest(words)


def error_words(response: requests.Response) -> str:
    """What an error's body says, whichever of the APIs wrote it, in one line of at most 500 characters."""
    try:
        body = response.json()
    except ValueError:
        return f"HTTP {response.status_code} {response.reason}"
    return " ".join("; ".join(_words(body)).split())[:500] or f"HTTP {response.status_code}"


def _words(body: object) -> list[str]:
    match body:
        case str():
            return [body]
        case {"messages": {"error": [*words]}} | {"error": [*words]}:
            return [_text(word) for word in words]
        case {"message": str(word)} | {"error": str(word)} | {"detail": str(word)}:
            return [word]
        case {"detail": [*problems]}:
            return [f"{problem.get('loc')}: {problem.get('msg')}" for problem in _items(problems)]
    return []


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def parse_bytes(text: str) -> int:
    """Bytes from builds-api's quota texts, such as ``512.34Mi`` or ``0B``; :class:`Busy` for other texts."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(B|Ki|Mi|Gi|Ti)", text)
    if match is None:
        raise Busy(f"builds-api told a quota that cannot be read: {text[:40]!r}")
    return int(float(match[1]) * _BYTES[match[2]])


def _log_line(raw: str | bytes) -> str | None:
    """The text of one line of a log stream; None for blanks and for lines cut in two at odd characters."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    try:
        entry = json.loads(text) if text.strip() else None
    except ValueError:
        return None
    match entry:
        case {"line": str(line)}:
            return line
        case {"error": [*words]}:
            return "[toolforge] " + "; ".join(_text(word) for word in words)
    return None


def _build(item: object) -> Build:
    values = _mapping(item)
    parameters = _mapping(values.get("parameters"))
    word = _text(values.get("status")).removeprefix("BUILD_").lower()
    return Build(
        id=_text(values.get("build_id")),
        status=BuildStatus(word) if word in set(BuildStatus) else BuildStatus.UNKNOWN,
        message=_text(values.get("message")),
        has_ended=bool(_text(values.get("end_time"))),
        image_name=_text(parameters.get("image_name")),
        resolved_ref=_text(values.get("resolved_ref")),
        destination_image=_text(values.get("destination_image")),
    )


def _job(item: object) -> Job:
    values = _mapping(item)
    status = _mapping(values.get("status"))
    words = [_text(word) for word in status.get("messages") or [] if isinstance(word, str)]
    told = " ".join([*words, _text(values.get("status_short")), _text(values.get("status_long"))])
    restarts = re.search(r"restarted \((\d+)\)", " ".join(words))
    exit_code = re.search(r"exitcode (-?\d+)", " ".join(words))
    is_ready = (
        status.get("short") == "running"
        and values.get("status_short") == "Running"
        and status.get("up_to_date", True) is not False
    )
    return Job(
        name=_text(values.get("name")),
        is_ready=is_ready,
        restarts=int(restarts[1]) if restarts else 0,
        exit_code=int(exit_code[1]) if exit_code else None,
        reason=told.strip()[:500],
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
