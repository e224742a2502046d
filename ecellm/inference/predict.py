"""The predict stage: answers to all test splits in the samples, in one Ray Data job.

    python -m jobs.predict samples_dir=samples model=MODEL output_dir=predictions

The rows of every (setting, task) are cut into pieces; a pool of actors, each with the model loaded once, answers them.
A finished part is its own marker: killed and started again, only parts that are missing are computed.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import pyarrow as pa
import ray

from ecellm.config import PredictConfig
from ecellm.dataset import segments
from ecellm.dataset.partitions import list_partitions, part_name
from ecellm.inference.engines.fake import FakeEngine
from ecellm.inference.request import Answer, Engine, Request
from ecellm.models import fingerprint_with_model, local_model, locate, require_weights
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.tokenization import PromptTokenizer, TokenizedPrompt
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.resources import check_room
from ecellm.schema import PREDICTION_ERRORS, PREDICTIONS
from ecellm.shards import run_shards_on_actors
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute, join

logger = logging.getLogger(__name__)
RUN_ID_LENGTH = 12


# Tells of a samples row what its answer may be: the closed choices if any, and the most tokens it may have.
AnswerSpaceOf = Callable[[Mapping[str, Any]], tuple[tuple[str, ...] | None, int]]


def _inputs(config: PredictConfig) -> dict[str, str]:
    inputs = {"samples_dir": absolute(config.samples_dir), "model": locate(config.model)}
    if config.adapter:
        inputs["adapter"] = absolute(config.adapter)
    return inputs


def _check(config: PredictConfig, storage: Storage) -> tuple[str, ...]:
    list_partitions(
        storage, absolute(config.samples_dir), settings=config.settings, splits=(config.split,), tasks=config.tasks
    )
    if config.engine == "transformers":
        check_room(
            f"one actor with cpus_per_actor={config.cpus_per_actor}",
            number=1,
            cpus=config.cpus_per_actor,
            gpus=1 if config.use_gpu else 0,
            advice="set use_gpu=false" if config.use_gpu else "lower cpus_per_actor",
        )
        ray.get(ray.remote(_check_model).remote(config))
    return ()


def _check_model(config: PredictConfig) -> None:
    """Make sure, on a node, that model and adapter are there and that the prompt format suits the tokenizer."""
    storage = Storage(config.storage)
    _prompt_tokenizer(config).prompt(PromptParts("instruction", "input"))
    require_weights(local_model(locate(config.model), config.model_revision, storage))
    if config.adapter:
        require_weights(local_model(absolute(config.adapter), None, storage))


def _prompt_tokenizer(config: PredictConfig) -> PromptTokenizer:
    return load_prompt_tokenizer(
        locate(config.model),
        config.model_revision,
        Storage(config.storage),
        prompt_format=config.prompt_format,
        max_length=config.max_length,
        max_answer_tokens=config.max_answer_tokens,
    )


def make_stage(answer_space: AnswerSpaceOf) -> Stage[PredictConfig]:
    """Return the predict stage for tasks that `answer_space` knows.

    Args:
        answer_space: tells a samples row's closed choices and answer length.
    """
    return Stage(
        job="predict",
        version=1,
        config_class=PredictConfig,
        inputs=_inputs,
        check=_check,
        run=partial(_run, answer_space),
        fingerprint_input=fingerprint_with_model("model"),
    )


def _run(answer_space: AnswerSpaceOf, run: Run[PredictConfig]) -> Outcome:
    config = run.config
    shards = ray.get(ray.remote(_plan).remote(config, run.output_dir))
    todo = [shard for shard in shards if not shard["done"]]
    num_done = len(shards) - len(todo)
    results = run_shards_on_actors(
        todo,
        Answerer,
        name=f"predict ({num_done} of {len(shards)} parts done before)" if num_done else "predict",
        constructor_args={
            "config_json": config.model_dump_json(),
            "output_dir": run.output_dir,
            "run_id": run.fingerprint[:RUN_ID_LENGTH],
            "answer_space": answer_space,
        },
        num_actors=config.num_actors,
        num_cpus=config.cpus_per_actor,
        num_gpus=1 if config.use_gpu else 0,
    )
    for _ in results:
        pass
    num_rows = sum(segments.num_rows(shard["piece"]) for shard in shards)
    num_errors = ray.get(ray.remote(_count_errors).remote(config, run.output_dir))
    if num_errors > config.max_error_share * num_rows:
        raise RuntimeError(
            f"{num_errors:,} of {num_rows:,} rows failed, more than max_error_share={config.max_error_share} allows; "
            f"the reasons are in {join(run.output_dir, 'errors')}. retry_errors=true answers them again"
        )
    return Outcome(
        rows=num_rows - num_errors,
        errors=num_errors,
        details={"run_id": run.fingerprint[:RUN_ID_LENGTH], "num_parts": len(shards)},
        summary=(f"{num_rows - num_errors:,} answers of {config.model}, {num_errors:,} failed rows",),
    )


def _plan(config: PredictConfig, output_dir: str) -> list[dict[str, Any]]:
    """Return the shards in order of (setting, task): part number, piece of the samples, and whether it is done."""
    storage = Storage(config.storage)
    partitions = list_partitions(
        storage, absolute(config.samples_dir), settings=config.settings, splits=(config.split,), tasks=config.tasks
    )
    finished = set(storage.list_files(join(output_dir, "data"), ".parquet"))
    failed = {path.rsplit("/", 1)[-1] for path in storage.list_files(join(output_dir, "errors"), ".parquet")}
    shards: list[dict[str, Any]] = []
    for partition, files in partitions.items():
        directory = join(output_dir, "data", f"setting={partition.setting}", f"task={partition.task}")
        for piece in segments.cut(storage, files, config.rows_per_shard, config.limit):
            name = part_name(len(shards))
            again = config.retry_errors and name in failed
            done = join(directory, name) in finished and not again
            shards.append({"name": name, "directory": directory, "piece": piece, "done": done})
    return shards


def _count_errors(config: PredictConfig, output_dir: str) -> int:
    storage = Storage(config.storage)
    return sum(storage.read_table(file).num_rows for file in storage.list_files(join(output_dir, "errors"), ".parquet"))


class Answerer:
    """One actor: a model loaded once, which answers one piece of the samples after the other."""

    def __init__(self, *, config_json: str, output_dir: str, run_id: str, answer_space: AnswerSpaceOf) -> None:
        self._config = PredictConfig.model_validate_json(config_json)
        self._storage = Storage(self._config.storage)
        self._output_dir = output_dir
        self._run_id = run_id
        self._answer_space = answer_space
        self._tokenizer = None if self._config.engine == "fake" else _prompt_tokenizer(self._config)
        self._engine = self._load_engine()

    def _load_engine(self) -> Engine:
        config = self._config
        if config.engine == "fake" or self._tokenizer is None:
            return FakeEngine()
        import torch

        from ecellm.inference.engines.transformers_engine import TransformersEngine, load_model

        if not config.use_gpu:
            torch.set_num_threads(config.cpus_per_actor)
        path = local_model(locate(config.model), config.model_revision, self._storage)
        adapter = local_model(absolute(config.adapter), None, self._storage) if config.adapter else None
        return TransformersEngine(
            load_model(path, config.model_revision, adapter, precision=config.precision, use_gpu=config.use_gpu),
            self._tokenizer.tokenizer,
            decoding=config.decoding,
            seed=config.seed,
            max_batch_size=config.max_batch_size,
        )

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one piece and publish its part; rows that cannot be asked go to `errors/`."""
        rows: list[dict[str, Any]] = []
        prompts: list[TokenizedPrompt] = []
        failed: list[dict[str, Any]] = []
        for row in segments.read(self._storage, shard["piece"]):
            prompt = self._prompt(row)
            if prompt is None:
                failed.append({**_keys(row), "reason": "prompt_does_not_fit: raise max_length"})
                continue
            rows.append(row)
            prompts.append(prompt)
        records = []
        answers = self._answers([self._request(row, prompt) for row, prompt in zip(rows, prompts, strict=True)])
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            if isinstance(answer, Answer):
                records.append(self._record(row, prompt, answer))
            else:
                failed.append({**_keys(row), "reason": answer})
        self._publish(shard, records, failed)
        return {"rows": len(rows) + len(failed)}

    def _answers(self, requests: list[Request]) -> list[Answer | str]:
        """Answer requests; where the engine fails on them together, one by one, with the reason for those that fail."""
        try:
            return [*self._engine.answer(requests)]
        except Exception as error:  # noqa: BLE001  whatever an engine raises, the other rows must be answered
            if len(requests) == 1:
                return [f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"]
            logger.warning("the engine failed on %d rows together, answering them one by one: %s", len(requests), error)
        return [self._answers([request])[0] for request in requests]

    def _prompt(self, row: Mapping[str, Any]) -> TokenizedPrompt | None:
        parts = PromptParts.of(row)
        if self._tokenizer is None:
            return TokenizedPrompt(f"{parts.instruction}\n{parts.input}", [], was_shortened=False)
        return self._tokenizer.prompt(parts)

    def _request(self, row: Mapping[str, Any], prompt: TokenizedPrompt) -> Request:
        choices, max_new_tokens = self._answer_space(row)
        choice_ids = None
        if choices and self._tokenizer is not None and self._config.decoding == "choice":
            choice_ids = tuple(tuple(self._tokenizer.answer(prompt.text, prompt.ids, choice)) for choice in choices)
        return Request(
            key=row["sample_id"],
            prompt=prompt.text,
            prompt_ids=tuple(prompt.ids),
            max_new_tokens=min(max_new_tokens, self._config.max_answer_tokens),
            choices=choices,
            choice_ids=choice_ids,
        )

    def _record(self, row: Mapping[str, Any], prompt: TokenizedPrompt, answer: Answer) -> dict[str, Any]:
        config = self._config
        return {
            "run_id": self._run_id,
            "model": config.model,
            "adapter": config.adapter,
            "engine": config.engine,
            "decoding": config.decoding,
            **_keys(row),
            "prompt_sha256": sha256(prompt.text.encode()).hexdigest(),
            "was_shortened": prompt.was_shortened,
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "num_prompt_tokens": len(prompt.ids),
            "num_completion_tokens": answer.num_tokens,
            "choice_scores": list(answer.choice_scores.items()) if answer.choice_scores else None,
        }

    def _publish(self, shard: Mapping[str, Any], records: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        errors = join(self._output_dir, "errors", shard["name"])
        if failed:
            self._storage.write_table(errors, pa.Table.from_pylist(failed, schema=PREDICTION_ERRORS))
        else:
            self._storage.remove(errors)
        path = join(shard["directory"], shard["name"])
        self._storage.write_table(path, pa.Table.from_pylist(records, schema=PREDICTIONS))


def _keys(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("sample_id", "example_id", "task", "split", "setting", "row_index")}
