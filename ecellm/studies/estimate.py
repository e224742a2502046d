"""How long the stages of a study that are not done will take, as far as anything tells.

Finetune and predict take the time, and task-specific models, of which nothing is foretold. What the stages of their
kind that are done here took, by their manifests, tells how many samples (times epochs) or rows a second they do;
without one, what the recipe assumes. How many there are to do is counted in the samples, once these are there.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ecellm.config import FinetuneConfig, PredictConfig, PreprocessConfig
from ecellm.config.study import Estimates
from ecellm.dataset.partitions import Partition, list_partitions
from ecellm.evaluation.answered import num_rows
from ecellm.manifest import read_manifest
from ecellm.pipeline import Node
from ecellm.storage import Storage
from ecellm.tasks import task_named

SampleCounts = Mapping[Partition, int]


def units_of(node: Node, nodes: Mapping[str, Node], counts: SampleCounts) -> float | None:
    """Return the samples times epochs that a finetune learns from, or the rows that a predict answers; else None.

    Args:
        node: the stage.
        nodes: all stages by their output directories.
        counts: rows of the samples by partition.
    """
    config = node.config
    if isinstance(config, FinetuneConfig):
        made = nodes.get(config.rows_dir)
        if made is None or not isinstance(made.config, PreprocessConfig):
            return None  # rows of the user's own
        rows = made.config
        learned = config.num_epochs * (rows.num_samples or training_samples(rows, counts))
        return float(min(learned, (config.max_steps or math.inf) * config.global_batch_size))
    if isinstance(config, PredictConfig):
        return float(_rows(counts, config.settings, config.split, config.tasks, config.limit))
    return None


def training_samples(config: PreprocessConfig, counts: SampleCounts) -> int:
    """Return the training samples that there are of the settings and tasks of a preprocess."""
    return _rows(counts, config.settings, "train", config.tasks, None)


def _rows(
    counts: SampleCounts, settings: Sequence[str] | None, split: str, tasks: Sequence[str] | None, limit: int | None
) -> int:
    names = None if tasks is None else {task_named(name).name for name in tasks}
    return sum(
        min(number, limit or number)
        for partition, number in counts.items()
        if partition.split == split
        and (settings is None or partition.setting in settings)
        and (names is None or partition.task in names)
    )


def kind_of(node: Node) -> tuple[str, str]:
    """Return what stages have in common that are about as fast: the job, and what is tuned or answers."""
    config = node.config
    if isinstance(config, FinetuneConfig):
        return node.stage.job, config.base_model
    if isinstance(config, PredictConfig):
        # A tuned model lies in a directory of its own, and is as fast as others of its size.
        return node.stage.job, config.engine
    return node.stage.job, ""


def measured_rates(nodes: Iterable[Node], units: Mapping[str, float | None]) -> dict[tuple[str, str], float]:
    """Return units a second of the stages that are done here, by kind: all their units by all their time.

    Stages that went on after a kill tell only of their last attempt, and are left out where their manifest says so.

    Args:
        nodes: the stages that are done.
        units: of each stage, by name.
    """
    all_units: defaultdict[tuple[str, str], float] = defaultdict(float)
    all_seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        manifest = read_manifest(Storage(node.config.storage), node.output_dir)
        seconds, own = _seconds_of(node, manifest), units.get(node.name)
        if own and isinstance(seconds, int | float) and seconds > 0:
            all_units[kind_of(node)] += own
            all_seconds[kind_of(node)] += seconds
    return {kind: all_units[kind] / all_seconds[kind] for kind in all_units}


def _seconds_of(node: Node, manifest: Mapping[str, Any]) -> Any:
    """Return how long a stage took in all, None where that is not known."""
    details = manifest.get("details") or {}
    if isinstance(node.config, FinetuneConfig):
        return max(manifest.get("wall_seconds") or 0, details.get("training_seconds") or 0)
    return manifest.get("wall_seconds") if details.get("rows_per_wall_second") else None


def rate_of(node: Node, measured: Mapping[tuple[str, str], float], assumed: Estimates) -> tuple[float, str] | None:
    """Return units a second of a stage and where they come from; None where nothing tells.

    What is done here of its kind counts for more than what is done of its job, and that for more than an assumption.
    """
    kind = kind_of(node)
    alike = measured.get(kind)
    if alike is not None:
        return alike, "as the stages of its kind that are done here"
    others = [rate for (job, _), rate in measured.items() if job == kind[0]]
    if others:
        return fmean(others), "as other models' stages that are done here"
    given = {"finetune": assumed.trained_samples_per_second, "predict": assumed.answered_rows_per_second}.get(kind[0])
    return None if given is None else (given, "assumed by the recipe")


def longest_way(seconds: Mapping[str, float], needs: Mapping[str, Sequence[str]]) -> float:
    """Return the seconds of the longest chain of stages, below which no cluster gets.

    Args:
        seconds: of the stages; those that are done take none.
        needs: the stages that each needs, in an order in which they can run.
    """
    until: dict[str, float] = {}
    for name, own in needs.items():
        until[name] = seconds.get(name, 0.0) + max((until[need] for need in own), default=0.0)
    return max(until.values(), default=0.0)


def count_samples(storage: Storage, samples_dir: str) -> dict[Partition, int]:
    """Return the rows of each partition of the samples."""
    return {
        partition: sum(num_rows(storage, path) for path in files)
        for partition, files in list_partitions(storage, samples_dir).items()
    }


def time_text(seconds: float) -> str:
    """Return seconds as hours, or as minutes below one."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
