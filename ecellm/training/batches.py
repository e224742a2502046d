"""The order of training samples, the global batches, and how a batch is dealt to workers. Plain Python and NumPy.

The sequence of global batches is a function of (seed, epoch, step) and of the row groups alone: the same for any
number of workers and any micro-batch size. An epoch reads the row groups in a seeded permutation; rows are shuffled
within windows of at least `SHUFFLE_WINDOW_ROWS` rows. Files are read front to back, and a window is all that is ever
in memory:

    row groups   3 0 2 | 5 1 4 | ...        permuted by (seed, epoch)
    windows      [     ] [     ]            rows shuffled inside
    batches      |---|---|---|---|          consecutive rows; the last batch of an epoch may be short

Within a batch every rank gets the same number of micro-batches (collectives must match), which compute about equally
many positions: either samples of like length, padded to the longest, or samples packed one behind the other.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A window of 2,048-token rows of this size takes 128 MiB; ECInstruct's training rows are six windows.
SHUFFLE_WINDOW_ROWS = 16_384

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class RowGroup:
    """One row group of a split's Parquet files.

    Attributes:
        file: file name within the split's directory.
        row_group: its number in the file.
        first_position: position of its first row in the split.
        num_rows: how many rows it has.
    """

    file: str
    row_group: int
    first_position: int
    num_rows: int


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
        if self.labels is not None:
            return len(self.labels)
        return max(len(self.input_ids) - self.first_target, 0)

    @property
    def num_tokens(self) -> int:
        """All tokens of the sample: what one forward pass computes."""
        return len(self.input_ids) + (0 if self.labels is None else len(self.labels))


@dataclass(frozen=True)
class Window:
    """Row groups that are in memory together, and the order in which their rows are used.

    Attributes:
        groups: the row groups, in reading order.
        positions: positions of all their rows, shuffled.
    """

    groups: tuple[RowGroup, ...]
    positions: Int64Array


def num_batches(num_rows: int, global_batch_size: int) -> int:
    """Return the optimizer steps of one epoch."""
    return math.ceil(num_rows / global_batch_size)


def epoch_windows(
    index: Sequence[RowGroup], *, seed: int, epoch: int, window_rows: int = SHUFFLE_WINDOW_ROWS
) -> Iterator[Window]:
    """Yield an epoch's windows in order.

    Args:
        index: the split's row groups in file order.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        window_rows: fewest rows of a window (but for the last).
    """
    rng = np.random.default_rng([seed, epoch])
    groups: list[RowGroup] = []
    order = rng.permutation(len(index))
    for place, number in enumerate(order):
        groups.append(index[number])
        if sum(group.num_rows for group in groups) >= window_rows or place == len(order) - 1:
            positions = np.concatenate(
                [np.arange(group.first_position, group.first_position + group.num_rows) for group in groups]
            )
            yield Window(tuple(groups), rng.permutation(positions).astype(np.int64))
            groups = []


def sequential_windows(index: Sequence[RowGroup], *, window_rows: int = SHUFFLE_WINDOW_ROWS) -> Iterator[Window]:
    """Yield windows in file order, unshuffled: for validation."""
    groups: list[RowGroup] = []
    for group in index:
        groups.append(group)
        if sum(item.num_rows for item in groups) >= window_rows or group is index[-1]:
            first, last = groups[0], groups[-1]
            yield Window(tuple(groups), np.arange(first.first_position, last.first_position + last.num_rows))
            groups = []


@dataclass(frozen=True)
class Limits:
    """What one forward pass may hold.

    Attributes:
        num_samples: most samples.
        num_tokens: most positions, padding included; None for no limit. A longer sample is alone.
        is_packed: whether samples stand one behind the other in one row, instead of each in a padded row of its own.
    """

    num_samples: int
    num_tokens: int | None = None
    is_packed: bool = False

    def positions(self, lengths: Sequence[int]) -> int:
        """Return the positions that samples of these lengths take together."""
        return sum(lengths) if self.is_packed else len(lengths) * max(lengths, default=0)

    def allows(self, lengths: Sequence[int]) -> bool:
        """Tell whether one forward pass may hold samples of these lengths."""
        if len(lengths) <= 1:
            return True
        fits = self.num_tokens is None or self.positions(lengths) <= self.num_tokens
        return fits and len(lengths) <= self.num_samples


def deal(lengths: Sequence[int], *, world_size: int, limits: Limits) -> list[list[list[int]]]:
    """Deal one global batch to ranks.

    As few micro-batches as the limits allow, rounded up to the same number for every rank, then evened out: that many
    micro-batches with the least positions in the largest. In each round the ranks get micro-batches next to each other
    in size, there and back, so that no rank always gets the largest; large ones come first, so that memory that does
    not suffice shows at once.

    Args:
        lengths: tokens of each sample of the batch.
        world_size: number of ranks.
        limits: of one micro-batch.

    Returns:
        Indices into `lengths` by rank and micro-batch. An empty micro-batch is one that must be computed with weight 0.
    """
    by_length = sorted(range(len(lengths)), key=lambda sample: (-lengths[sample], sample))
    cut = _pack if limits.is_packed else _bucket
    parts = cut(by_length, lengths, limits)
    rounds = math.ceil(len(parts) / world_size)
    parts = _even_out(cut, by_length, lengths, limits, rounds * world_size) or parts
    parts.sort(key=lambda part: -limits.positions([lengths[i] for i in part]))
    while len(parts) < rounds * world_size:
        parts = _split_largest(parts)
    ranks: list[list[list[int]]] = [[] for _ in range(world_size)]
    for number in range(rounds):
        hand = parts[number * world_size : (number + 1) * world_size]
        for rank, part in enumerate(hand if number % 2 == 0 else reversed(hand)):
            ranks[rank].append(part)
    return ranks


def _bucket(by_length: Sequence[int], lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Cut samples in the order of their lengths into micro-batches."""
    parts: list[list[int]] = []
    for sample in by_length:
        if parts and limits.allows([lengths[i] for i in (*parts[-1], sample)]):
            parts[-1].append(sample)
        else:
            parts.append([sample])
    return parts


