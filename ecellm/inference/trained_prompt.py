"""Whether a tuned model is asked as it was tuned: by the record beside its weights (see prompts/record.py)."""

from ecellm.config import PredictConfig
from ecellm.errors import InputError
from ecellm.models import locate
from ecellm.prompts.record import PromptRecord, read_record
from ecellm.storage import Storage, absolute


def check_prompt_format(config: PredictConfig, storage: Storage) -> str | None:
    """Compare the config with what the model, or each adapter, was tuned with; to be called where the model is loaded.

    An adapter's record stands for adapter and model together; what has no record is not compared.

    Returns:
        A line to show: lengths that differ from those of training; None if none do.

    Raises:
        InputError: the prompt format is another one.
    """
    if not config.has_local_model:  # no model is loaded: its name leads to no files
        return None
    lines: list[str] = []
    for adapter in config.all_adapters:
        if adapter is None:
            what, record = f"model {config.model}", read_record(locate(config.model), config.model_revision, storage)
        else:
            what, record = f"adapter {adapter}", read_record(absolute(adapter), None, storage)
        if record is not None:
            lines += _compare(what, record, config)
    return "; ".join(lines) or None


def _compare(what: str, record: PromptRecord, config: PredictConfig) -> list[str]:
    if record.prompt_format != config.prompt_format:
        raise InputError(
            f"{what} was tuned with prompt_format={record.prompt_format}, and is asked with {config.prompt_format}: "
            f"set prompt_format={record.prompt_format}"
        )
    lines = []
    for field in ("max_length", "max_answer_tokens"):
        trained, asked = getattr(record, field), getattr(config, field)
        if trained != asked:
            kind = "more" if asked > trained else "fewer"
            lines.append(f"{what} is asked with {field}={asked:,}, {kind} than the {trained:,} it was tuned with")
    return lines
