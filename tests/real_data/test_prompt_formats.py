"""The two wire formats are those of the published checkpoints."""

import json

import pytest

from ecellm.prompts.rendering import PromptParts, render


@pytest.mark.parametrize("name", ["alpaca", "mistral"])
@pytest.mark.parametrize("options", [None, '["A: x"]'])
def test_a_prompt_is_the_published_one(real_data, name, options):
    published = json.loads((real_data / "ecinstruct" / "prompt_formats.json").read_text())[name]
    template = published["with_options" if options else "without_options"]
    expected = template.format(instruction="Do it.", input="text", options=options)
    assert render(PromptParts("Do it.", "text", options), name, None) == expected
