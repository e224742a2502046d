"""MAVE: attribute values of products with the paragraphs that state them, JSON lines.

Upstream (github.com/google-research-datasets/MAVE) publishes labels; its script joins them with the Amazon metadata
of 2018 and writes `mave_positives.jsonl` and `mave_negatives.jsonl`. Files that begin with a split's name
(`train_positives.jsonl`) are taken as that split.
"""

import msgspec

from ecellm.errors import InputError
from ecellm.settings import SPLITS
from ecellm.sources.records import RecordDecoder
from ecellm.storage import Storage, join

_DIRECTORY = "mave"
KINDS = ("positives", "negatives")
WHOLE = "mave"


class Paragraph(msgspec.Struct):
    """A text of a product and where it stands."""

    text: str
    source: str


class Evidence(msgspec.Struct):
    """A value and the paragraph that states it."""

    value: str
    pid: int


class Attribute(msgspec.Struct):
    """An attribute with its evidences, none where the product does not have it."""

    key: str
    evidences: list[Evidence] = []


class LabelledProduct(msgspec.Struct):
    """One line."""

    paragraphs: list[Paragraph]
    attributes: list[Attribute]
    id: str = ""
    category: str | None = None


_decode = RecordDecoder(LabelledProduct)


def decode_labelled_product(line: bytes) -> LabelledProduct:
    """Return the product of one line.

    Raises:
        ValueError: it is none, or an evidence names a paragraph that is not there.
    """
    product = _decode(line)
    for attribute in product.attributes:
        for evidence in attribute.evidences:
            if not 0 <= evidence.pid < len(product.paragraphs):
                raise ValueError(
                    f"attribute {attribute.key!r}: evidence in paragraph {evidence.pid} of {len(product.paragraphs)}"
                )
    return product


def files_by_part(storage: Storage, raw_dir: str) -> dict[str, dict[str, str]]:
    """Return the files, by kind, of each split; or of the whole (`mave`) where the files are not divided.

    Raises:
        InputError: there is neither the pair of the whole nor a pair for each split, or there are both.
    """
    directory = join(raw_dir, _DIRECTORY)
    found = {file.removeprefix(f"{directory}/"): file for file in storage.list_files(directory)}
    parts: dict[str, dict[str, str]] = {}
    for part in (WHOLE, *SPLITS):
        own = {kind: found[name] for kind in KINDS for name in _names(part, kind) if name in found}
        if own:
            parts[part] = own
    if set(parts) not in ({WHOLE}, set(SPLITS)) or any(len(own) != len(KINDS) for own in parts.values()):
        raise InputError(
            f"{directory} must hold mave_positives.jsonl and mave_negatives.jsonl, or such a pair for each of "
            f"{', '.join(SPLITS)} (train_positives.jsonl, ...); it has {', '.join(sorted(found)) or 'nothing'}. "
            "Bring them, or leave out the task with tasks=[...]"
        )
    return parts


def _names(part: str, kind: str) -> tuple[str, str]:
    return f"{part}_{kind}.jsonl", f"{part}_{kind}.jsonl.gz"
