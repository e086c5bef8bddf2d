"""A real Prometheus with the repository's own rules, whose time runs faster: no test waits for an hour."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import yaml

from tests.conftest import free_port
from tests.repository import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
#: Every duration of the files is divided by this: half an hour is a minute. What is compared stays as it is.
FASTER = 30
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\b(\d+)([smhd])\b")


def faster(text: str) -> str:
    """The text with all of its durations shortened."""
    return _DURATION.sub(lambda found: f"{int(found[1]) * _SECONDS[found[2]] * 1000 // FASTER}ms", text)


class Prometheus:
    """Scrapes one web process at `address`, with `token`; a context manager."""

    def __init__(self, program: str, folder: Path, *, address: str, token: str) -> None:
        self._program = program
        self._folder = folder
        self._log = folder / "log"
        port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)
        self._listens = f"127.0.0.1:{port}"
        (folder / "alerts.yaml").write_text(faster((MONITORING / "alerts.yaml").read_text()))
        (folder / "toolforge-preview.token").write_text(token)
        config = yaml.safe_load(faster((MONITORING / "prometheus.yaml").read_text()))
        # Prometheus' own default is a minute.
        config["global"] = {"evaluation_interval": faster("1m")}
        config["scrape_configs"][0] |= {"scheme": "http", "static_configs": [{"targets": [address]}]}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Prometheus:
        options = [
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._listens}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([self._program, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._is_ready():
            is_in_vain = self._process.poll() is not None or time.monotonic() > deadline
            assert not is_in_vain, self._log.read_text()
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._client.close()

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {one["labels"]["alertname"] for one in self.alerts() if one["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        """What fires, or will if it stays as it is."""
        found: list[dict[str, Any]] = self._get("alerts", {})["alerts"]
        return found

    def ask(self, expression: str) -> list[float]:
        """The values of an expression now."""
        found = self._get("query", {"query": expression})["result"]
        return [float(one["value"][1]) for one in found]

    def _get(self, what: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        answer = self._client.get(f"/api/v1/{what}", params=parameters)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False
