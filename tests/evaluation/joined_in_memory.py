"""Answers that lie in no file, as evaluate's shards take those that do; and figures of free text likewise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from ecellm.evaluation.answered import Answered
from ecellm.evaluation.scored_rows import keys_of
from ecellm.evaluation.similarity_table import SimilarityTable


@dataclass(frozen=True)
class JoinedInMemory:
    """What `Joined` offers to those who score it, for rows sorted by split."""

    answered: Answered
    block_rows: int = 2048

    def __len__(self) -> int:
        return len(self.answered.samples)

    @property
    def run(self) -> Mapping[str, str | None]:
        """Who answered."""
        return self.answered.run

    @property
    def splits(self) -> list[tuple[str, int]]:
        """The splits with their numbers of rows."""
        groups = groupby(sample["split"] for sample in self.answered.samples)
        return [(split, len(list(rows))) for split, rows in groups]

    def _part(self, start: int, end: int) -> Answered:
        whole = self.answered
        facts = {name: values[start:end] for name, values in whole.facts.items()}
        return Answered(whole.samples[start:end], whole.responses[start:end], whole.run, facts)

    def by_split(self) -> list["JoinedInMemory"]:
        """Return the rows of each split."""
        ends = np.cumsum([0, *(number for _, number in self.splits)]).tolist()
        return [JoinedInMemory(self._part(start, end), self.block_rows) for start, end in pairwise(ends)]

    def blocks(self) -> Iterator[Answered]:
        """Yield the answers block by block."""
        for start in range(0, len(self), self.block_rows):
            yield self._part(start, start + self.block_rows)

    def samples(self) -> Iterator[Any]:
        """Yield the samples."""
        yield from self.answered.samples


def similarity_table(figures: Mapping[tuple[str, str], Mapping[str, float | None]]) -> SimilarityTable:
    """Return figures by (run_id, sample_id), then by metric, as a table."""
    metrics = list(dict.fromkeys(name for row in figures.values() for name in row))
    runs: dict[str, tuple[Any, Any]] = {}
    for run_id in dict.fromkeys(run_id for run_id, _ in figures):
        own = {sample: row for (other, sample), row in figures.items() if other == run_id}
        keys: Sequence[Any] = keys_of(list(own))
        values = np.array([[row.get(name) for name in metrics] for row in own.values()], float)
        order = np.argsort(keys)
        runs[run_id] = (np.asarray(keys)[order], values[order])
    return SimilarityTable(metrics, runs)
