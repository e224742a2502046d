"""What is answered of a part that is not finished: kept where each answer is paid for.

    in_progress/part-00003/00000.parquet    answers, in the schema of predictions
    in_progress/part-00003/00001.parquet    those that came later

A thread writes what has come since it last did, so that a job that is killed has lost no more than the answers between
two writes, and of the time one write takes. The finished part takes the place of all of it.
"""

import threading
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from ecellm.schema import PREDICTIONS
from ecellm.storage import Storage, join

JOURNAL_DIRECTORY = "in_progress"


def part_directory(output_dir: str, part: str) -> str:
    """Return where notes on a part that is not finished lie, by the part's file name."""
    return join(output_dir, JOURNAL_DIRECTORY, part.removesuffix(".parquet"))


class Journal:
    """Answers to one part, written as they come.

    Attributes:
        records: rows of the predictions table that an earlier attempt has left.
    """

    def __init__(self, storage: Storage, output_dir: str, part: str, seconds: float) -> None:
        """Read what is there.

        Args:
            storage: access to the output.
            output_dir: predict's output.
            part: file name of the part.
            seconds: time between writes.
        """
        self._seconds = seconds
        self._storage = storage
        self._directory = part_directory(output_dir, part)
        files = storage.list_files(self._directory, ".parquet")
        self.records: list[dict[str, Any]] = [row for path in files for row in storage.read_table(path).to_pylist()]
        self._next_file = len(files)
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write_now_and_then, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, whatever ended the work."""
        self._ended.set()
        self._thread.join()
        if error is None:
            self._raise_failure()

    def add(self, record: dict[str, Any]) -> None:
        """Keep an answer.

        Raises:
            OSError: an earlier one could not be written.
        """
        self._raise_failure()
        with self._lock:
            self._waiting.append(record)

    def remove(self) -> None:
        """Remove all of it: the part is finished."""
        self._storage.remove(self._directory)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write_now_and_then(self) -> None:
        try:
            while not self._ended.wait(self._seconds):
                self._write()
            self._write()
        except BaseException as error:  # noqa: BLE001  raised in the thread that answers
            self._failure = error

    def _write(self) -> None:
        with self._lock:
            records, self._waiting = self._waiting, []
        if records:
            path = join(self._directory, f"{self._next_file:05d}.parquet")
            self._storage.write_table(path, pa.Table.from_pylist(records, schema=PREDICTIONS))
            self._next_file += 1
