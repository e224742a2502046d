"""Which texts are compared, and in which batches."""

from hypothesis import given
from hypothesis import strategies as st

from ecellm.evaluation.similarity.texts import TextPair, first_words, length_batches


def test_an_answer_is_cut_at_a_response_header_and_both_texts_are_stripped():
    assert TextPair.of(" Blue.\n### Response:\nRed.", "\nIt is blue. ") == TextPair("Blue.", "It is blue.")
    assert TextPair.of("[/INST] ### Response: x", "a\n b") == TextPair("", "a\n b")


def test_only_texts_with_more_words_are_cut():
    assert first_words("a  b\nc", 3) == "a  b\nc"
    assert first_words("a  b\nc\td", 3) == "a b c"
    assert first_words(" " * 5, 0) == " " * 5


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(1, 20))
def test_batches_hold_every_sequence_once_the_longest_first_and_take_bounded_memory(lengths, batch_size):
    batches = list(length_batches(lengths, batch_size))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or (len(batch) <= batch_size and len(batch) * longest <= batch_size * 128)


def test_short_sequences_fill_a_batch_by_number():
    assert [len(batch) for batch in length_batches([20] * 10, 4)] == [4, 4, 2]
