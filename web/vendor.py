"""Takes Codex, Wikimedia's design system, from npm into ``static/codex``: ``python -m web.vendor``.

The files are committed, so that installing and serving need neither npm nor a request to anybody. Their
packages are pinned by the digests that the registry gave for them, and what was made of them by ``DIGESTS``,
which ``--check`` holds the files to without a network. Codex is under GPL-2.0-or-later, whose text lies
beside the files; the service is under AGPL-3.0-or-later, with which version 3 of it may be combined.
"""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

FOLDER = Path(__file__).parent / "static" / "codex"
VERSION = "2.7.0"


@dataclass(frozen=True)
class Package:
    """A package at npm, as its registry describes it."""

    name: str
    #: Subresource integrity of the archive.
    integrity: str

    @property
    def url(self) -> str:
        """Where the archive is."""
        base = self.name.rpartition("/")[2]
        return f"https://registry.npmjs.org/{self.name}/-/{base}-{VERSION}.tgz"


CODEX = Package(
    "@wikimedia/codex",
    "sha512-LZvhmGd2YcKKkavJVkWUVDL/aoBJRcSMO+PeEr5J5r4ieEye3nrtdZIuDygTezoKrLWMDNP9zUJG9kBmqzdUvw==",
)
TOKENS = Package(
    "@wikimedia/codex-design-tokens",
    "sha512-wdvIzDKQmmRkVi/YYyAO0ufXYz1ISJUYzLNKWP13QlBrkw/Y6z0dypOm4WA2vJNgNxTmiabOA3dLFvefLinylQ==",
)
#: The components that the pages use, in the form that turns with the direction of the text.
COMPONENTS = ("Button", "Card", "Field", "InfoChip", "Label", "Message", "Select", "Table", "TextInput")
#: What each file is made of.
FILES: Mapping[str, tuple[Package, tuple[str, ...]]] = {
    "tokens.css": (TOKENS, ("dist/theme-wikimedia-ui.css",)),
    "dark.css": (TOKENS, ("dist/theme-wikimedia-ui-mode-dark.css",)),
    "codex.css": (CODEX, tuple(f"dist/modules/Cdx{name}-bidi.css" for name in COMPONENTS)),
    "LICENSE": (CODEX, ("LICENSE",)),
}
#: SHA-256 of each file.
DIGESTS: Mapping[str, str] = {
    "tokens.css": "12109b9b8b1fe160c2cb57418199f673c45522cc0186a264897d92289dbb824f",
    "dark.css": "0ef2fc576f5e5abae42b150d0da82887484c3c78cbcacfcb90381766143e7300",
    "codex.css": "ab645184941c2c016bf2535e9429a150decad6456eee7ec79d5121ab5f276ba0",
    "LICENSE": "8177f97513213526df2cf6184d8ff986c675afb514d4e68a404010521b880643",
}


def fetch(package: Package) -> bytes:
    """The archive; :class:`SystemExit` when it is not the one that is pinned."""
    content = httpx.get(package.url, follow_redirects=True, timeout=60).raise_for_status().content
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        sys.exit(f"{package.url} is not what it was: its digest is sha512-{digest}")
    return content


def members(archive: bytes, names: tuple[str, ...]) -> bytes:
    """The named files of an npm archive, one after the other."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = [opened.extractfile(f"package/{name}") for name in names]
        return b"\n".join(file.read() for file in found if file is not None)


def altered() -> list[str]:
    """The files that are not as they were made."""
    return [
        name
        for name in FILES
        if not (FOLDER / name).is_file()
        or hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() != DIGESTS.get(name)
    ]


def main() -> int:
    """Fetch all files anew, or with ``--check`` only compare; 1 when one is not as pinned."""
    if "--check" not in sys.argv:
        archives = {package: fetch(package) for package in (CODEX, TOKENS)}
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, (package, parts) in FILES.items():
            (FOLDER / name).write_bytes(members(archives[package], parts))
    wrong = altered()
    for name in wrong:
        print(f"{FOLDER / name} is not as pinned; run `make vendor`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
