"""Where the client certificate of a dev tool account comes from.

A reference (what the database holds) is one of

* ``{"kubeconfig": PATH}``: the file that Toolforge puts into a tool's home, ``~/.kube/config``;
* ``{"cert": PATH, "key": PATH}``: ``~/.toolskube/client.crt`` and ``client.key``;
* ``{"env": PREFIX}``: the PEM texts in the environment variables ``PREFIX_CRT`` and ``PREFIX_KEY``.

Contents are never logged, never in an exception's text and never in a ``repr``.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from toolforge_weld.errors import ToolforgeError as WeldError
from toolforge_weld.kubernetes_config import Kubeconfig

from orchestrator.errors import BadInput

#: A certificate that ends within two weeks is warned of.
_SOON_SECONDS = 14 * 86400.0
#: The folder of this process (not of the one that it was forked from) for texts from the environment.
_folders: dict[int, Path] = {}


@dataclass(frozen=True)
class Certificate:
    """A client certificate and its key, as files."""

    cert: Path
    key: Path

    def fingerprint(self) -> tuple[int, ...]:
        """Changes when the files are replaced or written anew; raises :class:`BadInput` without them."""
        try:
            found = [path.stat() for path in (self.cert, self.key)]
        except OSError as error:
            raise _unreadable(error) from None
        return tuple(number for one in found for number in (one.st_mtime_ns, one.st_size, one.st_ino))

    def not_after(self) -> float:
        """When it ends, in seconds since 1970; raises :class:`BadInput` when the file is no certificate."""
        try:
            return x509.load_pem_x509_certificate(self.cert.read_bytes()).not_valid_after_utc.timestamp()
        except OSError as error:
            raise _unreadable(error) from None
        except ValueError:
            raise BadInput(f"{self.cert} holds no certificate.") from None

    def check(self) -> None:
        """Raise :class:`BadInput` unless the key can be read and is the certificate's."""
        try:
            for path in (self.cert, self.key):
                path.open("rb").close()  # OpenSSL does not say which of them it cannot read
            # Without a password here OpenSSL would ask for an encrypted key's on the terminal, and wait.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError:
            raise BadInput(f"{self.key} holds no key without a password for {self.cert}.") from None
        except OSError as error:
            raise _unreadable(error) from None


def expires_soon(not_after: float, now: float) -> bool:
    """True when two weeks or less are left."""
    return not_after - now <= _SOON_SECONDS


def find_certificate(tool: str, reference: Mapping[str, str]) -> Certificate:
    """The certificate that `reference` points to; raises :class:`BadInput` naming what is missing."""
    match dict(reference):
        case {"kubeconfig": path}:
            return _from_kubeconfig(_path(path))
        case {"cert": cert, "key": key}:
            return Certificate(_path(cert), _path(key))
        case {"env": prefix}:
            return _from_environment(prefix)
    raise BadInput(
        f"The credentials of account '{tool}' name neither a kubeconfig, nor cert and key, nor env."
    )


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadInput(f"Nobody's home is at the beginning of {text}.") from None


def _unreadable(error: OSError) -> BadInput:
    return BadInput(f"Cannot read the account's certificate: {error.strerror}: {error.filename}")


def _from_kubeconfig(path: Path) -> Certificate:
    try:
        config = Kubeconfig.load(path)
    except (WeldError, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        # weld looks into whatever the file holds.
        raise BadInput(f"Cannot use the kubeconfig {path}: {type(error).__name__}") from None
    if not (config.client_cert_file and config.client_key_file):
        raise BadInput(f"The kubeconfig {path} names no client certificate and key files.")
    return Certificate(config.client_cert_file, config.client_key_file)


def _from_environment(prefix: str) -> Certificate:
    """Put the PEM texts into private files: requests can load a client certificate from files only.

    Other texts get other files, so that nobody reads a new certificate with an old key.
    """
    texts = [_pem(f"{prefix}_{suffix}") for suffix in ("CRT", "KEY")]
    name = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = _private_folder()
    cert, key = (
        _private_file(folder / f"{name}.{suffix}", text)
        for suffix, text in zip(("crt", "key"), texts, strict=True)
    )
    return Certificate(cert, key)


def _pem(variable: str) -> str:
    text = os.environ.get(variable, "")
    if "-----BEGIN" not in text:
        raise BadInput(f"The environment variable {variable} holds no PEM text.")
    return text


def _private_folder() -> Path:
    """A folder that only we can read, and that goes with this process."""
    own = os.getpid()
    folder = _folders.get(own)
    if folder is None or not folder.is_dir():
        folder = _folders[own] = Path(tempfile.mkdtemp(prefix="toolforge-preview-"))
        atexit.register(_remove, folder, own)
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _private_file(path: Path, text: str) -> Path:
    if not path.exists():
        handle, made = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(made, path)
    return path
