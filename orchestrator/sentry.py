"""Tells a Sentry-compatible service what goes wrong unforeseen, where the setting `sentry_dsn` names one.

Told are the errors that the logs have, with the places in the code and what they were about; no variables,
and nothing of a request but its address: those are foreign, or secret.
"""

from __future__ import annotations

from typing import Any

from orchestrator import __version__, logs
from orchestrator.errors import BadInput
from orchestrator.masking import Mask
from orchestrator.settings import Settings

_OF_REQUESTS = ("method", "url")


def install(settings: Settings) -> None:
    """Let errors of this process be told, from now on.

    Raises :class:`BadInput` when there is such a setting, and it is no DSN, or the package for it is missing.
    """
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
    except ImportError:
        raise BadInput(
            "The setting sentry_dsn needs a package more: pip install 'toolforge-preview[sentry]'."
        ) from None
    mask = Mask(settings.secrets())

    def before_send(event: dict[str, Any], _hint: object) -> dict[str, Any]:
        request = event.pop("request", None) or {}
        event.pop("extra", None)
        kept = {name: request[name] for name in _OF_REQUESTS if name in request}
        tags = {name: str(value) for name, value in logs.present().items()}
        masked: dict[str, Any] = _masked({**event, "request": kept, "tags": tags}, mask)
        return masked

    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn.get_secret_value(),
            release=__version__,
            send_default_pii=False,
            include_local_variables=False,
            max_request_body_size="never",
            # What was logged before is in the logs, and not all of it is masked there.
            max_breadcrumbs=0,
            before_send=before_send,  # type: ignore[arg-type]
        )
    except sentry_sdk.utils.BadDsn as error:
        raise BadInput(f"The setting sentry_dsn is no DSN of a Sentry: {error}.") from None


def _masked(value: Any, mask: Mask) -> Any:
    if isinstance(value, str):
        return mask.text(value)
    if isinstance(value, dict):
        return {name: _masked(item, mask) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, mask) for item in value]
    return value
