"""The predict stage: answers to all test splits in the samples, in one Ray Data job.

    python -m jobs.predict samples_dir=samples model=MODEL output_dir=predictions

The rows of every (setting, task) are cut into pieces; a pool of actors, each with the model loaded once, answers them.
A finished part is its own marker: killed and started again, only parts that are missing are computed.
"""

import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import ray

from ecellm.config import PredictConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import part_name
from ecellm.fingerprint import fingerprint_input, fingerprint_of
from ecellm.inference import forecast, totals
from ecellm.inference.answer_lengths import answer_limits
from ecellm.inference.answerer import Answerer
from ecellm.inference.asking import ASKED_COLUMNS, AnswerSpaceOf, asked_partitions
from ecellm.inference.engines.load import local_adapters, prompt_tokenizer
from ecellm.inference.journal import JOURNAL_DIRECTORY
from ecellm.inference.progress import SplitProgress
from ecellm.inference.suspects import ADVICE, what_is_noted
from ecellm.inference.trained_prompt import check_prompt_format
from ecellm.models import local_model, locate, model_fingerprint, require_weights
from ecellm.prompts.rendering import PromptParts
from ecellm.resources import Room
from ecellm.shards import WorkerLostError, cpus_of_a_core, room_for_actors, run_shards_on_actors
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join

logger = logging.getLogger(__name__)
RUN_ID_LENGTH = 12


def _inputs(config: PredictConfig) -> dict[str, str]:
    inputs = {"samples_dir": absolute(config.samples_dir)}
    inputs["model"] = locate(config.model) if config.has_local_model else config.model
    if config.adapter:
        inputs["adapter"] = absolute(config.adapter)
    return inputs | {f"adapters.{number}": absolute(name) for number, name in enumerate(config.adapters)}


def _fingerprint_input(storage: Storage, config: PredictConfig, name: str, path: str) -> str:
    if name == "model" and not config.has_local_model:
        return f"endpoint:{path}"
    if name == "model":
        return model_fingerprint(path, config.model_revision, storage)
    return fingerprint_input(storage, path)


def _gpus_of_an_actor(config: PredictConfig) -> int:
    if not config.use_gpu or not config.has_local_model:
        return 0
    return config.vllm.tensor_parallel_size if config.engine == "vllm" else 1


def _room(config: PredictConfig) -> Room:
    return Room(
        what=f"one actor with cpus_per_actor={config.cpus_per_actor}",
        number=1,
        cpus=config.cpus_per_actor,
        gpus=_gpus_of_an_actor(config),
        advice="set use_gpu=false" if config.use_gpu else "lower cpus_per_actor",
    )


def _check(answer_space: AnswerSpaceOf, config: PredictConfig, storage: Storage) -> tuple[str, ...]:
    asked_partitions(config, storage)
    # A GPU that is free now tells how fast it is; none is waited for.
    gpus = 1 if _gpus_of_an_actor(config) and ray.available_resources().get("GPU", 0) >= 1 else 0
    check = ray.remote(max_retries=0, num_gpus=gpus)(_check_on_a_node)
    num_actors = config.actors_at_once or room_for_actors(
        config.cpus_per_actor * cpus_of_a_core(), _gpus_of_an_actor(config)
    )
    lines: tuple[str, ...] = ray.get(check.remote(config, answer_space, num_actors))
    return lines


def _check_on_a_node(config: PredictConfig, answer_space: AnswerSpaceOf, num_actors: int) -> tuple[str, ...]:
    """Make sure, on a node, that what answers is there and suits the prompts; return what answering will take."""
    storage = Storage(config.storage)
    tokenizer = prompt_tokenizer(config, storage)
    if tokenizer is not None:
        tokenizer.prompt(PromptParts("instruction", "input"))
    lines: tuple[str, ...] = ()
    if config.has_local_model:
        _check_model(config, storage)
        line = check_prompt_format(config, storage)
        lines = (line,) if line else ()
    if config.engine == "vllm":
        from ecellm.inference.engines.vllm_checks import check_vllm

        check_vllm(config)
    if config.engine == "openai":
        from ecellm.inference.engines.openai_engine import check_openai

        check_openai(config)
    return lines + forecast.describe(forecast.forecast(config, storage, answer_space, tokenizer), config, num_actors)


def _check_model(config: PredictConfig, storage: Storage) -> None:
    require_weights(
        local_model(locate(config.model), config.model_revision, storage, trust_remote_code=config.trust_remote_code)
    )
    for path in local_adapters(config, storage).values():
        require_weights(path)


def make_stage(answer_space: AnswerSpaceOf) -> Stage[PredictConfig]:
    """Return the predict stage for tasks that `answer_space` knows.

    Args:
        answer_space: tells what the answer to a samples row may be.
    """
    return Stage(
        job="predict",
        version=2,
        config_class=PredictConfig,
        inputs=_inputs,
        check=partial(_check, answer_space),
        run=partial(_run, answer_space),
        fingerprint_input=_fingerprint_input,
        room=_room,
    )


