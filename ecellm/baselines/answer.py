"""One actor of baseline: it loads the model of a task when it first needs it, and answers pieces of samples."""

import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from ecellm.baselines.learner import Answered, Learner, learner_class
from ecellm.baselines.rows import COLUMNS
from ecellm.baselines.sample_texts import Row
from ecellm.config import BaselineConfig
from ecellm.dataset import segments
from ecellm.evaluation.headline import SPECIALIST_ENGINE
from ecellm.inference.asking import SAMPLE_KEYS
from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage, join
from ecellm.tasks import task_named

MODELS_DIRECTORY = "models"


class BaselineAnswerer:
    """Answers shards: `name` of the part, `directory`, `task`, `piece` of the samples, `run_id`."""

    def __init__(self, *, config_json: str, output_dir: str) -> None:
        self._config = BaselineConfig.model_validate_json(config_json)
        self._storage = Storage(self._config.storage)
        self._output_dir = output_dir
        self._loaded: dict[str, tuple[Learner, torch.nn.Module]] = {}

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a piece and publish its part, unless it is there; return its `name` and `rows`."""
        path = join(shard["directory"], shard["name"])
        if not self._storage.exists(path):
            rows = segments.read(self._storage, shard["piece"], COLUMNS, never_null={*SAMPLE_KEYS, "input"})
            learner, model = self._model_of(shard["task"])
            answers = learner.answer(model, rows)
            records = [self._record(row, answer, shard["run_id"]) for row, answer in zip(rows, answers, strict=True)]
            self._storage.write_table(path, pa.Table.from_pylist(records, schema=PREDICTIONS))
        return {"name": shard["name"], "rows": segments.num_rows(shard["piece"])}

    def _model_of(self, name: str) -> tuple[Learner, torch.nn.Module]:
        if name not in self._loaded:
            config = self._config
            if not config.use_gpu:
                torch.set_num_threads(config.cpus_per_worker)
            learner = learner_class(config.kind)(config, task_named(name), self._storage)
            with tempfile.TemporaryDirectory(prefix="ecellm-baseline-") as scratch:
                self._storage.download_dir(join(self._output_dir, MODELS_DIRECTORY, name), Path(scratch))
                model = learner.load(Path(scratch)).to("cuda" if config.use_gpu else "cpu")
            self._loaded = {name: (learner, model)}  # shards come task by task
        return self._loaded[name]

    def _record(self, row: Row, answer: Answered, run_id: str) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "model": self._config.shown_name,
            "adapter": None,
            "engine": SPECIALIST_ENGINE,
            "decoding": "choice",
            **{name: row[name] for name in SAMPLE_KEYS},
            "prompt_sha256": sha256(row["input"].encode()).hexdigest(),
            "was_shortened": answer.was_shortened,
            "response": answer.text,
            "finish_reason": "choice",
            "num_prompt_tokens": answer.num_tokens,
            "num_completion_tokens": 0,
            "choice_scores": list(answer.scores.items()) if answer.scores else None,
        }
