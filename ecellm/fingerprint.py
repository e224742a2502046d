"""Fingerprints: what a run's output depends on, as one hash.

A fingerprint is the SHA-256 of canonical JSON: job, version of the stage, fingerprints of the inputs, and the config
fields that change the content.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from ecellm.errors import InputError
from ecellm.storage import Storage, join
from ecellm.visible_text import short_repr

MANIFEST_NAME = "_manifest.json"
RUN_NAME = "_run.json"
_SECTIONS = ("config", "details", "dropped", "inputs", "owner")
_ADVICE = "Remove the directory and run again"


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: a value has no stable form.
        ValueError: a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint_of(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex digits) of a run's identity."""
    # surrogatepass: names of files may hold bytes that are no text.
    return sha256(canonical_json(dict(identity)).encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint_input(storage: Storage, path: str) -> str:
    """Return the fingerprint of an input: its (or its parent's) manifest's, or one of names, sizes, digests of files.

    Raises:
        InputError: nothing is there, or a run that makes it has not finished.
    """
    if storage.exists(join(path, MANIFEST_NAME)):
        return _of_manifest(read_identified(storage, join(path, MANIFEST_NAME)))
    if not storage.exists(path):
        raise InputError(f"{path} does not exist")
    parent, _, name = path.rpartition("/")
    if parent and storage.exists(join(parent, MANIFEST_NAME)):
        return part_fingerprint(read_identified(storage, join(parent, MANIFEST_NAME))["fingerprint"], name)
    if storage.exists(join(path, RUN_NAME)) or (parent and storage.exists(join(parent, RUN_NAME))):
        raise InputError(f"{path} is not finished: the run that makes it must be run again to its end first")
    files = storage.list_files(path) if storage.is_dir(path) else [path]
    if not files:
        raise InputError(f"{path} is empty")
    listing = [[file.removeprefix(path), storage.size(file), storage.digest(file)] for file in files]
    return fingerprint_of({"foreign": listing})


def read_identified(storage: Storage, path: str) -> dict[str, Any]:
    """Return a `_run.json`, or a manifest that must say which run it is of.

    Raises:
        InputError: it is not what a job of this suite writes.
    """
    record = read_sections(storage, path)
    if not isinstance(record.get("fingerprint"), str):
        raise InputError(f"{path} is damaged: it has no fingerprint. {_ADVICE}")
    return record


def read_sections(storage: Storage, path: str) -> dict[str, Any]:
    """Return a manifest in which those sections that are there have the form that others rely on.

    Raises:
        InputError: one has another form.
    """
    record = storage.read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path} is damaged: it is no object. {_ADVICE}")
    for section in _SECTIONS:
        if not isinstance(record.get(section, {}), dict):
            raise InputError(f"{path} is damaged: {section} is no object. {_ADVICE}")
    return record


def _of_manifest(manifest: Mapping[str, Any]) -> str:
    """Return the fingerprint of a run's output; rows that failed are not in it, and may be there after a retry."""
    fingerprint, errors = str(manifest["fingerprint"]), manifest.get("errors")
    return f"{fingerprint}-{errors}-errors" if errors else fingerprint


def part_fingerprint(fingerprint: str, name: str) -> str:
    """Return the fingerprint of one directory of a run's output, such as `adapter` of finetune's."""
    return f"{fingerprint}/{name}"


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line for each field in which two identities differ: `config.seed: 1 there, 2 now`."""
    lines: list[str] = []
    for key in sorted({*old, *new}):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += describe_differences(before, after, f"{name}.")
        elif before != after:
            lines.append(f"{name}: {short_repr(before)} there, {short_repr(after)} now")
    return lines
