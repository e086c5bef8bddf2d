"""A small program that outlives the local Toolforge by a moment, to end every child it leaves behind.

Its standard input is a pipe held by the server. Lines name sessions (`+123`, `-123`). When the pipe closes,
however the server ended, every process of those sessions, and every process that carries the server's mark in
its environment, is killed; then it ends itself. Run as a file, with no imports but the standard library's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

MARK = "LOCAL_TOOLFORGE_MARK"


def members(sessions: set[int], mark: str = "") -> list[int]:
    """Process ids of the given sessions, and of all whose mark begins with this one (Linux: /proc)."""
    found = []
    needle = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            alive = fields[0] not in (b"Z", b"X")
            if alive and (int(fields[3]) in sessions or (mark and _carries(entry, needle))):
                found.append(int(entry))
    return found


def _carries(entry: str, needle: bytes) -> bool:
    with open(f"/proc/{entry}/environ", "rb") as file:
        return any(word.startswith(needle) for word in file.read().split(b"\0"))


def kill_all(sessions: set[int], mark: str = "") -> None:
    """Kill all members until none is left, for two seconds at most (what forks meanwhile is caught again)."""
    deadline = time.monotonic() + 2
    own = os.getpid()
    while time.monotonic() < deadline:
        found = [pid for pid in members(sessions, mark) if pid != own]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def main() -> None:
    """Follow the sessions told on standard input; at its end kill what is left of them."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    mark = sys.argv[1]
    sessions: set[int] = set()
    for line in sys.stdin:
        number = int(line[1:])
        if line.startswith("+"):
            sessions.add(number)
        else:
            sessions.discard(number)
    kill_all(sessions, mark)


if __name__ == "__main__":
    main()
