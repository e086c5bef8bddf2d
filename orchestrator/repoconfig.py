"""What a repository asks for in its ``.toolforge-preview.yaml``: the keys and their types.

Pure. The kinds of values stand in ``repovalues.py``. How a text becomes such a configuration, and what is
said of mistakes, stands in ``repofile.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from orchestrator.components import MOST_COMPONENTS, Components
from orchestrator.repovalues import (
    LONGEST_CHECK_SECONDS,
    MOST_PATTERN,
    NO_OTHERS,
    BuildName,
    Duration,
    EnvvarValue,
    Globs,
    HeaderName,
    JsonPath,
    Labels,
    Line,
    Model,
    Path,
    Patterns,
    Resources,
    RunName,
    Scalar,
    SomeStatus,
    Texts,
    is_not_ours,
)

FILE_NAME = ".toolforge-preview.yaml"
MOST_CHECKS = 20


class Check(Model):
    """One smoke check of the running preview; all that is given has to be so."""

    path: Path = Field(default="/", description="What is asked for.", title="a path such as /healthz")
    method: Literal["GET", "HEAD", "OPTIONS", "POST"] = Field(
        default="GET", description="How it is asked for.", title="GET, HEAD, OPTIONS or POST"
    )
    status: SomeStatus = Field(
        default=(),
        description="The status, or one of several; without it anything below 500 will do.",
        title="a status from 100 to 599, or a list of them",
    )
    contains: Texts = Field(
        default=(), description="Texts that the body has to contain.", title="a text, or a list of texts"
    )
    regex: Patterns = Field(
        default=(),
        description="RE2 expressions, each of which has to match somewhere in the body.",
        title=f"a regular expression of RE2 of at most {MOST_PATTERN} characters, or a list of them",
    )
    json_values: dict[JsonPath, Scalar] = Field(
        default={},
        alias="json",
        max_length=20,
        description="Values by their places in the JSON body, such as $.items[0].id.",
        title="values by JSON paths of the simple kind, such as $.items[0].id",
    )
    headers: dict[HeaderName, Line] = Field(
        default={},
        max_length=20,
        json_schema_extra=NO_OTHERS,
        description="Texts that headers of the answer have to contain, by their names.",
        title="texts by names of headers",
    )
    seconds: int | float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_CHECK_SECONDS,
        description="How long one try may take.",
        title=f"a number of seconds, at most {LONGEST_CHECK_SECONDS:g}",
    )
    retries: int | None = Field(
        default=None,
        ge=0,
        le=30,
        description="How many more tries it has; without it as many as fit into the operators' time.",
        title="a whole number from 0 to 30",
    )


class Build(Model):
    """What the build is given."""

    envvars: dict[BuildName, EnvvarValue] = Field(
        default={},
        max_length=50,
        json_schema_extra=NO_OTHERS,
        description="Environment variables of the build. Everybody can read them.",
        title="texts (numbers in quotes) by names of letters, digits and _, at least three",
    )


class Run(Resources):
    """What the running preview is given."""

    envvars: Annotated[dict[RunName, EnvvarValue], AfterValidator(is_not_ours)] = Field(
        default={},
        max_length=50,
        json_schema_extra=NO_OTHERS,
        description="Environment variables of the job.",
        title="texts (numbers in quotes) by names of A-Z, 0-9 and _, at least four, no TOOL_ or PREVIEW_",
    )


class Life(Model):
    """How long the preview lives."""

    min: Duration | None = Field(
        default=None,
        description="How long it stays up before it may have to give way to another merge request.",
        title="a duration such as 90m, 48h or 3d",
    )
    max: Duration | None = Field(
        default=None, description="How long it stays up.", title="a duration such as 90m, 48h or 3d"
    )


class Filters(Model):
    """Which merge requests get a preview; others get a neutral status. A command gets one all the same."""

    paths: Globs = Field(
        default=(),
        description="Only when one of these files is changed.",
        title="a pattern such as src/**, or a list",
    )
    ignore_paths: Globs = Field(
        default=(),
        description="Not when only such files are changed.",
        title="a pattern such as docs/**, or a list",
    )
    labels: Labels = Field(
        default=(), description="Only with one of these labels.", title="a label, or a list of labels"
    )
    ignore_labels: Labels = Field(
        default=(), description="Not with any of these labels.", title="a label, or a list of labels"
    )
    target_branches: Globs = Field(
        default=(),
        description="Only for merge requests into one of these branches.",
        title="a pattern such as main or release/*, or a list",
    )
    drafts: bool = Field(default=True, description="Whether drafts get a preview.", title="true or false")


class RepoConfig(Model):
    """All that a repository can say of its previews."""

    checks: tuple[Check, ...] = Field(
        default=(),
        max_length=MOST_CHECKS,
        description="Smoke checks; without any, the checks that the project was connected with.",
        title=f"a list of checks, at most {MOST_CHECKS}",
    )
    command: Line | None = Field(
        default=None,
        description="What is run: an entry of the Procfile, or a command.",
        title="a line of text",
    )
    health: Path | None = Field(
        default=None,
        description="Toolforge asks for this path to see whether the job is ready.",
        title="a path such as /healthz",
    )
    build: Build = Field(default=Build(), description="What the build is given.", title="a mapping")
    run: Run = Field(default=Run(), description="What the job is given.", title="a mapping")
    life: Life = Field(default=Life(), description="How long the preview lives.", title="a mapping")
    filters: Filters = Field(
        default=Filters(), description="Which merge requests get one.", title="a mapping"
    )
    config_version: Literal["v1beta1"] | None = Field(
        default=None, description="The version of the form that `components` has.", title="v1beta1"
    )
    # The last one, for what stands beside them is looked at as well.
    components: Components = Field(
        default={},
        json_schema_extra=NO_OTHERS,
        description="Parts of the tool, as Toolforge's own component configuration has them.",
        title=f"components by their names (a-z, 0-9 and -), at most {MOST_COMPONENTS}",
    )

    def stored(self) -> dict[str, Any]:
        """As JSON values, without what is left at its default."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


_NOTHING = RepoConfig()


def restored(stored: Mapping[str, Any] | None) -> RepoConfig:
    """The configuration that :meth:`RepoConfig.stored` made the values of; for None that of no file."""
    if not stored:
        return _NOTHING
    return RepoConfig.model_validate_json(json.dumps(stored))
