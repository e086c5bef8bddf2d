"""Another time of day for processes that see it: that of ``clock.c``."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path


class Clock:
    """What time it is for the product's processes."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._file = folder / "wrong-by"
        self._library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", self._library, source], check=True)
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see it."""
        return {"LD_PRELOAD": str(self._library), "PREVIEW_TEST_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be ahead of the true time, or behind it."""
        # In its place, since processes have the file in their memory.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
