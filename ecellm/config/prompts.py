"""What makes a prompt, and the config of preprocess."""

from typing import Literal, Self

from pydantic import model_validator

from ecellm.config.base import JobConfig, check_settings, content, location
from ecellm.settings import PAPER_TRAINING_SETTING

TRUST_REMOTE_CODE = "run the Python code that a model's directory brings along"
PromptFormat = Literal["alpaca", "mistral", "chat_template", "ecomgpt", "p5"]
_TASK_OF_P5 = {"SA", "Sentiment_Analysis"}


def check_p5(prompt_format: str, tasks: tuple[str, ...] | None) -> None:
    """Raise ValueError if P5's prompt, which asks for the stars of a review, would be put to another task."""
    if prompt_format == "p5" and not (tasks and set(tasks) <= _TASK_OF_P5):
        raise ValueError("prompt_format=p5 asks for the stars of a review: set tasks=[Sentiment_Analysis]")


class PromptConfig(JobConfig):
    """Fields that make a prompt; preprocess and predict must agree on them."""

    prompt_format: PromptFormat = content("alpaca", description="wire format of the prompt")
    max_length: int = content(2048, ge=16, description="tokens of prompt and answer together")
    max_answer_tokens: int = content(100, ge=1, description="tokens of max_length kept free for the answer")
    trust_remote_code: bool = content(False, description=TRUST_REMOTE_CODE)

    @model_validator(mode="after")
    def _room_for_the_prompt(self) -> Self:
        if self.max_answer_tokens >= self.max_length:
            raise ValueError(
                f"max_answer_tokens={self.max_answer_tokens} leaves no room for a prompt in "
                f"max_length={self.max_length}: raise max_length or lower max_answer_tokens"
            )
        return self


class PreprocessConfig(PromptConfig):
    """`python -m jobs.preprocess`: training rows (token ids) from samples."""

    samples_dir: str = location(description="samples of build or ingest")
    base_model: str = location(description="model whose tokenizer is used: path, s3://, package:// or hub name")
    base_model_revision: str | None = content(None, description="revision on the hub; null = main")
    settings: tuple[str, ...] = content(
        (PAPER_TRAINING_SETTING,), min_length=1, description="settings to train on; more than one repeats examples"
    )
    tasks: tuple[str, ...] | None = content(None, description="tasks to train on; null = all in the samples")
    num_samples: int | None = content(None, ge=1, description="training samples in all, drawn by hash; null = all")
    num_val_samples: int | None = content(None, ge=1, description="validation samples in all; null = all")
    mixture: dict[str, float] | None = content(
        None, description="share of num_samples by task, e.g. {Sentiment_Analysis: 2}; null = as in the samples"
    )
    rows_per_shard: int = content(4096, ge=1, description="samples tokenized by one task, rows of one file")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_settings(self.settings)
        check_p5(self.prompt_format, self.tasks)
        if self.mixture is not None and self.num_samples is None:
            raise ValueError("mixture needs num_samples: the number of training samples to share out")
        if self.mixture is not None and (min(self.mixture.values(), default=0) < 0 or not sum(self.mixture.values())):
            raise ValueError(f"mixture={self.mixture}: weights must not be negative, and one must be above 0")
        return self