def _pack(by_length: Sequence[int], lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Put each sample, long ones first, into the first row with room for it (first-fit decreasing bin packing)."""
    parts: list[list[int]] = []
    for sample in by_length:
        room = (part for part in parts if limits.allows([lengths[i] for i in (*part, sample)]))
        part = next(room, None)
        if part is None:
            parts.append([sample])
        else:
            part.append(sample)
    return parts


def _even_out(
    cut: Callable[[Sequence[int], Sequence[int], Limits], list[list[int]]],
    by_length: Sequence[int],
    lengths: Sequence[int],
    limits: Limits,
    most: int,
) -> list[list[int]] | None:
    """Return at most `most` micro-batches with the tightest limit of positions that allows it; None if none does."""
    low, high = lengths[by_length[0]], limits.num_tokens or limits.num_samples * lengths[by_length[0]]
    found = None
    while low <= high:
        middle = (low + high) // 2
        parts = cut(by_length, lengths, dataclasses.replace(limits, num_tokens=middle))
        if len(parts) <= most:
            found, high = parts, middle - 1
        else:
            low = middle + 1
    return found


def _split_largest(parts: list[list[int]]) -> list[list[int]]:
    """Cut the first micro-batch that can be cut in two; without one, add an empty micro-batch."""
    place = next((place for place, part in enumerate(parts) if len(part) > 1), None)
    if place is None:
        return [*parts, []]
    part = parts[place]
    middle = len(part) // 2
    return [*parts[:place], part[:middle], part[middle:], *parts[place + 1 :]]


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
    targets = np.concatenate([row.input_ids[row.first_target :] for row in rows]).astype(np.int64)
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
