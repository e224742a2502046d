"""Samples on disk and a tiny model, for predict."""

import pytest

from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import SampleNumberer, sample_row, samples_table
from ecellm.storage import Storage, join
from ecellm.training.tiny_model import make_tiny_model

OPTIONS = '["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"]'
TEXTS = [
    "Below is an instruction that describes a task. ### Instruction: ### Input: ### Response: yes no",
    "the blue lamp the red lamp is it good? " + OPTIONS,
] * 8


def write_samples(directory, task, setting, number, *, split="test", **texts):
    """Write `number` samples of one task and setting, two files where there are enough."""
    partition = Partition(setting, split, task)
    numberer = SampleNumberer(partition)
    rows = [
        sample_row(
            numberer,
            {
                "instruction": "say",
                "input": f"the blue lamp {i} " + "red " * (i % 7),
                "options": None,
                "output": "yes",
                "few_shot_example": None,
                **texts,
            },
            partition,
        )
        for i in range(number)
    ]
    target = partition.directory(str(directory))
    half = max(1, number // 2)
    for part, chunk in enumerate([rows[:half], rows[half:]]):
        if chunk:
            Storage().write_table(join(target, part_name(part)), samples_table(chunk), row_group_size=4)


@pytest.fixture(scope="session")
def samples_dir(tmp_path_factory):
    """Test samples of three tasks in two settings."""
    directory = tmp_path_factory.mktemp("samples")
    write_samples(directory, "Product_Matching", "IND_Diverse_Instruction", 23)
    write_samples(directory, "Product_Matching", "IND_Unseen_Instruction", 5)
    write_samples(directory, "Sentiment_Analysis", "IND_Diverse_Instruction", 9, options=OPTIONS)
    write_samples(directory, "Answer_Generation", "OOD_Diverse_Instruction", 4)
    return str(directory)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A random causal model with its own tokenizer."""
    return str(make_tiny_model(tmp_path_factory.mktemp("model"), TEXTS, vocab_size=400, hidden_size=32, num_layers=2))
