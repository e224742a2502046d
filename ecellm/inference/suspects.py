"""Which row kills the process that answers it: found by going row by row through a part that was begun twice in vain.

    in_progress/part-00003/suspects.json    {"num_starts": 3, "asked": "5f..", "num_deaths": {"5f..": 1}}

A process that dies (killed for want of memory, a crash in native code) takes the whole part with it and says nothing.
Whoever begins a part writes that down first; one begun in vain may have died for any reason, say a node that was taken
away. At the third start rows are asked one by one, and each is written down before. A row that was asked when the
process died, twice, is put aside as failed, and the rest goes on.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from ecellm.errors import SurroundingsError
from ecellm.inference.journal import JOURNAL_DIRECTORY, part_directory
from ecellm.inference.request import Failure
from ecellm.storage import Storage, join

logger = logging.getLogger(__name__)
_NAME = "suspects.json"
_STARTS_AT_FULL_SPEED = 2
_DEATHS_OF_A_BAD_ROW = 2
_MOST_BAD_IN_A_ROW = 3  # without an answer between them: then it is not the rows
ADVICE = "Give the actor more memory (fewer num_actors, larger nodes), or lower max_batch_size or max_length"
_DIED = Failure(
    f"engine_died: the process that answered died {_DEATHS_OF_A_BAD_ROW} times while it was asked this row alone"
)
RowT = TypeVar("RowT", bound=Mapping[str, Any])


class Suspects:
    """What is known of the rows of one part that is at work; use as a context manager around the work.

    Attributes:
        is_row_by_row: whether the part was begun so often that its rows are to be asked one by one.
    """

    def __init__(self, storage: Storage, output_dir: str, part: str) -> None:
        """Read what earlier starts have left, and write that there is one more.

        Args:
            storage: access to the output.
            output_dir: predict's output.
            part: file name of the part.
        """
        self._storage = storage
        self._output_dir = output_dir
        self._part = part
        self._path = join(part_directory(output_dir, part), _NAME)
        state = storage.read_json(self._path) if storage.exists(self._path) else {}
        self._num_starts = int(state.get("num_starts", 0)) + 1
        self._num_deaths: dict[str, int] = dict(state.get("num_deaths", {}))
        if state.get("asked"):
            self._num_deaths[state["asked"]] = self._num_deaths.get(state["asked"], 0) + 1
        self.is_row_by_row = self._num_starts > _STARTS_AT_FULL_SPEED
        self._write(asked=None)
        if self.is_row_by_row:
            logger.warning("%s was begun %d times in vain: going row by row", part, self._num_starts - 1)

    def one_by_one(self, rows: Iterable[RowT]) -> Iterator[tuple[RowT, Failure | None]]:
        """Yield each row once it is written down, with the reason if it is not to be asked any more.

        Raises:
            SurroundingsError: the process dies whatever it is asked.
        """
        bad: list[str] = []
        for row in rows:
            key = row["sample_id"]
            if self._num_deaths.get(key, 0) < _DEATHS_OF_A_BAD_ROW:
                self._write(asked=key)
                yield row, None
                bad = []
                continue
            bad.append(key)
            if len(bad) == _MOST_BAD_IN_A_ROW:
                self._forget()  # what is run next may have been given more memory
                raise SurroundingsError(
                    f"{self._part}: the process that answers died {_DEATHS_OF_A_BAD_ROW} times at each of the rows "
                    f"{', '.join(bad)}, asked alone: it is not the rows. {ADVICE}; the same command goes on"
                )
            yield row, _DIED

    def _forget(self) -> None:
        """Remove the notes on all parts: they blame rows for what was not theirs."""
        for path in _notes(self._storage, self._output_dir):
            self._storage.remove(path)

    def _write(self, asked: str | None) -> None:
        state = {"num_starts": self._num_starts, "asked": asked, "num_deaths": self._num_deaths}
        self._storage.write_bytes(self._path, json.dumps(state).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the notes: the part is finished, or its end is told otherwise."""
        self._storage.remove(self._path)


def what_is_noted(storage: Storage, output_dir: str) -> dict[str, Any]:
    """Return the notes on all parts at work, by their paths: other ones while bad rows are being found."""
    return {path: storage.read_json(path) for path in _notes(storage, output_dir)}


def _notes(storage: Storage, output_dir: str) -> list[str]:
    return storage.list_files(join(output_dir, JOURNAL_DIRECTORY), f"/{_NAME}")
