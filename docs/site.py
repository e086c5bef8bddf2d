"""What the site of the documents needs besides MkDocs: a hook, called by ``mkdocs build``.

The script that draws the diagrams is taken from npm once, when the site is built, and held to the digest that
the registry gave for it; so whoever reads the site asks nobody else for anything.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

NAME = "mermaid.min.js"
VERSION = "11.17.2"
URL = f"https://registry.npmjs.org/mermaid/-/mermaid-{VERSION}.tgz"
#: Subresource integrity of the archive, SHA-512.
INTEGRITY = "V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg=="


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Let no anchor begin with a digit, over which the theme's script stumbles."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = _anchor
    return config


def _anchor(heading: str, separator: str) -> str:
    made = slugify(heading, separator)
    return f"no{separator}{made}" if made[:1].isdigit() else made


def on_files(files: Files, *, config: MkDocsConfig, **_: Any) -> Files:
    """Put the script among the files of the site."""
    kept = Path(config.site_dir).parent / f"mermaid-{VERSION}.js"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(".new")
        fresh.write_bytes(_script(_archive()))
        fresh.replace(kept)
    files.append(File.generated(config, NAME, content=kept.read_bytes()))
    return files


def _archive() -> bytes:
    with urllib.request.urlopen(URL, timeout=120) as answer:
        content: bytes = answer.read()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != INTEGRITY:
        raise PluginError(f"{URL} is not what it was: its digest is sha512-{digest}")
    return content


def _script(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = opened.extractfile(f"package/dist/{NAME}")
        assert found is not None, "the archive with this digest has it"
        return found.read()
