"""What both kinds of extraction share: a product's texts as windows of tokens behind the attribute that is asked for.

An example is one attribute of one product in one window, as AVEQA asks it (Wang et al., Learning to extract attribute
value from product via question answering: a multi-task approach, KDD 2020): the attribute is the question, the
product's texts, source after source, are the context. Texts that are too long come in windows that overlap.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ecellm.baselines.learner import Answered, Learner
from ecellm.baselines.pretrained import load_tokenizer, local_base, pad, save_pretrained
from ecellm.baselines.sample_texts import Row
from ecellm.json_text import read_json
from ecellm.tasks import Task
from ecellm.tasks.attribute_value_extraction import NOTHING, ExtractionTask

_ASKED = "target attributes"
_BETWEEN_ATTRIBUTES = " and "
_BETWEEN_SOURCES = "\n"
_STRIDE_SHARE = 4  # windows share a quarter of their tokens
_ANSWER_BATCH = 32
Span = tuple[int, int]


class Product(NamedTuple):
    """A sample's input.

    Attributes:
        attributes: names that are asked for.
        context: all texts.
        sources: name and span of each text in the context.
    """

    attributes: list[str]
    context: str
    sources: list[tuple[str, Span]]

    def source_at(self, place: int) -> str:
        """Return the source that a character of the context belongs to."""
        return next((name for name, (start, end) in self.sources if start <= place < end), NOTHING)


@dataclass(frozen=True)
class Window:
    """Tokens of an attribute and of a part of the context.

    Attributes:
        encoding: what the encoder reads, by name.
        spans: characters of the context that each token stands for; None for those that are not of the context.
        targets: what the model learns: positions or tags, as the kind of model wants them.
    """

    encoding: dict[str, list[int]]
    spans: list[Span | None]
    targets: list[int]


def read_product(sample_input: str) -> Product | None:
    """Return a sample's product; None if the input is none."""
    try:
        fields = read_json(sample_input)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get(_ASKED), str):
        return None
    context, sources = "", []
    for name, text in fields.items():
        if name != _ASKED and isinstance(text, str):
            sources.append((name, (len(context), len(context) + len(text))))
            context += text + _BETWEEN_SOURCES
    return Product([name for name in fields[_ASKED].split(_BETWEEN_ATTRIBUTES) if name], context, sources)


def reference_spans(product: Product, reference: str) -> dict[str, list[Span]]:
    """Return where the values of each attribute stand in the context: the first place in their source, in any case.

    An attribute without a value, or whose value does not stand there, has no span. Keys are lower-cased.
    """
    try:
        items = read_json(reference)
    except ValueError:
        return {}
    spans: dict[str, list[Span]] = {}
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict) or not all(
            isinstance(item.get(key), str) for key in ("attribute", "value", "source")
        ):
            continue
        # Not by lower(), which changes the length of some texts.
        value = re.compile(re.escape(item["value"]), re.IGNORECASE)
        for name, (start, end) in product.sources:
            found = value.search(product.context, start, end) if name.lower() == item["source"].lower() else None
            if found and item["value"]:
                spans.setdefault(item["attribute"].lower(), []).append(found.span())
                break
    return spans


