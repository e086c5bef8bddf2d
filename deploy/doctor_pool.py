"""The doctor's look at Toolforge: its APIs, and each account of the pool as Toolforge sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from deploy.finding import Finding
from orchestrator.bootstrap import Parts
from orchestrator.credentials import expires_soon, find_certificate
from orchestrator.errors import BadInput
from orchestrator.pool import Account, AccountState
from orchestrator.toolforge import (
    AccountClient,
    Api,
    Health,
    NotAllowed,
    ToolforgeError,
    Unreachable,
)

_MIB = 2**20
#: A store that is fuller than this has no room for another image.
_FULL = 0.9
#: The image of a push runs beside the preview that it is to replace.
_JOBS_NEEDED = 2
#: jobs-api's own names of the limits that count whole jobs.
_JOB_LIMITS = {
    "Total running jobs at once (Kubernetes pods)": "pods",
    "Continuous jobs (including web services)": "continuous jobs",
}
_MORE = "If that is not enough, ask for more: https://wikitech.wikimedia.org/wiki/Help:Toolforge/Quota"

_Members = Sequence[tuple[Account, Mapping[str, str]]]


def examine_pool(parts: Parts, now: float) -> Iterator[Finding]:
    """Toolforge's APIs once, then each account; only its certificate where the gateway cannot be reached."""
    with parts.store.read() as tx:
        members = [(account, tx.credentials(account.id)) for account in tx.accounts()]
    if not members:
        remedy = "Give the pool a dev account with `toolforge-preview pool add TOOL`."
        yield Finding("pool", False, "has no account, so nothing can be built", remedy)
    is_reachable = True
    try:
        yield from _apis(parts, members)
    except Unreachable as error:
        is_reachable = False
        remedy = (
            "Check the settings toolforge_url and toolforge_ca_file; "
            "Toolforge's own gateway answers inside Toolforge only."
        )
        yield Finding("toolforge", False, str(error), remedy)
    for account, reference in members:
        yield from _state(account)
        yield _certificate(account.name, reference, now)
        if is_reachable:
            yield from _account(parts, account, reference, now)


# --- the APIs -----------------------------------------------------------------------------------------


def _apis(parts: Parts, members: _Members) -> Iterator[Finding]:
    """The health of each, asked by the first account that may; of those that may not is said elsewhere."""
    for account, reference in members:
        try:
            with parts.toolforge.account(account.name, reference) as client:
                yield from [_health(client, api) for api in Api]
            return
        except (NotAllowed, BadInput):
            continue


def _health(client: AccountClient, api: Api) -> Finding:
    subject, remedy = f"{api}-api", "Wait, and ask again; what needs it is tried again by itself."
    try:
        told = client.health(api)
    except (NotAllowed, Unreachable):
        raise  # not of this API alone
    except ToolforgeError as error:
        return Finding(subject, False, f"does not answer as it should: {error}", remedy)
    if told is Health.ERROR:
        return Finding(subject, False, "says that it is not well", remedy)
    return Finding(subject, True, "is well" if told is Health.OK else "answers")


# --- an account ---------------------------------------------------------------------------------------


def _state(account: Account) -> Iterator[Finding]:
    if account.state is AccountState.QUARANTINED:
        remedy = "It is tried again by itself; mend what the reason names."
        message = f"is quarantined: {account.reason}"
        yield Finding(f"account {account.name}", False, message, remedy)


def _certificate(tool: str, reference: Mapping[str, str], now: float) -> Finding:
    subject = f"certificate of {tool}"
    remedy = f"Copy the newest client.crt and client.key of the tool's ~/.toolskube to {_place(reference)}."
    try:
        certificate = find_certificate(tool, reference)
        certificate.check()
        end = certificate.not_after()
    except BadInput as error:
        return Finding(subject, False, str(error), remedy)
    date = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d}"
    if end <= now:
        return Finding(subject, False, f"ended on {date}", remedy)
    if expires_soon(end, now):
        return Finding(subject, False, f"ends soon, on {date}", remedy)
    return Finding(subject, True, f"ends on {date}")


def _place(reference: Mapping[str, str]) -> str:
    """Where the certificate and key of a reference are read from."""
    match dict(reference):
        case {"env": prefix}:
            return f"the environment variables {prefix}_CRT and {prefix}_KEY, and start everything again"
        case {"kubeconfig": path}:
            return f"where {path} says"
    return " and ".join(reference.values())


def _account(parts: Parts, account: Account, reference: Mapping[str, str], now: float) -> Iterator[Finding]:
    """What is in it and what it may hold; nothing more once Toolforge refuses its credentials."""
    name = account.name
    try:
        with parts.toolforge.account(name, reference) as client:
            yield _asked(f"account {name}", lambda subject: _held(subject, client, account, now))
            yield _asked(f"image store of {name}", lambda subject: _store(subject, client, account))
            yield _asked(f"jobs of {name}", lambda subject: _jobs(subject, client))
    except BadInput:
        return  # said of its certificate
    except NotAllowed as error:
        message = f"its credentials are refused: {error}"
        remedy = f"See that the certificate of this very tool is in {_place(reference)}."
        yield Finding(f"account {name}", False, message, remedy)


def _asked(subject: str, look: Callable[[str], Finding]) -> Finding:
    """What a look found, or that Toolforge did not answer it."""
    try:
        return look(subject)
    except NotAllowed:
        raise
    except ToolforgeError as error:
        remedy = "Wait, and ask again; with other accounts in order, ask Toolforge's administrators."
        return Finding(subject, False, f"cannot be read: {error}", remedy)


def _held(subject: str, client: AccountClient, account: Account, now: float) -> Finding:
    counts = {
        "jobs": len(client.jobs()),
        "builds": len(client.builds()),
        "envvars": len(client.envvars()),
        "bytes of images": client.store_use().used,
    }
    left = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if account.state is AccountState.FREE and left:
        remedy = (
            "Somebody else uses it, or a cleaning went wrong: drain it, look, and undrain it to clean it."
        )
        return Finding(subject, False, f"is free but not empty: {left}", remedy)
    minutes = max(now - account.since, 0.0) / 60
    held = f"holds {left}" if left else "empty"
    return Finding(subject, True, f"{account.state} for {minutes:.0f} minutes, {held}")


def _store(subject: str, client: AccountClient, account: Account) -> Finding:
    use = client.store_use()
    if use.limit is None:
        return Finding(subject, True, f"{use.used / _MIB:.0f} MiB used, without a limit")
    message = f"{use.used / _MIB:.0f} of {use.limit / _MIB:.0f} MiB used"
    if account.state is AccountState.FREE and use.used >= _FULL * use.limit:
        remedy = f"Clean it: drain {account.name} and undrain it. {_MORE}"
        return Finding(subject, False, f"has no room for a build: {message}", remedy)
    return Finding(subject, True, message)


def _jobs(subject: str, client: AccountClient) -> Finding:
    limits = [limit for limit in client.job_quotas() if limit.name in _JOB_LIMITS]
    told = [f"{limit.used} of {limit.limit} {_JOB_LIMITS[limit.name]}" for limit in limits]
    if any(limit.limit.isdecimal() and int(limit.limit) < _JOBS_NEEDED for limit in limits):
        message = f"Toolforge allows too few, a push needs {_JOBS_NEEDED} at once: {', '.join(told)}"
        return Finding(subject, False, message, _MORE)
    return Finding(subject, True, ", ".join(told) or "their limit is not told")
