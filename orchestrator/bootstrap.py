"""The only place that puts the concrete parts together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from redis import Redis
from sqlalchemy import Connection

from orchestrator.counting import Counting
from orchestrator.gitlab import GitLab
from orchestrator.lifecycle import Lifecycle
from orchestrator.masking import Mask
from orchestrator.pages import Pages
from orchestrator.pictures import Pictures
from orchestrator.project_secrets import ProjectSecrets
from orchestrator.pulse import Pulse
from orchestrator.rights import Rights
from orchestrator.sealing import Vault
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.tally import Count
from orchestrator.tokens import Tokens
from orchestrator.toolforge import Toolforge
from orchestrator.views import Views

#: Where Alembic finds the migrations.
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Parts:
    """Everything that a process may need, made when it is first asked for."""

    settings: Settings

    @cached_property
    def store(self) -> Store:
        """The database."""
        return Store(self.settings.database_url)

    @cached_property
    def counting(self) -> Counting:
        """What this process counts."""
        return Counting(self.store)

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The one door through which state changes."""
        return Lifecycle(self.store, self.settings.policy())

    @cached_property
    def views(self) -> Views:
        """What pages, notes and the command line read."""
        return Views(
            self.store,
            preview_url=self.settings.preview_url,
            public_url=self.settings.public_url,
            limits=self.settings.policy().limits,
        )

    @cached_property
    def pages(self) -> Pages:
        """What the pages and the API show of the whole."""
        return Pages(self.store, self.views)

    @cached_property
    def pictures(self) -> Pictures:
        """What the pages of previews look like."""
        return Pictures(self.store)

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens with which people's programs use the API."""
        return Tokens(self.store)

    @cached_property
    def secrets(self) -> ProjectSecrets:
        """The secret envvars of projects."""
        return ProjectSecrets(self.store, Vault(self.settings.sealing_keys()))

    @cached_property
    def gitlab(self) -> GitLab:
        """GitLab, with our token."""
        return GitLab(
            self.settings.gitlab_url,
            self.settings.gitlab_token.get_secret_value(),
            user_agent=self.settings.user_agent,
            ca_file=self.settings.gitlab_ca_file,
            on_call=partial(self.counting.count, Count.API_CALLS, "gitlab"),
        )

    @cached_property
    def rights(self) -> Rights:
        """What people may do in a project."""
        return Rights(self.gitlab)

    @cached_property
    def toolforge(self) -> Toolforge:
        """Toolforge, with the accounts of the pool."""
        return Toolforge(
            self.settings.toolforge_url,
            user_agent=self.settings.user_agent,
            ca_file=self.settings.toolforge_ca_file,
            on_call=partial(self.counting.count, Count.API_CALLS, "toolforge"),
            mask=Mask(self.settings.secrets()),
        )

    @cached_property
    def redis(self) -> Redis:
        """Redis; nothing in it has to last."""
        return Redis.from_url(self.settings.redis_url, socket_timeout=5.0, socket_connect_timeout=2.0)

    @cached_property
    def pulse(self) -> Pulse:
        """Whether workers work."""
        return Pulse(self.redis, self.settings.queue_prefix)

    def close(self) -> None:
        """Close the connections of everything that was made."""
        for name in ("counting", "store", "gitlab", "toolforge", "redis"):
            if name in self.__dict__:
                getattr(self, name).close()

    def migrate(self) -> None:
        """Bring the database to the newest form; a new one is made."""
        with self.store.engine.begin() as connection:
            migrate_to(connection, "head")


def migrate_to(connection: Connection, revision: str) -> None:
    """Bring the database to the form that `revision` names."""
    config = _migrations()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revisions() -> frozenset[str]:
    """The forms of the database that are known."""
    return frozenset(one.revision for one in ScriptDirectory.from_config(_migrations()).walk_revisions())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
