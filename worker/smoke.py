"""Smoke checks: does the preview answer at its own address?

A check goes to the preview's own scheme, host and port and nowhere else: what runs there is a stranger's
code, and its redirects must not send us into our own network. The address itself is made from a setting and
the account's name, never from anything a merge request says, so that whatever it resolves to may be asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

import httpx

from orchestrator import outcome as out
from orchestrator.outcome import CheckResult, Outcome
from worker.deploy import job_excerpt
from worker.step import Site

_REDIRECTS = 5
_DEFAULT: Sequence[tuple[str, int | None]] = (("/", None),)


#: Made once, since it reads all certificate authorities.
_TLS = ssl.create_default_context()
_PORTS = {"http": 80, "https": 443}


def check(site: Site) -> Outcome:
    """Try every check once."""
    started = time.monotonic()
    results = tuple(
        check_path(
            site.address,
            path,
            expected,
            timeout=site.settings.check_timeout_seconds,
            user_agent=site.settings.user_agent,
        )
        for path, expected in site.project.checks or _DEFAULT
    )
    if all(result.passed for result in results):
        return out.ChecksDone(results)
    spent = site.now - site.deployment.step_since + time.monotonic() - started
    is_last_try = spent >= site.settings.check_seconds
    return out.ChecksDone(results, job_excerpt(site) if is_last_try else "")


def check_path(
    address: str, path: str, expected: int | None, *, timeout: float, user_agent: str
) -> CheckResult:
    """GET `path` at `address`; passes with status `expected`, or with anything below 500 where it is None.

    All of it, redirects included, takes at most `timeout` seconds, however slowly the other side answers.
    """
    name = f"GET {path}"
    started = time.monotonic()
    try:
        answer = asyncio.run(asyncio.wait_for(_follow(address, path, expected, user_agent), timeout))
    except TimeoutError:
        return CheckResult(name, False, f"no answer within {timeout:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return CheckResult(name, False, f"no usable answer: {type(error).__name__}")
    if isinstance(answer, str):
        return CheckResult(name, False, answer)
    passed = answer < 500 if expected is None else answer == expected
    wanted = "" if passed else (", expected below 500" if expected is None else f", expected {expected}")
    return CheckResult(name, passed, f"{answer} in {(time.monotonic() - started) * 1000:.0f} ms{wanted}")


async def _follow(address: str, path: str, expected: int | None, user_agent: str) -> int | str:
    """The status at the end of all redirects, or what was wrong with them."""
    headers = {"User-Agent": user_agent}
    # The time is limited as a whole by the caller: httpx only limits each read.
    async with httpx.AsyncClient(verify=_TLS, trust_env=False, headers=headers, timeout=None) as client:  # noqa: S113
        url = urljoin(address, path)
        for _ in range(_REDIRECTS + 1):
            own = _at_own_address(address, url)
            if own is None:
                return f"redirects away from the preview, to {url[:200]}"
            status, location = await _get(client, own)
            if location is None or status == expected:
                return status
            url = urljoin(own, location)
    return f"more than {_REDIRECTS} redirects"


async def _get(client: httpx.AsyncClient, url: str) -> tuple[int, str | None]:
    """Status and redirect target; the body is not read, it may have no end."""
    parts = urlsplit(url)
    host = parts.netloc
    if (parts.hostname or "").endswith(".localhost"):
        # RFC 6761: names under .localhost mean this machine; not every resolver knows.
        url = parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1").geturl()
    async with client.stream("GET", url, headers={"Host": host}) as response:
        return response.status_code, response.headers.get("Location") if response.is_redirect else None


def _at_own_address(address: str, url: str) -> str | None:
    """`url` at the scheme and port of `address`, or None when it is on another host, or port, or has a user.

    A tool behind Toolforge's proxy may redirect to its own name with http: that is the same place.
    """
    own, other = urlsplit(address), urlsplit(url)
    if other.scheme not in _PORTS or other.hostname != own.hostname or other.username is not None:
        return None
    usual = (None, _PORTS[other.scheme])
    is_same_port = other.port == own.port or (own.port in (None, *_PORTS.values()) and other.port in usual)
    return other._replace(scheme=own.scheme, netloc=own.netloc).geturl() if is_same_port else None
