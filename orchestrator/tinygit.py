"""A git repository that is made of texts, and what a git client is told that clones it. Pure.

Each branch is a single commit without a past, so there is nothing to negotiate: whatever a client has, it is
given all of what it wants. Of git's protocols this is the "smart" one, version 0, over HTTP (gitprotocol-http
and gitprotocol-pack in git's own manual); the "dumb" one, with files alone, cannot serve a shallow clone.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.errors import BadInput

ADVERTISEMENT = "application/x-git-upload-pack-advertisement"
RESULT = "application/x-git-upload-pack-result"
#: Without "shallow" a client refuses to clone one commit deep.
_CAPABILITIES = b"shallow agent=toolforge-preview"
_FLUSH = b"0000"
_NOTHING_IN_COMMON = b"0008NAK\n"
#: Of a request; one for a single branch has a few hundred bytes.
_MOST_LINES = 1000
#: Numbers of kinds within a pack.
_KINDS = {"commit": 1, "tree": 2, "blob": 3}
#: The same at all times, so that the same texts are the same commit.
_AUTHOR = b"Toolforge Preview <toolforge-preview@localhost> 1767225600 +0000"


@dataclass(frozen=True)
class Commit:
    """One commit without parents, with the objects that it is made of."""

    sha: str
    #: Each as its kind and its content.
    objects: tuple[tuple[str, bytes], ...]


def commit(files: Mapping[str, str], message: str) -> Commit:
    """The commit that has these files, by their names, none of which lies in a folder."""
    blobs = {name: text.encode() for name, text in sorted(files.items(), key=lambda item: item[0].encode())}
    tree = b"".join(b"100644 %s\0%s" % (name.encode(), _id("blob", blob)) for name, blob in blobs.items())
    lines = [b"tree " + _id("tree", tree).hex().encode(), b"author " + _AUTHOR, b"committer " + _AUTHOR, b""]
    content = b"\n".join([*lines, message.encode(), b""])
    objects = [
        ("commit", content),
        ("tree", tree),
        *(("blob", blob) for blob in dict.fromkeys(blobs.values())),
    ]
    return Commit(_id("commit", content).hex(), tuple(objects))


def _id(kind: str, content: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(content), content), usedforsecurity=False).digest()


def advertisement(branches: Mapping[str, Commit]) -> bytes:
    """What is answered to ``GET info/refs?service=git-upload-pack``."""
    tips = [(one.sha, f"refs/heads/{name}") for name, one in sorted(branches.items())]
    lines = [f"{sha} {name}".encode() for sha, name in tips or [("0" * 40, "capabilities^{}")]]
    lines[0] += b"\0" + _CAPABILITIES
    return b"".join(
        [
            _line(b"# service=git-upload-pack\n"),
            _FLUSH,
            *(_line(line + b"\n") for line in lines),
            _FLUSH,
        ]
    )


def answer(branches: Mapping[str, Commit], request: bytes) -> bytes:
    """What is answered to ``POST git-upload-pack``.

    Raises :class:`BadInput` for what no client says that was told of these branches.
    """
    lines = list(_lines(request))
    tips = {one.sha: one for one in branches.values()}
    wanted = {line[5:45].decode("ascii", "replace") for line in lines if line.startswith(b"want ")}
    if not wanted or not wanted <= tips.keys():
        raise BadInput("There are no such commits here: clone the repository anew.")
    # A client that wants to know how deep it gets asks for that first: nothing is cut off.
    depth = _FLUSH if any(line.startswith(b"deepen ") for line in lines) else b""
    is_done = any(line.rstrip(b"\n") == b"done" for line in lines)
    is_asked = is_done or any(line.startswith(b"have ") for line in lines)
    pack = _pack([tips[sha] for sha in sorted(wanted)]) if is_done else b""
    return depth + (_NOTHING_IN_COMMON if is_asked else b"") + pack


def _line(content: bytes) -> bytes:
    return b"%04x%s" % (len(content) + 4, content)


def _lines(request: bytes) -> Iterator[bytes]:
    """The lines of a request, without those that only end a part of it."""
    position = 0
    for _ in range(_MOST_LINES):
        if position >= len(request):
            return
        try:
            length = int(request[position : position + 4], 16)
        except ValueError:
            raise BadInput("This is no request of git's.") from None
        if length > 4:
            yield request[position + 4 : position + length]
        position += max(length, 4)
    raise BadInput("This is longer than any request for so small a repository.")


def _pack(commits: list[Commit]) -> bytes:
    objects = list(dict.fromkeys(one for commit in commits for one in commit.objects))
    packed = b"".join(
        [
            struct.pack(">4sII", b"PACK", 2, len(objects)),
            *(_head(_KINDS[kind], len(content)) + zlib.compress(content) for kind, content in objects),
        ]
    )
    return packed + hashlib.sha1(packed, usedforsecurity=False).digest()


def _head(kind: int, size: int) -> bytes:
    """Kind and size before an object: four bits of the size, then seven at a time."""
    first, rest = kind << 4 | size & 0x0F, size >> 4
    numbers = [first]
    while rest:
        numbers[-1] |= 0x80
        numbers.append(rest & 0x7F)
        rest >>= 7
    return bytes(numbers)
