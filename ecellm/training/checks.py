"""What can be known to fail before training starts: rows, model, and whether the cluster has room for the workers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.fingerprint import MANIFEST_NAME
from ecellm.storage import Storage, join
from ecellm.training.rows import INDEX_NAME, read_index, split_directory


def check_resources(config: FinetuneConfig) -> None:
    """Raise if the cluster could never hold the workers, grown to its full size.

    Raises:
        InputError: it could not; the message says what is there and what to change.
    """
    largest = _largest_cluster()
    workers = f"num_workers={config.num_workers} with cpus_per_worker={config.cpus_per_worker}"
    needed = {"CPU": float(config.num_workers * config.cpus_per_worker)}
    if config.use_gpu:
        needed["GPU"] = float(config.num_workers)
    for resource, amount in needed.items():
        if largest.get(resource, 0.0) < amount:
            raise InputError(
                f"{workers} needs {amount:g} {resource}s, but the cluster has {largest.get(resource, 0.0):g}: lower "
                f"num_workers, {'set use_gpu=false, ' if resource == 'GPU' else ''}or add nodes"
            )


def _largest_cluster() -> dict[str, float]:
    """Return the resources of the cluster now, or those its autoscaler may grow to if these are more."""
    from ray._private.state import state  # the only place that knows the autoscaler's limits

    resources = {name: float(amount) for name, amount in ray.cluster_resources().items()}
    for name, amount in (state.get_max_resources_from_cluster_config() or {}).items():
        resources[name] = max(resources.get(name, 0.0), float(amount))
    return resources


def check_model_and_rows(config: FinetuneConfig, storage: Storage, rows_dir: str, base_model: str) -> dict[str, Any]:
    """Check that model and rows belong together; runs on a node, as a task.

    Returns:
        `num_train_rows`, `num_val_rows`.

    Raises:
        InputError: they do not, or one of them is missing.
    """
    index = read_index(storage, rows_dir, "train")
    if not index:
        raise InputError(f"{rows_dir} holds no training rows (no {split_directory('', 'train')}/{INDEX_NAME})")
    model_config, tokenizer = _describe_model(config, storage, base_model)
    _check_tokenizer(storage, rows_dir, base_model, tokenizer)
    validation = read_index(storage, rows_dir, "val")
    for split, groups in (("train", index), ("val", validation)):
        for name in sorted({group.file for group in groups}):
            path = join(split_directory(rows_dir, split), name)
            _check_ids(storage, path, base_model, model_config)
    return {
        "num_train_rows": sum(group.num_rows for group in index),
        "num_val_rows": sum(group.num_rows for group in validation),
    }


def _describe_model(config: FinetuneConfig, storage: Storage, base_model: str) -> tuple[Any, Any]:
    from transformers import AutoConfig

    from ecellm.models import local_model
    from ecellm.prompts.tokenizer import load_tokenizer

    path = local_model(base_model, config.base_model_revision, storage)
    model_config = AutoConfig.from_pretrained(path, revision=config.base_model_revision)
    text_config = model_config.get_text_config()
    tied = getattr(text_config, "tie_word_embeddings", False) or getattr(model_config, "tie_word_embeddings", False)
    if tied and config.export_merged and "lm_head" in (config.lora.target_modules or ()):
        raise InputError(
            f"{base_model} shares its output layer with its input embeddings, so an adapter on lm_head cannot be "
            "merged: leave lm_head out of lora.target_modules, or set export_merged=false"
        )
    return model_config, load_tokenizer(base_model, config.base_model_revision, storage)


def _check_tokenizer(storage: Storage, rows_dir: str, base_model: str, tokenizer: Any) -> None:
    from ecellm.prompts.tokenizer import tokenizer_fingerprint

    path = join(rows_dir, MANIFEST_NAME)
    if not storage.exists(path):
        return  # rows that others made: their token ids are still checked against the vocabulary
    details: Mapping[str, Any] = storage.read_json(path).get("details") or {}
    recorded = details.get("tokenizer_fingerprint")
    if recorded is not None and recorded != tokenizer_fingerprint(tokenizer):
        raise InputError(
            f"{rows_dir} was tokenized with another tokenizer than that of {base_model}: run preprocess with this model"
        )


def _check_ids(storage: Storage, path: str, base_model: str, model_config: Any) -> None:
    """Check one file's rows by row group, in bounded memory."""
    vocab_size = model_config.get_text_config().vocab_size
    with storage.parquet_file(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["input_ids", "labels"])
            has_labels = table["labels"].null_count < table.num_rows
            if has_labels != bool(model_config.is_encoder_decoder):
                kinds = ("sequence-to-sequence", "causal")
                rows, model = kinds if has_labels else reversed(kinds)
                raise InputError(f"{path} was made for a {rows} model, but {base_model} is a {model} one")
            for column in ("input_ids", "labels"):
                ids = table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                if len(ids) and (int(np.max(ids)) >= vocab_size or int(np.min(ids)) < 0):
                    raise InputError(
                        f"{path} holds token ids up to {int(np.max(ids))}, but {base_model} knows {vocab_size}: the "
                        "rows were tokenized for another model"
                    )
