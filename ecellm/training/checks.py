"""What can be known to fail before training starts: rows, model, and whether the cluster has room for the workers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.fingerprint import MANIFEST_NAME
from ecellm.resources import check_room
from ecellm.storage import Storage, join
from ecellm.training.rows import INDEX_NAME, read_index, split_directory


def check_resources(config: FinetuneConfig) -> None:
    """Raise `InputError` if the cluster could never hold the workers, grown to its full size."""
    check_room(
        f"num_workers={config.num_workers} with cpus_per_worker={config.cpus_per_worker}",
        number=config.num_workers,
        cpus=config.cpus_per_worker,
        gpus=1 if config.use_gpu else 0,
        advice="set use_gpu=false" if config.use_gpu else "lower num_workers",
    )


def check_model_and_rows(config: FinetuneConfig, storage: Storage, rows_dir: str, base_model: str) -> dict[str, Any]:
    """Check that model and rows belong together; runs on a node, as a task.

    Returns:
        `num_train_rows`, `num_val_rows`.

    Raises:
        InputError: they do not, or one of them is missing.
    """
    index = read_index(storage, rows_dir, "train")
    if not index:
        raise InputError(
            f"{rows_dir} holds no training rows (no {split_directory(rows_dir, 'train')}/{INDEX_NAME}): "
            "rows_dir must be what preprocess wrote"
        )
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

    from ecellm.models import local_model, require_weights
    from ecellm.prompts.tokenizer import load_tokenizer

    path = local_model(base_model, config.base_model_revision, storage)
    require_weights(path)
    model_config = AutoConfig.from_pretrained(path, revision=config.base_model_revision)
    text_config = model_config.get_text_config()
    tied = getattr(text_config, "tie_word_embeddings", False) or getattr(model_config, "tie_word_embeddings", False)
    if tied and config.export_merged and "lm_head" in (config.lora.target_modules or ()):
        raise InputError(
            f"{base_model} shares its output layer with its input embeddings, so an adapter on lm_head cannot be "
            "merged: leave lm_head out of lora.target_modules, or set export_merged=false"
        )
    if config.method == "lora" and config.lora.target_modules:
        _check_target_modules(model_config, config.lora.target_modules, base_model)
    return model_config, load_tokenizer(base_model, config.base_model_revision, storage)


def _check_target_modules(model_config: Any, targets: Sequence[str], base_model: str) -> None:
    """Check that each target names a layer, on a model without weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if model_config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(model_config)
    layers = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            known = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise InputError(f"lora.target_modules: {base_model} has no layer {target!r}; it has {', '.join(known)}")


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
