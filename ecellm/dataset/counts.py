"""Counts per task, split and setting beside those of the published data set."""

from collections.abc import Mapping

from ecellm.dataset.partitions import Partition
from ecellm.tasks import TASKS

# Rows of one task in the release, by split (paper, table of the data set): 10k/1k/1k, PM smaller; MPC, PSI, QPR and PM
# have no OOD test.
_PUBLISHED = {"train": 10_000, "val": 1_000, "test": 1_000}
_PUBLISHED_PM = {"train": 2_022, "val": 253, "test": 253}
_WITHOUT_OOD = {"PM", "MPC", "PSI", "QPR"}
_SHORT_NAMES = {task.name: task.short_name for task in TASKS}


def published_count(partition: Partition) -> int | None:
    """Return how many rows the release has in a partition; None for tasks that it does not know.

    OOD settings, unseen instructions and 1-shot prompts exist for the test split alone.
    """
    short = _SHORT_NAMES.get(partition.task)
    if short is None:
        return None
    out_of_domain = partition.setting.startswith("OOD")
    only_test = out_of_domain or "Unseen" in partition.setting or "1-shot" in partition.setting
    if (only_test and partition.split != "test") or (out_of_domain and short in _WITHOUT_OOD):
        return 0
    return (_PUBLISHED_PM if short == "PM" else _PUBLISHED)[partition.split]


def count_lines(counts: Mapping[Partition, int]) -> list[str]:
    """Return a table as text: one line a partition, its rows and the published number of rows."""
    width = max(len(partition.task) for partition in counts)
    lines = [f"{'task':{width}}  {'setting':31}  split  {'rows':>8}  {'published':>9}"]
    for partition, rows in sorted(counts.items(), key=lambda item: (item[0].task, item[0].setting, item[0].split)):
        published = published_count(partition)
        shown = "-" if published is None else f"{published:,}"
        lines.append(f"{partition.task:{width}}  {partition.setting:31}  {partition.split:5}  {rows:>8,}  {shown:>9}")
    return lines
