"""From the last checkpoint to what users load: an adapter for plain peft, or a model for plain transformers.

    adapter/   LoRA: adapter_config.json, adapter_model.safetensors, tokenizer
    model/     full: the tuned model, tokenizer
    merged/    LoRA with export_merged: the base model with the adapter merged in, tokenizer

The weights are those of the best validation; without validation rows those of the last step.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
from safetensors.torch import load_file

from ecellm.models import local_model
from ecellm.storage import Storage, join
from ecellm.training import checkpoint
from ecellm.training.checkpoint import BEST_DIRECTORY, Best, load_weights_into
from ecellm.training.engine import quiet_libraries
from ecellm.training.loop import Job
from ecellm.training.model import add_adapters, load_base, trainable_parameters


@dataclass(frozen=True)
class Finished:
    """What a finished training left.

    Attributes:
        log: all rows of the training log.
        best: the best validation, None without validation rows.
        seconds: time spent training.
        written: names of the directories exported.
    """

    log: list[dict[str, Any]]
    best: Best | None
    seconds: float
    written: list[str]


def finish(job: Job, last: ray.train.Checkpoint, output_dir: str) -> Finished:
    """Write the training log and the tuned model; runs on a node, as a task.

    Running it again writes the same files again.
    """
    quiet_libraries()
    with last.as_directory() as directory:
        state = checkpoint.load_state(Path(directory))
        log = checkpoint.load_log(Path(directory))
        weights = None if state.best else load_file(Path(directory) / checkpoint.WEIGHTS_NAME)
    if state.best is not None:
        weights = _read_weights(job.storage, join(job.checkpoints_dir, BEST_DIRECTORY, state.best.weights))
    assert weights is not None
    job.storage.write_table(join(output_dir, "training_log", "data", "part-00000.parquet"), checkpoint.log_table(log))
    return Finished(log, state.best, state.seconds, export(job, weights, output_dir))


def export(job: Job, weights: dict[str, torch.Tensor], output_dir: str) -> list[str]:
    """Write the tuned model; return the names of the directories written.

    Args:
        job: the job.
        weights: the trained parameters by name.
        output_dir: where the directories go.
    """
    config = job.config
    path = local_model(job.base_model, config.base_model_revision, job.storage)
    # Whole models are saved in the base model's own precision unless fp32 was asked for; adapters always in fp32.
    dtype = torch.float32 if config.precision == "fp32" else "auto"
    model = load_base(path, revision=config.base_model_revision, dtype=dtype)
    if config.method == "full":
        load_weights_into(model, weights)
        return [_publish(model, job, path, output_dir, "model")]
    model = add_adapters(model, config.lora, seed=config.seed)
    assert set(weights) == set(trainable_parameters(model)), "the checkpoint is of another adapter"
    load_weights_into(model, weights)
    _name_base(model, job)
    written = [_publish(model, job, path, output_dir, "adapter")]
    if config.export_merged:
        written.append(_publish(model.merge_and_unload(), job, path, output_dir, "merged"))
    return written


def _name_base(model: Any, job: Job) -> None:
    """Let the adapter name its base model as the recipe did, not as this node's cache does."""
    lora = model.peft_config["default"]
    lora.base_model_name_or_path = job.base_model
    lora.revision = job.config.base_model_revision


def _read_weights(storage: Storage, path: str) -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory(prefix="ecellm-export-") as scratch:
        local = Path(scratch) / "weights.safetensors"
        with storage.open_read(path) as source, local.open("wb") as target:
            while block := source.read(1 << 24):
                target.write(block)
        return load_file(local)


def _publish(model: Any, job: Job, base: str, output_dir: str, name: str) -> str:
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="ecellm-export-") as scratch:
        # An adapter on lm_head would make peft store the base model's embeddings too, which did not change.
        settings = {"save_embedding_layers": False} if name == "adapter" else {}
        model.save_pretrained(scratch, **settings)
        AutoTokenizer.from_pretrained(base, revision=job.config.base_model_revision).save_pretrained(scratch)
        job.storage.upload_dir(Path(scratch), join(output_dir, name))
    return name
