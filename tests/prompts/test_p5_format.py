"""P5's prompt for the stars of a review."""

import pytest

from ecellm.config import PredictConfig, PreprocessConfig
from ecellm.errors import InputError
from ecellm.prompts.rendering import PromptParts, before_answer, render
from ecellm.recipe import validate

PROMPT = "Predict the associated rating score of the review ( 1 being lowest and 5 being highest ) : \n "


def test_the_review_alone_is_put_into_the_authors_prompt():
    parts = PromptParts("Say how the user feels.", "It {works}.", '["A: very positive", "B: positive"]')
    assert render(parts, "p5", None) == f"{PROMPT}It {{works}}."
    assert before_answer("p5") == " "


def test_an_example_stands_before_it():
    parts = PromptParts("Say.", "Fine.", None, "Input: Bad.\nAnswer: E")
    assert render(parts, "p5", None) == f"### Example:\nInput: Bad.\nAnswer: E\n\n{PROMPT}Fine."


@pytest.mark.parametrize(("config", "model"), [(PreprocessConfig, "base_model"), (PredictConfig, "model")])
@pytest.mark.parametrize("tasks", [None, ["Sentiment_Analysis", "Product_Matching"]])
def test_other_tasks_are_refused(config, model, tasks):
    fields = {"samples_dir": "s", "output_dir": "o", model: "t5", "prompt_format": "p5"}
    with pytest.raises(InputError, match=r"set tasks=\[Sentiment_Analysis\]"):
        validate(config, fields | {"tasks": tasks}, "recipe")
    assert validate(config, fields | {"tasks": ["SA"]}, "recipe").prompt_format == "p5"
