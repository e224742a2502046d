"""A made-up release of any size, in the release's format and proportions, written row by row.

A small made-up release is written over and over again, each time with a number in every input, so that no two examples
are alike. Ten tasks under eight settings, sizes as in the release (10,000 / 1,000 / 1,000 / 1,000 a task, Product_Matching a fifth), rows of 2 kB on
average as there (529 MB, 265,000 rows).
"""

import json
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecellm.dataset.partitions import Partition, part_name
from ecellm.dataset.sample import SampleNumberer, sample_row, samples_table
from ecellm.sources.synthetic import Sizes, write_release
from ecellm.storage import Storage, join
from ecellm.training.tiny_model import make_tiny_model

_SIZES = Sizes(train=400, val=40, test=40, per_task={"PM": {"train": 80, "val": 10, "test": 10}}, padding_words=75)
_ONE_TASK, _ONE_SETTING = "Attribute_Value_Extraction", "IND_Diverse_Instruction"
_ROWS_OF_A_FILE = 50_000
# Behind the first of these an input's number goes: a JSON value, an item of a list; else before all.
_PLACE_OF_NUMBER = re.compile(r'": "|1st: ')


def _templates() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="ecellm-load-") as scratch:
        path = Path(scratch) / "dataset.json"
        write_release(path, sizes=_SIZES)
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    random.Random(1).shuffle(rows)  # so that any number of rows has all tasks in proportion
    return rows


def _numbered(row: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a row whose input holds a number."""
    text = row["input"]
    match = _PLACE_OF_NUMBER.search(text)
    end = match.end() if match else 0
    return row | {"input": f"{text[:end]}no. {number} {text[end:]}"}


def _rows(templates: list[dict[str, Any]], num_rows: int) -> Iterator[dict[str, Any]]:
    for number in range(num_rows):
        yield _numbered(templates[number % len(templates)], number // len(templates))


def write_model(path: Path) -> None:
    """Write a tiny model whose tokenizer has learned from such rows: a token of 4 letters or so, as real ones have."""
    texts = [f"{row['instruction']}\n{row['input']}\n{row['output']}" for row in _templates()[:1000]]
    make_tiny_model(path, texts, vocab_size=4000, max_length=4096, phrase_share=2.0)


def write_big_release(path: Path, num_rows: int) -> None:
    """Write `dataset.json`."""
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"
        for row in _rows(_templates(), num_rows):
            file.write(separator + json.dumps(row, ensure_ascii=False))
            separator = ",\n"
        file.write("\n]\n")


def write_one_task(directory: str, num_rows: int) -> None:
    """Write samples that are all of one task, setting and split: the worst case for whoever works place by place."""
    partition = Partition(_ONE_SETTING, "test", _ONE_TASK)
    templates = [row for row in _templates() if (row["task"], row["setting"]) == (_ONE_TASK, _ONE_SETTING)]
    numberer, storage = SampleNumberer(partition), Storage()
    rows = (sample_row(numberer, row, partition) for row in _rows(templates, num_rows))
    for part, start in enumerate(range(0, num_rows, _ROWS_OF_A_FILE)):
        path = join(partition.directory(directory), part_name(part))
        group = [next(rows) for _ in range(min(_ROWS_OF_A_FILE, num_rows - start))]
        storage.write_table(path, samples_table(group), row_group_size=1024)
