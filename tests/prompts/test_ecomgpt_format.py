"""EcomGPT is asked as its authors ask it, with a sample's parts where its own prompts have theirs."""

from ecellm.prompts.rendering import PromptParts, render

HEAD = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"


def test_a_prompt_is_the_authors_own():
    """The prompt of ModelScope's test of the model: text and instruction, labels named in it."""
    instruction = "Classify the sentence, select from the candidate labels: product, brand"
    expected = f"{HEAD}### Instruction:\n照相机\n{instruction}\n\n### Response:"
    assert render(PromptParts(instruction, "照相机"), "ecomgpt", None) == expected


def test_options_are_labels_to_select_from():
    text = render(PromptParts("Say how the user feels.", "Fine lamp", '["A: good", "B: {bad}"]'), "ecomgpt", None)
    section = 'Fine lamp\nSay how the user feels. Select from the candidate labels: ["A: good", "B: {bad}"]'
    assert text == f"{HEAD}### Instruction:\n{section}\n\n### Response:"


def test_an_example_stands_before_the_instruction():
    text = render(PromptParts("Do it.", "lamp", None, "Input: x\nAnswer: y"), "ecomgpt", None)
    assert text == f"{HEAD}### Example:\nInput: x\nAnswer: y\n\n### Instruction:\nlamp\nDo it.\n\n### Response:"
