"""The step of evaluate before scoring: likeness of free answers to their references.

Out, below evaluate's output: `text_similarity/data/part-*.parquet`, one for each run and setting with free answers,
then one for each setting's floors.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray

from ecellm.config import EvaluateConfig
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import PredictionPlace, RunFiles
from ecellm.evaluation.similarity.bertscore import layer_of
from ecellm.evaluation.similarity.measures import absent_metrics, load_measures, needs_models
from ecellm.evaluation.similarity.shard import SimilarityActor, compute_without_models
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.evaluation.similarity_table import DIRECTORY
from ecellm.models import locate
from ecellm.resources import Room
from ecellm.shards import run_shards, run_shards_on_actors
from ecellm.stage import Run
from ecellm.storage import Storage, join
from ecellm.tasks import find_task
from ecellm.tasks.answer_generation import GenerationTask

logger = logging.getLogger(__name__)
_TASK_MEMORY_BYTES = 512 * 2**20
MODEL_FIELDS = ("bertscore_model", "bleurt_model")
_PROBE = TextPair("It is blue.", "It is blue.")


def similarity_inputs(config: EvaluateConfig) -> dict[str, str]:
    """Return the models that are asked for, by the config's field."""
    names = {field: getattr(config, field) for field in MODEL_FIELDS}
    return {field: locate(name) for field, name in names.items() if name}


def room_for_models(config: EvaluateConfig) -> Room | None:
    """Return what the models that are asked for need at once; None if there are none."""
    if not needs_models(config):
        return None
    return Room(
        what=f"similarity_actors={config.similarity_actors or 1} with "
        f"similarity_use_gpu={str(config.similarity_use_gpu).lower()}",
        number=config.similarity_actors or 1,
        cpus=1,
        gpus=int(config.similarity_use_gpu),
        advice="set similarity_use_gpu=false" if config.similarity_use_gpu else "lower similarity_actors",
    )


def check_similarity(config: EvaluateConfig) -> tuple[str, ...]:
    """Load the models on a node and use them once.

    Returns:
        Lines that say what will be computed.

    Raises:
        InputError: a model cannot be loaded.
    """
    if not needs_models(config):
        return (
            ("similarity_use_gpu has no effect: no bertscore_model and no bleurt_model is given",)
            if config.similarity_use_gpu
            else ()
        )
    check = ray.remote(max_retries=0)(_check_on_a_node)
    lines: tuple[str, ...] = ray.get(check.remote(config))
    return lines


def _check_on_a_node(config: EvaluateConfig) -> tuple[str, ...]:
    for measure in load_measures(config, Storage(config.storage)):
        measure.score([_PROBE])
    lines = []
    if config.bertscore_model:
        layer = layer_of(config.bertscore_model, config.bertscore_layer)
        lines.append(f"BERTScore by {config.bertscore_model}, layer {layer}")
    if config.bleurt_model:
        lines.append(f"BLEURT by {config.bleurt_model}")
    return (*lines, *(f"no {metric}: {reason}" for metric, reason in absent_metrics(config).items()))


def plan_parts(
    predictions: Sequence[RunFiles],
    of_floors: RunFiles,
    samples: Mapping[PredictionPlace, Mapping[str, Sequence[str]]],
    output_dir: str,
) -> list[dict[str, Any]]:
    """Return the shards, numbered in a fixed order: runs, then floors.

    Args:
        predictions: for each run, its files by (setting, task).
        of_floors: the files whose samples the floors answer.
        samples: the samples' files by (setting, task) and split.
        output_dir: evaluate's output.
    """
    shards: list[dict[str, Any]] = []

    def add(kind: str, place: PredictionPlace, files: Sequence[str]) -> None:
        path = join(output_dir, DIRECTORY, "data", part_name(len(shards)))
        shard = {"kind": kind, "path": path, "setting": place[0], "predictions": list(files)}
        shards.append(shard | {"samples": samples.get(place, {})})

    for of_run in predictions:
        for place, files in of_run.items():
            if isinstance(find_task(place[1]), GenerationTask):
                add("run", place, files)
    for place, files in of_floors.items():
        if isinstance(find_task(place[1]), GenerationTask):
            add("floors", place, files)
    return shards


def compute_similarity(
    run: Run[EvaluateConfig],
    predictions: Sequence[RunFiles],
    of_floors: RunFiles,
    samples: Mapping[PredictionPlace, Mapping[str, Sequence[str]]],
) -> None:
    """Compute all parts that are not there yet; without free answers there are none, and no model is loaded."""
    shards = plan_parts(predictions, of_floors, samples, run.output_dir)
    done = set(run.storage.list_files(join(run.output_dir, DIRECTORY, "data"), ".parquet"))
    left = [shard for shard in shards if shard["path"] not in done]
    for number, result in enumerate(_results(run.config, left), 1):
        logger.info("text similarity: %d of %d parts, %d rows in this one", number, len(left), result["rows"])


def _results(config: EvaluateConfig, shards: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    arguments = {"config_json": config.model_dump_json()}
    if not needs_models(config):
        return run_shards(
            shards,
            compute_without_models,
            name="text similarity",
            function_args=arguments,
            memory=_TASK_MEMORY_BYTES,
        )
    return run_shards_on_actors(
        shards,
        SimilarityActor,
        constructor_args=arguments,
        num_actors=config.similarity_actors,
        num_gpus=int(config.similarity_use_gpu),
    )
