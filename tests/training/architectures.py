"""Tiny random models of the architectures that presets name, and of a few others that people tune."""

import torch

VOCAB_SIZE = 160
_COMMON = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,  # large: what leaks between samples shows
}
# What differs from the common settings. Sliding windows are shorter than the samples, so that they matter.
CAUSAL = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "phi": {"num_key_value_heads": 4},
    "phi3": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8},
    "gpt_neox": {},
    "olmo2": {},
    "granite": {"logits_scaling": 4.0},
    "smollm3": {"no_rope_layers": [1, 0]},
}
SEQUENCE_TO_SEQUENCE = ("t5", "flan-t5")


def make(architecture, *, attention=None):
    """Return a model of an architecture with random weights, always the same."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if architecture in SEQUENCE_TO_SEQUENCE:
        return make_t5(gated=architecture == "flan-t5", seed=3)
    torch.manual_seed(3)
    config = AutoConfig.for_model(architecture, **{**_COMMON, **CAUSAL[architecture]})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention).eval()


def make_t5(*, gated, seed):
    """Return a T5 with random weights; a gated one as Flan-T5 has its own output layer."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCAB_SIZE,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu" if gated else "relu",
        tie_word_embeddings=not gated,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=2,
    )
    return T5ForConditionalGeneration(config).eval()