class ExtractionLearner(Learner):
    """Asks an encoder for one attribute at a time; subclasses say how a span is learned and read."""

    tokenizer: Any

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Tell whether a task is extraction."""
        return isinstance(task, ExtractionTask)

    @abstractmethod
    def targets_of(self, spans: Sequence[Span | None], values: Sequence[Span]) -> list[int]:
        """Return what the model learns of a window: whole values that lie in it, by their tokens."""

    @abstractmethod
    def found_spans(self, windows: Sequence[Window], outputs: Sequence[Any]) -> list[Span]:
        """Return the values' spans by what the model says of the windows of one attribute; none if it has no value."""

    @abstractmethod
    def outputs_of(self, model: torch.nn.Module, windows: Sequence[Window]) -> list[Any]:
        """Return what the model says of each window, on the CPU."""

    @abstractmethod
    def load_from(self, path: str) -> torch.nn.Module:
        """Return the model in a directory; its head is new if the directory has none."""

    def examples(self, rows: Sequence[Row], *, is_training: bool) -> list[Window]:  # noqa: ARG002
        """Return the windows of all attributes of all products."""
        if not hasattr(self, "tokenizer"):
            self.tokenizer = load_tokenizer(self.config, local_base(self.config, self.storage))
        windows: list[Window] = []
        for row in rows:
            product = read_product(row["input"])
            if product is None:
                continue
            values = reference_spans(product, str(row["output"]))
            for attribute in product.attributes:
                windows += self._windows(attribute, product.context, values.get(attribute.lower(), ()))
        return windows

    def _windows(self, attribute: str, context: str, values: Sequence[Span]) -> Iterator[Window]:
        most = min(self.config.max_length, self.tokenizer.model_max_length)
        # A window holds the attribute and more of the text than it shares with the one before; else there is none.
        asked = self.tokenizer(
            attribute, truncation=True, max_length=most // 2, add_special_tokens=False, return_offsets_mapping=True
        )["offset_mapping"]
        attribute = attribute[: asked[-1][1]] if asked else attribute
        encoded = self.tokenizer(
            attribute, context, truncation="only_second", max_length=most, stride=most // _STRIDE_SHARE,
            return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        names = [name for name in self.tokenizer.model_input_names if name in encoded]
        for number, offsets in enumerate(encoded["offset_mapping"]):
            sequences = encoded.sequence_ids(number)
            spans = [tuple(span) if of == 1 else None for span, of in zip(offsets, sequences, strict=True)]
            yield Window({name: list(encoded[name][number]) for name in names}, spans, self.targets_of(spans, values))

    def size(self, example: Window) -> int:
        """Return the number of tokens."""
        return len(example.spans)

    def new_model(self) -> torch.nn.Module:
        """Return the base model with a new head."""
        return self.load_from(local_base(self.config, self.storage))

    def padded(self, model: torch.nn.Module, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
        """Return the windows as one batch on the model's device."""
        return pad(self.tokenizer, [window.encoding for window in windows], model)

    def save(self, model: torch.nn.Module, directory: Path) -> None:
        """Write model and tokenizer in transformers' format."""
        save_pretrained(model, self.tokenizer, directory)

    def load(self, directory: Path) -> torch.nn.Module:
        """Return the trained model."""
        self.tokenizer = load_tokenizer(self.config, str(directory))
        return self.load_from(str(directory))

    def answer(self, model: torch.nn.Module, rows: Sequence[Row]) -> list[Answered]:
        """Answer with a JSON list of attribute, value and source, as the references are."""
        products = [read_product(row["input"]) for row in rows]
        asked = [
            (number, attribute, list(self._windows(attribute, product.context, ())))
            for number, product in enumerate(products)
            if product is not None
            for attribute in product.attributes
        ]
        outputs = iter(self._all_outputs(model, [window for *_, windows in asked for window in windows]))
        items: list[list[dict[str, str]]] = [[] for _ in rows]
        num_tokens = [0] * len(rows)
        for number, attribute, windows in asked:
            product = products[number]
            assert product is not None, "only what can be read is asked"
            spans = self.found_spans(windows, [next(outputs) for _ in windows])
            items[number] += _items(product, attribute, spans)
            num_tokens[number] += sum(map(self.size, windows))
        return [
            Answered(json.dumps(own) if product is not None else "", num_tokens=tokens)
            for own, product, tokens in zip(items, products, num_tokens, strict=True)
        ]

    def _all_outputs(self, model: torch.nn.Module, windows: Sequence[Window]) -> list[Any]:
        """Return what the model says of all windows, in their order; computed in batches of like length."""
        order = sorted(range(len(windows)), key=lambda place: self.size(windows[place]))
        outputs: list[Any] = [None] * len(windows)
        model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), _ANSWER_BATCH):
                places = order[start : start + _ANSWER_BATCH]
                for place, output in zip(places, self.outputs_of(model, [windows[own] for own in places]), strict=True):
                    outputs[place] = output
        return outputs


def _items(product: Product, attribute: str, spans: Sequence[Span]) -> list[dict[str, str]]:
    """Return the objects of an answer for one attribute, lower-cased and without repeats."""
    found = {
        (product.context[start:end].lower().strip(), product.source_at(start).lower()): None for start, end in spans
    } or {(NOTHING, NOTHING): None}
    return [{"attribute": attribute.lower(), "value": value, "source": source} for value, source in found]
