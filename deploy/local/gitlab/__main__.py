"""`python -m deploy.local.gitlab --state DIR [--port N]`: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.local.gitlab.server import AlreadyRunning, LocalGitLab


def main() -> int:
    """Run the server; 0 after a signal, 1 when it cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.gitlab", description="A GitLab on loopback."
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for repositories and records")
    parser.add_argument(
        "--port", type=int, default=0, help="port to listen on (default: the last one, or any)"
    )
    options = parser.parse_args()
    try:
        LocalGitLab(options.state, options.port).run()
    except (AlreadyRunning, OSError) as problem:
        print(f"the local GitLab cannot start: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
