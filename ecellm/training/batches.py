"""Training samples, and the arrays of a forward pass over some of them. Plain Python and NumPy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TrainingRow:
    """One tokenized sample.

    Attributes:
        position: place in the split.
        sample_id: id of the sample.
        input_ids: prompt, answer and end token; for sequence-to-sequence models the prompt alone.
        labels: answer and end token of a sequence-to-sequence model, else None.
        num_prompt_tokens: how many of `input_ids` are the prompt.
        task: canonical name.
        setting: one of the eight.
    """

    position: int
    sample_id: str
    input_ids: Int32Array
    labels: Int32Array | None
    num_prompt_tokens: int
    task: str = ""
    setting: str = ""

    @property
    def prompt_ids(self) -> Int32Array:
        """The tokens of the prompt."""
        return self.input_ids if self.labels is not None else self.input_ids[: self.num_prompt_tokens]

    @property
    def answer_ids(self) -> Int32Array:
        """The tokens that are predicted: the answer and its end."""
        return self.input_ids[self.first_target :] if self.labels is None else self.labels

    @property
    def first_target(self) -> int:
        """Index in `input_ids` of the first token that is predicted (the very first token never is)."""
        return max(self.num_prompt_tokens, 1)

    @property
    def num_answer_tokens(self) -> int:
        """How many tokens the loss is computed on."""
        return len(self.answer_ids)

    @property
    def num_tokens(self) -> int:
        """All tokens of the sample: what one forward pass computes."""
        return len(self.input_ids) + (0 if self.labels is None else len(self.labels))


@dataclass(frozen=True)
class MicroBatch:
    """Arrays of one forward pass. B samples, T tokens of the longest, L answer tokens of the longest, N targets.

    Attributes:
        input_ids: token ids, padded on the right, int64 [B, T].
        attention_mask: 1 on real tokens, int64 [B, T]; None for causal models: padding on the right comes after every
            real token, so none attends to it.
        position_ids: packed rows: each token's place in its own sample, int64 [1, T], by which transformers knows where
            a sample begins and lets none see another; else None.
        decoder_input_ids: sequence-to-sequence models: the answer shifted right, int64 [B, L]; else None.
        target_index: where the targets are predicted: index into the flattened [B * T] (or [B * L]) outputs, int64 [N].
        targets: the answer tokens, int64 [N].
        weights: weight of each target in the loss, float32 [N].
        num_positions: token positions that are computed, padding included.
    """

    input_ids: Int64Array
    attention_mask: Int64Array | None
    position_ids: Int64Array | None
    decoder_input_ids: Int64Array | None
    target_index: Int64Array
    targets: Int64Array
    weights: npt.NDArray[np.float32]
    num_positions: int


def padded(sequences: Sequence[npt.NDArray[np.integer]], fill: int) -> Int64Array:
    """Stack sequences of different lengths, filled up on the right."""
    longest = max(len(sequence) for sequence in sequences)
    result = np.full((len(sequences), longest), fill, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        result[row, : len(sequence)] = sequence
    return result


def collate(
    rows: Sequence[TrainingRow],
    weights: Sequence[float],
    *,
    pad_token_id: int,
    decoder_start_token_id: int | None,
    is_packed: bool = False,
) -> MicroBatch:
    """Make one micro-batch.

    Args:
        rows: its samples; all with `labels`, or all without.
        weights: weight of every answer token of each sample.
        pad_token_id: fills up short samples.
        decoder_start_token_id: first decoder token of a sequence-to-sequence model; None for causal models.
        is_packed: whether causal samples stand one behind the other.
    """
    token_weights = np.repeat(np.asarray(weights, dtype=np.float32), [row.num_answer_tokens for row in rows])
    if rows[0].labels is not None:
        assert decoder_start_token_id is not None, "rows with labels need a sequence-to-sequence model"
        assert not is_packed, "an encoder's samples are not packed"
        return _collate_pairs(rows, token_weights, pad_token_id, decoder_start_token_id)
    lengths = [len(row.input_ids) for row in rows]
    positions = None
    if is_packed:
        input_ids = np.concatenate([row.input_ids for row in rows]).astype(np.int64)[None]
        positions = np.concatenate([np.arange(length) for length in lengths])[None]
        starts = np.cumsum([0, *lengths[:-1]])
    else:
        input_ids = padded([row.input_ids for row in rows], pad_token_id)
        starts = np.arange(len(rows)) * input_ids.shape[1]
    # The token at t is predicted by the output at t - 1.
    index = [
        start + np.arange(row.first_target - 1, length - 1)
        for start, row, length in zip(starts, rows, lengths, strict=True)
    ]
    targets = np.concatenate([row.answer_ids for row in rows]).astype(np.int64)
    target_index = np.concatenate(index).astype(np.int64)
    assert len(target_index) == len(targets) == len(token_weights)
    return MicroBatch(input_ids, None, positions, None, target_index, targets, token_weights, input_ids.size)


def _collate_pairs(
    rows: Sequence[TrainingRow], token_weights: npt.NDArray[np.float32], pad_token_id: int, decoder_start_token_id: int
) -> MicroBatch:
    """Make a micro-batch of a sequence-to-sequence model."""
    labels = [row.labels for row in rows if row.labels is not None]
    input_ids = padded([row.input_ids for row in rows], pad_token_id)
    shifted = [np.concatenate([[decoder_start_token_id], label[:-1]]).astype(np.int64) for label in labels]
    decoder_input_ids = padded(shifted, pad_token_id)
    mask = padded([np.ones(len(row.input_ids), dtype=np.int64) for row in rows], 0)
    width = decoder_input_ids.shape[1]
    target_index = np.concatenate([number * width + np.arange(len(label)) for number, label in enumerate(labels)])
    targets = np.concatenate(labels).astype(np.int64)
    assert len(target_index) == len(targets) == len(token_weights)
    positions = input_ids.size + decoder_input_ids.size
    return MicroBatch(input_ids, mask, None, decoder_input_ids, target_index, targets, token_weights, positions)


def token_weights(batch: Sequence[TrainingRow], normalization: str) -> list[float]:
    """Return each sample's weight of an answer token in the mean loss of the global batch.

    Args:
        batch: all samples of the global batch.
        normalization: `sample` (every sample counts alike, its tokens share its weight) or `token`.

    Raises:
        ValueError: a sample has no answer token: its mean loss is undefined.
    """
    for row in batch:
        if row.num_answer_tokens == 0:
            raise ValueError(f"sample {row.sample_id} (position {row.position}) has no answer token to learn from")
    if normalization == "sample":
        return [1.0 / (len(batch) * row.num_answer_tokens) for row in batch]
    total = sum(row.num_answer_tokens for row in batch)
    return [1.0 / total] * len(batch)


def micro_batches(
    batch: Sequence[TrainingRow],
    weights: Sequence[float],
    dealt: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    decoder_start_token_id: int | None,
    is_packed: bool = False,
) -> Iterator[tuple[list[TrainingRow], MicroBatch]]:
    """Yield one rank's micro-batches of a global batch, each with its samples.

    An empty share is the batch's shortest sample with weight 0: it costs little, adds nothing to loss and gradient, and
    keeps the ranks' collectives in step.
    """
    for share in dealt:
        if share:
            rows, row_weights = [batch[i] for i in share], [weights[i] for i in share]
        else:
            rows, row_weights = [min(batch, key=lambda row: row.num_tokens)], [0.0]
        yield (
            rows,
            collate(
                rows,
                row_weights,
                pad_token_id=pad_token_id,
                decoder_start_token_id=decoder_start_token_id,
                is_packed=is_packed,
            ),
        )


def padding_share(
    batch: Sequence[TrainingRow], dealt: Sequence[Sequence[Sequence[int]]], *, is_packed: bool = False
) -> tuple[int, int]:
    """Return the real tokens of a global batch and the positions that all ranks compute for it."""
    positions = 0
    for rank in dealt:
        for share in rank:
            rows = [batch[i] for i in share] or [min(batch, key=lambda row: row.num_tokens)]
            if is_packed:
                positions += sum(row.num_tokens for row in rows)
                continue
            positions += len(rows) * max(len(row.input_ids) for row in rows)
            if rows[0].labels is not None:
                positions += len(rows) * max(row.num_answer_tokens for row in rows)
    return sum(row.num_tokens for row in batch), positions
