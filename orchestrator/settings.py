"""Settings: by environment variables ``TOOLFORGE_PREVIEW_...``, or a TOML file, the environment first.

The file is named by ``TOOLFORGE_PREVIEW_CONFIG``. A setting that is wrong or unknown is refused at the start,
with its name and what was expected.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import __version__
from orchestrator.errors import BadInput
from orchestrator.policy import Policy, Retention
from orchestrator.progress import Patience
from orchestrator.quiet import Quiet
from orchestrator.repovalues import Bounds
from orchestrator.scheduler import Limits

PREFIX = "TOOLFORGE_PREVIEW_"
#: No setting: with what a maintainer's command line is known to a server.
TOKEN_VARIABLE = f"{PREFIX}TOKEN"
_TOOLSDB = "toolsdb:"
_SHORTEST_KEY = 32
_DAY = 86400.0
_LONGEST_DAYS = 100 * 366


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", validate_default=True
    )

    database_url: str = Field(
        "sqlite:///toolforge-preview.db",
        repr=False,
        description="SQLAlchemy URL of the database, which is the truth, or `toolsdb:NAME` on Toolforge; see "
        "databases.md for the servers.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="Redis for the Celery queue; holds only what may vanish.",
    )
    queue_prefix: str = Field(
        "toolforge-preview",
        min_length=1,
        description="Prefix of all keys in Redis, which other tools may share: make it hard to guess there.",
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        description="Where people and GitLab reach the web process; no slash at the end.",
    )
    gitlab_url: str = Field("https://gitlab.wikimedia.org", description="The GitLab instance.")
    gitlab_token: SecretStr = Field(
        SecretStr(""),
        validate_default=True,
        description="Access token with scope `api` and the Maintainer role in each project.",
    )
    secret_key: SecretStr | None = Field(
        None,
        min_length=_SHORTEST_KEY,
        description="At least 32 random characters, the same for all processes, from which keys are derived; "
        "with it GitLab signs its deliveries, and secrets of projects are encrypted. Changed, every project "
        "needs `project rotate-secret`, and everybody signs in anew; see operations.md.",
    )
    old_secret_keys: SecretStr | None = Field(
        None,
        description="What `secret_key` was before, the newest first, with spaces between: opens secrets of "
        "projects until `project secret reseal` has encrypted them with the present one, and nothing else.",
    )
    gitlab_application_id: str = Field(
        "",
        pattern=r"^[\x21-\x7e]*$",
        description="Id of the OAuth application at GitLab through which people sign in; empty: nobody does, "
        "and the pages can only be read. See sign-in.md.",
    )
    gitlab_application_secret: SecretStr | None = Field(
        None, validate_default=True, description="The secret of that application."
    )
    operators: str = Field(
        "",
        validate_default=True,
        description="GitLab user names of those who may do everything on the pages, with commas between.",
    )
    gitlab_ca_file: Path | None = Field(
        None, description="Certificate authorities for GitLab; unset: the system's."
    )
    toolforge_url: str = Field(
        "https://api.svc.tools.eqiad1.wikimedia.cloud:30003", description="Toolforge's API gateway."
    )
    toolforge_ca_file: Path | None = Field(
        None, description="Certificate authorities for the gateway; unset: the system's."
    )
    preview_url: str = Field(
        "https://{tool}.toolforge.org",
        description="Address of what a dev account publishes; `{tool}` is its name.",
    )
    contact: str = Field(
        "https://gitlab.wikimedia.org",
        min_length=3,
        pattern=r"^[\x20-\x7e]+$",
        description="URL or e-mail of the operators; sent in the User-Agent, as Wikimedia's policy asks.",
    )
    job_port: int = Field(8000, ge=1, le=65535, description="Port on which previewed tools listen ($PORT).")
    job_command: str = Field("web", min_length=1, description="Procfile entry, or command, that is run.")
    max_concurrent_builds: int = Field(
        Limits.max_concurrent_builds, ge=1, le=1000, description="Builds at once over the whole pool."
    )
    builds_per_account: int = Field(
        Limits.builds_per_account, ge=1, le=4, description="Builds at once on one account (Toolforge: 4)."
    )
    live_seconds: float = Field(
        Policy.live_seconds, gt=0, le=366 * 86400.0, description="How long a preview stays up."
    )
    min_live_seconds: float = Field(
        Limits.min_live_seconds,
        ge=0,
        description="How long a preview stays up before it may have to give way to another.",
    )
    longest_live_seconds: float = Field(
        Bounds.longest_live_seconds,
        gt=0,
        le=366 * 86400.0,
        description="How long a repository's own file may let a preview stay up.",
    )
    longest_min_live_seconds: float = Field(
        Bounds.longest_min_live_seconds,
        gt=0,
        le=366 * 86400.0,
        description="How long a repository's own file may keep a preview from giving way to another.",
    )
    job_memory_mib: int = Field(
        Bounds.memory_bytes // 2**20,
        ge=1,
        description="Memory, in MiB, that a repository's own file may ask for.",
    )
    job_cpu: float = Field(
        Bounds.cpu, gt=0, description="Processors that a repository's own file may ask for."
    )
    bots: str = Field(
        "",
        description="User names of bots, with commas between; those of GitLab's access tokens are known.",
    )
    check_only_bots: bool = Field(
        Policy.check_only_bots,
        description="Whether bots' merge requests are checked only; `/preview` then brings one to look at.",
    )
    cohort_seconds: float = Field(
        Limits.cohort_seconds,
        ge=0,
        le=86400,
        description="So long bots' merge requests wait for the result of the same change elsewhere; 0: never",
    )
    quiet_seconds: float = Field(
        Quiet.people_seconds,
        ge=0,
        le=3600,
        description="A push so soon after another one waits until no more has come for so long.",
    )
    bot_quiet_seconds: float = Field(
        Quiet.bot_seconds,
        ge=0,
        le=3600,
        description="What bots push waits until no more has come for so long, ten times that at most.",
    )
    keep_seconds: float = Field(
        Policy.keep_seconds,
        gt=0,
        le=366 * 86400.0,
        description="How long a preview may be kept from giving way to others.",
    )
    kept_per_project: int = Field(
        Policy.kept_per_project,
        ge=0,
        le=1000,
        description="How many previews of a project may be kept at once.",
    )
    catch_up_seconds: float = Field(
        Policy.catch_up_seconds,
        gt=0,
        le=86400.0,
        description="How often GitLab's open merge requests are compared with what we know.",
    )
    probe_days: float = Field(
        Policy.probe_seconds / _DAY,
        ge=0,
        le=_LONGEST_DAYS,
        description="How often tiny repositories of our own are built where nobody needs the pool, to learn "
        "which versions of languages the builders have; 0: never. See operations.md.",
    )
    most_taken_down_share: float = Field(
        Policy.most_taken_down_share,
        gt=0,
        le=1,
        description="Share of the live previews that one pass of the janitor, or of the comparison with "
        "GitLab, may take down.",
    )
    build_seconds: float = Field(Patience.build_seconds, gt=0, description="How long a build may take.")
    start_seconds: float = Field(
        Patience.start_seconds, gt=0, description="How long a job may take to be ready."
    )
    check_seconds: float = Field(
        Patience.check_seconds, ge=0, description="How long smoke checks are repeated before they fail."
    )
    check_timeout_seconds: float = Field(10.0, gt=0, description="How long one smoke check may take.")
    stable_seconds: float = Field(
        Patience.stable_seconds, ge=0, description="How long a job has to stay ready to be believed."
    )
    outage_seconds: float = Field(
        Patience.outage_seconds,
        gt=0,
        description="How long Toolforge may be unusable before a deployment is given up.",
    )
    poll_min_seconds: float = Field(
        Patience.poll_min_seconds, gt=0, description="Shortest pause between two looks at a build or job."
    )
    poll_max_seconds: float = Field(
        Patience.poll_max_seconds, gt=0, description="Longest pause between two looks."
    )
    janitor_seconds: float = Field(
        Policy.janitor_seconds,
        gt=0,
        description="How often each account is compared with what the database says of it.",
    )
    log_limit_bytes: int = Field(2_000_000, ge=1000, description="How much of a log is kept, its end first.")
    logs_per_preview: int = Field(
        Policy.logs_per_preview, ge=1, le=1000, description="How many deployments of a preview keep logs."
    )
    event_days: float = Field(
        Retention.event_seconds / _DAY,
        ge=1,
        le=_LONGEST_DAYS,
        description="How long events are kept: the timelines, and who did what.",
    )
    log_days: float = Field(
        Retention.log_seconds / _DAY,
        ge=1,
        le=_LONGEST_DAYS,
        description="How long logs are kept; that of an open merge request's newest deployment stays.",
    )
    delivery_days: float = Field(
        Retention.delivery_seconds / _DAY,
        ge=7,
        le=_LONGEST_DAYS,
        description="How long deliveries of webhooks are kept once they are handled; one that comes again "
        "meanwhile counts for nothing.",
    )
    deployment_days: float = Field(
        Retention.deployment_seconds / _DAY,
        ge=7,
        le=_LONGEST_DAYS,
        description="How long deployments that have ended are kept, but for the newest of each preview and "
        "what a present lease may still have on an account.",
    )
    chromium: str = Field(
        "chromium",
        description="Program, by its name or path, with which workers that have it take a picture of each "
        "preview's page; empty: they take none. See operations.md.",
    )
    deliveries_per_minute: int = Field(
        Policy.deliveries_per_minute,
        ge=1,
        le=1_000_000,
        description="How many deliveries of a project, changes and comments apart, are looked at in a "
        "minute; others wait, and of several changes of one merge request one is looked at.",
    )
    waiting_per_project: int = Field(
        Policy.waiting_per_project,
        ge=1,
        le=1_000_000,
        description="How many deployments of a project may wait to be built; a bot's beyond that fails, with "
        "advice, and a person's where as many of people wait.",
    )
    body_limit_bytes: int = Field(1_000_000, ge=1000, description="Largest webhook body that is taken.")
    public_pages: bool = Field(
        True, description="Whether anybody may read the pages and the API; settings and secrets are on none."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Form of the logs; `auto` is text on a terminal, and JSON elsewhere."
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token for `/metrics`; unset: only callers on the same machine may read it.",
    )
    sentry_dsn: SecretStr | None = Field(
        None,
        description="DSN of a Sentry-compatible service that is told of errors; unset: only the logs are.",
    )
    max_streams: int = Field(
        32,
        ge=0,
        le=10_000,
        description="How many readers a web process keeps up to date by a stream, each with a thread of its "
        "own; others ask every few seconds. Give gunicorn 16 `--threads` more.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        path = os.environ.get(f"{PREFIX}CONFIG")
        return (*sources, TomlConfigSettingsSource(settings_cls, path)) if path else sources

    @field_validator("public_url", "gitlab_url", "toolforge_url", "preview_url")
    @classmethod
    def _is_web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        is_plain = value.isascii() and not re.search(r"[\s?#@]", value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
            raise ValueError("expected an address such as https://example.org, without user, query or spaces")
        if parts.port == 0:
            raise ValueError("expected a port above 0")
        return value.rstrip("/")

    @field_validator("gitlab_token")
    @classmethod
    def _is_given(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError(
                "expected an access token; GitLab makes one under the project's or group's settings"
            )
        return value

    @field_validator("old_secret_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        keys = value.get_secret_value().split() if value is not None else []
        if any(len(key) < _SHORTEST_KEY for key in keys):
            raise ValueError(f"expected keys of at least {_SHORTEST_KEY} characters, with spaces between")
        if keys and info.data.get("secret_key", "wrong") is None:
            raise ValueError("old keys need a new one: there is no secret_key")
        return value if keys else None

    @field_validator("gitlab_application_secret")
    @classmethod
    def _goes_with_the_id(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        is_given = value is not None and value.get_secret_value() != ""
        has_id = bool(info.data.get("gitlab_application_id"))
        if has_id and not is_given:
            raise ValueError("expected the secret of the application that gitlab_application_id names")
        if is_given and not has_id:
            raise ValueError("there is a secret, but no gitlab_application_id")
        if has_id and info.data.get("secret_key", "wrong") is None:
            raise ValueError("signing in needs the setting secret_key, too, from which sessions are signed")
        return value if is_given else None

    @field_validator("operators")
    @classmethod
    def _can_sign_in(cls, value: str, info: ValidationInfo) -> str:
        if value.strip() and info.data.get("gitlab_application_id", "wrong") == "":
            raise ValueError("nobody can sign in without gitlab_application_id, operators neither")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        value = _on_toolsdb(value.removeprefix(_TOOLSDB)) if value.startswith(_TOOLSDB) else value
        try:
            url = make_url(value)
            url.get_dialect().import_dbapi()
        except SQLAlchemyError:
            raise ValueError("expected SQLAlchemy's form, such as sqlite:///file.db") from None
        except ImportError as error:
            raise ValueError(
                f"its driver {error.name} is not installed; toolforge-preview[mariadb] has PyMySQL, "
                "toolforge-preview[postgresql] has psycopg"
            ) from None
        if url.get_backend_name() not in {"sqlite", "mysql", "mariadb", "postgresql"}:
            raise ValueError("expected SQLite, MariaDB or PostgreSQL")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if urlsplit(value).scheme not in {"redis", "rediss"}:
            raise ValueError("expected redis://HOST:PORT/NUMBER")
        return value

    @field_validator("preview_url")
    @classmethod
    def _names_the_tool(cls, value: str) -> str:
        if "{tool}" not in value or re.search("[{}]", value.replace("{tool}", "")):
            raise ValueError("expected {tool} in it, in the place of the account's name, and no other braces")
        return value

    @field_validator("gitlab_ca_file", "toolforge_ca_file")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @property
    def user_agent(self) -> str:
        """The service's name and a contact."""
        return f"toolforge-preview/{__version__} ({self.contact})"

    @property
    def operator_names(self) -> frozenset[str]:
        """The operators' names in lower case: GitLab lets no two names differ in case alone."""
        return frozenset(name.strip().lower() for name in self.operators.split(",") if name.strip())

    def secrets(self) -> list[str]:
        """The values that nobody else is to see: tokens, keys, and the passwords in the addresses."""
        given = (
            *(self.gitlab_token, self.secret_key, self.gitlab_application_secret),
            *(self.metrics_token, self.sentry_dsn),
        )
        values = [secret.get_secret_value() for secret in given if secret is not None]
        values += self.sealing_keys()[1:]
        of_the_database = make_url(self.database_url).password or ""
        of_redis = unquote(urlsplit(self.redis_url).password or "")
        return [value for value in (*values, str(of_the_database), of_redis) if value]

    def sealing_keys(self) -> list[str]:
        """What the keys are derived from that secrets at rest are encrypted with, the one in force first."""
        if self.secret_key is None:
            return []
        old = self.old_secret_keys.get_secret_value().split() if self.old_secret_keys is not None else []
        return [self.secret_key.get_secret_value(), *old]

    def bounds(self) -> Bounds:
        """What a repository's own file may ask for."""
        return Bounds(
            memory_bytes=self.job_memory_mib * 2**20,
            cpu=self.job_cpu,
            longest_live_seconds=self.longest_live_seconds,
            longest_min_live_seconds=self.longest_min_live_seconds,
        )

    def policy(self) -> Policy:
        """What the pure parts need of it."""
        return Policy(
            patience=Patience(
                build_seconds=self.build_seconds,
                start_seconds=self.start_seconds,
                check_seconds=self.check_seconds,
                stable_seconds=self.stable_seconds,
                outage_seconds=self.outage_seconds,
                poll_min_seconds=self.poll_min_seconds,
                poll_max_seconds=self.poll_max_seconds,
            ),
            limits=Limits(
                max_concurrent_builds=self.max_concurrent_builds,
                builds_per_account=self.builds_per_account,
                min_live_seconds=self.min_live_seconds,
                cohort_seconds=self.cohort_seconds,
            ),
            live_seconds=self.live_seconds,
            longest_live_seconds=self.longest_live_seconds,
            clean_poll_seconds=self.poll_min_seconds,
            janitor_seconds=self.janitor_seconds,
            quiet=Quiet(people_seconds=self.quiet_seconds, bot_seconds=self.bot_quiet_seconds),
            catch_up_seconds=self.catch_up_seconds,
            probe_seconds=self.probe_days * _DAY,
            most_taken_down_share=self.most_taken_down_share,
            logs_per_preview=self.logs_per_preview,
            keep_seconds=self.keep_seconds,
            kept_per_project=self.kept_per_project,
            bots=frozenset(name.strip() for name in self.bots.split(",") if name.strip()),
            check_only_bots=self.check_only_bots,
            deliveries_per_minute=self.deliveries_per_minute,
            waiting_per_project=self.waiting_per_project,
            retention=Retention(
                event_seconds=self.event_days * _DAY,
                log_seconds=self.log_days * _DAY,
                delivery_seconds=self.delivery_days * _DAY,
                deployment_seconds=self.deployment_days * _DAY,
            ),
        )


