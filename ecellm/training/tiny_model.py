"""Makes a tiny language model with a tokenizer of its own, from scratch: for the demo and for tests on any laptop.

In: texts like those it will see. Out: a directory that AutoModelForCausalLM and AutoTokenizer load. The weights are
random. The tokenizer is a byte-level BPE, so that every text comes back exactly; lines that stand in many of the texts
(a prompt's preamble, a task's options) become one token each, which makes prompts about half as long.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BOS_TOKEN, EOS_TOKEN, PAD_TOKEN = "<s>", "</s>", "<pad>"
_SPECIAL_TOKENS = (BOS_TOKEN, EOS_TOKEN, PAD_TOKEN)
# A repeated line shorter than this is no phrase: short answers must stay made of words.
_MIN_PHRASE_WORDS = 5


def make_tiny_model(
    output_dir: str | Path,
    texts: Iterable[str],
    *,
    architecture: str = "llama",
    vocab_size: int = 1000,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    max_length: int = 1024,
    phrase_share: float = 0.05,
    tie_word_embeddings: bool = False,
    initializer_range: float = 0.05,
    seed: int = 1,
) -> Path:
    """Train a tokenizer and save it with a randomly initialised causal language model.

    Args:
        output_dir: where the model goes; made if need be.
        texts: what the tokenizer learns from, best whole prompts with their answers.
        architecture: model type of transformers with Llama's settings: llama, qwen3, mistral, gemma...
        vocab_size: most tokens, without phrases; 256 bytes and 3 special tokens are always there.
        hidden_size: width; the feed-forward layers are twice as wide. A multiple of 2 * num_heads.
        num_layers: transformer layers.
        num_heads: attention heads.
        max_length: longest sequence, in tokens.
        phrase_share: a line that stands in at least this share of the texts becomes one token; above 1: none does.
        tie_word_embeddings: use one matrix for input and output embeddings.
        initializer_range: standard deviation of the initial weights. 0.05 learns faster than the usual 0.02 here.
        seed: fixes the weights.

    Returns:
        The model's directory.

    Raises:
        ValueError: the heads do not divide the width into even parts.
    """
    if hidden_size % (2 * num_heads):
        raise ValueError(f"hidden_size={hidden_size} must be a multiple of 2 * num_heads = {2 * num_heads}")
    tokenizer = train_tokenizer(list(texts), vocab_size=vocab_size, phrase_share=phrase_share, max_length=max_length)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_heads,
        "head_dim": hidden_size // num_heads,
        "max_position_embeddings": max_length,
    }
    model = _random_model(
        architecture,
        seed,
        **sizes,
        tie_word_embeddings=tie_word_embeddings,
        initializer_range=initializer_range,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    path = Path(output_dir)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _random_model(architecture: str, seed: int, **settings: Any) -> Any:
    """Return a model with fresh weights, fixed by the seed; torch's own random state stays as it was."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def train_tokenizer(texts: Sequence[str], *, vocab_size: int, phrase_share: float, max_length: int) -> Any:
    """Return a byte-level BPE tokenizer with start, end and padding tokens; it puts the start token in front.

    Args:
        texts: what it learns from.
        vocab_size: most tokens, without phrases.
        phrase_share: a line that stands in at least this share of the texts becomes one token.
        max_length: the tokenizer's `model_max_length`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    phrases = frequent_lines(texts, phrase_share)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    skipped = set(phrases)
    tokenizer.train_from_iterator(
        ("\n".join(line for line in text.split("\n") if line not in skipped) for text in texts), trainer
    )
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    start = (BOS_TOKEN, tokenizer.token_to_id(BOS_TOKEN))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS_TOKEN} $A", pair=f"{BOS_TOKEN} $A {BOS_TOKEN} $B", special_tokens=[start]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        pad_token=PAD_TOKEN,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def frequent_lines(texts: Sequence[str], share: float) -> list[str]:
    """Return the lines of some length that stand in at least `share` of the texts, the commonest first."""
    counts = Counter(line for text in texts for line in set(text.split("\n")))
    least = max(2, share * len(texts))
    lines = [line for line, count in counts.items() if count >= least and len(line.split()) >= _MIN_PHRASE_WORDS]
    return sorted(lines, key=lambda line: (-counts[line], line))
