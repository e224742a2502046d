"""What goes along with a submission: the code of this checkout, without what .gitignore and runtime_env.yaml exclude.

Ray's own packaging decides about each file. They are packed once, before the first submission: what is submitted again
hours later is the code that was, whatever has become of the checkout.
"""

import logging
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ecellm.errors import InputError
from ecellm.provenance import GIT_COMMIT_VARIABLE, git_commit

logger = logging.getLogger(__name__)
RUNTIME_ENV_NAME = "runtime_env.yaml"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Upload:
    """Files of a checkout and how they are run.

    Attributes:
        root: the checkout.
        files: bytes of each file by its path below `root`.
        runtime_env: what Ray is given; its working directory is the packed files.
        commit: the git commit, `-dirty` behind it if the files are not the commit's; None without git.
    """

    root: Path
    files: Mapping[str, int]
    runtime_env: Mapping[str, Any]
    commit: str | None

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def read_upload(root: Path, scratch: Path) -> Upload:
    """Pack what a submission from the checkout `root` sends.

    Args:
        root: the checkout.
        scratch: an empty directory for the package; needed as long as something is submitted.

    Raises:
        InputError: `root` is no checkout, or it holds more than Ray takes.
    """
    path = root / RUNTIME_ENV_NAME
    if not path.is_file():
        raise InputError(f"{root} has no {RUNTIME_ENV_NAME}: submit from a checkout of the repository")
    runtime_env: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    files = list_files(root, runtime_env.pop("excludes", None) or ())
    _refuse_too_large(root, files)
    commit = git_commit()
    stamp = {GIT_COMMIT_VARIABLE: commit} if commit else {}
    runtime_env["env_vars"] = {**(runtime_env.get("env_vars") or {}), **stamp}
    runtime_env["working_dir"] = str(_pack(root, files, scratch / "working_dir.zip"))
    return Upload(root, files, runtime_env, commit)


def _pack(root: Path, files: Iterable[str], package: Path) -> Path:
    """Write a package that is the same, byte for byte, for the same files: a cluster keeps it by its hash."""
    with zipfile.ZipFile(package, "w") as packed:
        for name in sorted(files):
            packed.writestr(zipfile.ZipInfo(name), (root / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return package


def list_files(root: Path, excludes: Any) -> dict[str, int]:
    """Return path below `root` and bytes of each file that Ray would pack.

    Args:
        root: the working directory.
        excludes: patterns of the runtime environment, as in a .gitignore.
    """
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes  # no public call lists the files

    files: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            files[path.relative_to(root).as_posix()] = path.stat().st_size

    patterns = [*get_runtime_env_default_excludes(), *excludes]
    _dir_travel(
        root,
        [_get_excludes(root, patterns)],
        note,
        include_gitignore=os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1",
        logger=_silent(),
    )
    return files


def _silent() -> logging.Logger:
    """Return a logger that keeps to itself which ignore files were read."""
    silent = logging.getLogger(f"{__name__}.packaging")
    silent.setLevel(logging.ERROR)
    return silent


def most_bytes() -> int:
    """Return what a cluster takes at most: the dashboard's limit of a request, and that of a package."""
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return min(int(DASHBOARD_CLIENT_MAX_SIZE), int(GCS_STORAGE_MAX_SIZE))


def _refuse_too_large(root: Path, files: Mapping[str, int]) -> None:
    most, num_bytes = most_bytes(), sum(files.values())
    if num_bytes < most:
        return
    largest = sorted(files.items(), key=lambda item: -item[1])[:_MOST_NAMED]
    named = ", ".join(f"{name} ({size / 2**20:.1f} MiB)" for name, size in largest)
    raise InputError(
        f"{len(files):,} files of {root} come to {num_bytes / 2**20:.0f} MiB, and Ray takes "
        f"{most / 2**20:.0f} at most; the largest are {named}. Move them out, or exclude them in .gitignore or in "
        f"{RUNTIME_ENV_NAME}: data belongs into an object store"
    )
