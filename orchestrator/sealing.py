"""What has to be recoverable is kept sealed: encrypted with keys derived from the installation's own.

Pure. Each purpose has a key of its own (HKDF over SHA-256), so that what was sealed for one, and moved in the
database, opens for no other. The form is Fernet's (github.com/fernet/spec): AES in CBC mode, and an HMAC.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.errors import BadInput, PreviewError

_KEY_BYTES = 32


class Unreadable(PreviewError):
    """No key of the installation opens it, or it was changed, or sealed for another purpose."""


class Vault:
    """Seals with the first of `keys`, and opens with any; without one nothing can be sealed or opened."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)

    def check(self) -> None:
        """Raise :class:`BadInput` where nothing can be sealed."""
        if not self._keys:
            raise BadInput(
                "This installation has no key to encrypt secrets with: its operators have to set secret_key."
            )

    def seal(self, purpose: str, text: str) -> str:
        """`text`, encrypted, in ASCII. Raises :class:`BadInput` without a key."""
        self.check()
        return _fernet(self._keys[0], purpose).encrypt(text.encode()).decode()

    def open(self, purpose: str, sealed: str) -> str:
        """What was sealed for `purpose`. Raises :class:`Unreadable`."""
        return _opened([_fernet(key, purpose) for key in self._keys], sealed)

    def is_newest(self, purpose: str, sealed: str) -> bool:
        """True when the first key alone opens it."""
        try:
            _opened([_fernet(key, purpose) for key in self._keys[:1]], sealed)
        except Unreadable:
            return False
        return True


def _opened(keys: Sequence[Fernet], sealed: str) -> str:
    if not keys:
        raise Unreadable
    try:
        return MultiFernet(keys).decrypt(sealed.encode()).decode()
    except (InvalidToken, UnicodeError):
        raise Unreadable from None


def _fernet(key: str, purpose: str) -> Fernet:
    derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"toolforge-preview:{purpose}".encode())
    return Fernet(base64.urlsafe_b64encode(derived.derive(key.encode())))
