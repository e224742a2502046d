"""BERTScore: tokens of answer and reference matched greedily by their contextual embeddings (Zhang et al. 2020).

Settings are those of the released scorer: PyPI's `bert-score` with its English default, roberta-large, layer 17, no
idf weights, no rescaling. That library itself (0.3.13, its last release, of February 2023) is not used: with
transformers 5 it stops at an empty text, and RoBERTa's tokenizer ignores its `add_prefix_space`, so that the first word
of every text is encoded as if it were the end of another. What it computes is small, and done here as it did with the
transformers of its time: the tests compare figure by figure. One thing differs: pairs are matched one by one, so that
a word that is like nothing in the other text keeps its negative similarity in any company; the library pads pairs in a
batch, which makes it 0. With the small encoder of the tests that is up to 0.003 of a figure; roberta-large's
similarities are about 0.83 even between unrelated texts (the library's baseline).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ecellm.errors import InputError
from ecellm.evaluation.similarity.loading import load_whole
from ecellm.evaluation.similarity.texts import TextPair, length_batches

if TYPE_CHECKING:
    import torch

# Layers that correlate best with human judgements of WMT16 (`bert_score.utils.model2layers`), by the end of the name.
KNOWN_LAYERS = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "roberta-base": 10,
    "roberta-large": 17,
    "roberta-large-mnli": 19,
    "distilbert-base-uncased": 5,
    "distilroberta-base": 5,
    "xlm-roberta-base": 9,
    "xlm-roberta-large": 17,
    "deberta-base-mnli": 9,
    "deberta-large-mnli": 18,
    "deberta-xlarge-mnli": 40,
    "deberta-v3-base": 9,
    "deberta-v3-large": 12,
}
_MOST_TOKENS_HELD = 65_536  # of one chunk: 256 MiB of embeddings at a hidden size of 1,024
_LONGEST_UNLESS_TOLD = 512
Ids = tuple[int, ...]


class Embedded(NamedTuple):
    """A text in the encoder's eyes.

    Attributes:
        vectors: float32 [num_tokens, hidden_size], of length 1, of all tokens.
        weights: float32 [num_tokens], the same for every word, together 1; 0 for the start and end tokens, which may be
            matched, but do not count. All 0 where there is no word.
    """

    vectors: "torch.Tensor"
    weights: "torch.Tensor"


def layer_of(name: str, layer: int | None) -> int:
    """Return the layer whose embeddings are compared.

    Args:
        name: path, URL or hub name of the encoder.
        layer: as the config has it.

    Raises:
        InputError: none is given, and there is no usual one.
    """
    if layer is not None:
        return layer
    known = KNOWN_LAYERS.get(name.rstrip("/").rpartition("/")[2])
    if known is None:
        raise InputError(
            f"bertscore_layer must be given: {name} has no usual layer (known encoders: {', '.join(KNOWN_LAYERS)})"
        )
    return known


def match(answer: Embedded, reference: Embedded) -> "torch.Tensor":
    """Return BERTScore's recall, precision and F1 of one pair: float32 [3]; zeros where either text has no word.

    Each word takes its most similar token in the other text; precision is the mean over the answer's words, recall
    over the reference's. Source: Zhang et al. 2020, section 3.
    """
    import torch

    similarity = answer.vectors @ reference.vectors.T  # [tokens of the answer, tokens of the reference]
    have_words = answer.weights.any() & reference.weights.any()
    precision = similarity.amax(dim=1) @ answer.weights * have_words
    recall = similarity.amax(dim=0) @ reference.weights * have_words
    f1 = 2 * precision * recall / (precision + recall)
    return torch.stack([recall, precision, f1.nan_to_num(0.0, 0.0, 0.0)])


class BertScore:
    """Computes BERTScore with one layer of a pretrained encoder, in fp32."""

    metric_names = ("bertscore_recall", "bertscore_precision", "bertscore_f1")

    def __init__(self, path: str, *, revision: str | None, layer: int, batch_size: int, device: str) -> None:
        """Load the encoder up to its layer.

        Args:
            path: local directory, or hub name.
            revision: on the hub.
            layer: whose output is compared, from 1.
            batch_size: most texts encoded at once.
            device: torch's name of it.

        Raises:
            InputError: it is no encoder with start and end tokens, or has fewer layers.
        """
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(path, revision=revision)
        _check(path, config, layer)
        self._tokenizer = _tokenizer(path, revision, config)
        self._model = load_whole(AutoModel, path, revision=revision, num_hidden_layers=layer, unused="pooler")
        self._model.to(device)
        self._batch_size = batch_size

    def score(self, pairs: Sequence[TextPair]) -> dict[str, list[float]]:
        """Return the figures of each pair, in the order given.

        Texts are cut at the encoder's longest input, as the library does.
        """
        import torch

        figures = [[0.0, 0.0, 0.0] for _ in pairs]
        with torch.inference_mode():
            for places, encoded in self._chunks(pairs):
                embedded = self._embed({ids for pair in encoded for ids in pair})
                scores = torch.stack([match(embedded[answer], embedded[reference]) for answer, reference in encoded])
                for place, values in zip(places, scores.tolist(), strict=True):
                    figures[place] = values
        return {name: [values[column] for values in figures] for column, name in enumerate(self.metric_names)}

    def _chunks(self, pairs: Sequence[TextPair]) -> Iterator[tuple[list[int], list[tuple[Ids, Ids]]]]:
        """Yield places of pairs with their token ids (answer, reference): few enough for their embeddings to be held.

        Pairs of the same reference come together, so that it is encoded once.
        """
        ids_of = self._token_ids({text for pair in pairs for text in pair})
        encoded = [(ids_of[pair.answer], ids_of[pair.reference]) for pair in pairs]
        order = sorted(range(len(pairs)), key=lambda place: (len(encoded[place][1]), encoded[place][1]))
        places: list[int] = []
        held: set[Ids] = set()
        num_held = 0
        for place in order:
            num_new = sum(map(len, {*encoded[place]} - held))
            if places and num_held + num_new > _MOST_TOKENS_HELD:
                yield places, [encoded[place] for place in places]
                places, held, num_held = [], set(), 0
                num_new = sum(map(len, {*encoded[place]}))
            places.append(place)
            held.update(encoded[place])
            num_held += num_new
        if places:
            yield places, [encoded[place] for place in places]

    def _token_ids(self, texts: set[str]) -> dict[str, Ids]:
        ordered = sorted(texts)
        encoded = self._tokenizer(ordered, truncation=True)["input_ids"] if ordered else []
        return {text: tuple(ids) for text, ids in zip(ordered, encoded, strict=True)}

    def _embed(self, texts: set[Ids]) -> dict[Ids, Embedded]:
        """Encode distinct texts, in batches of like length."""
        ordered = sorted(texts)
        embedded: dict[Ids, Embedded] = {}
        for batch in length_batches([len(ids) for ids in ordered], self._batch_size):
            for place, text in zip(batch, self._encode([ordered[place] for place in batch]), strict=True):
                embedded[ordered[place]] = text
        return embedded

    def _encode(self, texts: Sequence[Ids]) -> list[Embedded]:
        """Encode one batch of texts."""
        import torch

        device = self._model.device
        longest, pad_id = max(map(len, texts)), self._tokenizer.pad_token_id
        ids = torch.tensor([[*text, *[pad_id] * (longest - len(text))] for text in texts], device=device)
        num_tokens = torch.tensor([[len(text)] for text in texts], device=device)
        mask = torch.arange(longest, device=device) < num_tokens  # [batch, longest]
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        vectors = torch.nn.functional.normalize(hidden, dim=-1)  # [batch, longest, hidden_size]
        ends = torch.tensor([self._tokenizer.cls_token_id, self._tokenizer.sep_token_id], device=device)
        is_word = mask & ~torch.isin(ids, ends)
        weights = is_word / is_word.sum(dim=1, keepdim=True).clamp(min=1)
        # Copies: slices would hold the whole batch.
        return [
            Embedded(vectors[row, : len(text)].clone(), weights[row, : len(text)]) for row, text in enumerate(texts)
        ]


def _check(path: str, config: Any, layer: int) -> None:
    if config.is_encoder_decoder:
        raise InputError(f"{path} is a {config.model_type}, which decodes: BERTScore takes an encoder")
    if layer > config.num_hidden_layers:
        raise InputError(f"bertscore_layer={layer}, but {path} has {config.num_hidden_layers} layers")


def _tokenizer(path: str, revision: str | None, config: Any) -> Any:
    """Load the encoder's tokenizer, which cuts texts at the longest input.

    RoBERTa's encodes a text's first word like any other, with a space before it: what `bert-score` asks of it.
    """
    from transformers import AutoTokenizer, RobertaTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    if isinstance(tokenizer, RobertaTokenizer):
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, add_prefix_space=True)
    if None in {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}:
        raise InputError(f"the tokenizer of {path} lacks a start, end or padding token: BERTScore takes an encoder")
    if tokenizer.model_max_length > 10 * _LONGEST_UNLESS_TOLD:  # transformers' way of saying that it is not known
        # Some encoders' positions begin at 2.
        positions = getattr(config, "max_position_embeddings", None) or _LONGEST_UNLESS_TOLD + 2
        tokenizer.model_max_length = min(_LONGEST_UNLESS_TOLD, positions - 2)
    return tokenizer
