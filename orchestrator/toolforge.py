"""Toolforge's builds-api, jobs-api, envvars-api and logs-api, as one account sees them.

Stands on ``toolforge_weld``'s client for the session and its certificate, but reads the answers itself: weld
prints what they say, and reads them without bound. What comes back, and what goes wrong, is in
:mod:`orchestrator.toolforge_answers`. Endpoints, waits and oddities are those of the services' descriptions
and of the sources of builds-api, jobs-api and Toolforge's command-line clients.
"""

from __future__ import annotations

import logging
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3
from toolforge_weld.api_client import ToolforgeClient
from toolforge_weld.kubernetes_config import Kubeconfig

from orchestrator.credentials import Certificate, expires_soon, find_certificate
from orchestrator.endpoints import OnCall, counted, nobody
from orchestrator.masking import BY_SHAPE, Mask
from orchestrator.toolforge_answers import (
    AlreadySo,
    AnswerLost,
    Api,
    BadRequest,
    Build,
    BuildStatus,
    Busy,
    Gone,
    Health,
    Job,
    JobImage,
    JobLine,
    JobQuota,
    JobSpec,
    NewBuild,
    NotAllowed,
    QuotaFull,
    StoreUse,
    ToolforgeError,
    TooManyBuilds,
    Unreachable,
    lines_of,
    listed,
    log_line,
    named_error,
    parse_build,
    parse_envvar_names,
    parse_health,
    parse_images,
    parse_job,
    parse_job_log,
    parse_job_quotas,
    parse_new_build,
    parse_object,
    parse_store_use,
    warnings_in,
)

__all__ = [
    "AccountClient",
    "AlreadySo",
    "AnswerLost",
    "Api",
    "BadRequest",
    "Build",
    "BuildStatus",
    "Busy",
    "Gone",
    "Health",
    "Job",
    "JobImage",
    "JobLine",
    "JobQuota",
    "JobSpec",
    "NewBuild",
    "NotAllowed",
    "QuotaFull",
    "StoreUse",
    "TooManyBuilds",
    "Toolforge",
    "ToolforgeError",
    "Unreachable",
    "Waits",
]

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_DAY_SECONDS = 86400.0
#: No answer but a log is longer.
_ANSWER_BYTES = 32 * 2**20
#: A request that has lasted this long is not repeated: the caller has other things to do.
_REPEAT_SECONDS = 10.0
_CHUNK_BYTES = 4096
_JITTER = random.SystemRandom()
#: OpenSSL's reasons by which the other side says that it does not accept our certificate. With TLS 1.3 they
#: come when we have begun to send already, and a reset that follows can take them back: then nothing tells a
#: refusal from a lost connection, and it is called the latter.
_CERTIFICATE_ALERT = re.compile(
    r"ALERT_(BAD_CERTIFICATE|CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)"
)
#: Failures before anything was sent.
_NOT_SENT = (
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NewConnectionError,
    ssl.SSLCertVerificationError,
)


@dataclass(frozen=True)
class Waits:
    """How long what may take, in seconds."""

    connect: float = 5.0
    #: Without a byte of an answer: deleting a job may take 30, a build's start waits for git.
    read: float = 60.0
    #: Without a byte of a followed log: builds-api waits ten minutes for a start, and nginx hangs up then.
    followed: float = 660.0
    #: For the whole of an answer that is no log.
    answer: float = 120.0
    #: Before each repetition of what may be repeated; up to half of it is taken off at random.
    pauses: tuple[float, ...] = (0.2, 0.8)


_WAITS = Waits()


@dataclass
class _Shelf:
    """The clients of one account that nobody uses, all with the same certificate."""

    key: object
    #: When the certificate ends, in seconds since 1970.
    not_after: float
    idle: list[AccountClient] = field(default_factory=list)


