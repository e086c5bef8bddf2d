"""Looks at a set-up from outside to inside and says what is wrong, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bootstrap import MIGRATIONS, Parts
from orchestrator.errors import BadInput
from orchestrator.gitlab import GitLabError
from orchestrator.pool import Account, AccountState
from orchestrator.report import instant
from orchestrator.settings import load_settings
from orchestrator.toolforge import AccountClient, NotAllowed, ToolforgeError

_FORGOTTEN_SECONDS = 86400.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    is_well: bool
    #: What was seen.
    message: str
    #: What to do, empty when all is well.
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Everything, one finding at a time; stops where the rest cannot be looked at."""
    try:
        parts = Parts(load_settings())
    except BadInput as error:
        yield Finding(
            "settings", False, str(error), "Correct the settings; `toolforge-preview settings` lists them."
        )
        return
    yield Finding("settings", True, "all understood")
    try:
        yield from _examine(parts)
    finally:
        parts.close()


def _examine(parts: Parts) -> Iterator[Finding]:
    database = _database(parts)
    yield database
    yield _redis(parts)
    yield from _gitlab(parts)
    if database.is_well:
        yield from _switches(parts)
        yield from _pool(parts)


def _database(parts: Parts) -> Finding:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    wanted = ScriptDirectory.from_config(config).get_current_head()
    try:
        with parts.store.engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        reason = f"cannot be used: {type(error).__name__}"
        return Finding("database", False, reason, "Check the setting database_url and that the server runs.")
    if present != wanted:
        message = f"is at migration {present or 'none'}, the program needs {wanted}"
        return Finding("database", False, message, "Run `toolforge-preview migrate`.")
    return Finding("database", True, f"at migration {present}")


def _redis(parts: Parts) -> Finding:
    try:
        parts.redis.ping()
    except RedisError as error:
        message = f"cannot be used: {type(error).__name__}"
        return Finding("redis", False, message, "Check the setting redis_url and that Redis runs.")
    return Finding("redis", True, "answers")


def _gitlab(parts: Parts) -> Iterator[Finding]:
    try:
        name, scopes = parts.gitlab.own_name(), parts.gitlab.token_scopes()
    except GitLabError as error:
        remedy = "Check the settings gitlab_url and gitlab_token; the token may have expired."
        yield Finding("gitlab", False, str(error), remedy)
        return
    if "api" not in scopes:
        message = f"the token of {name} has the scopes {', '.join(scopes) or 'none'}"
        yield Finding("gitlab", False, message, "Make a token with the scope api.")
    else:
        yield Finding("gitlab", True, f"known as {name}, scope api")


def _switches(parts: Parts) -> Iterator[Finding]:
    for view in parts.views.switches():
        # A maintenance takes hours; what is stopped for longer has probably been forgotten.
        is_well = time.time() - view.switch.at < _FORGOTTEN_SECONDS
        message = f"{view.what} since {instant(view.switch.at)} by {view.switch.who}: {view.switch.why}"
        remedy = "" if is_well else f"If that is over: `{view.remedy}`."
        yield Finding("switch", is_well, message, remedy)


def _pool(parts: Parts) -> Iterator[Finding]:
    with parts.store.read() as tx:
        accounts = tx.accounts()
        credentials = {account.id: tx.credentials(account.id) for account in accounts}
    if not accounts:
        remedy = "Give the pool a dev account with `toolforge-preview pool add TOOL`."
        yield Finding("pool", False, "has no account, so nothing can be built", remedy)
    for account in accounts:
        subject = f"account {account.name}"
        yield from _state(account, subject)
        try:
            with parts.toolforge.account(account.name, credentials[account.id]) as client:
                yield from _account(client, account, subject)
        except (NotAllowed, BadInput) as error:
            remedy = "Copy the tool's certificate again, and name its place with `pool add`."
            yield Finding(subject, False, f"its credentials are refused: {error}", remedy)
        except ToolforgeError as error:
            yield Finding(
                subject, False, f"Toolforge: {error}", "Try again later; check the setting toolforge_url."
            )


def _state(account: Account, subject: str) -> Iterator[Finding]:
    if account.state is AccountState.QUARANTINED:
        remedy = "It is tried again by itself; mend what the reason names."
        yield Finding(subject, False, f"is quarantined: {account.reason}", remedy)


def _account(client: AccountClient, account: Account, subject: str) -> Iterator[Finding]:
    used = client.store_use().used
    looks: tuple[tuple[str, Callable[[], int]], ...] = (
        ("jobs", lambda: len(client.jobs())),
        ("builds", lambda: len(client.builds())),
        ("envvars", lambda: len(client.envvars())),
        ("bytes of images", lambda: used),
    )
    left = ", ".join(f"{count} {name}" for name, look in looks if (count := look()))
    if account.state is AccountState.FREE and left:
        remedy = (
            "Somebody else uses it, or a cleaning went wrong: drain it, look, and undrain it to clean it."
        )
        yield Finding(subject, False, f"is free but not empty: {left}", remedy)
        return
    seconds = max(time.time() - account.since, 0.0)
    held = f", holds {left}" if left else ", empty"
    yield Finding(subject, True, f"{account.state} for {seconds / 60:.0f} minutes{held}")
