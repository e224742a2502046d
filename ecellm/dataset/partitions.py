"""Where samples lie: Hive directories by setting, split and task, and how a stage walks them in one fixed order."""

from collections.abc import Collection
from dataclasses import dataclass

from ecellm.errors import InputError
from ecellm.storage import Storage, join
from ecellm.tasks import find_task


@dataclass(frozen=True, order=True)
class Partition:
    """One (setting, split, task), in the order in which rows are sorted."""

    setting: str
    split: str
    task: str

    def directory(self, samples_dir: str) -> str:
        """Return the partition's directory below a samples directory."""
        return join(samples_dir, "data", f"setting={self.setting}", f"split={self.split}", f"task={self.task}")


def part_name(number: int) -> str:
    """Return the file name of part `number`."""
    return f"part-{number:05d}.parquet"


def hive_keys(path: str) -> dict[str, str]:
    """Return the partition columns that a file's directories name: `setting=X/task=Y` gives both."""
    return dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)


def _canonical(name: str) -> str:
    task = find_task(name)
    return name if task is None else task.name  # else a task of the user's own


def list_partitions(
    storage: Storage,
    samples_dir: str,
    *,
    settings: Collection[str] | None = None,
    splits: Collection[str] | None = None,
    tasks: Collection[str] | None = None,
) -> dict[Partition, list[str]]:
    """Return the partitions that hold rows and are asked for, sorted, with their Parquet files in order.

    Raises:
        InputError: nothing is left, or a task or setting that was asked for is not there.
    """
    tasks = None if tasks is None else {_canonical(name) for name in tasks}
    found: dict[Partition, list[str]] = {}
    for path in storage.list_files(join(samples_dir, "data"), ".parquet"):
        keys = hive_keys(path)
        if {"setting", "split", "task"} <= keys.keys():
            found.setdefault(Partition(keys["setting"], keys["split"], keys["task"]), []).append(path)
    if not found:
        raise InputError(f"{samples_dir} holds no samples (data/setting=/split=/task=/*.parquet)")
    for name, asked, there in (
        ("settings", settings, {p.setting for p in found}),
        ("tasks", tasks, {p.task for p in found}),
    ):
        missing = sorted(set(asked or ()) - there)
        if missing:
            raise InputError(f"{name}: {', '.join(missing)} not in {samples_dir}, which has {', '.join(sorted(there))}")
    chosen = {
        partition: sorted(files)
        for partition, files in sorted(found.items())
        if (settings is None or partition.setting in settings)
        and (splits is None or partition.split in splits)
        and (tasks is None or partition.task in tasks)
    }
    if not chosen:
        raise InputError(f"{samples_dir} holds no samples of settings={settings}, splits={splits}, tasks={tasks}")
    return chosen
