"""The engines by name: what a config asks for, loaded in this process."""

from dataclasses import replace

from ecellm.config import PredictConfig
from ecellm.inference.request import Engine
from ecellm.models import local_model, locate
from ecellm.prompts.tokenization import PromptTokenizer
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.storage import Storage, absolute


def prompt_tokenizer(config: PredictConfig, storage: Storage) -> PromptTokenizer | None:
    """Return what makes prompts for the model that answers; None where prompts are texts that are sent whole.

    Raises:
        InputError: there is no such model, or its tokenizer does not suit the prompt format.
    """
    if config.has_local_model:
        name, revision = locate(config.model), config.model_revision
    elif config.engine == "openai" and config.openai.tokenizer:
        name, revision = locate(config.openai.tokenizer), None
    else:
        return None
    tokenizer = load_prompt_tokenizer(
        name,
        revision,
        storage,
        prompt_format=config.prompt_format,
        max_length=config.max_length,
        max_answer_tokens=config.max_answer_tokens,
        trust_remote_code=config.trust_remote_code,
    )
    return replace(tokenizer, is_message=config.engine == "openai" and config.openai.api == "chat")


def local_adapters(config: PredictConfig, storage: Storage) -> dict[str, str]:
    """Return the adapters' directories on this node by the names that the config gives them.

    Raises:
        InputError: one of them does not exist.
    """
    return {name: local_model(absolute(name), None, storage) for name in config.all_adapters if name is not None}


def load_engine(config: PredictConfig, storage: Storage, tokenizer: PromptTokenizer | None) -> Engine:
    """Load what answers.

    Args:
        config: the job's config.
        storage: access to model and adapters.
        tokenizer: of `prompt_tokenizer`.

    Raises:
        InputError: model, adapter or key is not to be had on this node.
    """
    if config.engine == "fake":
        from ecellm.inference.engines.fake import FakeEngine

        return FakeEngine()
    if config.engine == "openai":
        from ecellm.inference.engines.openai_engine import OpenAIEngine

        return OpenAIEngine(config.model, config.openai, config.decoding, config.seed)
    assert tokenizer is not None
    path = local_model(locate(config.model), config.model_revision, storage, trust_remote_code=config.trust_remote_code)
    adapters = local_adapters(config, storage)
    if not config.use_gpu:
        import torch

        torch.set_num_threads(config.cpus_per_actor)
    if config.engine == "vllm":
        return _vllm(config, path, adapters, tokenizer)
    return _transformers(config, path, adapters, tokenizer)


def _transformers(config: PredictConfig, path: str, adapters: dict[str, str], tokenizer: PromptTokenizer) -> Engine:
    from ecellm.inference.engines.transformers_engine import TransformersEngine, load_model

    model = load_model(
        path,
        config.model_revision,
        adapters,
        precision=config.precision,
        use_gpu=config.use_gpu,
        trust_remote_code=config.trust_remote_code,
    )
    return TransformersEngine(
        model,
        tokenizer.tokenizer,
        decoding=config.decoding,
        seed=config.seed,
        max_batch_size=config.max_batch_size,
        adapters=tuple(adapters),
    )


def _vllm(config: PredictConfig, path: str, adapters: dict[str, str], tokenizer: PromptTokenizer) -> Engine:
    from ecellm.inference.engines.vllm_engine import VllmEngine

    return VllmEngine(
        path,
        config.model_revision,
        tokenizer.tokenizer,
        adapters,
        decoding=config.decoding,
        seed=config.seed,
        max_length=config.max_length,
        precision=config.precision,
        use_gpu=config.use_gpu,
        settings=config.vllm,
        trust_remote_code=config.trust_remote_code,
    )
