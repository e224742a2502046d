"""Whether files are still what their writers wrote: an input's by its manifest, a killed run's by reading them.

A manifest names every file of a finished directory with its size and SHA-256. What has another size, is missing or has
come since is refused before any work; what has other bytes once all of it was read, before the work begins.

A run that goes on trusts every part that is there. So the parts are read first, and those that are damaged are removed,
so that they are made again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from ecellm.errors import DamagedFileError, InputError
from ecellm.fingerprint import MANIFEST_NAME, RUN_NAME, read_sections
from ecellm.storage import Storage, is_stored, join

logger = logging.getLogger(__name__)
_CHECKPOINTS = "checkpoints"
_BYTES_OF_A_TASK = 256 << 20
_MOST_NAMED = 3
_STAGING = "staging"
_NOT_PARTS = (_STAGING, _CHECKPOINTS)
_HOW_TO_MEND = (
    "Bring the files back as they were, or remove {manifest} and what is wrong and run the job that wrote them again; "
    "a data set that was changed on purpose is taken as foreign data without its _manifest.json and _run.json"
)
Listed = Mapping[str, Any]


def describe_files(storage: Storage, output_dir: str) -> list[dict[str, Any]]:
    """Return name, size in bytes and sha256 of each file of an output directory.

    Reads every file: to be run on a node, not in the driver. Checkpoints are left out: they are what a killed run goes
    on from, not what a stage hands on.
    """
    described = []
    for file in storage.list_files(output_dir):
        name = file.removeprefix(output_dir).lstrip("/")
        if name not in {RUN_NAME, MANIFEST_NAME} and not name.startswith(f"{_CHECKPOINTS}/"):
            described.append({"name": name, "size": storage.size(file), "sha256": storage.sha256(file)})
    return described


def listed_files(storage: Storage, path: str) -> tuple[str, list[Listed]]:
    """Return the manifest's path and what it lists below an input, itself or a directory of its own; else nothing.

    Args:
        storage: access to the input.
        path: an input: a finished directory, or one of its directories, such as `adapter`.

    Returns:
        The manifest's path, empty if there is none or it lists no files, and of each file `path`, `size`, `sha256`.
    """
    if not is_stored(path):
        return "", []
    parent, _, name = path.rpartition("/")
    for root, prefix in ((path, ""), (parent, f"{name}/")):
        manifest = join(root, MANIFEST_NAME)
        if root and storage.exists(manifest):
            files = _files_of(read_sections(storage, manifest), manifest)
            if files is None:
                break
            below: list[Listed] = [
                file | {"path": join(root, file["name"])} for file in files if file["name"].startswith(prefix)
            ]
            return manifest, below
    return "", []


def _files_of(content: Mapping[str, Any], manifest: str) -> list[dict[str, Any]] | None:
    """Return what a manifest, perhaps a foreign one, lists; None if it lists nothing."""
    files = content.get("files")
    kinds = {"name": str, "size": int, "sha256": str}
    if files is None or (
        isinstance(files, list)
        and all(isinstance(own, dict) and all(isinstance(own.get(key), kinds[key]) for key in kinds) for own in files)
    ):
        return files
    raise InputError(f"{manifest} is damaged: files is no list of names, sizes and sha256")


def check_sizes(storage: Storage, name: str, path: str) -> None:
    """Compare the files of an input with its manifest by name and size; one without a manifest is not looked at.

    Args:
        storage: access to the input.
        name: what the job calls it.
        path: where it is.

    Raises:
        InputError: a file is missing or has another size, or there is a Parquet file that the manifest does not list.
    """
    manifest, files = listed_files(storage, path)
    if not manifest:
        return
    there = storage.sizes(path)
    wrong = [_difference(file, there.get(file["path"])) for file in files if there.get(file["path"]) != file["size"]]
    known = {file["path"] for file in files}
    wrong += [f"{own} has come since" for own in sorted(there) if own not in known and _is_part(path, own)]
    _refuse(name, manifest, wrong)


def _difference(file: Listed, size: int | None) -> str:
    if size is None:
        return f"{file['path']} is missing"
    return f"{file['path']} has {size:,} bytes, not {file['size']:,}"


def _is_part(root: str, path: str) -> bool:
    """Tell whether a file is of a table that readers take from the directory."""
    return path.removeprefix(f"{root}/").startswith("data/") and path.endswith(".parquet")


def _refuse(name: str, manifest: str, wrong: Sequence[str]) -> None:
    if wrong:
        shown = "; ".join(wrong[:_MOST_NAMED]) + (f"; and {len(wrong) - _MOST_NAMED} more" if wrong[3:] else "")
        advice = _HOW_TO_MEND.format(manifest=manifest)
        raise InputError(f"{name} is not what {manifest} says: {shown}. {advice}")


def check_contents(storage: Storage, inputs: Mapping[str, str]) -> None:
    """Compare the SHA-256 of all files of inputs that have a manifest, on the cluster.

    Raises:
        InputError: a file has other bytes than when it was written.
    """
    for name, path in inputs.items():
        manifest, files = listed_files(storage, path)
        wrong = _in_tasks(storage, files, _changed)
        _refuse(name, manifest, [f"{own} has other bytes" for own in wrong])


def _in_tasks(storage: Storage, files: Sequence[Listed], is_wrong: Callable[[Storage, Listed], bool]) -> list[str]:
    """Return the paths of files of which `is_wrong` holds; tasks read some 256 MiB each."""
    groups: list[list[Listed]] = []
    room = 0
    for file in files:
        if room <= 0:
            groups.append([])
            room = _BYTES_OF_A_TASK
        groups[-1].append(file)
        room -= file["size"]
    task = ray.remote(_wrong_ones)
    found: list[list[str]] = ray.get([task.remote(storage, group, is_wrong) for group in groups])
    return [path for own in found for path in own]


def _wrong_ones(storage: Storage, files: Sequence[Listed], is_wrong: Callable[[Storage, Listed], bool]) -> list[str]:
    return [file["path"] for file in files if is_wrong(storage, file)]


def _changed(storage: Storage, file: Listed) -> bool:
    return storage.sha256(file["path"]) != file["sha256"]


def remove_damaged(storage: Storage, output_dir: str) -> None:
    """Remove the damaged Parquet files of a directory in which a run is to go on, so that they are made again.

    Parts of the same number go together, since one may be what tells that the other is done; and so does all that is
    staged, whose notes tell the same.
    """
    sizes = {path: size for path, size in storage.sizes(output_dir).items() if path.endswith(".parquet")}
    below = {path: path.removeprefix(f"{output_dir}/").split("/", 1)[0] for path in sizes}
    files = [{"path": path, "size": size} for path, size in sizes.items() if below[path] != "checkpoints"]
    damaged = sorted(_in_tasks(storage, files, _is_damaged))
    if not damaged:
        return
    logger.warning("%d damaged files are made again: %s", len(damaged), ", ".join(damaged[:_MOST_NAMED]))
    storage.remove(join(output_dir, _STAGING, "steps"))
    storage.remove(join(output_dir, _STAGING))
    names = {path.rsplit("/", 1)[-1] for path in damaged}
    for path in sizes:
        if below[path] not in _NOT_PARTS and path.rsplit("/", 1)[-1] in names:
            storage.remove(path)


def _is_damaged(storage: Storage, file: Listed) -> bool:
    try:
        with storage.parquet_file(file["path"]) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group)
    except DamagedFileError:
        return True
    return False