class Toolforge:
    """All accounts of the pool at one gateway.

    `ca_file` None means the system's authorities; the gateway's certificate is always verified. `clock` tells
    the time of day, `on_call` is told of every request, and what builds and jobs say goes through `mask`.
    """

    def __init__(
        self,
        gateway_url: str,
        *,
        user_agent: str,
        ca_file: Path | None = None,
        waits: Waits = _WAITS,
        clock: Callable[[], float] = time.time,
        on_call: OnCall = nobody,
        mask: Mask = BY_SHAPE,
    ) -> None:
        self._gateway_url = gateway_url
        self._on_call = on_call
        self._mask = mask
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._waits = waits
        self._clock = clock
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()
        self._warned: set[tuple[float, str, str]] = set()

    @contextmanager
    def account(
        self, tool: str, credentials: Mapping[str, str], *, secrets: Collection[str] = ()
    ) -> Iterator[AccountClient]:
        """A client of one account, for the caller alone: a session must not be shared between threads.

        What it brings is masked of `secrets`, too. Connections are kept for the next caller, until the
        certificate changes. Raises :class:`BadInput` when it cannot be read or used.
        """
        certificate = find_certificate(tool, credentials)
        shelf = self._shelf(tool, certificate)
        if expires_soon(shelf.not_after, self._clock()):
            end = datetime.fromtimestamp(shelf.not_after, UTC)
            self._warn(tool, f"its certificate ends on {end:%Y-%m-%d}: renew it")
        try:
            client = shelf.idle.pop()
        except IndexError:
            client = self._connect(tool, certificate)
        client.mask = self._mask.also(secrets)
        try:
            yield client
        finally:
            client.mask = self._mask
            self._put_back(shelf, client)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            shelves, self._shelves = list(self._shelves.values()), {}
        for shelf in shelves:
            _close_all(shelf)

    def _shelf(self, tool: str, certificate: Certificate) -> _Shelf:
        """The account's shelf; a new one, and the old connections closed, when the certificate changed."""
        key = (certificate, certificate.fingerprint())
        with self._lock:
            old = self._shelves.get(tool)
        if old is not None and old.key == key:
            return old
        new = _Shelf(key, certificate.not_after())
        certificate.check()
        with self._lock:
            old = self._shelves.get(tool)
            self._shelves[tool] = new
        if old is not None:
            _close_all(old)
        return new

    def _put_back(self, shelf: _Shelf, client: AccountClient) -> None:
        with self._lock:
            is_current = self._shelves.get(client.tool) is shelf
            if is_current:
                shelf.idle.append(client)
        if not is_current:
            client.close()

    def _warn(self, tool: str, words: str) -> None:
        """Log a warning about an account, the same one once a day."""
        day = self._clock() // _DAY_SECONDS
        with self._lock:
            self._warned = {warned for warned in self._warned if warned[0] == day}
            is_new = (day, tool, words) not in self._warned
            self._warned.add((day, tool, words))
        if is_new:
            log.warning("Toolforge account %s: %s", tool, words)

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
        return AccountClient(
            client,
            tool,
            self._waits,
            lambda words: self._warn(tool, words),
            on_call=self._on_call,
            mask=self._mask,
        )


def _close_all(shelf: _Shelf) -> None:
    with suppress(IndexError):
        while True:  # and not while there are some: another thread may take the last one in between
            shelf.idle.pop().close()


