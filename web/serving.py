"""How gunicorn serves the web process: ``gunicorn --config python:web.serving 'web.app:create_app()'``.

Names are those of gunicorn's settings; what is given on its command line counts before them. Each reader of a
stream has a thread for itself, and sixteen are there for everybody else. Where to listen is gunicorn's own
default: all addresses at ``$PORT`` where that is set, else 127.0.0.1:8000.
"""

from __future__ import annotations

import sys

from gunicorn.glogging import Logger

from orchestrator import logs
from orchestrator.errors import BadInput
from orchestrator.settings import Settings, load_settings


def _settings() -> Settings:
    try:
        return load_settings()
    except BadInput as error:
        sys.exit(f"Error: {error}")


class OneForm(Logger):  # type: ignore[misc]
    """Gunicorn's own lines go where ours go, in the same form; requests are the proxy's to log."""

    def setup(self, cfg: object) -> None:
        """Take nothing over from `cfg`."""
        self.error_log.handlers.clear()
        self.error_log.propagate = True


_found = _settings()
logs.install(_found.log_format)

worker_class = "gthread"
threads = _found.max_streams + 16
#: Toolforge kills a process fifteen seconds after it was asked to end.
graceful_timeout = 10
control_socket_disable = True
logger_class = OneForm
