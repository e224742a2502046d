"""Loads a model's tokenizer and says what identifies it."""

import json
from hashlib import sha256
from typing import Any

from ecellm.errors import InputError
from ecellm.models import explained, load_model_config, local_model
from ecellm.prompts.template_check import check_chat_template
from ecellm.prompts.tokenization import PromptTokenizer
from ecellm.storage import Storage


def load_tokenizer(name: str, revision: str | None, storage: Storage, *, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a model, with a padding token (the end token where the model has none).

    Raises:
        InputError: there is no such model, its tokenizer has no end token, or it brings code that is not trusted.
    """
    from transformers import AutoTokenizer

    path = local_model(name, revision, storage, trust_remote_code=trust_remote_code)
    with explained(name, f"model {name}: no usable tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {name}: its tokenizer has no end token, so no answer could end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_prompt_tokenizer(
    name: str,
    revision: str | None,
    storage: Storage,
    *,
    prompt_format: str,
    max_length: int,
    max_answer_tokens: int,
    trust_remote_code: bool = False,
) -> PromptTokenizer:
    """Return the prompt tokenizer of a model, causal or sequence-to-sequence as its config says.

    Raises:
        InputError: there is no such model, its tokenizer has no end token or a chat template that cannot be used, or
            it brings code that is not trusted.
    """
    config = load_model_config(name, revision, storage, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(name, revision, storage, trust_remote_code=trust_remote_code)
    if prompt_format == "chat_template" and getattr(tokenizer, "chat_template", None):
        check_chat_template(name, tokenizer)
    return PromptTokenizer(
        tokenizer, prompt_format, max_length, max_answer_tokens, is_encoder_decoder=bool(config.is_encoder_decoder)
    )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return the SHA-256 of what decides a tokenizer's ids: its pieces, rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, str(getattr(tokenizer, "chat_template", None))]
    return sha256(json.dumps([rules, special]).encode()).hexdigest()
