"""The small parts that a build's promises rest on: hashes, shares, prefixes of rankings, marks."""

import json
from collections import Counter
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from ecellm.dataset.builders.exchange import buckets_of_ranks
from ecellm.dataset.builders.flow import Context
from ecellm.dataset.builders.ranked import (
    RANDOM_SPLIT,
    RankedSet,
    columns_of,
    given_split,
    ranked_table,
    write_ranked,
)
from ecellm.dataset.hashing import (
    hash_messages,
    hash_texts,
    keys_of_texts,
    messages_of,
    rank_of,
    ranks_of_words,
    spread,
    text_bytes,
    words_of,
)
from ecellm.dataset.marks import MARKS, Marks, gather_marks, marks_path, read_marks
from ecellm.dataset.selection import Selected, SplitKey, cut_pieces, iter_rows, select
from ecellm.dataset.shares import equal_parts, limited, ranges_of_shares
from ecellm.storage import Storage
from ecellm.tasks.example import Example


def context_in(directory):
    return Context(storage_config={}, raw_dir=str(directory / "raw"), output_dir=str(directory / "out"), seed=1)


def ranked_rows(category, bucket, number, num_buckets_in_all):
    """Examples whose ranks fall into one bucket."""
    rng = np.random.default_rng([bucket, number])
    width = 2**64 // num_buckets_in_all
    ranks = rng.integers(bucket * width, (bucket + 1) * width, number, dtype=np.uint64)
    assert (buckets_of_ranks(ranks, num_buckets_in_all) == bucket).all()
    examples = [Example(f"{category} {bucket} {row}", "yes") for row in range(number)]
    return ranked_table("Task", columns_of(examples), seed=1, category=category, ranks=ranks)


# ---- hashing

WORDS = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
COLUMNS = (
    ["", None, "a", "naïve café", "\U0001f600 日本", None, "ab"],
    ["", "", "b", None, "x\ny", None, ""],
    ["c", None, "", "é", "e\u0301", None, "\x00"],
)


def test_columns_are_hashed_like_lists_of_texts():
    columns = [pa.array(column, pa.string()) for column in COLUMNS]
    digests = hash_messages(text_bytes("task"), messages_of(*columns))
    rows = list(zip(*COLUMNS, strict=True))
    assert digests.to_pylist() == [hash_texts(["task", *row]) for row in rows]
    assert len(set(digests.to_pylist())) == len(rows)
    assert words_of(digests).tolist() == [int.from_bytes(digest[:8], "big") for digest in digests.to_pylist()]


def test_a_slice_of_columns_is_hashed_like_its_rows():
    columns = [pa.array(column, pa.string()).slice(2, 4) for column in COLUMNS]
    digests = hash_messages(b"", messages_of(*columns))
    assert digests.to_pylist() == [hash_texts(row) for row in list(zip(*COLUMNS, strict=True))[2:6]]
    whole = hash_messages(b"", messages_of(*(pa.array(column, pa.string()) for column in COLUMNS)))
    chunked = pa.chunked_array([whole.slice(0, 2), whole.slice(2)])
    assert words_of(whole.slice(2, 4)).tolist() == words_of(digests).tolist()
    assert words_of(chunked).tolist() == words_of(whole).tolist()
    assert words_of(whole.slice(0, 0)).tolist() == []


def test_no_two_lists_of_texts_look_alike():
    lists = [["ab", ""], ["a", "b"], ["", "ab"], ["ab"], [None, "ab"], ["ab", None], [""], [None], [], ["\x00"]]
    assert len({hash_texts(texts) for texts in lists}) == len(lists)


def test_what_hashes_say_never_changes():
    """Samples are drawn and called by these figures: another one here makes every data set another one."""
    assert [hex(value) for value in spread(WORDS).tolist()] == [
        "0xe220a8397b1dcdaf",  # the first number of splitmix64 from 0, as published
        "0x910a2dec89025cc1",
        "0x481ec0a212a9f3db",
        "0xe4d971771b652c20",
    ]
    assert [hex(value) for value in ranks_of_words(WORDS, 1, "Sentiment_Analysis").tolist()] == [
        "0x9dabd95037189aa7",
        "0xb392cc9917c36e7a",
        "0x85ead45e396bde7b",
        "0xd8842cf5337fe468",
    ]
    assert [hex(value) for value in ranks_of_words(WORDS, 2, "instruction").tolist()] == [
        "0xec33dc4bea89ef42",
        "0x77a39e409f3636dc",
        "0xa5a42cae32078dc8",
        "0x51bd2eae0ff5115d",
    ]
    assert hash_texts(["a", None, "", "é"]).hex() == "0c09440a51de6df256924e0b2a61d98f"  # pragma: allowlist secret
    assert hex(rank_of(1, "a", "b")) == "0xe37a6e91a40654d7"
    assert [hex(value) for value in keys_of_texts(pa.array(["a", "", "é"])).tolist()] == [
        "0xc1999a454057bfd0",
        "0x186da64456263a46",
        "0xeaa82851ccf8e8e7",
    ]


