"""Smoke checks: does the preview answer at its own address?

A check goes to the preview's own scheme, host and port and nowhere else: what runs there is a stranger's
code, and its redirects must not send us into our own network. The address itself is made from a setting and
the account's name, never from anything a merge request says, so that whatever it resolves to may be asked.
"""

from __future__ import annotations

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


#: Shared, since making one reads all certificate authorities. It carries no credentials and no cookies.
_client = httpx.Client(
    follow_redirects=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
)


def check(site: Site) -> Outcome:
    """Try every check once."""
    timeout = site.settings.check_timeout_seconds
    results = tuple(
        check_path(site.address, path, expected, timeout=timeout, user_agent=site.settings.user_agent)
        for path, expected in site.project.checks or _DEFAULT
    )
    is_last_try = site.now - site.deployment.since >= site.settings.check_seconds
    has_failed = not all(result.passed for result in results)
    return out.ChecksDone(results, job_excerpt(site) if has_failed and is_last_try else "")


def check_path(
    address: str, path: str, expected: int | None, *, timeout: float, user_agent: str
) -> CheckResult:
    """GET `path` at `address`; passes with status `expected`, or with anything below 500 where it is None.

    `timeout` is in seconds, for all redirects together.
    """
    started = time.monotonic()
    url = urljoin(address, path)
    try:
        for _ in range(_REDIRECTS + 1):
            if not _is_at(address, url):
                return CheckResult(f"GET {path}", False, f"redirects away from the preview, to {url}")
            status, location = _get(url, timeout, user_agent)
            if time.monotonic() - started > timeout:
                return CheckResult(f"GET {path}", False, f"no answer within {timeout:g} seconds")
            if location is None or status == expected:
                return _judged(path, status, expected, time.monotonic() - started)
            url = urljoin(url, location)
    except httpx.TimeoutException:
        return CheckResult(f"GET {path}", False, f"no answer within {timeout:g} seconds")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return CheckResult(f"GET {path}", False, f"no usable answer: {type(error).__name__}")
    return CheckResult(f"GET {path}", False, f"more than {_REDIRECTS} redirects")


def _judged(path: str, status: int, expected: int | None, seconds: float) -> CheckResult:
    passed = status < 500 if expected is None else status == expected
    wanted = "" if passed else (", expected below 500" if expected is None else f", expected {expected}")
    return CheckResult(f"GET {path}", passed, f"{status} in {seconds * 1000:.0f} ms{wanted}")


def _get(url: str, timeout: float, user_agent: str) -> tuple[int, str | None]:
    """Status and redirect target; the body is not read, it may have no end."""
    parts = urlsplit(url)
    host = parts.netloc
    if (parts.hostname or "").endswith(".localhost"):
        # RFC 6761: names under .localhost mean this machine; not every resolver knows.
        url = parts._replace(netloc=f"127.0.0.1:{parts.port}" if parts.port else "127.0.0.1").geturl()
    headers = {"Host": host, "User-Agent": user_agent}
    with _client.stream("GET", url, headers=headers, timeout=timeout) as response:
        return response.status_code, response.headers.get("Location") if response.is_redirect else None


def _is_at(address: str, url: str) -> bool:
    """True when `url` has the scheme, host and port of `address` and carries no user name."""
    own, other = urlsplit(address), urlsplit(url)
    return (own.scheme, own.netloc) == (other.scheme, other.netloc)
