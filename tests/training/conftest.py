from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training import architectures

VOCAB_SIZE = architectures.VOCAB_SIZE


def save_tokenizer(directory):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(3, VOCAB_SIZE)}
    tokenizer = Tokenizer(WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, **words}, unk_token="<pad>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(directory)


def make_llama(directory, *, tied=False, hidden_size=32, num_layers=2):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    save_tokenizer(directory)
    return Path(directory)


def make_t5(directory):
    architectures.make_t5(gated=True, seed=7).save_pretrained(directory)
    save_tokenizer(directory)
    return Path(directory)


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def tied_llama(tmp_path_factory):
    return make_llama(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="session")
def t5(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5"))


def example_rows(num_rows, seed=0, *, seq2seq=False):
    """Rows whose answer follows from the prompt: its last token names the answer."""
    rng = np.random.default_rng(seed)
    rows = []
    for position in range(num_rows):
        key = int(rng.integers(3, 13))
        prompt = [1, *rng.integers(20, VOCAB_SIZE, size=int(rng.integers(4, 30))).tolist(), key]
        answer = [key + 3, *([key + 4] * int(rng.integers(0, 4))), 2]
        rows.append(
            {
                "position": position,
                "sample_id": f"s{seed}-{position:04d}",
                "task": "Product_Matching",
                "setting": "IND_Diverse_Instruction",
                "input_ids": prompt if seq2seq else prompt + answer,
                "labels": answer if seq2seq else None,
                "num_prompt_tokens": len(prompt),
                "was_shortened": False,
            }
        )
    return rows


def write_rows(directory, splits, rows_per_file=20, rows_per_group=7):
    """Write rows as preprocess does: parts with small row groups, and their index."""
    from ecellm.schema import TRAINING_INDEX, TRAINING_ROWS

    for split, rows in splits.items():
        target = Path(directory) / "data" / f"split={split}"
        target.mkdir(parents=True)
        index = []
        for number, start in enumerate(range(0, len(rows), rows_per_file)):
            part = [{**row, "split": split} for row in rows[start : start + rows_per_file]]
            name = f"part-{number:05d}.parquet"
            pq.write_table(
                pa.Table.from_pylist(part, schema=TRAINING_ROWS), target / name, row_group_size=rows_per_group
            )
            for group, first in enumerate(range(0, len(part), rows_per_group)):
                members = part[first : first + rows_per_group]
                index.append(
                    {
                        "file": name,
                        "row_group": group,
                        "first_position": start + first,
                        "num_rows": len(members),
                        "num_tokens": sum(len(row["input_ids"]) for row in members),
                    }
                )
        pq.write_table(pa.Table.from_pylist(index, schema=TRAINING_INDEX), target / "_index.parquet")
    return Path(directory)


@pytest.fixture(scope="session")
def rows_dir(tmp_path_factory):
    splits = {"train": example_rows(50), "val": example_rows(13, seed=1)}
    return write_rows(tmp_path_factory.mktemp("rows"), splits)


@pytest.fixture(scope="session")
def seq2seq_rows_dir(tmp_path_factory):
    splits = {"train": example_rows(30, seq2seq=True), "val": example_rows(9, seed=1, seq2seq=True)}
    return write_rows(tmp_path_factory.mktemp("seq2seq_rows"), splits)
