"""SUOpenTag: extraction as sequence tagging, any number of values for each attribute.

Source: Xu et al., Scaling up open tagging from tens to thousands: comprehension empowered attribute value extraction
from product title (ACL 2019). As there, one model tags the tokens (B, I, O) for whatever attribute it is given. What
differs: the encoder reads attribute and texts together instead of attending from one to the other, and tags are taken
one by one, without a conditional random field.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from ecellm.baselines.extraction import ExtractionLearner, Span, Window
from ecellm.baselines.pretrained import load_with_head
from ecellm.baselines.span import tokens_inside

_OUTSIDE, _BEGIN, _INSIDE = range(3)
_IGNORED = -100


class TaggerLearner(ExtractionLearner):
    """Tags each token of the texts."""

    def targets_of(self, spans: Sequence[Span | None], values: Sequence[Span]) -> list[int]:
        """Return the tag of each token; tokens that are not of the texts are not learned."""
        tags = [_IGNORED if span is None else _OUTSIDE for span in spans]
        for value in values:
            for number, place in enumerate(tokens_inside(spans, value)):
                tags[place] = _INSIDE if number else _BEGIN
        return tags

    def load_from(self, path: str) -> torch.nn.Module:
        """Return the model in a directory."""
        from transformers import AutoModelForTokenClassification

        return load_with_head(AutoModelForTokenClassification, self.config, path, num_labels=3)

    def losses(self, model: torch.nn.Module, batch: Sequence[Window], *, is_training: bool) -> torch.Tensor:  # noqa: ARG002
        """Return the mean cross-entropy of each window's tags: float [batch]."""
        logits = model(**self.padded(model, batch)).logits
        tags = torch.full(logits.shape[:2], _IGNORED, device=logits.device)
        for row, window in enumerate(batch):
            tags[row, : len(window.targets)] = torch.tensor(window.targets, device=logits.device)
        by_token = functional.cross_entropy(logits.transpose(1, 2), tags, ignore_index=_IGNORED, reduction="none")
        return by_token.sum(-1) / (tags != _IGNORED).sum(-1).clamp(min=1)

    def outputs_of(self, model: torch.nn.Module, windows: Sequence[Window]) -> list[Any]:
        """Return the likeliest tag of each token: list of int."""
        tags = model(**self.padded(model, windows)).logits.argmax(-1).cpu().tolist()
        return [own[: len(window.spans)] for own, window in zip(tags, windows, strict=True)]

    def found_spans(self, windows: Sequence[Window], outputs: Sequence[Any]) -> list[Span]:
        """Return the runs of B and I in all windows, in order, each once."""
        found: dict[Span, None] = {}
        for window, tags in zip(windows, outputs, strict=True):
            for span in _runs(window.spans, tags):
                found[span] = None
        return sorted(found)


def _runs(spans: Sequence[Span | None], tags: Sequence[int]) -> list[Span]:
    runs: list[Span] = []
    is_open = False
    for span, tag in zip(spans, tags, strict=True):
        if span is None or tag == _OUTSIDE:
            is_open = False
        elif tag == _INSIDE and is_open:
            runs[-1] = (runs[-1][0], span[1])
        else:
            runs.append((span[0], span[1]))
            is_open = True
    return runs
