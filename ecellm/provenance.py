"""What code makes an output: the commit, and the versions of packages."""

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GIT_COMMIT_VARIABLE = "ECELLM_GIT_COMMIT"


def package_version(name: str) -> str | None:
    """Return the version of an installed package; None of one that is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the code; None without git.

    `-dirty` stands behind it if tracked files were changed since, or files of the code are in no commit.
    What is submitted to a cluster has no .git: there the submitter has stamped it, as ECELLM_GIT_COMMIT.
    """
    if stamped := os.environ.get(GIT_COMMIT_VARIABLE):
        return stamped
    commit = _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    beside = _git("ls-files", "--others", "--exclude-standard", "--", ":/ecellm", ":/jobs")
    return f"{commit}-dirty" if commit and beside and not commit.endswith("-dirty") else commit


def _git(*arguments: str) -> str | None:
    """Return what git says of the repository that this file is in; None without git, or outside of one."""
    try:
        result = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
