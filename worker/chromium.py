"""A picture of a page, taken by a Chromium that lives no longer than that.

What the page says is a stranger's. So the browser is a process group of its own, which is killed as a whole;
it has a fresh profile in a folder that goes with it, none of our environment, no store that lasts, and no way
out but :class:`OnlyThere`. It is spoken to over a pipe, not over a port which a page could find; when our end
of the pipe is gone, it ends by itself.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import PreviewError
from orchestrator.pictures import HEIGHT, MOST_BYTES, WIDTH
from worker.devtools import NoAnswer, Pipe
from worker.only_there import OnlyThere

#: All of it, from the start of the browser to the picture.
SECONDS = 40.0
#: The page may load for so long, and is then taken as it is.
_LOAD_SECONDS = 10.0
#: What a page may send and be sent.
_MOST_TRAFFIC = 50_000_000
#: Tried one after the other, until the picture is small enough.
_QUALITIES = (80, 40)
_PREFIX = "toolforge-preview-picture-"
#: A folder that was left behind by a process that was killed is removed after this time.
_STALE_SECONDS = 10 * SECONDS

#: The pipe is on descriptors 3 and 4. Each process gets 1 GiB for its data, goes first when memory runs out
#: all the same, and takes its turns with the processors after everybody else.
_START = """
echo 1000 2>/dev/null >/proc/self/oom_score_adj
ulimit -c 0
ulimit -d 1048576
exec nice -n 19 "$@" 3<&0 4>&1 </dev/null >/dev/null
"""
_FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--mute-audio"),
    # Nothing is asked of anybody but the page's host.
    *("--no-first-run", "--no-default-browser-check", "--no-pings", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-domain-reliability", "--disable-breakpad"),
    *("--disable-extensions", "--disable-default-apps", "--disable-client-side-phishing-detection"),
    # What would not go through the proxy: UDP, and connections that were made for another name.
    *("--disable-quic", "--disable-http2", "--webrtc-ip-handling-policy=disable_non_proxied_udp"),
    # Loopback goes through the proxy, too, and there it ends.
    "--proxy-bypass-list=<-loopback>",
    # /dev/shm is small in containers.
    "--disable-dev-shm-usage",
    *("--renderer-process-limit=1", "--js-flags=--max-old-space-size=256"),
)
_PR_SET_CHILD_SUBREAPER = 36


class NoPicture(PreviewError):
    """The browser brought no picture."""


def take(program: str, address: str, *, seconds: float = SECONDS) -> bytes:
    """What `address` shows, as WebP of :data:`WIDTH` x :data:`HEIGHT`; `program` is a Chromium.

    Raises :class:`NoPicture` when that cannot be had within `seconds`.
    """
    _remove_what_was_left()
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    _adopt_orphans(True)
    try:
        return asyncio.run(asyncio.wait_for(_take(program, address, Path(folder)), seconds))
    except TimeoutError:
        raise NoPicture(f"it was not there within {seconds:g} seconds") from None
    except NoAnswer as error:
        raise NoPicture(str(error)) from None
    except (LookupError, ValueError) as error:
        raise NoPicture(f"what the browser says is not understood: {type(error).__name__}") from None
    except OSError as error:
        raise NoPicture(f"the browser cannot be used: {type(error).__name__}") from None
    finally:
        _adopt_orphans(False)
        shutil.rmtree(folder, ignore_errors=True)


def _adopt_orphans(whether: bool) -> None:
    """Let what the browser leaves behind be ours to bury: the first process of a container may not do it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0)


