"""AVEQA: extraction as question answering, one span or none for each attribute.

Source: Wang et al., Learning to extract attribute value from product via question answering (KDD 2020). What differs:
that there is no value is said by the first token, as Devlin et al. (2019) do for SQuAD 2.0, not by a classifier of its
own, and there is no distilled masked language model beside it. Of several values the first is learned and answered.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from ecellm.baselines.extraction import ExtractionLearner, Span, Window
from ecellm.baselines.pretrained import load_with_head

_NOWHERE = 0  # the first token
_MOST_TOKENS = 30  # of a value
_MOST_STARTS = 20  # likeliest first tokens that are looked at


class SpanLearner(ExtractionLearner):
    """Scores each token as a value's first and last."""

    def targets_of(self, spans: Sequence[Span | None], values: Sequence[Span]) -> list[int]:
        """Return the positions of the first value's first and last token; those of the first token for no value."""
        inside = tokens_inside(spans, values[0]) if values else []
        return [inside[0], inside[-1]] if inside else [_NOWHERE, _NOWHERE]

    def load_from(self, path: str) -> torch.nn.Module:
        """Return the model in a directory."""
        from transformers import AutoModelForQuestionAnswering

        return load_with_head(AutoModelForQuestionAnswering, self.config, path)

    def losses(self, model: torch.nn.Module, batch: Sequence[Window], *, is_training: bool) -> torch.Tensor:  # noqa: ARG002
        """Return the mean of the cross-entropies of first and last token: float [batch]."""
        outputs = model(**self.padded(model, batch))
        targets = torch.tensor([window.targets for window in batch], device=outputs.start_logits.device)
        first = functional.cross_entropy(outputs.start_logits, targets[:, 0], reduction="none")
        last = functional.cross_entropy(outputs.end_logits, targets[:, 1], reduction="none")
        return (first + last) / 2

    def outputs_of(self, model: torch.nn.Module, windows: Sequence[Window]) -> list[Any]:
        """Return the scores of the tokens as first and as last: float [2, tokens] each."""
        outputs = model(**self.padded(model, windows))
        both = torch.stack([outputs.start_logits, outputs.end_logits], 1).float().cpu()
        return [own[:, : len(window.spans)] for own, window in zip(both, windows, strict=True)]

    def found_spans(self, windows: Sequence[Window], outputs: Sequence[Any]) -> list[Span]:
        """Return the span with the highest score in any window, if it is above the lowest score of no value."""
        best, span = float("-inf"), None
        nowhere = min(float(scores[0, _NOWHERE] + scores[1, _NOWHERE]) for scores in outputs)
        for window, (first, last) in zip(windows, outputs, strict=True):
            for start in first.topk(min(_MOST_STARTS, len(first))).indices.tolist():
                begins = window.spans[start]
                if begins is None:
                    continue
                end = start + int(last[start : start + _MOST_TOKENS].argmax())
                ends, score = window.spans[end], float(first[start] + last[end])
                if ends is not None and score > best:
                    best, span = score, (begins[0], ends[1])
        return [span] if span is not None and best > nowhere else []


def tokens_inside(spans: Sequence[Span | None], value: Span) -> list[int]:
    """Return the positions of a value's tokens; none if the window does not hold all of it."""
    inside = [
        place for place, span in enumerate(spans)
        if span is not None and span[0] < span[1] and span[0] < value[1] and span[1] > value[0]
    ]  # fmt: skip
    is_whole = inside and _start(spans, inside[0]) <= value[0] and _end(spans, inside[-1]) >= value[1]
    return inside if is_whole else []


def _start(spans: Sequence[Span | None], place: int) -> int:
    span = spans[place]
    assert span is not None, "only tokens of the context are inside a value"
    return span[0]


def _end(spans: Sequence[Span | None], place: int) -> int:
    span = spans[place]
    assert span is not None, "only tokens of the context are inside a value"
    return span[1]
