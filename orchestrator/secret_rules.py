"""What a project's secret envvar may be called and hold, and which of them a deployment gets. Pure.

Names are held against envvars-api's own rule (contract 4); values against what can be masked in logs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.errors import BadInput
from orchestrator.masking import SHORTEST_SECRET

#: Of one project.
MOST = 30
LONGEST_NAME = 100
#: Of a value in UTF-8: a private key of 4096 bits in PEM has 3300.
MOST_BYTES = 4000

_NAME = re.compile(r"[A-Z][A-Z_0-9]{2,}[A-Z0-9]")
#: Names that mean something to others, by how they begin, and why they cannot be set.
_PREFIXES = {
    "TOOL_": "Toolforge sets those that begin with TOOL_ itself",
    "PREVIEW_": "those that begin with PREVIEW_ are set by Toolforge Preview",
    "LD_": "those that begin with LD_ change how every program starts",
}
_RESERVED = {
    "PORT": "Toolforge sets it to the port on which the preview has to listen",
    "PATH": "the image finds its programs by it",
    "HOME": "the image sets it itself",
}
#: A value may have lines and tabs; anything else of that kind is a mistake.
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Opened:
    """Secrets as a deployment gets them. Their values stand in no `repr`, and so in no log."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Names of those that no key opens.
    unreadable: tuple[str, ...] = ()

    def only(self, names: Collection[str]) -> Opened:
        """Those of these names."""
        return Opened(
            {name: value for name, value in self.values.items() if name in names},
            tuple(name for name in self.unreadable if name in names),
        )

    @property
    def names(self) -> frozenset[str]:
        """The names of all."""
        return frozenset((*self.values, *self.unreadable))


def check_name(name: str) -> None:
    """Raise :class:`BadInput`, with the reason, when no secret can be called `name`."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise BadInput(
            "A name has 4 to 100 of A-Z, 0-9 and _, and begins with a letter and does not end with _: "
            "these are Toolforge's rules."
        )
    reasons = [why for prefix, why in _PREFIXES.items() if name.startswith(prefix)]
    reason = _RESERVED.get(name, next(iter(reasons), ""))
    if reason:
        raise BadInput(f"{name} cannot be set: {reason}.")


def as_kept(value: str) -> str:
    """`value` with plain line ends, without the one behind it.

    Raises :class:`BadInput`, which does not repeat it, when it is too short or too long, or holds what is
    no text.
    """
    value = value.replace("\r\n", "\n").removesuffix("\n")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadInput("The value is no text in UTF-8.") from None
    if value != value.strip():
        raise BadInput("The value begins or ends with white space, which is probably a mistake.")
    if _CONTROL.search(value):
        raise BadInput("The value has control characters in it; encode it, in base64 for example.")
    if len(value) < SHORTEST_SECRET:
        raise BadInput(
            f"The value has less than {SHORTEST_SECRET} characters: it can be guessed, and could not be "
            "masked in logs. What is no secret can stand under run.envvars in the repository's own file."
        )
    if size > MOST_BYTES:
        raise BadInput(f"The value has {size} bytes; {MOST_BYTES} are the most.")
    return value
