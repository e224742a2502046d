"""What may lie under a local path instead of a file: a directory, a pipe without a writer, a device without an end."""

import stat
from pathlib import Path

from ecellm.errors import InputError


def require_ordinary_file(path: str, name: str | None = None) -> None:
    """Raise `InputError` if a directory, a pipe, a socket or a device is there: a pipe may be waited for for ever.

    Nothing at all there is left to who opens it.

    Args:
        path: a local path.
        name: what messages call it, if not so.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{name or path} is a directory: name the file itself")
    if not stat.S_ISREG(mode):
        raise InputError(f"{name or path} is a pipe, a socket or a device, not a file: give a file")
