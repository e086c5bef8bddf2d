"""The tables. Times are seconds since the epoch as doubles: one meaning on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.dialects.mysql import MEDIUMBLOB
from sqlalchemy.event import listens_for

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
#: In characters; MariaDB's TEXT holds 64 KiB.
_LONGEST_TEXT = 10_000


class Words(TypeDecorator[str]):
    """Text for people, by whomever: what a database would refuse is replaced, what is too long is cut.

    A row must not be stranded by a character in an error's words.
    """

    impl: Any = String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        if length is None:
            self.impl = Text()
        self.length = length or _LONGEST_TEXT

    def process_bind_param(self, value: str | None, _: Dialect) -> str | None:
        """The text without NUL and half characters."""
        if value is None:
            return None
        return value[: self.length].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


@listens_for(Table, "before_create")
def _compare_exactly(table: Table, connection: Connection, **_: object) -> None:
    """On MariaDB strings are to be equal when they are the same: also in case, accents and last spaces."""
    name = connection.dialect.name
    if name in {"mysql", "mariadb"}:
        table.kwargs[f"{name}_charset"] = "utf8mb4"
        table.kwargs[f"{name}_collate"] = "utf8mb4_nopad_bin"


def _claim_columns() -> list[Column[object]]:
    """When the row wants to be looked at, and who looks at it just now."""
    return [
        Column("due_at", Double, index=True),
        Column("claim", String(32)),
        Column("claimed_until", Double),
        Column("version", Integer, nullable=False, server_default="0"),
        Column("attempts", Integer, nullable=False, server_default="0"),
    ]


project = Table(
    "project",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("gitlab_id", Integer, nullable=False, unique=True),
    Column("path", String(255), nullable=False, unique=True),
    Column("web_url", String(255), nullable=False),
    Column("git_url", String(255), nullable=False),
    # Only digests: to compare is all that a webhook secret is needed for.
    # A list, newest first: while a new secret is put in place, the old one is good, too.
    Column("secret_digests", JSON, nullable=False),
    # Generations of the signing key, newest first; null: GitLab does not sign. The key is derived, not kept.
    Column("signing", JSON),
    # Until then the older secrets and generations count, too.
    Column("old_secrets_until", Double),
    # Which merge requests get a preview; null: the usual ones.
    Column("rules", JSON),
    Column("checks", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    # Since when it is not connected any more; null: it is.
    Column("removed_at", Double),
    # Its share in the turns of the scheduler.
    Column("weight", Double, nullable=False, server_default="1"),
    # What its newest builds took, in bytes of the image store and in seconds; null before the first.
    Column("image_bytes", BigInteger),
    Column("build_seconds", Double),
    # Due when its open merge requests are to be compared with what we know.
    *_claim_columns(),
)

preview = Table(
    "preview",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    # Of the merge request; 0 for the project's default branch.
    Column("iid", Integer, nullable=False),
    Column("title", Words(255), nullable=False),
    Column("author", Words(255), nullable=False),
    Column("web_url", Words(255), nullable=False),
    Column("source_branch", Words(255), nullable=False),
    Column("target_branch", Words(255), nullable=False),
    Column("mr_state", String(16), nullable=False),
    Column("head_sha", String(64), nullable=False),
    # The branch lies in the project itself, where only Developers and above can push.
    Column("is_from_project", Boolean, nullable=False),
    # When GitLab said all that; an older answer must not overwrite it.
    Column("seen_at", Double, nullable=False),
    # Null while nothing is live.
    Column("expires_at", Double, index=True),
    # Why there is nothing live any more, for people.
    Column("stop_reason", Words(255), nullable=False),
    # Somebody asked to keep it until then: it does not give way to others before.
    Column("keep_until", Double, index=True),
    # Somebody asked for the logs of the newest deployment in the note.
    Column("shows_logs", Boolean, nullable=False, server_default=false()),
    # Why the newest command could not be carried out; empty: it could.
    Column("remark", Words(255), nullable=False, server_default=""),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("project_id", "iid"),
)

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("preview_id", ForeignKey("preview.id"), nullable=False, index=True),
    Column("sha", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("step", String(24), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("since", Double, nullable=False),
    Column("step_since", Double, nullable=False),
    Column("trigger", String(32), nullable=False),
    Column("actor", Words(255), nullable=False),
    Column("is_bot", Boolean, nullable=False),
    # Wanted is the verdict alone: it is not kept for review.
    Column("check_only", Boolean, nullable=False, server_default=false()),
    # Not planned before: more pushes may follow. Null: at once.
    Column("ready_at", Double),
    # Names the files of the commit, whatever its history; empty when not known.
    Column("tree", String(64), nullable=False, server_default=""),
    # What is built where it is not the head: its merge with the target branch.
    Column("merged_sha", String(64)),
    # Bytes of the image store that its build was expected to take, and took.
    Column("reserved_bytes", BigInteger),
    Column("image_bytes", BigInteger),
    Column("account_id", ForeignKey("account.id")),
    Column("fence", Integer),
    Column("build_id", String(255)),
    Column("image", String(512)),
    # Images of other repositories that its components need, by the component that names them.
    Column("images", JSON(none_as_null=True)),
    Column("ready_since", Double),
    Column("had_candidate", Boolean, nullable=False),
    Column("unsure_until", Double),
    Column("failure", JSON),
    # The build that Toolforge failed, after which it was built once more; null: there was none.
    Column("retry", JSON(none_as_null=True)),
    # What the latest builder makes of it, where the current one lacks a version; null: it was not asked.
    Column("opinion", JSON(none_as_null=True)),
    Column("checks", JSON, nullable=False),
    # What its repository file asks for; null: it has not been read.
    Column("config", JSON(none_as_null=True)),
    # Versions that it asks for, and how its build is known to fail; null: not looked at, not known.
    Column("pins", JSON(none_as_null=True)),
    Column("warning", JSON(none_as_null=True)),
    # What it makes of such a version, while others with the same change are waited for; null: nothing.
    Column("change", JSON(none_as_null=True)),
    # Why its filters leave it out, and by what; null: they do not.
    Column("refusal", JSON(none_as_null=True)),
    Column("entered", JSON, nullable=False),
    *_claim_columns(),
    # What is on an account, under its lease.
    Index(None, "account_id", "fence"),
    # What has been live the longest.
    Index(None, "state", "since", "id"),
)

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("since", Double, nullable=False),
    Column("fence", Integer, nullable=False),
    # One account a preview: the database itself refuses a second.
    Column("preview_id", ForeignKey("preview.id"), unique=True),
    # Leased to many check-only deployments of any project, which take turns at its address.
    Column("shared", Boolean, nullable=False, server_default=false()),
    Column("reason", Words, nullable=False),
    Column("drain", Boolean, nullable=False),
    # An operator wants what is not ours to be deleted, too, by the next cleaning.
    Column("clean_all", Boolean, nullable=False, server_default=false()),
    # The image store when it was last looked at; null: not known, or no limit.
    Column("bytes_used", BigInteger),
    Column("bytes_limit", BigInteger),
    # When it was last compared with what we know.
    Column("inspected_at", Double),
    # Names of envvars: what operators have set themselves (null: not known yet), and what may have been set
    # for deployments under the present lease.
    Column("own_envvars", JSON(none_as_null=True)),
    Column("lent_envvars", JSON(none_as_null=True)),
    # What was made for deployments of greater numbers, which a copy that was put back does not know, is ours,
    # until it has been cleaned; null: there is none such.
    Column("forgotten_after", Integer),
    Column("bytes_before", BigInteger),
    # Where its credentials are found; never the credentials.
    Column("credentials", JSON, nullable=False),
    *_claim_columns(),
    # The first that are free by name, those that are shared, and the largest store.
    Index(None, "state", "shared", "drain", "name"),
    Index(None, "state", "drain", "bytes_limit"),
)

lease = Table(
    "lease",
    metadata,
    Column("account_id", ForeignKey("account.id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    # Null when many check-only deployments share it.
    Column("preview_id", ForeignKey("preview.id"), index=True),
    Column("taken_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("bytes_before", BigInteger),
    Column("bytes_after", BigInteger),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    # "deployment", "account", "preview", "project" or "switch" (by its project, 0 for all), and its id.
    Column("subject", String(16), nullable=False),
    Column("subject_id", Integer, nullable=False),
    Column("preview_id", Integer, index=True),
    Column("before", String(16), nullable=False),
    Column("after", String(16), nullable=False),
    Column("who", Words(255), nullable=False),
    Column("why", Words, nullable=False),
    Index(None, "subject", "subject_id"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    # GitLab's Idempotency-Key: the same for every retry of one delivery.
    Column("key", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("iid", Integer, nullable=False),
    # The few facts of the payload that a GET cannot bring back: who commented what.
    Column("facts", JSON, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("handled_at", Double),
    Column("result", Words(255), nullable=False),
    *_claim_columns(),
    UniqueConstraint("project_id", "key"),
    # How many came of late.
    Index(None, "project_id", "received_at"),
)

report_state = Table(
    "report_state",
    metadata,
    Column("preview_id", ForeignKey("preview.id"), primary_key=True),
    # What GitLab was last told: see report.Told.
    Column("told", JSON, nullable=False),
    Column("error", Words, nullable=False),
    *_claim_columns(),
)

log = Table(
    "log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("deployment_id", ForeignKey("deployment.id"), nullable=False),
    # "build" or "job".
    Column("kind", String(16), nullable=False),
    Column("at", Double, nullable=False),
    Column("zlib", LargeBinary(2**24 - 1).with_variant(MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
    Column("is_truncated", Boolean, nullable=False),
    UniqueConstraint("deployment_id", "kind"),
)

# What the pages of previews look like, or that it was tried to find out.
picture = Table(
    "picture",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("deployment_id", ForeignKey("deployment.id"), nullable=False, unique=True),
    # When it was first tried.
    Column("at", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    # Not to be tried again before.
    Column("again_at", Double, nullable=False),
    # Null, both: there is none yet.
    Column("taken_at", Double),
    Column("webp", LargeBinary(2**24 - 1).with_variant(MEDIUMBLOB(), "mysql", "mariadb")),
)

tally = Table(
    "tally",
    metadata,
    # Counts that only grow: see tally.py for the names, counting.py for who adds.
    Column("name", String(40), primary_key=True),
    Column("labels", String(120), primary_key=True),
    Column("value", Double, nullable=False),
)

# Whether the default branches of projects deploy, of those that want to know.
main_watch = Table(
    "main_watch",
    metadata,
    Column("project_id", ForeignKey("project.id"), primary_key=True, autoincrement=False),
    # Null: never, or not known.
    Column("checked_at", Double),
    Column("good_at", Double),
    Column("good_sha", String(64)),
    Column("broken_at", Double),
    Column("broken_sha", String(64)),
    Column("mended_at", Double),
    # Why it does not, by the newest verdict; null: it does.
    Column("failure", JSON(none_as_null=True)),
)

# Tiny repositories of our own, each a branch, and what the builders made of them: see probes.py.
probe = Table(
    "probe",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("builder", String(32), primary_key=True),
    # Of its newest try; null, all: there was none.
    Column("deployment_id", Integer),
    Column("tried_at", Double),
    # When a try without a verdict is repeated; null: it had one, or goes on.
    Column("again_at", Double),
    # The newest verdict.
    Column("checked_at", Double),
    Column("was_built", Boolean),
    Column("why", Words(255), nullable=False, server_default=""),
)

# What became of the builds with a version of a language, or with what repositories asked for.
runtime_seen = Table(
    "runtime_seen",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("builder", String(32), nullable=False),
    Column("runtime", String(16), nullable=False),
    Column("wanted", String(64), nullable=False),
    Column("cause", String(64), nullable=False),
    # Null: never.
    Column("refused_at", Double),
    Column("seen_at", Double),
    # By what it was shown last: see runtimes.py.
    Column("source", String(16), nullable=False, server_default="project"),
    UniqueConstraint("builder", "runtime", "wanted"),
)

# With which people's programs use the API.
api_token = Table(
    "api_token",
    metadata,
    Column("id", Integer, primary_key=True),
    # Of the token, which only its person has.
    Column("digest", String(64), nullable=False, unique=True),
    # GitLab's number of the person, and the user name when it was made.
    Column("user_id", Integer, nullable=False, index=True),
    Column("user_name", Words(255), nullable=False),
    Column("name", Words(100), nullable=False),
    # "read", "act": see tokens.py.
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    # To the minute; null: never.
    Column("used_at", Double),
)

# Envvars of a project that only previews of its own branches get.
secret = Table(
    "secret",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    Column("name", String(100), nullable=False),
    # The value, encrypted: see sealing.py.
    Column("sealed", Text, nullable=False),
    Column("set_at", Double, nullable=False),
    Column("set_by", Words(255), nullable=False),
    UniqueConstraint("project_id", "name"),
)

switch = Table(
    "switch",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", JSON, nullable=False),
)
