"""AmazonQA: one file a split, plain or gzip; questions with the fields that are used."""

import msgspec
import pytest

from ecellm.errors import InputError
from ecellm.sources.amazon_qa import Question, files_by_split
from ecellm.sources.records import RecordDecoder
from ecellm.storage import Storage


def fill(tmp_path, *names):
    directory = tmp_path / "amazon_qa"
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_bytes(b"{}\n")
    return str(tmp_path)


def test_the_file_of_each_split_is_found_plain_gzip_or_sample(tmp_path):
    raw = fill(tmp_path, "train-qar.jsonl", "val-qar.jsonl.gz", "test-qar.sample.jsonl", "LICENSE", "train-qar.md")
    names = {split: file.rsplit("/", 1)[1] for split, file in files_by_split(Storage(), raw).items()}
    assert names == {"train": "train-qar.jsonl", "val": "val-qar.jsonl.gz", "test": "test-qar.sample.jsonl"}


def test_a_split_without_file_or_with_two_is_named(tmp_path):
    raw = fill(tmp_path, "train-qar.jsonl", "val-qar.jsonl")
    with pytest.raises(InputError, match=r"amazon_qa must hold one file test-qar\.jsonl \(or \.gz\), but has 0"):
        files_by_split(Storage(), raw)
    fill(tmp_path, "test-qar.jsonl", "test-qar.jsonl.gz")
    with pytest.raises(InputError, match=r"one file test-qar\.jsonl \(or \.gz\), but has 2"):
        files_by_split(Storage(), raw)


def test_a_question_with_what_real_lines_have():
    line = (
        b'{"asin": "B1", "category": "Toys", "questionText": "ok?", "questionType": "descriptive", "qid": 7, '
        b'"review_snippets": ["a", "b"], "is_answerable": 1, "answers": [{"answerText": "yes", "answerType": "NA", '
        b'"helpful": [2, 3]}, {"answerText": null, "helpful": null}]}'
    )
    question = RecordDecoder(Question)(line)
    assert (question.asin, question.qid, bool(question.is_answerable)) == ("B1", 7, True)
    assert question.review_snippets == ["a", "b"]
    assert [(own.answerText, own.helpful) for own in question.answers] == [("yes", [2, 3]), (None, None)]


@pytest.mark.parametrize(
    "field",
    [b'"review_snippets": "text"', b'"answers": {}', b'"answers": [7]', b'"is_answerable": "yes"', b'"asin": 1'],
)
def test_a_field_of_another_type_is_refused(field):
    with pytest.raises(ValueError, match=r"Expected"):
        RecordDecoder(Question)(b"{" + field + b"}")


def test_every_field_may_be_missing():
    assert msgspec.structs.asdict(RecordDecoder(Question)(b"{}")) == dict.fromkeys(Question.__struct_fields__)
