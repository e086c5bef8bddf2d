"""The few ways in which something can go wrong, each named by what the caller can do about it.

::

    PreviewError
    ├── BadInput      tell whoever asked; nothing was changed
    ├── NotFound      tell whoever asked; there is no such thing
    ├── TryLater      the other side is busy or away; the same step may be repeated
    ├── Conflict      somebody else was faster; look again
    └── IllegalMove   a bug: a transition that is not in the table
"""

from __future__ import annotations


class PreviewError(Exception):
    """Something that Toolforge Preview knows how to name."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class BadInput(PreviewError):
    """What was given cannot be used."""


class NotFound(PreviewError):
    """There is no such thing."""


class TryLater(PreviewError):
    """The other side cannot answer now.

    ``seconds`` is the pause that the other side asked for, or None where it said nothing.
    """

    def __init__(self, message: str, *, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Conflict(PreviewError):
    """The row was changed by somebody else in the meantime."""


class IllegalMove(PreviewError):
    """A transition that is not in the table was asked for."""
