"""One training row as text, the tokens that the loss is computed on between marks: to be looked at before training.

412 tokens, 3 supervised
<s>Below is an instruction [... 212 tokens left out ...] ### Response:
⟦A</s>⟧
"""

from collections.abc import Sequence
from typing import Any

from ecellm.training.batches import TrainingRow

START_MARK, END_MARK = "⟦", "⟧"


def marked_example(row: TrainingRow, tokenizer: Any, *, max_prompt_tokens: int = 300) -> str:
    """Return a row's counts in one line and its text below, special tokens shown.

    The split is that of the loss, by token, not by looking for the answer in the text. For a sequence-to-sequence
    model the encoder's text stands first, then the decoder's.

    Args:
        row: the training row.
        tokenizer: of the model that is tuned.
        max_prompt_tokens: longer prompts are cut in the middle.
    """
    before = row.input_ids if row.labels is not None else row.input_ids[: row.first_target]
    prompt, target = before.tolist(), row.answer_ids.tolist()
    head, tail = _shortened(prompt, max_prompt_tokens)
    left_out = len(prompt) - len(head) - len(tail)
    gap = f" [... {left_out:,} tokens left out ...] " if left_out else ""
    # A tokenizer may drop the space in front of the first token it decodes, so the answer is decoded with its prompt.
    answer = _continuation(tokenizer, tail, target) if row.labels is None else _decode(tokenizer, target)
    between = "" if row.labels is None else "\ndecoder: "
    shown = f"{_decode(tokenizer, head)}{gap}{_decode(tokenizer, tail)}{between}{START_MARK}{answer}{END_MARK}"
    return f"{row.num_tokens:,} tokens, {row.num_answer_tokens:,} supervised\n{shown}"


def _shortened(ids: list[int], limit: int) -> tuple[list[int], list[int]]:
    """Return the first and the last tokens that are shown; all of them as the last if they are few."""
    if len(ids) <= limit:
        return [], ids
    return ids[: limit // 2], ids[len(ids) - (limit - limit // 2) :]


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)) if ids else ""


def _continuation(tokenizer: Any, before: list[int], ids: list[int]) -> str:
    """Return the text that `ids` add to that of `before`."""
    first, whole = _decode(tokenizer, before), _decode(tokenizer, [*before, *ids])
    return whole[len(first) :] if whole.startswith(first) else _decode(tokenizer, ids)