def _strays(folder: Path) -> list[int]:
    """What runs in `folder`, in whichever group: who reports crashes leaves the browser's."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in place.read_bytes():
                found.append(int(place.parent.name))
    return found


def _bury(*killed: int) -> None:
    """Wait for the end of what was killed: processes, and (below zero) groups."""
    for one in killed:
        with suppress(ChildProcessError):
            while True:
                os.waitpid(one, 0)


def _remove_what_was_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            made = folder.lstat()
            if made.st_uid == os.getuid() and made.st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


async def _take(program: str, address: str, folder: Path) -> bytes:
    there = OnlyThere(address, most_bytes=_MOST_TRAFFIC)
    async with there.proxy() as port, _browser(program, folder, port) as pipe:
        page = await _Page.opened(pipe)
        await page.go(address)
        for quality in _QUALITIES:
            picture = await page.picture(quality)
            # Afterwards: where a page leads the browser is another's page, or says that it was refused.
            if not there.is_at(await page.address()):
                raise NoPicture("the page leads away from the preview")
            if len(picture) <= MOST_BYTES:
                return picture
    raise NoPicture(f"it has more than {MOST_BYTES} bytes")


@asynccontextmanager
async def _browser(program: str, folder: Path, proxy: int) -> AsyncIterator[Pipe]:
    flags = [
        *_FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--proxy-server=socks5://127.0.0.1:{proxy}",
        # Names are the proxy's business; should anything ask past it, it gets no answer.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    if os.getuid() == 0:
        # Chromium refuses to run as root within its sandbox. As any other user it stays on.
        flags.append("--no-sandbox")
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _START, "sh", program, *flags, "about:blank"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # The picture is one message, in base64.
        limit=4 * MOST_BYTES,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pipe = Pipe(process.stdin, process.stdout)
        async with pipe.read():
            yield pipe
    finally:
        strays = _strays(folder)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for stray in strays:
            with suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
        await process.wait()
        _bury(-process.pid, *strays)


class _Page:
    """The page of a window that remembers nothing."""

    def __init__(self, pipe: Pipe, session: str) -> None:
        self._pipe = pipe
        self._session = session
        self._is_calm = asyncio.Event()
        pipe.listen(session, self._happened)

    @classmethod
    async def opened(cls, pipe: Pipe) -> _Page:
        """A new one, empty."""
        context = (await pipe.ask("Target.createBrowserContext"))["browserContextId"]
        await pipe.ask("Browser.setDownloadBehavior", behavior="deny", browserContextId=context)
        target = await pipe.ask("Target.createTarget", url="about:blank", browserContextId=context)
        to = {"targetId": target["targetId"], "flatten": True}
        page = cls(pipe, (await pipe.ask("Target.attachToTarget", **to))["sessionId"])
        await page._ask("Page.enable")
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        await page._ask("Emulation.setDeviceMetricsOverride", **size)
        await page._ask("Page.setLifecycleEventsEnabled", enabled=True)
        return page

    async def go(self, address: str) -> None:
        """Open `address`, and wait a while for the page to be as it will be."""
        self._is_calm.clear()
        opened = await self._ask("Page.navigate", url=address)
        if opened.get("errorText"):
            raise NoPicture(f"the page could not be opened: {str(opened['errorText'])[:100]}")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_calm.wait(), _LOAD_SECONDS)

    async def picture(self, quality: int) -> bytes:
        """What is seen, as WebP."""
        taken = await self._ask("Page.captureScreenshot", format="webp", quality=quality)
        return base64.b64decode(taken["data"])

    async def address(self) -> str:
        """Of what is shown."""
        tree = await self._ask("Page.getFrameTree")
        return str(tree["frameTree"]["frame"]["url"])

    async def _ask(self, method: str, **values: object) -> Mapping[str, Any]:
        return await self._pipe.ask(method, session=self._session, **values)

    def _happened(self, event: str, what: Mapping[str, Any]) -> None:
        if event == "Page.lifecycleEvent" and what["name"] == "networkIdle":
            self._is_calm.set()
        elif event == "Page.javascriptDialogOpening":
            # A page that waits for an answer shows nothing.
            self._pipe.tell("Page.handleJavaScriptDialog", session=self._session, accept=False)
