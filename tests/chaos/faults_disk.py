"""Small disks that can be filled, and given room again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing

_BALLAST = "ballast"


@dataclass(frozen=True)
class SmallDisk:
    """A disk of some MiB.

    Attributes:
        path: where it is mounted.
    """

    path: Path

    def fill(self, kib_left: int) -> None:
        """Fill it up to some KiB."""
        status = os.statvfs(self.path)
        size = status.f_bavail * status.f_frsize - (kib_left << 10)
        (self.path / _BALLAST).write_bytes(bytes(size))

    def make_room(self) -> None:
        """Remove what filled it."""
        (self.path / _BALLAST).unlink()


@contextmanager
def small_disk(path: Path, mib: int = 16) -> Iterator[SmallDisk]:
    """Mount a disk in memory at `path`; skip the test where that is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        missing("mounts", f"no disk can be mounted here: {result.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