class AccountClient:
    """Toolforge as tool `tool` sees it. What the APIs warn of goes to `warn`, each request to `on_call`.

    Logs, messages and reasons come with their secrets masked: nothing behind this client sees them.
    """

    def __init__(
        self,
        client: ToolforgeClient,
        tool: str,
        waits: Waits,
        warn: Callable[[str], None],
        *,
        on_call: OnCall = nobody,
        mask: Mask = BY_SHAPE,
    ) -> None:
        self._client = client
        #: Of what builds and jobs say.
        self.mask = mask
        self._waits = waits
        self._warn = warn
        self._on_call = on_call
        self.tool = tool

    def close(self) -> None:
        """Close the connections."""
        self._client.session.close()

    def health(self, api: Api) -> Health:
        """What one of the APIs says of itself; a builds-api that is not ready is :class:`Busy`."""
        return parse_health(self._call("GET", f"/{api}/v1/healthz"))

    # --- builds-api -----------------------------------------------------------------------------------

    def start_build(
        self,
        *,
        source_url: str,
        ref: str | None,
        image_name: str,
        envvars: Mapping[str, str] | None = None,
        latest: bool = False,
    ) -> NewBuild:
        """Start a build of `ref` (a ref's name; a commit does not resolve), with `envvars` set in it.

        Without `ref` of the default branch. With `latest` by Toolforge's newest builder instead of the usual
        one. Not safe to repeat: after :class:`AnswerLost` look for `image_name` in :meth:`builds`.
        """
        body: dict[str, object] = {"source_url": source_url, "image_name": image_name}
        if ref is not None:
            body["ref"] = ref
        if envvars:
            body["envvars"] = dict(envvars)
        if latest:
            body["use_latest_versions"] = True
        return parse_new_build(self._call("POST", self._builds(), body=body))

    def builds(self) -> list[Build]:
        """All builds that builds-api still knows, the newest first."""
        return [self._build_from(item) for item in listed(self._call("GET", self._builds()), "builds")]

    def build(self, build_id: str) -> Build:
        """One build; :class:`Gone` when builds-api has pruned it."""
        return self._build_from(self._call("GET", self._builds(build_id)).get("build"))

    def latest_build(self) -> Build:
        """The newest build; :class:`Gone` when there is none."""
        return self._build_from(self._call("GET", f"{self._builds()}/latest").get("build"))

    def build_log(self, build_id: str, *, follow: bool = False) -> Iterator[str]:
        """The lines of a build's log so far, ``[container] time text``, colours included.

        With `follow` those to come, too; the first may take ten minutes. That they end does not say how the
        build ended. Closing the iterator closes the connection; another begins with the first line again.
        """
        path = f"{self._builds(build_id)}/logs?follow={str(follow).lower()}"
        wait = self._waits.followed if follow else self._waits.read
        with _errors_named("GET"), self._repeated("GET", lambda: self._open("GET", path, wait)) as response:
            lines = (log_line(raw) for raw in lines_of(_chunks(response)))
            yield from self.mask.lines(line for line in lines if line is not None)

    def cancel_build(self, build_id: str) -> None:
        """Ask for its end; it counts as running until its end time is set. Ended already is fine."""
        self._call("PUT", f"{self._builds(build_id)}/cancel", fine=(AlreadySo, Gone))

    def delete_build(self, build_id: str) -> None:
        """Remove the record of a build; its image stays."""
        self._call("DELETE", self._builds(build_id), fine=(Gone,))

    def store_use(self) -> StoreUse:
        """How full the image store is."""
        return parse_store_use(self._call("GET", f"/builds/v1/tool/{self.tool}/quotas"))

    def delete_images(self) -> None:
        """Delete all images of the account. May fail half way; safe to repeat."""
        try:
            self._call("POST", f"/builds/v1/tool/{self.tool}/clean")
        except Busy as error:
            if "does not exist, have you started a build yet?" not in str(error):
                raise

    # --- jobs-api -------------------------------------------------------------------------------------

    def put_job(self, spec: JobSpec) -> bool:
        """Create the job, or make the one of that name so; False when it was so already. Safe to repeat."""
        return self._call("PATCH", self._jobs(), body=spec.body()).get("job_changed") is not False

    def jobs(self) -> list[Job]:
        """All jobs of the account."""
        return [self._job_from(item) for item in listed(self._call("GET", self._jobs()), "jobs")]

    def job(self, name: str) -> Job:
        """One job; :class:`Gone` when there is none of that name."""
        return self._job_from(self._call("GET", self._jobs(name)).get("job"))

    def restart_job(self, name: str) -> None:
        """Restart one job; comes back before it is up again."""
        self._call("POST", f"{self._jobs(name)}/restart")

    def delete_job(self, name: str) -> None:
        """Delete one job; may take 30 seconds. Gone already is fine."""
        self._call("DELETE", self._jobs(name), fine=(Gone,))

    def delete_all_jobs(self) -> None:
        """Delete every job of the account; may take 30 seconds."""
        self._call("DELETE", self._jobs())

    def job_lines(self, name: str, *, lines: int) -> list[JobLine]:
        """The newest lines of a job's log, the oldest first; empty when nothing has arrived yet.

        From logs-api, as Toolforge's own client; one page of it, which is 500 lines.
        """
        path = f"/logs/v1/tool/{self.tool}/job/{_safe(name)}/logs?direction=newest_first&lines={lines}"
        found = parse_job_log(self._call("GET", path, fine=(Gone,)))
        seen = self.mask.lines(line.message for line in found)
        return [replace(line, message=message) for line, message in zip(found, seen, strict=True)]

    def job_quotas(self) -> list[JobQuota]:
        """The limits of the account's jobs."""
        return parse_job_quotas(self._call("GET", f"/jobs/v1/tool/{self.tool}/quotas"))

    def job_images(self) -> list[JobImage]:
        """The images that a job may run: Toolforge's, and those of the account that have a tag."""
        return parse_images(self._call("GET", f"/jobs/v1/tool/{self.tool}/images"))

    # --- envvars-api ----------------------------------------------------------------------------------

    def set_envvar(self, name: str, value: str) -> None:
        """Create or overwrite one envvar; jobs see it at their next start. Safe to repeat.

        What is refused may be repeated by the other side; no error has the value in its words.
        """
        body = {"name": name, "value": value}
        try:
            self._call("POST", f"/envvars/v1/tool/{self.tool}/envvars", body=body)
        except ToolforgeError as error:
            error.args = tuple(self.mask.also([value]).text(str(words)) for words in error.args)
            raise

    def envvars(self) -> list[str]:
        """The names of the account's envvars, those that Toolforge itself sets left out."""
        names = parse_envvar_names(self._call("GET", f"/envvars/v1/tool/{self.tool}/envvars"))
        return [name for name in names if not name.startswith("TOOL_")]

    def delete_envvar(self, name: str) -> None:
        """Delete one envvar. Gone already is fine."""
        self._call("DELETE", f"/envvars/v1/tool/{self.tool}/envvars/{_safe(name)}", fine=(Gone,))

    # --- within ---------------------------------------------------------------------------------------

    def _build_from(self, item: Any) -> Build:
        build = parse_build(item)
        return replace(build, message=self.mask.text(build.message))

    def _job_from(self, item: Any) -> Job:
        job = parse_job(item)
        return replace(job, reason=self.mask.text(job.reason))

    def _builds(self, build_id: str | None = None) -> str:
        return f"/builds/v1/tool/{self.tool}/builds" + (f"/{_safe(build_id)}" if build_id is not None else "")

    def _jobs(self, name: str | None = None) -> str:
        return f"/jobs/v1/tool/{self.tool}/jobs" + (f"/{_safe(name)}" if name is not None else "")

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        fine: tuple[type[ToolforgeError], ...] = (),
    ) -> Mapping[str, Any]:
        try:
            answer = self._repeated(method, lambda: self._answer(method, path, body))
        except fine:
            return {}
        for words in warnings_in(answer):
            self._warn(self.mask.text(words))
        return answer

    def _repeated(self, method: str, attempt: Callable[[], _T]) -> _T:
        """Attempt it again when nothing happened, which is so for every GET that failed; never a POST."""
        begun = time.monotonic()
        for pause in self._waits.pauses:
            try:
                return attempt()
            except Unreachable:
                if method == "POST" or time.monotonic() - begun > _REPEAT_SECONDS:
                    raise
            time.sleep(pause * _JITTER.uniform(0.5, 1.0))
        return attempt()

    def _answer(self, method: str, path: str, body: object) -> Mapping[str, Any]:
        with _errors_named(method), self._open(method, path, self._waits.read, body) as response:
            return parse_object(self._read(response))

    def _open(self, method: str, path: str, wait: float, body: object = None) -> requests.Response:
        """Send one request; its answer, not read yet, when it is a success."""
        kwargs = self._client.make_kwargs(path, json=body, timeout=(self._waits.connect, wait))
        with counted(self._on_call, method, path), _errors_named(method):
            response = self._client.session.request(method, stream=True, allow_redirects=False, **kwargs)
            if 200 <= response.status_code < 300:
                return response
            with response:
                status, headers = response.status_code, response.headers
                raise named_error(method, status, headers, self._read(response))

    def _read(self, response: requests.Response) -> bytes:
        """The whole body; ValueError when it is longer, or takes longer, than any answer does."""
        deadline = time.monotonic() + self._waits.answer
        body = bytearray()
        for chunk in _chunks(response):
            body += chunk
            if len(body) > _ANSWER_BYTES or time.monotonic() > deadline:
                raise ValueError("an answer without end")
        return bytes(body)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives: requests' own way waits until each piece is full, for ever if it drips."""
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        yield chunk


