"""The list of upstream addresses: YAML in, checked entries out, and which of them a user's `sources` mean.

`upstream.yaml` beside this module is the project's own list and explains the fields.
"""

import re
from collections.abc import Sequence
from datetime import date
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ecellm.config import Frozen
from ecellm.errors import InputError
from ecellm.recipe import validate
from ecellm.storage import Storage, absolute
from ecellm.yaml_text import parse_yaml

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def shown_url(url: str) -> str:
    """Return a URL without login, query and fragment: what may stand in messages and records."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _checked_url(url: str) -> str:
    try:
        good = urlsplit(url).scheme in {"http", "https"} and bool(shown_url(url).split("://", 1)[1].split("/", 1)[0])
    except ValueError:
        good = False
    if not good:
        raise ValueError("an address must look like https://host/path")
    return url


def _checked_name(name: str) -> str:
    """Refuse names that would leave raw_dir, hide from listings or meet the fetch's own files (`_fetch/`)."""
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} must be a relative path of letters, digits, '_', '-' and '.', not beginning with '_'"
        )
    return name


Name = Annotated[str, AfterValidator(_checked_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NumBytes = Annotated[int, Field(ge=0)]


class Member(Frozen):
    """A file in a zip: its name there, its name below raw_dir, and its size and checksum where they are known."""

    member: str = Field(min_length=1)
    name: Name
    sha256: Sha256 | None = None
    size: NumBytes | None = None


class Entry(Frozen):
    """One upstream file. Fields as in `upstream.yaml`; `name` of a zip only names its parts while it is fetched."""

    source: str = Field(min_length=1)
    name: Name
    url: Annotated[str, AfterValidator(_checked_url)] | None
    sha256: Sha256 | None
    size: NumBytes | None
    licence: str = Field(min_length=1)
    checked: date | None
    unchecked_since: date | None = None
    note: str | None = None
    member: tuple[Member, ...] = ()
    optional: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.checked is None) == (self.unchecked_since is None):
            raise ValueError(f"{self.name}: give checked (a date), or checked: null and unchecked_since (a date)")
        if self.url is None and not self.note:
            raise ValueError(f"{self.name}: an entry without url needs a note that says how to come by the file")
        return self

    @property
    def targets(self) -> tuple["Entry | Member", ...]:
        """What comes to lie below raw_dir: the members of a zip, else the file itself."""
        return self.member or (self,)


class Addresses(Frozen):
    """The whole list; every name is there once, and none is a directory of another."""

    files: tuple[Entry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_do_not_meet(self) -> Self:
        seen: set[str] = set()
        for name in (name for entry in self.files for name in _names(entry)):
            if name in seen:
                raise ValueError(f"{name} is there twice")
            seen.add(name)
        for name in seen:
            for parent in PurePosixPath(name).parents:
                if str(parent) in seen:
                    raise ValueError(f"{parent} is a file and the directory of {name}")
        return self


def _names(entry: Entry) -> list[str]:
    return list(dict.fromkeys([entry.name, *(target.name for target in entry.targets)]))


def read_addresses(storage: Storage, path: str | None) -> tuple[Entry, ...]:
    """Return the entries of a list of addresses.

    Args:
        storage: access to `path`.
        path: YAML file, local or in a store; None for the project's own list.

    Raises:
        InputError: the file is missing, is not YAML, or an entry is wrong.
    """
    if path is None:
        data = (files("ecellm.sources") / "upstream.yaml").read_bytes()
    else:
        data = storage.read_bytes(absolute(path))
    where = path or "upstream.yaml"
    try:
        values = parse_yaml(data)
    except ValueError:
        # The parser's own message quotes the line, which may hold a signed address.
        raise InputError(f"addresses {where} is not valid YAML") from None
    if not isinstance(values, dict):
        raise InputError(f"addresses {where} must be a mapping with the key 'files'")
    return validate(Addresses, values, f"addresses {where}").files


def select(entries: Sequence[Entry], sources: Sequence[str] | None) -> list[Entry]:
    """Return the entries that `sources` mean, in the list's order.

    Args:
        entries: the whole list.
        sources: names of sources, of files, or of directories below raw_dir; None for all but the optional entries.

    Raises:
        InputError: one of `sources` means nothing.
    """
    if sources is None:
        return [entry for entry in entries if not entry.optional]
    for wanted in sources:
        if not any(_means(wanted, entry) for entry in entries):
            known = ", ".join(dict.fromkeys(entry.source for entry in entries))
            raise InputError(f"sources: {wanted!r} is unknown; sources are {known}; or give a name below raw_dir")
    return [entry for entry in entries if any(_means(wanted, entry) for wanted in sources)]


def _means(wanted: str, entry: Entry) -> bool:
    """Tell whether a user's word means an entry. A directory does not mean what is optional: that is named."""
    if wanted == entry.source or wanted in _names(entry):
        return True
    return not entry.optional and any(name.startswith(f"{wanted.rstrip('/')}/") for name in _names(entry))
