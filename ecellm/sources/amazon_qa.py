"""AmazonQA: questions about products with review snippets and answers, JSON lines, one file a split.

Upstream: github.com/amazonqa/amazonqa. Files are named `{train,val,test}-qar.jsonl`, plain or gzip.
"""

from collections.abc import Sequence

import msgspec

from ecellm.errors import InputError
from ecellm.settings import SPLITS
from ecellm.storage import Storage, join

_DIRECTORY = "amazon_qa"


class Answer(msgspec.Struct):
    """One answer: its text, and its votes [helpful, all]."""

    answerText: str | None = None  # noqa: N815  upstream's name
    helpful: Sequence[int] | None = None


class Question(msgspec.Struct):
    """One line."""

    asin: str | None = None
    category: str | None = None
    questionText: str | None = None  # noqa: N815  upstream's name
    questionType: str | None = None  # noqa: N815  upstream's name
    review_snippets: list[str | None] | None = None
    answers: list[Answer] | None = None
    is_answerable: bool | int | None = None
    qid: int | str | None = None


def files_by_split(storage: Storage, raw_dir: str) -> dict[str, str]:
    """Return the file of each split.

    Raises:
        InputError: a split has no file, or several.
    """
    directory = join(raw_dir, _DIRECTORY)
    found = storage.list_files(directory)
    files = {}
    for split in SPLITS:
        own = [file for file in found if file.removeprefix(f"{directory}/").startswith(f"{split}-qar")]
        own = [file for file in own if file.endswith((".jsonl", ".jsonl.gz"))]
        if len(own) != 1:
            raise InputError(
                f"{directory} must hold one file {split}-qar.jsonl (or .gz), but has {len(own)}. "
                "Bring it, or leave out the task with tasks=[...]"
            )
        files[split] = own[0]
    return files