def _safe(name: str) -> str:
    """`name` as the last part of a path. An empty one would address, and delete, everything."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise BadRequest(f"'{name}' is no name of a build, job or envvar")
    return name


@contextmanager
def _errors_named(method: str) -> Iterator[None]:
    """Turns what requests and urllib3 raise within the block into named errors, without their texts."""
    try:
        yield
    except (OSError, ValueError, OverflowError, urllib3.exceptions.HTTPError) as error:
        # requests' own errors are OSErrors, and what it lets through of others' are mostly ValueErrors;
        # http.client takes any number for the size of a chunk.
        raise _named(method, error) from None


def _named(method: str, error: Exception) -> ToolforgeError:
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLError) and _CERTIFICATE_ALERT.search(cause.reason or ""):
        return NotAllowed("the gateway refused the account's certificate")
    if isinstance(cause, _NOT_SENT):
        return Unreachable(f"Toolforge cannot be reached: {type(error).__name__}")
    kind = Unreachable if method == "GET" else AnswerLost
    return kind(f"Toolforge's answer did not arrive: {type(error).__name__}")


def _innermost(error: BaseException) -> BaseException:
    """What requests and urllib3 have wrapped; its text may be the other side's, so only its type counts."""
    for inner in (getattr(error, "reason", None), *error.args):
        if isinstance(inner, BaseException):
            return _innermost(inner)
    return error
