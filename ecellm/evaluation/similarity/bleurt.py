"""BLEURT: a regression model that reads reference and answer together (Sellam et al. 2020, Pu et al. 2021).

The released scorer takes BLEURT-20-D12 as ported by PyPI's `bleurt-pytorch` 0.0.1 (July 2024, one release). That
library cannot be imported with transformers 5: it needs `find_pruneable_heads_and_indices`, the module
`bert.tokenization_bert_fast`, `get_extended_attention_mask` and `get_head_mask`, which are gone. But BLEURT-20 and its
small versions (D12, D6, D3) have RemBERT's architecture, which transformers has: the port's checkpoints are read here
as they are, under RemBERT's names, and tokenized by SentencePiece as Google's own code does. The older checkpoints
(bleurt-base-128 and the like) are not read.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecellm.errors import InputError
from ecellm.evaluation.similarity.loading import load_whole
from ecellm.evaluation.similarity.texts import TextPair, first_words, length_batches
from ecellm.models import local_model, locate
from ecellm.storage import Storage

if TYPE_CHECKING:
    import torch

MOST_WORDS = 300  # of answer and of reference, as in the released scorer
_TOKENIZER_FILES = ("spm.model", "sent_piece.model")  # of the port, and of Google
_KEY_NAMES = {r"^bleurt\.": "rembert.", r"encoder\.embedding_projection": "encoder.embedding_hidden_mapping_in"}
_SHARED_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


def bleurt_directory(name: str, revision: str | None, storage: Storage) -> str:
    """Return the local directory of a checkpoint, fetched if it lies elsewhere.

    transformers does not know the architecture by its name, so that a hub's checkpoint is fetched file by file.

    Raises:
        InputError: there is no such checkpoint.
    """
    place = locate(name)
    if "://" in place or Path(place).is_absolute():
        return local_model(place, revision, storage)
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "*.safetensors", *_TOKENIZER_FILES]
    return str(snapshot_download(place, revision=revision, allow_patterns=patterns))


def cut_longest_first(first: list[int], second: list[int], most: int) -> tuple[list[int], list[int]]:
    """Cut two sequences to `most` tokens together: the longer one first, then both alike; an odd one is the first's."""
    num_first = min(len(first), max(most - len(second), (most + 1) // 2))
    return first[:num_first], second[: most - num_first]


class Bleurt:
    """Computes BLEURT, in fp32. Figures are mostly between 0 and 1, but not bounded."""

    metric_names = ("bleurt",)

    def __init__(self, path: str, *, batch_size: int, device: str) -> None:
        """Load a checkpoint.

        Args:
            path: local directory.
            batch_size: most pairs at once.
            device: torch's name of it.

        Raises:
            InputError: it is no checkpoint of the BLEURT-20 family.
        """
        from sentencepiece import SentencePieceProcessor
        from transformers import RemBertForSequenceClassification

        config = _rembert_config(path)
        self._pieces = SentencePieceProcessor(model_file=_tokenizer_file(path))
        self._start, self._end = (self._pieces.piece_to_id(piece) for piece in ("[CLS]", "[SEP]"))
        if self._pieces.unk_id() in {self._start, self._end}:
            raise InputError(f"the SentencePiece model in {path} has no [CLS] or no [SEP]: it is not BLEURT's")
        self._model = load_whole(RemBertForSequenceClassification, path, config=config, key_mapping=_KEY_NAMES)
        self._model.to(device)
        self._batch_size = batch_size

    def score(self, pairs: Sequence[TextPair]) -> dict[str, list[float]]:
        """Return the figure of each pair, in the order given: also for an empty answer, whose figure is rarely 0.

        Both texts are cut to 300 words, and together to the model's longest input.
        """
        import torch

        encoded = [self._encode(pair) for pair in pairs]
        figures = [0.0] * len(pairs)
        with torch.inference_mode():
            for batch in length_batches([len(ids) for ids, _ in encoded], self._batch_size):
                logits = self._logits([encoded[place] for place in batch])
                for place, value in zip(batch, logits.tolist(), strict=True):
                    figures[place] = value
        return {"bleurt": figures}

    def _encode(self, pair: TextPair) -> tuple[list[int], int]:
        """Return the ids of [CLS] reference [SEP] answer [SEP], and how many belong to the reference's part."""
        reference, answer = (self._ids(first_words(text, MOST_WORDS)) for text in (pair.reference, pair.answer))
        most = self._model.config.max_position_embeddings - 3
        reference, answer = cut_longest_first(reference, answer, most)
        return [self._start, *reference, self._end, *answer, self._end], len(reference) + 2

    def _ids(self, text: str) -> list[int]:
        # By their names, as Google's code and the port do: a name of the vocabulary in the text is that piece.
        return [self._pieces.piece_to_id(piece) for piece in self._pieces.encode(text, out_type=str)]

    def _logits(self, encoded: Sequence[tuple[list[int], int]]) -> "torch.Tensor":
        """Return the figures of one batch, float32 [batch]."""
        import torch

        device = self._model.device
        longest, pad_id = max(len(ids) for ids, _ in encoded), self._model.config.pad_token_id or 0
        ids = torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids, _ in encoded], device=device)
        num_tokens = torch.tensor([[len(ids)] for ids, _ in encoded], device=device)
        num_first = torch.tensor([[number] for _, number in encoded], device=device)
        places = torch.arange(longest, device=device)
        output = self._model(
            input_ids=ids,
            attention_mask=(places < num_tokens).long(),
            token_type_ids=(places >= num_first).long(),
        )
        return output.logits[:, 0]


def _rembert_config(path: str) -> Any:
    """Return a checkpoint's config in RemBERT's terms."""
    from transformers import RemBertConfig

    fields = json.loads((Path(path) / "config.json").read_bytes())
    if fields.get("model_type") != "bleurt":
        raise InputError(f"{path} is no BLEURT checkpoint: model_type is {fields.get('model_type')!r}, not 'bleurt'")
    if fields.get("embedding_size") is None:
        raise InputError(f"{path} is one of the older BLEURT checkpoints: give BLEURT-20-D12, BLEURT-20, -D6 or -D3")
    return RemBertConfig(
        **{name: fields[name] for name in _SHARED_FIELDS if name in fields},
        input_embedding_size=fields["embedding_size"],
        num_labels=1,
        bos_token_id=None,
        eos_token_id=None,
    )


def _tokenizer_file(path: str) -> str:
    for name in _TOKENIZER_FILES:
        if (Path(path) / name).is_file():
            return str(Path(path) / name)
    raise InputError(f"{path} lacks BLEURT's SentencePiece model ({' or '.join(_TOKENIZER_FILES)})")
