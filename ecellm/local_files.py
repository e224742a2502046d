"""What may lie under a local path instead of a file: a pipe without a writer, a device without an end."""

import stat
from pathlib import Path

from ecellm.errors import InputError


def require_ordinary_file(path: str) -> None:
    """Raise `InputError` if a pipe, a socket or a device is at a local path: opening it may wait for ever.

    Nothing at all there, or a directory, is left to who opens it.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is a pipe, a socket or a device, not a file: give a file")
