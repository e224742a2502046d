"""What predictions directories hold, looked up on the nodes: the driver opens no file of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecellm.config import StorageConfig
from ecellm.evaluation.answered import RunFiles, first_row_of_run, list_runs, num_rows
from ecellm.evaluation.headline import role_of
from ecellm.evaluation.joined import join_answered
from ecellm.storage import Storage


@dataclass(frozen=True)
class Listing:
    """The files of one predictions directory.

    Attributes:
        directory: absolute path or URL.
        runs: files of each run by (setting, task).
        rows: answers in each file.
        roles: what each run is, as in the metrics table.
    """

    directory: str
    runs: Sequence[RunFiles]
    rows: Mapping[str, int]
    roles: Sequence[str]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Listing":
        """Return what `list_directory` has found."""
        runs = [{(setting, task): files for setting, task, files in of_run} for of_run in result["runs"]]
        return cls(result["directory"], runs, result["num_rows"], result["roles"])

    def num_rows(self, files: Sequence[str]) -> int:
        """Return the answers in some files."""
        return sum(self.rows[path] for path in files)


def list_directory(shard: Mapping[str, Any], *, storage_config: Mapping[str, Any]) -> dict[str, Any]:
    """Look at a predictions directory.

    Args:
        shard: `directory`, and whether it is of a `task_specific` model.
        storage_config: how to reach it.

    Returns:
        `directory`; `runs`, of each [setting, task, files]; `num_rows` by file; `roles` of the runs.

    Raises:
        InputError: it holds no predictions.
    """
    storage = Storage(StorageConfig(**storage_config))
    runs = list_runs(storage, shard["directory"])
    return {
        "directory": shard["directory"],
        "runs": [[[*place, files] for place, files in of_run.items()] for of_run in runs],
        "num_rows": {path: num_rows(storage, path) for of_run in runs for files in of_run.values() for path in files},
        "roles": [
            role_of(
                first_row_of_run(storage, of_run, ("engine",)).get("engine"), is_task_specific=shard["task_specific"]
            )
            for of_run in runs
        ],
    }


def check_ids(shard: Mapping[str, Any], *, storage_config: Mapping[str, Any]) -> dict[str, Any]:
    """Make sure that every answer of a run to one (setting, task) has its sample.

    Args:
        shard: `directory`, `run` (its number there), `predictions` (files) and `samples` (files by split).
        storage_config: how to reach them.

    Returns:
        `directory`, `run`, `run_id` (None without answers) and `num_answers`.

    Raises:
        InputError: a predicted sample is not among the samples, or is answered twice.
    """
    joined = join_answered(Storage(StorageConfig(**storage_config)), shard["predictions"], shard["samples"])
    return {
        "directory": shard["directory"],
        "run": shard["run"],
        "run_id": None if joined is None else joined.run["run_id"],
        "num_answers": 0 if joined is None else int(np.count_nonzero(joined.prediction_rows >= 0)),
    }
