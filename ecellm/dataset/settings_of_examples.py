"""Turns a task's examples into samples of all settings: which instruction, with or without an example in the prompt."""

from collections.abc import Iterator, Sequence
from typing import Any

from ecellm.dataset.instructions import Instructions
from ecellm.dataset.partitions import Partition
from ecellm.dataset.sample import SampleNumberer, hash_texts, sample_row
from ecellm.settings import SETTINGS, SPLITS, Setting
from ecellm.tasks.example import Example, Splits


def example_key(example: Example) -> str:
    """Return what identifies an example's content in draws: 32 hex digits."""
    return hash_texts([example.input, example.options, example.output]).hex()


def choose(examples: Sequence[Example], size: int | str, seed: int) -> list[Example]:
    """Keep `size` examples, those whose seeded hash ranks first, in their own order; `all` keeps all."""
    if size == "all" or int(size) >= len(examples):
        return list(examples)
    ranks = sorted(range(len(examples)), key=lambda i: (hash_texts([str(seed), example_key(examples[i])]), i))
    return [examples[i] for i in sorted(ranks[: int(size)])]


def partitions_of(task: str, in_domain: Splits, out_of_domain: Splits) -> list[Partition]:
    """Return the partitions that a task's examples give: unseen and 1-shot are test alone, and so is OOD."""
    partitions = []
    for setting in SETTINGS.values():
        splits = in_domain if setting.domain == "IND" else out_of_domain
        only_test = setting.domain == "OOD" or setting.instruction_kind == "unseen" or setting.num_shots
        partitions += [
            Partition(setting.name, split, task)
            for split in SPLITS
            if splits.get(split) and (split == "test" or not only_test)
        ]
    return sorted(partitions)


def rows_of_partition(
    partition: Partition, in_domain: Splits, out_of_domain: Splits, instructions: Instructions, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the samples rows of one partition.

    A 1-shot row shows the (in-domain) train example of the same index, counted round if there are fewer. The diverse
    instruction of an example is drawn by its content, so that it is the same in Diverse and in 1-shot.
    """
    setting = SETTINGS[partition.setting]
    examples = (in_domain if setting.domain == "IND" else out_of_domain)[partition.split]
    shots = in_domain["train"] if setting.num_shots else ()
    numberer = SampleNumberer(partition)
    for place, example in enumerate(examples):
        index = _instruction_index(setting, instructions, example, seed)
        shot = shots[place % len(shots)] if shots else None
        texts = {
            "instruction": (*instructions.diverse, instructions.unseen)[index],
            "input": example.input,
            "options": example.options,
            "output": example.output,
            "few_shot_example": shot.as_shot() if shot else None,
        }
        yield sample_row(
            numberer,
            texts,
            partition,
            instruction_index=index,
            relevance=list(example.relevance) if example.relevance else None,
            category=example.category,
            source=example.source,
            source_ids=list(example.source_ids),
        )


def _instruction_index(setting: Setting, instructions: Instructions, example: Example, seed: int) -> int:
    if setting.instruction_kind == "single":
        return 0
    if setting.instruction_kind == "unseen":
        return len(instructions.diverse)
    return instructions.draw(seed, example_key(example))
