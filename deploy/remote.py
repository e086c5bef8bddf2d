"""A server's API, as the commands for maintainers use it from anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote, urlsplit

import click
import httpx
from pydantic import BaseModel, ValidationError

from orchestrator import __version__
from orchestrator.errors import BadInput, NotFound, PreviewError, TryLater
from orchestrator.settings import TOKEN_VARIABLE
from web.shapes import DeploymentOut, DoneOut, LineOut, Listed, PreviewOut, ProblemOut, SecretOut

_M = TypeVar("_M", bound=BaseModel)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: A log that is followed is silent for less than this: the server says every few seconds that it is there.
_SILENCE_SECONDS = 60.0


class Remote:
    """The API at `server`, asked with `token`, or without one where that is empty.

    What it answers is read by the models that the API is made of, which take control characters out of
    foreign text. Every method raises :class:`NotFound`, :class:`BadInput` with the server's words when it
    refuses, and :class:`TryLater` when it does not answer.
    """

    def __init__(self, server: str, token: str) -> None:
        parts = urlsplit(server)
        is_here = parts.hostname in _LOOPBACK
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadInput(f"'{server}' is no address of a server, such as https://previews.example.org.")
        if token and parts.scheme == "http" and not is_here:
            raise BadInput("Over http anybody on the way could read your token: use https.")
        if not token.isascii() or not token.isprintable():
            raise BadInput(f"{TOKEN_VARIABLE} is no token.")
        self._client = httpx.Client(
            base_url=f"{server.rstrip('/')}/api/v1",
            headers={"User-Agent": f"toolforge-preview/{__version__}"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=20.0,
            trust_env=not is_here,
        )

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def previews(self) -> list[PreviewOut]:
        """The newest previews."""
        return self._asked(Listed[PreviewOut], "GET", "/previews").items

    def preview(self, path: str, iid: int) -> PreviewOut:
        """One preview."""
        return self._asked(PreviewOut, "GET", _address(path, iid))

    def deployment(self, deployment_id: int) -> DeploymentOut:
        """One deployment."""
        return self._asked(DeploymentOut, "GET", f"/deployments/{deployment_id}")

    def act(self, path: str, iid: int, verb: str, body: Mapping[str, str]) -> str:
        """Do something to a preview; what came of it, in words."""
        return self._asked(DoneOut, "POST", f"{_address(path, iid)}/{verb}", json=body).message

    def secrets(self, path: str) -> list[SecretOut]:
        """The secrets of a project."""
        return self._asked(Listed[SecretOut], "GET", _secrets(path)).items

    def put_secret(self, path: str, name: str, value: str) -> None:
        """Set a secret of a project, or replace it."""
        self._asked(Listed[SecretOut], "POST", _secrets(path, name), json={"value": value})

    def remove_secret(self, path: str, name: str) -> None:
        """Forget a secret of a project."""
        self._asked(Listed[SecretOut], "POST", f"{_secrets(path, name)}/remove", json={})

    def log(self, deployment_id: int, kind: str, *, follow: bool) -> Iterator[str]:
        """The lines of a log; with `follow` also those to come of a running build."""
        query = {"follow": "true"} if follow else {}
        address = f"/deployments/{deployment_id}/logs/{kind}"
        with (
            _answering(),
            self._client.stream("GET", address, params=query, timeout=_SILENCE_SECONDS) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise _refusal(answer)
            for line in answer.iter_lines():
                if line:
                    yield LineOut.model_validate_json(line).text

    def _asked(self, model: type[_M], method: str, address: str, json: Mapping[str, str] | None = None) -> _M:
        with _answering():
            answer = self._client.request(method, address, json=json)
            if answer.status_code != 200:
                raise _refusal(answer)
            return model.model_validate_json(answer.content)


def opened_remote(server: str) -> Remote:
    """The API at `server`, with the token of the environment; closed when the command ends."""
    remote = Remote(server, os.environ.get(TOKEN_VARIABLE, ""))
    click.get_current_context().call_on_close(remote.close)
    return remote


def _address(path: str, iid: int) -> str:
    return f"/projects/{quote(path, safe='/')}/-/previews/{iid}"


def _secrets(path: str, name: str | None = None) -> str:
    listed = f"/projects/{quote(path, safe='/')}/-/secrets"
    return listed if name is None else f"{listed}/{quote(name, safe='')}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise TryLater(f"The server does not answer: {type(error).__name__}.") from None
    except ValidationError:
        raise BadInput("That is not the API of a Toolforge Preview, or of another version.") from None


def _refusal(answer: httpx.Response) -> PreviewError:
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return BadInput(f"That is not the API of a Toolforge Preview: HTTP {answer.status_code}.")
    words = ProblemOut.model_validate_json(answer.content).detail
    if answer.status_code == 404:
        return NotFound(words)
    has_token = "Authorization" in answer.request.headers
    if answer.status_code == 401 or (answer.status_code == 403 and not has_token):
        page = answer.url.join("/tokens")
        return BadInput(f"{words} Set {TOKEN_VARIABLE} to a token; they are made at {page}")
    return TryLater(words) if answer.status_code in {429, 503} else BadInput(words)
