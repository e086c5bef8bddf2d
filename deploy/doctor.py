"""Looks at a set-up from outside to inside and says what is wrong, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from deploy.doctor_pool import examine_pool
from deploy.doctor_sign_in import examine_sign_in
from deploy.finding import Finding
from orchestrator.bootstrap import MIGRATIONS, Parts
from orchestrator.errors import BadInput
from orchestrator.gitlab import GitLabError
from orchestrator.markdown import plain
from orchestrator.report import duration, instant
from orchestrator.settings import load_settings
from orchestrator.signing import TOLERANCE_SECONDS

_FORGOTTEN_SECONDS = 86400.0
#: GitLab tells whole seconds, and an answer takes its time.
_WRONG_SECONDS = 30.0


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
    yield from examine_sign_in(parts.settings)
    if database.is_well:
        yield from _switches(parts, time.time())
        yield _untold(parts)
        yield _secrets(parts)
        yield from examine_pool(parts, time.time())


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
    yield from _clock(parts)


def _clock(parts: Parts) -> Iterator[Finding]:
    try:
        theirs = parts.gitlab.time_of_day()
    except GitLabError:
        return
    if theirs is None:
        return
    ahead = time.time() - theirs
    if abs(ahead) < _WRONG_SECONDS:
        yield Finding("clock", True, "says what GitLab's says")
        return
    way = "ahead of" if ahead > 0 else "behind"
    message = f"is {duration(abs(ahead))} {way} GitLab's"
    remedy = f"Set it right, with NTP: from {duration(TOLERANCE_SECONDS)} on, signed deliveries are refused."
    yield Finding("clock", False, message, remedy)


def _untold(parts: Parts) -> Finding:
    untold = parts.views.untold()
    if not untold:
        return Finding("reports", True, "GitLab took everything that it was told")
    more = f" (and {len(untold) - 1} more)" * (len(untold) > 1)
    return Finding(
        "reports",
        False,
        f"GitLab refused {plain(untold[0])}{more}",
        "The token needs the scope api and the Maintainer role in the project; `project show` tells all.",
    )


def _secrets(parts: Parts) -> Finding:
    lost, older = parts.secrets.in_need()
    if lost:
        names = ", ".join(f"{name} of {path}" for path, name in lost[:3])
        more = f" (and {len(lost) - 3} more)" * (len(lost) > 3)
        return Finding(
            "secrets",
            False,
            f"no key opens {names}{more}: deployments that would get them fail",
            "Put the secret_key that encrypted them into old_secret_keys, or have Maintainers set them anew.",
        )
    if older:
        message = f"{older} are encrypted with an older key"
        return Finding("secrets", False, message, "Run `toolforge-preview project secret reseal`.")
    spare = "; old_secret_keys is not needed any more" if parts.settings.old_secret_keys else ""
    return Finding("secrets", True, f"the present key opens all{spare}")


def _switches(parts: Parts, now: float) -> Iterator[Finding]:
    for view in parts.views.switches():
        # A maintenance takes hours; what is stopped for longer has probably been forgotten.
        is_well = now - view.switch.at < _FORGOTTEN_SECONDS
        message = f"{view.what} since {instant(view.switch.at)} by {view.switch.who}: {view.switch.why}"
        remedy = "" if is_well else f"If that is over: `{view.remedy}`."
        yield Finding("switch", is_well, message, remedy)
