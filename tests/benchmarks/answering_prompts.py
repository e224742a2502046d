"""The real Product_Matching test rows as requests, with the task's instructions in turn, as a built data set has them."""

import itertools

from ecellm.dataset.instructions import read_catalogue
from ecellm.inference.request import Request
from ecellm.prompts.rendering import PromptParts
from ecellm.prompts.tokenization import PromptTokenizer
from ecellm.prompts.tokenizer import load_prompt_tokenizer
from ecellm.sources import amazon_google
from ecellm.storage import Storage
from ecellm.tasks.product_matching import build_examples

_TASK = "PM"
_CHOICES = ("yes", "no")
_MOST_NEW_TOKENS = 3  # yes or no, the end token, and one more


def tokenizer_of(model: str) -> PromptTokenizer:
    """Return what predict would make prompts for a model with."""
    return load_prompt_tokenizer(model, None, Storage(), prompt_format="alpaca", max_length=512, max_answer_tokens=8)


def real_requests(raw_dir: str, tokenizer: PromptTokenizer) -> list[Request]:
    """Return a request for each of the 253 real test rows."""
    wordings = read_catalogue(Storage(), None)[_TASK].diverse
    examples = build_examples(amazon_google.read(Storage(), raw_dir))["test"]
    requests = []
    for number, (example, wording) in enumerate(zip(examples, itertools.cycle(wordings), strict=False)):
        prompt = tokenizer.prompt(PromptParts(wording, example.input))
        assert prompt is not None
        ids = tuple(tuple(tokenizer.answer(prompt.text, prompt.ids, choice)) for choice in _CHOICES)
        requests.append(
            Request(
                key=f"row{number}",
                prompt=prompt.text,
                prompt_ids=tuple(prompt.ids),
                max_new_tokens=_MOST_NEW_TOKENS,
                choices=_CHOICES,
                choice_ids=ids,
                is_one_line=True,
            )
        )
    return requests
