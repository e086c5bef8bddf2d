"""Where the client certificate of a dev tool account comes from.

A reference (what the database holds) is one of

* ``{"kubeconfig": PATH}``: the file that Toolforge puts into a tool's home, ``~/.kube/config``;
* ``{"cert": PATH, "key": PATH}``: ``~/.toolskube/client.crt`` and ``client.key``;
* ``{"env": PREFIX}``: the PEM texts in the environment variables ``PREFIX_CRT`` and ``PREFIX_KEY``.

Contents are never logged, never in an exception's text and never in a ``repr``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolforge_weld.errors import ToolforgeError as WeldError
from toolforge_weld.kubernetes_config import Kubeconfig

from orchestrator.errors import BadInput


@dataclass(frozen=True)
class Certificate:
    """A client certificate and its key, as files."""

    cert: Path
    key: Path

    def fingerprint(self) -> tuple[int, int]:
        """Changes when the files are replaced; raises :class:`BadInput` when one is missing."""
        try:
            return self.cert.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        except OSError as error:
            raise BadInput(
                f"Cannot read the account's certificate: {error.strerror}: {error.filename}"
            ) from None


def find_certificate(tool: str, reference: Mapping[str, str]) -> Certificate:
    """The certificate that `reference` points to; raises :class:`BadInput` naming what is missing."""
    match dict(reference):
        case {"kubeconfig": path}:
            return _from_kubeconfig(Path(path).expanduser())
        case {"cert": cert, "key": key}:
            return Certificate(Path(cert).expanduser(), Path(key).expanduser())
        case {"env": prefix}:
            return _from_environment(tool, prefix)
    raise BadInput(
        f"The credentials of account '{tool}' name neither a kubeconfig, nor cert and key, nor env."
    )


def _from_kubeconfig(path: Path) -> Certificate:
    try:
        config = Kubeconfig.load(path)
    except (WeldError, OSError, KeyError, TypeError) as error:
        raise BadInput(f"Cannot use the kubeconfig {path}: {type(error).__name__}") from None
    if not (config.client_cert_file and config.client_key_file):
        raise BadInput(f"The kubeconfig {path} names no client certificate and key files.")
    return Certificate(config.client_cert_file, config.client_key_file)


def _from_environment(tool: str, prefix: str) -> Certificate:
    """Put the PEM texts into private files: requests can load a client certificate from files only."""
    folder = Path(tempfile.gettempdir()) / f"toolforge-preview-{os.getuid()}-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    paths = []
    for suffix in ("CRT", "KEY"):
        text = os.environ.get(f"{prefix}_{suffix}", "")
        if "-----BEGIN" not in text:
            raise BadInput(f"The environment variable {prefix}_{suffix} holds no PEM text.")
        path = folder / f"{tool}.{suffix.lower()}"
        if not path.exists() or path.read_text() != text:
            path.touch(mode=0o600)
            path.write_text(text)
        paths.append(path)
    return Certificate(*paths)
