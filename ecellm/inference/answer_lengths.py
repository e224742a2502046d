"""How long an answer may be, by task: a quarter longer than the longest answer to learn from.

Answers of the train split are read, never those that are asked for. A limit saves what a model that rambles would
write. The paper's sampling has the paper's limit instead, which is `max_answer_tokens`.
"""

import math
from collections.abc import Sequence

import pyarrow.compute as pc

from ecellm.config import PredictConfig
from ecellm.dataset.partitions import list_partitions
from ecellm.prompts.tokenization import PromptTokenizer
from ecellm.storage import Storage, absolute

_ROOM = 1.25  # for an answer that is longer than all to learn from, and for blank lines before it
_LONGEST_LOOKED_AT = 64  # answers of a task, longest first by characters: the one of most tokens is among them


def longest_answers(config: PredictConfig, storage: Storage) -> dict[str, list[str]]:
    """Return the longest train answers by task; tasks without train rows are left out."""
    files: dict[str, Sequence[str]] = {}
    for partition, paths in list_partitions(storage, absolute(config.samples_dir), tasks=config.tasks).items():
        if partition.split == "train":  # one setting says it: their answers are the same
            files.setdefault(partition.task, paths)
    return {task: _longest(storage, paths) for task, paths in files.items()}


def _longest(storage: Storage, files: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for path in files:
        with storage.parquet_file(path) as file:
            for batch in file.iter_batches(columns=["output"]):
                outputs = pc.unique(batch["output"])
                order = pc.sort_indices(pc.utf8_length(outputs), sort_keys=[("", "descending")])
                found |= set(outputs.take(order[:_LONGEST_LOOKED_AT]).to_pylist())
    return sorted(found, key=lambda answer: (-len(answer), answer))[:_LONGEST_LOOKED_AT]


def answer_limits(config: PredictConfig, storage: Storage, tokenizer: PromptTokenizer | None) -> dict[str, int]:
    """Return the most tokens of an answer, end token included, by task; others are left to the task's own limit.

    Args:
        config: the job's config.
        storage: access to the samples.
        tokenizer: of the model that answers; None where it is not known.
    """
    if tokenizer is None or config.decoding == "paper":
        return {}
    longest = longest_answers(config, storage)
    return {
        task: math.ceil(_ROOM * max(len(tokenizer.answer("", [], answer)) for answer in answers))
        for task, answers in longest.items()
        if answers
    }