def _run(answer_space: AnswerSpaceOf, run: Run[PredictConfig]) -> Outcome:
    config = run.config
    start = time.monotonic()
    shards, limits = ray.get(ray.remote(_plan).remote(config, run.output_dir, run.fingerprint))
    _answer(answer_space, run, shards, limits)
    seconds = None if any(shard["done"] for shard in shards) else time.monotonic() - start
    num_rows = sum(shard["num_rows"] for shard in shards)
    found = ray.get(ray.remote(totals.totals).remote(run.storage, run.output_dir))
    num_errors = num_rows - found.num_rows
    if num_errors > config.max_error_share * num_rows:
        raise RuntimeError(
            f"{num_errors:,} of {num_rows:,} rows failed, more than max_error_share={config.max_error_share} allows; "
            f"the reasons are in {join(run.output_dir, 'errors')}. retry_errors=true answers them again"
        )
    run.storage.remove(join(run.output_dir, JOURNAL_DIRECTORY))  # of parts that were finished just before a kill
    return _outcome(run, shards, found, num_errors, seconds)


def _answer(
    answer_space: AnswerSpaceOf, run: Run[PredictConfig], shards: list[dict[str, Any]], limits: dict[str, int]
) -> None:
    """Answer all parts that are not done; where actors die of a row, with new ones until that row is found.

    Raises:
        WorkerLostError: actors die, and no row is to blame.
    """
    progress = SplitProgress(shards)
    left = {shard["name"]: shard for shard in shards if not shard["done"]}
    while left:
        num_left, noted = len(left), what_is_noted(run.storage, run.output_dir)
        try:
            for result in _answered_by_actors(answer_space, run, list(left.values()), limits):
                progress.add(result)
                del left[result["name"]]
        except WorkerLostError as error:
            if len(left) == num_left and what_is_noted(run.storage, run.output_dir) == noted:
                raise WorkerLostError(f"{error}. {ADVICE}") from None
            logger.warning("%s. Starting new actors for %d parts", error, len(left))


def _answered_by_actors(
    answer_space: AnswerSpaceOf, run: Run[PredictConfig], shards: list[dict[str, Any]], limits: dict[str, int]
) -> Iterator[dict[str, Any]]:
    config = run.config
    return run_shards_on_actors(
        shards,
        Answerer,
        constructor_args={
            "config_json": config.model_dump_json(),
            "output_dir": run.output_dir,
            "answer_space": answer_space,
            "answer_limits": limits,
        },
        num_actors=config.actors_at_once,
        num_cpus=config.cpus_per_actor,
        num_gpus=_gpus_of_an_actor(config),
    )


def _outcome(
    run: Run[PredictConfig],
    shards: list[dict[str, Any]],
    found: totals.Totals,
    num_errors: int,
    seconds: float | None,
) -> Outcome:
    """Return what was made; `seconds` is what it took, None where an earlier run has done a part of it."""
    run_ids = {shard["adapter"] or run.config.model: shard["run_id"] for shard in shards}
    return Outcome(
        rows=found.num_rows,
        errors=num_errors,
        details={"run_ids": run_ids, "num_parts": len(shards), **totals.as_details(found, run.config, seconds)},
        summary=(
            f"{found.num_rows:,} answers of {run.config.model}, {num_errors:,} failed rows",
            *totals.describe(found, run.config, seconds),
        ),
    )


def _plan(config: PredictConfig, output_dir: str, fingerprint: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the shards in order of (adapter, setting, task), and the most tokens of an answer by task."""
    storage = Storage(config.storage)
    partitions = asked_partitions(config, storage)
    finished = set(storage.list_files(join(output_dir, "data"), ".parquet"))
    failed = {path.rsplit("/", 1)[-1] for path in storage.list_files(join(output_dir, "errors"), ".parquet")}
    shards: list[dict[str, Any]] = []
    for number, adapter in enumerate(config.all_adapters):
        for partition, files in partitions.items():
            directory = join(output_dir, "data", f"setting={partition.setting}", f"task={partition.task}")
            for piece in segments.cut(storage, files, config.rows_of_a_shard, config.limit, ASKED_COLUMNS):
                name = part_name(len(shards))
                again = config.retry_errors and name in failed and join(directory, name) in finished
                shards.append(
                    {
                        "name": name,
                        "directory": directory,
                        "setting": partition.setting,
                        "task": partition.task,
                        "adapter": adapter,
                        "run_id": run_id(config, fingerprint, number),
                        "piece": piece,
                        "num_rows": segments.num_rows(piece),
                        "done": join(directory, name) in finished and not again,
                        "again": again,
                    }
                )
    return shards, answer_limits(config, storage, prompt_tokenizer(config, storage))


def run_id(config: PredictConfig, fingerprint: str, number: int) -> str:
    """Return what identifies the answers of the adapter with this number: where there are several, each is a run."""
    if len(config.all_adapters) > 1:
        fingerprint = fingerprint_of({"predict": fingerprint, "adapter": number})
    return fingerprint[:RUN_ID_LENGTH]
