"""A tiny BERT of random weights, whose vocabulary are some words."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def write_tiny_encoder(directory: Path, words: Sequence[str], *, hidden_size: int = 32, max_length: int = 64) -> str:
    """Write model and tokenizer in transformers' format; return the directory."""
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL.values(), *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **_SPECIAL).save_pretrained(
        directory
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=max_length,
        hidden_size=hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,  # learns faster than the usual 0.02
    )
    BertModel(config).save_pretrained(directory)
    return str(directory)
