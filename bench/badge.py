"""How many badges a second the web process serves, beside what bare Flask answers under the same gunicorn.

Run with ``make bench-badge``. Two processes of each, as two cores carry, on a database with a thousand
finished deployments. They take turns, so that a busy machine is busy for all of them. Who asks shares the
cores and reads no more of an answer than it must. The processor's time of an answer is that of the serving
processes alone; from it follows what the cores would serve to somebody who asks from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from bench.pool import Rig
from deploy.stack import settings_environment
from orchestrator.settings import load_settings

_PROCESSES = 2
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Asked:
    """One kind of question, and what must be in the first line of its answer."""

    name: str
    port: int
    path: str
    status: bytes = b" 200 "
    headers: str = ""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=500, help="in each turn, by each connection")
    options.add_argument("--at-once", type=int, default=4, help="connections, in two processes")
    options.add_argument("--turns", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        url = f"sqlite:///{Path(folder) / 'badges.db'}"
        Rig(url, 10, 1000).close()
        settings = load_settings(database_url=url, gitlab_token="none")
        bare = stack.enter_context(_gunicorn("bench.bare:app", {}))
        web = stack.enter_context(_gunicorn("web.app:create_app()", settings_environment(settings)))
        known = f"If-None-Match: {_header(_answer(web.port, '/badge/group/tool.svg'), 'ETag')}\r\n"
        asked = {
            _Asked("bare Flask", bare.port, "/"): bare,
            _Asked("a badge", web.port, "/badge/group/tool.svg"): web,
            _Asked("of a merge request", web.port, "/badge/group/tool/1.svg"): web,
            _Asked("that is still right", web.port, "/badge/group/tool.svg", b" 304 ", known): web,
            _Asked("of an unknown project", web.port, "/badge/group/none.svg", b" 404 "): web,
        }
        _report(given, _measure(given, asked))


def _measure(
    given: argparse.Namespace, asked: Mapping[_Asked, _Server]
) -> Mapping[_Asked, tuple[float, float]]:
    """Answers a second by the clock, and seconds of the processor an answer; of all turns together."""
    spent: defaultdict[_Asked, list[tuple[float, float]]] = defaultdict(list)
    each = given.requests
    with get_context("spawn").Pool(_PROCESSES) as pool:
        for turn in range(given.turns + 1):
            for one, server in asked.items():
                before, begun = server.processor_seconds(), time.perf_counter()
                pool.starmap(_ask, [(one, each, given.at_once // _PROCESSES)] * _PROCESSES)
                took = time.perf_counter() - begun
                if turn:
                    # The first turn is for what is only made once.
                    spent[one].append((took, server.processor_seconds() - before))
    count = given.turns * each * (given.at_once // _PROCESSES) * _PROCESSES
    return {
        one: (count / sum(took for took, _ in all_of), sum(cpu for _, cpu in all_of) / count)
        for one, all_of in spent.items()
    }


def _report(given: argparse.Namespace, found: Mapping[_Asked, tuple[float, float]]) -> None:
    load = " ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"{given.at_once} connections, {os.cpu_count()} cores, load averages at the end {load}:")
    first = next(iter(found.values()))
    for one, (rate, cpu) in found.items():
        print(
            f"  {one.name:22} {rate:6.0f} a second, {rate / first[0]:.2f} of bare Flask; "
            f"{cpu * 1000:.3f} ms of a processor, so two cores alone serve {_PROCESSES / cpu:6.0f}, "
            f"{first[1] / cpu:.2f} of bare Flask"
        )


@dataclass(frozen=True)
class _Server:
    """A running gunicorn."""

    port: int
    workers: tuple[int, ...]

    def processor_seconds(self) -> float:
        """What its workers have used so far."""
        return sum(_processor_seconds(pid) for pid in self.workers)


@contextmanager
def _gunicorn(application: str, environment: Mapping[str, str]) -> Iterator[_Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    command += ["--workers", str(_PROCESSES), "--worker-class", "gthread", "--threads", "16"]
    process = subprocess.Popen(
        [*command, "--no-control-socket", application], env={**os.environ, **environment}
    )
    try:
        yield _Server(port, _workers(process.pid, port))
    finally:
        process.terminate()
        process.wait()


def _workers(pid: int, port: int) -> tuple[int, ...]:
    """The processes that serve, once they do."""
    deadline = time.monotonic() + 30
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        try:
            _answer(port, "/")
        except OSError:
            children = []
        if len(children) == _PROCESSES:
            return tuple(map(int, children))
        if time.monotonic() > deadline:
            raise SystemExit("gunicorn does not come up")
        time.sleep(0.1)


def _processor_seconds(pid: int) -> float:
    # proc(5): after the name in parentheses, utime and stime are the 12th and 13th fields.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _ask(one: _Asked, count: int, connections: int) -> None:
    """Ask over as many connections of this process's own."""
    with ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(_ask_often, one, count) for _ in range(connections)]:
            done.result()


def _ask_often(one: _Asked, count: int) -> None:
    question = f"GET {one.path} HTTP/1.1\r\nHost: badges\r\n{one.headers}\r\n".encode()
    with socket.create_connection(("127.0.0.1", one.port)) as connection:
        for _ in range(count):
            connection.sendall(question)
            answer = _read(connection)
            if one.status not in answer[: answer.index(b"\r\n")]:
                raise SystemExit(f"{one.path}: {answer!r}")


def _answer(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: badges\r\n\r\n".encode())
        return _read(connection)


def _read(connection: socket.socket) -> bytes:
    """One answer with the length that it says, and without one where there is no body."""
    answer = b""
    while True:
        more = connection.recv(65536)
        if not more:
            raise ConnectionResetError("the server hung up")
        answer += more
        _, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= int(_header(answer, "Content-Length") or 0):
            return answer


def _header(answer: bytes, name: str) -> str:
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    lines = (line.partition(": ") for line in head.split("\r\n"))
    return next((value for key, _, value in lines if key.lower() == name.lower()), "")


if __name__ == "__main__":
    main()
