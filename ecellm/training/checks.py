"""What can be known to fail before training starts: rows, model, and whether the cluster has room for the workers.

What is learned of model and rows on the way is handed back, for the estimate of what training will take.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.manifest import read_manifest
from ecellm.storage import Storage, join
from ecellm.training.estimate import Facts, Lengths, gpu_memory_gib
from ecellm.training.order import RowGroup
from ecellm.training.rows import COLUMNS, INDEX_NAME, read_group, read_index, split_directory

_GPU_WAIT_SECONDS = 60.0


def memory_of_a_gpu(config: FinetuneConfig) -> float | None:
    """Return the GiB of a worker's GPU: as set, or else asked of one; None if none is there, or none is free soon."""
    if not config.use_gpu or config.gpu_memory_gib is not None:
        return config.gpu_memory_gib
    if not ray.cluster_resources().get("GPU"):  # an autoscaler may bring some later
        return None
    asked = ray.remote(num_cpus=0, num_gpus=1, max_retries=0)(gpu_memory_gib).remote()
    ready, _ = ray.wait([asked], timeout=_GPU_WAIT_SECONDS)
    if not ready:
        ray.cancel(asked, force=True)
        return None
    answer: float | None = ray.get(asked)
    return answer


def check_model_and_rows(config: FinetuneConfig, storage: Storage, rows_dir: str, base_model: str) -> Facts:
    """Check that model and rows belong together; runs on a node, as a task.

    Returns:
        What was learned of them.

    Raises:
        InputError: they do not, or one of them is missing.
    """
    from ray._common.utils import get_system_memory  # knows a container's limit

    from ecellm.training.model_size import measure

    index = read_index(storage, rows_dir, "train")
    if not index:
        raise InputError(
            f"{rows_dir} holds no training rows (no {split_directory(rows_dir, 'train')}/{INDEX_NAME}): "
            "rows_dir must be what preprocess wrote"
        )
    model, tokenizer = _describe_model(config, storage, base_model)
    _check_tokenizer(storage, rows_dir, base_model, tokenizer)
    lengths = {"train": Lengths(), "val": Lengths()}
    for split, groups in (("train", index), ("val", read_index(storage, rows_dir, "val"))):
        for name, own in groupby(groups, key=lambda group: group.file):
            path = join(split_directory(rows_dir, split), name)
            lengths[split] += _check_rows(storage, path, list(own), base_model, model.config)
    return Facts(measure(model, config), lengths["train"], get_system_memory())


def _describe_model(config: FinetuneConfig, storage: Storage, base_model: str) -> tuple[Any, Any]:
    """Return the model without its weights, and its tokenizer."""
    from ecellm.model_loading import empty_model
    from ecellm.models import load_model_config, local_model, require_weights
    from ecellm.prompts.tokenizer import load_tokenizer

    source = (base_model, config.base_model_revision, storage)
    require_weights(local_model(*source, trust_remote_code=config.trust_remote_code))
    model_config = load_model_config(*source, trust_remote_code=config.trust_remote_code)
    text_config = model_config.get_text_config()
    tied = getattr(text_config, "tie_word_embeddings", False) or getattr(model_config, "tie_word_embeddings", False)
    if model_config.is_encoder_decoder and config.packing:
        raise InputError(
            f"{base_model} is a sequence-to-sequence model, whose samples are not packed: use packing=false "
            "(micro_batch_tokens works without it)"
        )
    if tied and config.export_merged and "lm_head" in (config.lora.target_modules or ()):
        raise InputError(
            f"{base_model} shares its output layer with its input embeddings, so an adapter on lm_head cannot be "
            "merged: leave lm_head out of lora.target_modules, or set export_merged=false"
        )
    model = empty_model(model_config, trust_remote_code=config.trust_remote_code)
    if config.uses_adapters and config.lora.target_modules:
        _check_target_modules(model, config.lora.target_modules, base_model)
    return model, load_tokenizer(*source, trust_remote_code=config.trust_remote_code)


def _check_target_modules(model: Any, targets: Sequence[str], base_model: str) -> None:
    import torch

    layers = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            known = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise InputError(f"lora.target_modules: {base_model} has no layer {target!r}; it has {', '.join(known)}")


def _check_tokenizer(storage: Storage, rows_dir: str, base_model: str, tokenizer: Any) -> None:
    from ecellm.prompts.tokenizer import tokenizer_fingerprint

    # Of rows that others made nothing is known: their token ids are still checked against the vocabulary.
    details: Mapping[str, Any] = read_manifest(storage, rows_dir).get("details") or {}
    recorded = details.get("tokenizer_fingerprint")
    if recorded is not None and recorded != tokenizer_fingerprint(tokenizer):
        raise InputError(
            f"{rows_dir} was tokenized with another tokenizer than that of {base_model}: run preprocess with this model"
        )


def _check_rows(storage: Storage, path: str, groups: Sequence[RowGroup], base_model: str, model_config: Any) -> Lengths:
    """Check one file's rows by row group, in bounded memory; return their lengths."""
    vocab_size = model_config.get_text_config().vocab_size
    lengths = Lengths()
    with storage.parquet_file(path) as file:
        for group in groups:
            table = read_group(file, group, path, COLUMNS)
            if table["position"].to_pylist() != list(
                range(group.first_position, group.first_position + group.num_rows)
            ):
                raise InputError(f"{path} has other positions than its index says. Run preprocess again")
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
            prompts, answers = _prompts_and_answers(table)
            if not answers.all():
                raise InputError(f"{path} has a row without an answer token, from which nothing can be learned")
            in_all = prompts + answers
            lengths += Lengths(len(in_all), int(in_all.sum()), int(in_all.max(initial=0)), int(answers.max(initial=0)))
    return lengths


def _prompts_and_answers(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of each row's prompt, and of what is learned behind it, as `TrainingRow` counts them."""
    inputs, labels = (pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy() for name in ("input_ids", "labels"))
    if labels.any():
        return inputs, labels
    prompts = np.minimum(np.maximum(table["num_prompt_tokens"].to_numpy(), 1), inputs)
    return prompts, inputs - prompts