def _on_toolsdb(name: str) -> str:
    """The URL of a tool's own database on ToolsDB, with the credentials that Toolforge gives every job."""
    user, password = (os.environ.get(f"TOOL_TOOLSDB_{what}", "") for what in ("USER", "PASSWORD"))
    if not re.fullmatch(r"[A-Za-z0-9_]{1,40}", name):
        raise ValueError("expected toolsdb:NAME, where the database is called USER__NAME")
    if not user or not password:
        raise ValueError("TOOL_TOOLSDB_USER and TOOL_TOOLSDB_PASSWORD are not set, as they are on Toolforge")
    url = URL.create(
        "mariadb+pymysql", user, password, "tools.db.svc.wikimedia.cloud", database=f"{user}__{name}"
    )
    return url.render_as_string(hide_password=False)


def load_settings(**values: Any) -> Settings:
    """The settings in force; raises :class:`BadInput` that names each wrong one and what was expected."""
    path = os.environ.get(f"{PREFIX}CONFIG")
    if path and not Path(path).is_file():
        raise BadInput(f"{PREFIX}CONFIG names {path}, but there is no such file.")
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}, which {PREFIX}CONFIG names, is no TOML: {error}") from None
    except ValidationError as error:
        raise BadInput(
            "\n".join(_sentence(problem) for problem in error.errors(include_input=False))
        ) from None


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}CONFIG", TOKEN_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadInput(
            f"Unknown setting {', '.join(unknown)}: remove it, or see `toolforge-preview settings`."
        )


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    return f"Setting {PREFIX}{name.upper()} (in a file: {name}) is wrong: {problem['msg']}."
