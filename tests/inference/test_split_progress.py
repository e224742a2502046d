"""Progress of predict: what a person reads in the log, and when."""

import logging

import pytest

from ecellm.inference.progress import SplitProgress, duration_text, rate_text

IND = "IND_Diverse_Instruction"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def shards_of(*splits):
    """Return shards of 128 rows of (task, how many, how many of them done, adapter)."""
    shards = []
    for task, number, done, adapter in splits:
        for place in range(number):
            name = f"part-{len(shards):05d}.parquet"
            split = {"setting": IND, "task": task, "adapter": adapter}
            shards.append({"name": name, **split, "num_rows": 128, "done": place < done})
    return shards


@pytest.fixture
def clock():
    return Clock()


def test_a_line_tells_of_the_split_at_work_and_of_the_whole(clock):
    progress = SplitProgress(shards_of(("Product_Matching", 2, 0, None), ("Sentiment_Analysis", 78, 0, None)), clock)
    clock.now += 32
    progress.add({"name": "part-00000.parquet", "rows": 128})
    # Logged by itself, so this is the next line: of the whole alone until another part is done.
    assert progress.line() == "predict: all: 128 of 10,240 rows, 4 rows/s, about 42 min left"
    clock.now += 5
    progress.add({"name": "part-00002.parquet", "rows": 128})
    assert progress.line() == (
        f"predict: {IND} Sentiment_Analysis 128 of 9,984 rows, 26 rows/s, about 6 min left; all: 256 of 10,240 rows, 6.9 rows/s, about 24 min left"
    )


def test_what_was_done_before_counts_as_done_but_not_as_fast(clock):
    progress = SplitProgress(shards_of(("Product_Matching", 10, 8, None)), clock)
    assert progress.line() == "predict: all: 1,024 of 1,280 rows (1,024 done before)"
    clock.now += 8
    progress.add({"name": "part-00009.parquet"})
    assert progress.line() == (
        f"predict: {IND} Product_Matching 1,152 of 1,280 rows (1,024 done before), 16 rows/s, about 8 s left; "
        "all: 1,152 of 1,280 rows (1,024 done before), 16 rows/s, about 8 s left"
    )


def test_lines_come_every_ten_seconds_and_at_the_end(clock, caplog):
    progress = SplitProgress(shards_of(("Product_Matching", 31, 1, None)), clock)
    with caplog.at_level(logging.INFO):
        for number in range(1, 31):
            clock.now += 1
            progress.add({"name": f"part-{number:05d}.parquet"})
            assert len(caplog.messages) == number // 10
        assert caplog.messages[-1].endswith("all: 3,968 of 3,968 rows (128 done before), 128 rows/s")
        assert len(caplog.messages) == 3


def test_the_last_part_is_told_of_even_right_after_another_line(clock, caplog):
    progress = SplitProgress(shards_of(("Product_Matching", 2, 0, None)), clock)
    with caplog.at_level(logging.INFO):
        clock.now += 11
        progress.add({"name": "part-00000.parquet"})
        progress.add({"name": "part-00001.parquet"})
    assert len(caplog.messages) == 2
    assert "256 of 256" in caplog.messages[-1]


def test_adapters_are_told_apart_by_their_last_name(clock):
    shards = shards_of(("Product_Matching", 1, 0, "s3://b/runs/one/"), ("Product_Matching", 1, 0, "s3://b/runs/two"))
    progress = SplitProgress(shards, clock)
    progress.add({"name": "part-00000.parquet"})
    assert f"{IND} Product_Matching (one) 128 of 128 rows; all" in progress.line()


def test_a_fast_engine_does_not_fill_the_line_with_splits(clock):
    progress = SplitProgress(shards_of(*((f"Task_{letter}", 2, 0, None) for letter in "ABCDE")), clock)
    for number in range(0, 10, 2):
        progress.add({"name": f"part-{number:05d}.parquet"})
    line = progress.line()
    assert "Task_C 128 of 256 rows, and 2 more; all: 640 of 1,280 rows" in line
    assert "Task_D" not in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (2280, "38 min"), (11_500, "3.2 h"), (3_700_000, "1,027.8 h")]
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0421, "0.042"), (4.21, "4.2"), (9.96, "10"), (99.7, "100"), (1234.4, "1,234")]
)
def test_rates(rate, text):
    assert rate_text(rate) == text
