"""Paid answers are kept while a part is not finished."""

import time

import pytest

from ecellm.inference.journal import Journal
from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage


def record(number):
    words = dict.fromkeys(PREDICTIONS.names, "x") | {"choice_scores": None, "adapter": None, "was_shortened": False}
    numbers = dict.fromkeys(("row_index", "num_prompt_tokens", "num_completion_tokens"), 1)
    return words | numbers | {"sample_id": str(number), "response": f"answer {number}"}


def journal_of(directory, seconds=0.05, storage=None):
    return Journal(storage or Storage(), str(directory), "part-00003.parquet", seconds)


def ids_in(journal):
    return sorted(row["sample_id"] for row in journal.records)


def test_answers_are_written_while_others_are_waited_for(tmp_path):
    with journal_of(tmp_path) as journal:
        assert journal.records == []
        journal.add(record(1))
        end = time.monotonic() + 10
        while ids_in(journal_of(tmp_path)) != ["1"] and time.monotonic() < end:
            time.sleep(0.02)
        assert ids_in(journal_of(tmp_path)) == ["1"]


def test_what_is_left_is_written_even_when_the_work_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), journal_of(tmp_path, seconds=60) as journal:
        journal.add(record(1))
        raise KeyboardInterrupt
    with journal_of(tmp_path, seconds=60) as journal:
        journal.add(record(2))
    later = journal_of(tmp_path)
    assert ids_in(later) == ["1", "2"]
    later.remove()
    assert ids_in(journal_of(tmp_path)) == []


def test_a_store_that_takes_nothing_more_ends_the_work(tmp_path):
    class Full(Storage):
        def write_table(self, path, table, row_group_size=None):
            raise OSError("no space left")

    def go_on():
        with journal_of(tmp_path, storage=Full()) as journal:
            for number in range(2000):
                journal.add(record(number))
                time.sleep(0.01)

    with pytest.raises(OSError, match="no space left"):
        go_on()
