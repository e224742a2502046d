"""From the last checkpoint to what users load: an adapter for plain peft, or a model for plain transformers.

    adapter/   LoRA: adapter_config.json, adapter_model.safetensors, tokenizer
    model/     full: the tuned model, tokenizer
    merged/    LoRA with export_merged: the base model with the adapter merged in, tokenizer

Each has a model card with the loss curve (see card.py), and prompt.json, the prompts it learned from. All weights are
safetensors, whole models generate greedily until the tokenizer's end token. The weights are those of the best
validation; without validation rows those of the last step.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch

from ecellm.model_loading import load_base
from ecellm.models import PICKLES, local_model
from ecellm.prompts.record import write_record
from ecellm.storage import join
from ecellm.training import checkpoint
from ecellm.training.card import TrainingFacts, describe_rows, write_card
from ecellm.training.checkpoint import BEST_DIRECTORY, Best, Tensors, load_weights_into
from ecellm.training.engine import quiet_libraries
from ecellm.training.job import Job
from ecellm.training.model import add_adapters, special_tokens, trainable_parameters


@dataclass(frozen=True)
class Finished:
    """What a finished training left.

    Attributes:
        log: all rows of the training log.
        best: the best validation, None without validation rows.
        seconds: time spent training.
        is_stopped: whether early stopping ended it.
        written: names of the directories exported.
    """

    log: list[dict[str, Any]]
    best: Best | None
    seconds: float
    is_stopped: bool
    written: list[str]


def finish(job: Job, last: ray.train.Checkpoint) -> Finished:
    """Write the training log and the tuned model; runs on a node, as a task.

    Running it again writes the same files again.
    """
    quiet_libraries()
    with last.as_directory() as directory:
        state, num_shards = checkpoint.load_state(Path(directory))
        log = checkpoint.load_log(Path(directory))
        path = join(job.output_dir, "training_log", "data", "part-00000.parquet")
        job.storage.write_table(path, checkpoint.log_table(log))
        facts = TrainingFacts(
            config=job.config,
            base_model=job.base_model,
            rows=describe_rows(job.storage, job.rows_dir),
            log=log,
            best_step=None if state.best is None else state.best.step,
            seconds=state.seconds,
        )
        with _kept_weights(job, Path(directory), num_shards, state.best) as tensors:
            written = export(job, tensors, facts)
    return Finished(log, state.best, state.seconds, state.is_stopped, written)


@contextmanager
def _kept_weights(job: Job, last: Path, num_shards: int, best: Best | None) -> Iterator[Tensors]:
    """Open the weights of the best validation, or of the last checkpoint if there was none."""
    if best is None:
        with checkpoint.open_tensors(last, num_shards) as tensors:
            yield tensors
        return
    with tempfile.TemporaryDirectory(prefix="ecellm-export-") as scratch:
        job.storage.download_dir(join(job.checkpoints_dir, BEST_DIRECTORY, best.directory), Path(scratch))
        with checkpoint.open_tensors(Path(scratch), best.num_shards) as tensors:
            yield tensors


def export(job: Job, tensors: Tensors, facts: TrainingFacts) -> list[str]:
    """Write the tuned model; return the names of the directories written.

    Args:
        job: the job.
        tensors: the trained parameters.
        facts: what the model cards say of the training.
    """
    config = job.config
    path = local_model(
        job.base_model, config.base_model_revision, job.storage, trust_remote_code=config.trust_remote_code
    )
    # Whole models are saved in the base model's own precision unless fp32 was asked for; adapters always in fp32.
    dtype = torch.float32 if config.precision == "fp32" else "auto"
    model = load_base(
        path, revision=config.base_model_revision, dtype=dtype, trust_remote_code=config.trust_remote_code
    )
    if config.method == "full":
        load_weights_into(model, tensors)
        return [_publish(model, job, path, join(job.output_dir, "model"), facts)]
    model = add_adapters(model, config.lora, seed=config.seed)
    assert set(tensors.names()) == set(trainable_parameters(model)), "the checkpoint is of another adapter"
    load_weights_into(model, tensors)
    _name_base(model, job)
    written = [_publish(model, job, path, join(job.output_dir, "adapter"), facts)]
    if config.export_merged:
        written.append(_publish(model.merge_and_unload(), job, path, join(job.output_dir, "merged"), facts))
    return written


def _name_base(model: Any, job: Job) -> None:
    """Let the adapter name its base model as the recipe did, not as this node's cache does."""
    lora = model.peft_config["default"]
    lora.base_model_name_or_path = job.base_model
    lora.revision = job.config.base_model_revision


def _publish(model: Any, job: Job, base: str, target: str, facts: TrainingFacts) -> str:
    """Write a model, its tokenizer and its card to `target`; return the directory's name."""
    from transformers import AutoTokenizer

    name = target.rsplit("/", 1)[-1]
    source = {"revision": job.config.base_model_revision, "trust_remote_code": job.config.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(base, **source)
    if name == "adapter":
        # An adapter on lm_head would make peft store the base model's embeddings too, which did not change.
        settings = {"save_embedding_layers": False}
    else:
        settings = {}
        model.generation_config = generation_config(model.config, tokenizer)
    with tempfile.TemporaryDirectory(prefix="ecellm-export-") as scratch:
        directory = Path(scratch)
        model.save_pretrained(directory, **settings)
        tokenizer.save_pretrained(directory)
        is_encoder_decoder = bool(model.config.is_encoder_decoder)
        write_record(directory, facts.rows.preprocess.get("config", {}))
        write_card(directory, kind=name, facts=facts, tokenizer=tokenizer, is_encoder_decoder=is_encoder_decoder)
        assert not [file for file in directory.rglob("*") if file.suffix in PICKLES], "only safetensors are published"
        job.storage.upload_dir(directory, target)
    return name


def generation_config(model_config: Any, tokenizer: Any) -> Any:
    """Return how the tuned model answers: greedily, until the end token that it was trained on."""
    from transformers import GenerationConfig

    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end,
        pad_token_id=end if pad is None else pad,
        decoder_start_token_id=special_tokens(model_config)[1],
    )
