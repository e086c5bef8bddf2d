"""Smoke checks: does the preview answer at its own address as it should?

A check goes to the preview's own scheme, host and port and nowhere else: what runs there is a stranger's
code, and its redirects must not send us into our own network. The address itself is made from a setting and
the account's name, never from anything a merge request says, so that whatever it resolves to may be asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import httpx

from orchestrator import outcome as out
from orchestrator.diagnosis import explain_check
from orchestrator.expectation import MOST_BODY_BYTES, Answer, is_wanted_status, missed, needs_body
from orchestrator.outcome import CheckResult, Outcome
from orchestrator.repoconfig import Check
from worker.deploy import job_log
from worker.step import Site

_REDIRECTS = 5
#: All checks of one round have to be over by then.
_ROUND_SECONDS = 120.0
#: These are repeated where a redirect leads to; others would do there what nobody asked for.
_REPEATED = frozenset({"GET", "HEAD"})

#: Made once, since it reads all certificate authorities.
_TLS = ssl.create_default_context()
_PORTS = {"http": 80, "https": 443}


def check(site: Site) -> Outcome:
    """Try every check once."""
    started = time.monotonic()
    results = []
    for number, wanted in enumerate(_checks(site)):
        left = max(started + _ROUND_SECONDS - time.monotonic(), 0.001)
        seconds = min(wanted.seconds or site.settings.check_timeout_seconds, left)
        result = try_check(site.address, wanted, seconds=seconds, user_agent=site.settings.user_agent)
        # What the tool says, in a redirect for example, may have its secrets in it.
        result = replace(result, message=site.account.mask.text(result.message))
        results.append(_counted(result, wanted, site.deployment.checks[number : number + 1]))
    failed = [result for result in results if not result.passed]
    if not failed:
        return out.ChecksDone(tuple(results))
    spent = site.now - site.deployment.step_since + time.monotonic() - started
    is_last_try = spent >= site.settings.check_seconds or any(result.is_last for result in failed)
    done = out.ChecksDone(tuple(results))
    if not is_last_try:
        return done
    log = job_log(site)
    return replace(done, failure=explain_check(log.text, done.answers), log=log)


def _checks(site: Site) -> Sequence[Check]:
    """The repository's own, else those that the project was connected with, else one."""
    connected = [
        Check.model_construct(path=path, status=() if status is None else (status,))
        for path, status in site.project.checks
    ]
    return site.config.checks or connected or (Check(),)


def _counted(result: CheckResult, wanted: Check, before: Sequence[CheckResult]) -> CheckResult:
    """`result` with the number of its try; `before` is what the try before it brought."""
    tries = before[0].tries + 1 if before and before[0].name == result.name else 1
    is_last = wanted.retries is not None and tries > wanted.retries
    return replace(result, tries=tries, is_last=is_last)


def try_check(address: str, wanted: Check, *, seconds: float, user_agent: str) -> CheckResult:
    """Ask once at `address` for what `wanted` names, and hold the answer against it.

    All of it, redirects and the body included, takes at most `seconds`, however slow the other side is.
    """
    name = f"{wanted.method} {wanted.path}"
    started = time.monotonic()
    try:
        answer = asyncio.run(asyncio.wait_for(_follow(address, wanted, user_agent), seconds))
    except TimeoutError:
        return CheckResult(name, False, f"no answer within {seconds:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return CheckResult(name, False, f"no usable answer: {type(error).__name__}")
    if isinstance(answer, str):
        return CheckResult(name, False, answer)
    took = f"{answer.status} in {(time.monotonic() - started) * 1000:.0f} ms"
    wrong = missed(wanted, answer)
    return CheckResult(name, not wrong, f"{took}, expected {wrong}" if wrong else took)


async def _follow(address: str, wanted: Check, user_agent: str) -> Answer | str:
    """The answer at the end of all redirects, or what was wrong with them."""
    # A body must not be able to grow when it is unpacked.
    headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
    # The time is limited as a whole by the caller: httpx only limits each read.
    async with httpx.AsyncClient(verify=_TLS, trust_env=False, headers=headers, timeout=None) as client:  # noqa: S113
        url, method = urljoin(address, wanted.path), wanted.method
        for _ in range(_REDIRECTS + 1):
            own = _at_own_address(address, url)
            if own is None:
                return f"redirects away from the preview, to {url[:200]}"
            answer, location = await _ask(client, method, own, wanted)
            if location is None or (wanted.status and is_wanted_status(wanted, answer.status)):
                return answer
            url = urljoin(own, location)
            method = method if method in _REPEATED else "GET"
    return f"more than {_REDIRECTS} redirects"


async def _ask(client: httpx.AsyncClient, method: str, url: str, wanted: Check) -> tuple[Answer, str | None]:
    """The answer and its redirect target; of the body, which may have no end, only what is needed is read."""
    parts = urlsplit(url)
    host = parts.netloc
    if (parts.hostname or "").endswith(".localhost"):
        # RFC 6761: names under .localhost mean this machine; not every resolver knows.
        url = parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1").geturl()
    async with client.stream(method, url, headers={"Host": host}) as response:
        location = response.headers.get("Location") if response.is_redirect else None
        body = await _beginning(response) if needs_body(wanted) else b""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, body), location


async def _beginning(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MOST_BODY_BYTES:
            break
    return bytes(body[:MOST_BODY_BYTES])


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
