"""The key that id tokens are signed with: RS256, published as a JSON web key."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_KEY_BITS = 2048


class SigningKey:
    """Made at the first use and kept in a file, so that it outlives a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: rsa.RSAPrivateKey | None = None

    def public(self) -> dict[str, str]:
        """The public half; its id is its thumbprint (RFC 7638)."""
        numbers = self._key().public_key().public_numbers()
        known = {"e": _base64_number(numbers.e), "kty": "RSA", "n": _base64_number(numbers.n)}
        thumbprint = hashlib.sha256(json.dumps(known, separators=(",", ":")).encode()).digest()
        return {**known, "kid": base64url(thumbprint), "use": "sig", "alg": "RS256"}

    def sign(self, claims: dict[str, Any]) -> str:
        """A JSON web token of these claims."""
        head = {"typ": "JWT", "alg": "RS256", "kid": self.public()["kid"]}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key().sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{base64url(signature)}"

    def _key(self) -> rsa.RSAPrivateKey:
        if self._loaded is None:
            self._loaded = self._read() if self._path.exists() else self._make()
        return self._loaded

    def _read(self) -> rsa.RSAPrivateKey:
        found = serialization.load_pem_private_key(self._path.read_bytes(), None)
        assert isinstance(found, rsa.RSAPrivateKey)
        return found

    def _make(self) -> rsa.RSAPrivateKey:
        made = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        text = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as handle:
            handle.write(text)
        return made


def base64url(data: bytes) -> str:
    """Base64 for addresses, without the padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64_number(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
