from collections import Counter

import numpy as np
import pytest
from conftest import example_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from ecellm.training.batches import TrainingRow, collate, micro_batches, padding_share, token_weights
from ecellm.training.dealing import Limits, deal
from ecellm.training.order import RowGroup, epoch_windows, num_batches, sequential_windows


def index_of(sizes):
    groups, position = [], 0
    for number, size in enumerate(sizes):
        groups.append(RowGroup("part-00000.parquet", number, position, size))
        position += size
    return groups


def training_rows(number, *, seq2seq=False):
    return [
        TrainingRow(
            row["position"],
            row["sample_id"],
            np.array(row["input_ids"], dtype=np.int32),
            np.array(row["labels"], dtype=np.int32) if row["labels"] else None,
            row["num_prompt_tokens"],
        )
        for row in example_rows(number, seq2seq=seq2seq)
    ]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 5))
def test_every_row_is_used_once_in_an_epoch_and_windows_are_bounded(sizes, window_rows, epoch):
    windows = list(epoch_windows(index_of(sizes), seed=3, epoch=epoch, window_rows=window_rows))
    positions = np.concatenate([window.positions for window in windows])
    assert sorted(positions.tolist()) == list(range(sum(sizes)))
    for window in windows:
        inside = {p for g in window.groups for p in range(g.first_position, g.first_position + g.num_rows)}
        assert set(window.positions.tolist()) == inside
        assert len(inside) < window_rows + max(sizes)


def test_the_order_depends_on_seed_and_epoch_alone():
    index = index_of([5] * 20)

    def order(seed, epoch):
        windows = epoch_windows(index, seed=seed, epoch=epoch, window_rows=30)
        return np.concatenate([window.positions for window in windows]).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    # Shuffled across row groups, not only inside them.
    assert len({position // 5 for position in order(1, 0)[:5]}) > 1


def test_validation_rows_come_in_file_order():
    windows = sequential_windows(index_of([3, 4, 5]), window_rows=6)
    assert np.concatenate([window.positions for window in windows]).tolist() == list(range(12))


LIMITS = st.builds(Limits, st.integers(1, 9), st.none() | st.integers(1, 6000), is_packed=st.booleans())


@settings(max_examples=200)
@given(st.lists(st.integers(1, 2048), min_size=1, max_size=70), st.integers(1, 9), LIMITS)
def test_dealing_loses_nothing_and_keeps_ranks_in_step_and_limits(lengths, world_size, limits):
    dealt = deal(lengths, world_size=world_size, limits=limits)
    assert len(dealt) == world_size
    assert len({len(rank) for rank in dealt}) == 1
    parts = [part for rank in dealt for part in rank]
    assert Counter(i for part in parts for i in part) == Counter(range(len(lengths)))
    assert all(len(part) <= limits.num_samples for part in parts)
    for part in parts:
        own = [lengths[i] for i in part]
        positions = sum(own) if limits.is_packed else len(own) * max(own, default=0)
        assert len(part) <= 1 or limits.num_tokens is None or positions <= limits.num_tokens
    if limits.num_tokens is None:
        assert len(dealt[0]) == -(-len(lengths) // (world_size * limits.num_samples))


def test_ranks_get_like_amounts_and_micro_batches_like_lengths():
    lengths = np.random.default_rng(0).integers(20, 2000, size=128).tolist()
    for limits in (Limits(8), Limits(64, 8192), Limits(64, 8192, is_packed=True)):
        dealt = deal(lengths, world_size=4, limits=limits)
        work = [sum(limits.positions([lengths[i] for i in part]) for part in rank) for rank in dealt]
        assert max(work) < 1.1 * min(work), limits
        assert sum(work) < 1.1 * sum(lengths)
        assert sum(work) == sum(lengths) or not limits.is_packed
        parts = [limits.positions([lengths[i] for i in part]) for rank in dealt for part in rank]
        assert limits.num_tokens is None or max(parts) < 1.6 * min(parts), "none is a small remainder"


def test_the_batch_is_the_same_whatever_the_ranks_and_the_micro_batch_size():
    batch = training_rows(13)
    weights = token_weights(batch, "sample")
    for world_size in (1, 2, 3, 20):
        for size in (1, 4, 16):
            dealt = deal([row.num_tokens for row in batch], world_size=world_size, limits=Limits(size))
            seen = Counter()
            for rank in dealt:
                for rows, arrays in micro_batches(batch, weights, rank, pad_token_id=0, decoder_start_token_id=None):
                    parts = np.split(arrays.weights, np.cumsum([row.num_answer_tokens for row in rows])[:-1])
                    for row, part in zip(rows, parts, strict=True):
                        seen[row.sample_id] += float(part.sum())
            assert sorted(seen) == sorted(row.sample_id for row in batch)
            assert seen.values() == pytest.approx([1 / 13] * 13)


def test_weights_by_sample_and_by_token():
    batch = training_rows(7)
    by_sample, by_token = token_weights(batch, "sample"), token_weights(batch, "token")
    assert sum(w * row.num_answer_tokens for w, row in zip(by_sample, batch, strict=True)) == pytest.approx(1)
    assert sum(w * row.num_answer_tokens for w, row in zip(by_token, batch, strict=True)) == pytest.approx(1)
    assert len(set(by_token)) == 1
    assert len(set(by_sample)) > 1


def test_a_sample_without_an_answer_is_named():
    row = TrainingRow(5, "abc", np.array([1, 2, 3], dtype=np.int32), None, 3)
    with pytest.raises(ValueError, match=r"abc.*no answer"):
        token_weights([row], "sample")


def test_targets_are_exactly_the_answers():
    rows = training_rows(4)
    arrays = collate(rows, [1.0] * 4, pad_token_id=0, decoder_start_token_id=None)
    assert arrays.targets.tolist() == [t for row in rows for t in row.input_ids[row.num_prompt_tokens :].tolist()]
    # The output that predicts a token stands where its predecessor is read.
    following = arrays.input_ids.reshape(-1)[arrays.target_index + 1]
    assert following.tolist() == arrays.targets.tolist()


def test_sequence_to_sequence_answers_are_shifted_for_the_decoder():
    rows = training_rows(3, seq2seq=True)
    arrays = collate(rows, [1.0] * 3, pad_token_id=0, decoder_start_token_id=0)
    assert arrays.targets.tolist() == [t for row in rows for t in row.labels.tolist()]
    assert arrays.decoder_input_ids[:, 0].tolist() == [0, 0, 0]
    assert arrays.decoder_input_ids[0, 1 : len(rows[0].labels)].tolist() == rows[0].labels[:-1].tolist()
    assert arrays.attention_mask.sum(axis=1).tolist() == [len(row.input_ids) for row in rows]


def test_padding_share_counts_what_is_computed():
    rows = training_rows(5)
    dealt = deal([row.num_tokens for row in rows], world_size=2, limits=Limits(2))
    tokens, positions = padding_share(rows, dealt)
    computed = [
        arrays.num_positions
        for rank in dealt
        for _, arrays in micro_batches(
            rows, token_weights(rows, "token"), rank, pad_token_id=0, decoder_start_token_id=None
        )
    ]
    assert tokens == sum(len(row.input_ids) for row in rows)
    assert positions == sum(computed)


def test_a_short_last_batch_counts():
    assert num_batches(50, 16) == 4
