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

MANIFEST_NAME = "_manifest.json"
RUN_NAME = "_run.json"


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: a value has no stable form.
        ValueError: a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint_of(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex digits) of a run's identity."""
    return sha256(canonical_json(dict(identity)).encode()).hexdigest()


def fingerprint_input(storage: Storage, path: str) -> str:
    """Return the fingerprint of an input: its (or its parent's) manifest's, or one of names, sizes, digests of files.

    Raises:
        InputError: nothing is there, or a run that makes it has not finished.
    """
    if storage.exists(join(path, MANIFEST_NAME)):
        return _of_manifest(storage.read_json(join(path, MANIFEST_NAME)))
    if not storage.exists(path):
        raise InputError(f"{path} does not exist")
    parent, _, name = path.rpartition("/")
    if parent and storage.exists(join(parent, MANIFEST_NAME)):
        return part_fingerprint(str(storage.read_json(join(parent, MANIFEST_NAME))["fingerprint"]), name)
    if storage.exists(join(path, RUN_NAME)) or (parent and storage.exists(join(parent, RUN_NAME))):
        raise InputError(f"{path} is not finished: the run that makes it must be run again to its end first")
    files = storage.list_files(path) if storage.is_dir(path) else [path]
    if not files:
        raise InputError(f"{path} is empty")
    listing = [[file.removeprefix(path), storage.size(file), storage.digest(file)] for file in files]
    return fingerprint_of({"foreign": listing})


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
            lines.append(f"{name}: {before!r} there, {after!r} now")
    return lines
