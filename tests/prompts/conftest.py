"""Tokenizers of the kinds that the supported models have, trained on the spot."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "Below is an instruction that describes a task, paired with an input that provides further context.",
    "### Instruction: ### Input: ### Options: ### Response: yes no A: very positive B: negative",
    '{"product 1": {"title": "a blue lamp", "price": "95.0"}, "product 2": {"title": "a red lamp"}}',
] * 5


def byte_level(*, adds_start):
    """GPT-2, Llama 3, Qwen, Phi, BLOOMZ: bytes, no normalisation; Llama 3 adds a start token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if adds_start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def metaspace():
    """Llama 2, Mistral: words begin with a space mark, one is put in front, a start token is added."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.pad_token = "</s>"
    return fast


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session", params=["bytes", "bytes_with_start", "metaspace", "chat", "ecomgpt"])
def tokenizer_and_format(request):
    """A tokenizer and a prompt format that goes with it."""
    if request.param == "chat":
        tokenizer = byte_level(adds_start=True)
        tokenizer.chat_template = CHAT_TEMPLATE
        return tokenizer, "chat_template"
    if request.param == "metaspace":
        return metaspace(), "mistral"
    if request.param == "ecomgpt":
        return byte_level(adds_start=False), "ecomgpt"
    return byte_level(adds_start=request.param == "bytes_with_start"), "alpaca"