def test_a_hash_is_what_the_module_says():
    message = b"\x01" + (2).to_bytes(8, "big") + "é".encode() + b"\x00"
    assert hash_texts(["é", None]) == blake2b(message, digest_size=16).digest()


# ---- shares


@pytest.mark.parametrize("num_rows", [0, 1, 2, 9, 10, 11, 19, 99, 100, 101, 12_345, 10**9 + 7])
def test_splits_cover_all_places_and_each_bound_is_exact(num_rows):
    ranges = ranges_of_shares(num_rows, RANDOM_SPLIT)
    assert ranges["train"] == (0, num_rows * 8 // 10)
    assert ranges["val"] == (num_rows * 8 // 10, num_rows * 9 // 10)
    assert ranges["test"] == (num_rows * 9 // 10, num_rows)
    assert ranges_of_shares(num_rows, given_split("val")) == {"val": (0, num_rows)}


def test_ten_thousand_among_three():
    assert equal_parts(10_000, 3, larger_first=True) == [3334, 3333, 3333]
    assert equal_parts(10_000, 3, larger_first=False) == [3333, 3333, 3334]


@pytest.mark.parametrize("larger_first", [True, False])
def test_equal_parts_add_up(larger_first):
    for size in range(12):
        for number in range(1, 6):
            parts = equal_parts(size, number, larger_first=larger_first)
            assert sum(parts) == size
            assert max(parts) - min(parts) <= 1
    assert equal_parts("all", 2, larger_first=larger_first) == ["all", "all"]


def test_a_range_is_limited_to_its_first_places():
    assert limited((5, 9), "all") == (5, 9)
    assert limited((5, 9), 2) == (5, 7)
    assert limited((5, 9), 100) == (5, 9)
    assert limited((5, 9), 0) == (5, 5)


# ---- selection

NUM_BUCKETS = 4
ROWS = {"Electronics": (7, 0, 3, 12), "Home_and_Kitchen": (1, 9, 0, 5), "Sports_and_Outdoors": (0, 0, 30, 2)}


@pytest.fixture
def ranked(tmp_path):
    """Ranked sets by hand: three categories, four buckets, some of them empty."""
    context = context_in(tmp_path)
    sets = []
    for category, numbers in ROWS.items():
        results = [
            write_ranked(context, f"by_hand/{category}", bucket, ranked_rows(category, bucket, number, NUM_BUCKETS))
            for bucket, number in enumerate(numbers)
        ]
        buckets = tuple(tuple(result["bucket"]) for result in results)
        sets.append(RankedSet("Task", "IND", category, RANDOM_SPLIT, buckets, "source"))
    return sets


def chosen(sets, sizes, equal_shares=(), larger_first=()):
    selected = select(
        sets, {"Task": {"train": "all", "val": "all", "test": "all", **sizes}}, equal_shares, larger_first
    )
    rows = {key.split: texts(own.pieces) for key, own in selected.items()}
    assert all(len(rows[key.split]) == own.num_rows for key, own in selected.items())
    return rows


def texts(pieces):
    return [text for table in iter_rows(Storage(), pieces, ["input"]) for text in table["input"].to_pylist()]


def in_order_of_rank(sets, split):
    """The naive reading: each category's own share of its ranking, all of them put in one order of ranks."""
    found = []
    for own in sets:
        rows = [
            row
            for file, _, _ in own.buckets
            for row in Storage().read_table(file).select(["rank", "input"]).to_pylist()
        ]
        assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)
        low, high = {"train": (0, 8), "val": (8, 9), "test": (9, 10)}[split]
        found += rows[len(rows) * low // 10 : len(rows) * high // 10]
    return [row["input"] for row in sorted(found, key=lambda row: row["rank"])]


def test_pooled_categories_come_in_the_order_of_ranks(ranked):
    rows = chosen(ranked, {})
    assert rows == {split: in_order_of_rank(ranked, split) for split in ("train", "val", "test")}
    assert Counter(text for own in rows.values() for text in own).most_common(1)[0][1] == 1
    assert sum(map(len, rows.values())) == sum(map(sum, ROWS.values()))


def test_a_smaller_size_is_a_prefix_of_a_larger_one(ranked):
    whole = chosen(ranked, {})
    for size in range(1, len(whole["train"]) + 3):
        rows = chosen(ranked, dict.fromkeys(("train", "val", "test"), size))
        assert rows == {split: own[:size] for split, own in whole.items()}


def test_equal_shares_stand_one_after_the_other_and_each_is_a_prefix(ranked):
    each = {own.category: chosen([own], {})["train"] for own in ranked}
    for larger_first, sizes in ((("Task",), (4, 3, 3)), ((), (3, 3, 4))):
        rows = chosen(ranked, {"train": 10}, ("Task",), larger_first)["train"]
        assert rows == [text for own, size in zip(each.values(), sizes, strict=True) for text in own[:size]]
    # A category that has fewer than its share gives all it has, and the others give no more for it.
    rows = chosen(ranked, {"train": 60}, ("Task",))["train"]
    assert rows == [text for own in each.values() for text in own[:20]]


def test_out_of_domain_there_is_a_test_split_alone(ranked):
    sets = [RankedSet("Task", "OOD", own.category, own.shares, own.buckets, own.source) for own in ranked]
    sizes = {"Task": {"train": "all", "val": "all", "test": 3}}
    selected = select(sets, sizes, (), ())
    assert list(selected) == [SplitKey("Task", "OOD", "test")]
    assert texts(selected["Task", "OOD", "test"].pieces) == in_order_of_rank(sets, "test")[:3]


def test_a_split_without_rows_is_left_out(ranked):
    small = [own for own in ranked if own.category == "Home_and_Kitchen"]
    sets = [RankedSet("Task", "IND", None, given_split("val"), small[0].buckets, "source")]
    assert set(chosen(sets, {})) == {"val"}
    assert select([], {}, (), ()) == {}


def test_cut_pieces_give_any_run_of_rows(ranked):
    sizes = {"Task": {"train": 25, "val": 1, "test": 1}}
    for equal_shares in ((), ("Task",)):
        pieces = select(ranked, sizes, equal_shares, ())["Task", "IND", "train"].pieces
        pieces = json.loads(json.dumps(pieces))
        whole = texts(pieces)
        assert len(whole) == 25
        for first in range(26):
            for count in (0, 1, 2, 7, 25):
                assert texts(cut_pieces(pieces, first, count)) == whole[first : first + count]
    columns = [table.column_names for table in iter_rows(Storage(), pieces, ["output", "rank"])]
    assert all(names == ["output", "rank"] for names in columns)


def test_parts_are_runs_without_gaps(ranked):
    (piece, *_) = select(ranked, {"Task": {"train": "all", "val": 1, "test": 1}}, (), ())["Task", "IND", "train"].pieces
    pieces = tuple([*piece[:1], 0, 1] for _ in range(2500))
    parts = Selected("source", pieces, 2500, 2500 << 20).parts()
    assert [part["number"] for part in parts] == list(range(len(parts)))
    assert [part["first"] for part in parts] == [0, 1024, 2048]
    assert [part["rows"] for part in parts] == [1024, 1024, 452]
    assert [sum(own[-1] for own in part["pieces"]) for part in parts] == [1024, 1024, 452]


# ---- marks


def marks(repeats=(), copies=(), leaks=()):
    return Marks(*(np.array(values, np.int64) for values in (repeats, copies, leaks)))


@pytest.mark.parametrize("leaks", [(), (0,), (9,), (0, 1, 2), (3, 4, 8), (0, 2, 4, 6, 8), tuple(range(9))])
def test_places_and_rows_agree_when_some_are_left_out(leaks):
    own = marks(leaks=leaks)
    kept = [place for place in range(10) if place not in leaks]
    assert own.places_of(np.arange(len(kept))).tolist() == kept
    assert [own.rows_before(place) for place in kept] == list(range(len(kept)))
    assert own.rows_before(10) == len(kept)
    for first in range(10):
        expected = [place in kept for place in range(first, 10)]
        assert own.is_kept(first, 10 - first).tolist() == expected


def test_copies_of_a_run():
    own = marks(repeats=(2, 5, 6), copies=(1, 1, 2))
    assert own.copies_of(0, 8).tolist() == [0, 0, 1, 0, 0, 1, 2, 0]
    assert own.copies_of(5, 2).tolist() == [1, 2]
    assert own.copies_of(3, 2).tolist() == [0, 0]


def test_marks_of_a_split_are_gathered_from_all_buckets(tmp_path):
    context = context_in(tmp_path)
    by_bucket = [
        [(0, 7, 1, False), (1, 3, 0, True), (0, 2, 0, True)],
        [],
        [(0, 4, 2, True), (1, 0, 1, False)],
    ]
    for bucket, rows in enumerate(by_bucket):
        table = pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * 4, schema=MARKS)
        context.storage.write_table(marks_path(context, bucket), table)
    expected = {
        (True, 0): ([4, 7], [2, 1], [2, 4]),
        (True, 1): ([0], [1], [3]),
        (False, 0): ([4, 7], [2, 1], []),
        (False, 1): ([0], [1], []),
    }
    for (drops_leaks, split_number), values in expected.items():
        arguments = {"split_number": split_number, "drops_leaks": drops_leaks}
        gather_marks(context, number=len(by_bucket), **arguments)
        own = read_marks(context, **arguments)
        assert (own.repeats.tolist(), own.copies.tolist(), own.leaks.tolist()) == values
