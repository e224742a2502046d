"""How far predict has come, for the log: the splits at work, and the whole.

In: the shards, and their results as they come. Out: at most every ten seconds, and at the end, a line:

    predict: IND_Diverse_Instruction Product_Matching 128 of 253 rows, 4.1 rows/s, about 30 s left; all: 512 of 10,253
    rows, 4.2 rows/s, about 38 min left

Rate and time left are those of this run: rows that an earlier one has answered are done, and took no time.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0
_MOST_SPLITS_OF_A_LINE = 3

# setting, task, adapter
_Split = tuple[str, str, str | None]


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: 12 s, 38 min, 3.2 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def rate_text(rate: float) -> str:
    """Return a number of something a second, with the digits that say something: 0.042, 4.2, 1,234."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class SplitProgress:
    """Counts answered rows by (setting, task, adapter), and logs how far they are."""

    def __init__(self, shards: Iterable[Mapping[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin: rows a second are counted from now on.

        Args:
            shards: all of them, each with `name`, `setting`, `task`, `adapter` (None without one), `num_rows`, and
                `done`: whether an earlier run has answered it.
            clock: seconds.
        """
        self._clock = clock
        self._start = self._last_line = clock()
        self._shards: dict[str, tuple[_Split, int]] = {}
        self._in_all: Counter[_Split] = Counter()
        self._done: Counter[_Split] = Counter()
        self._num_shards_left = 0
        for shard in shards:
            split = shard["setting"], shard["task"], shard.get("adapter")
            self._shards[shard["name"]] = split, shard["num_rows"]
            self._in_all[split] += shard["num_rows"]
            self._done[split] += shard["num_rows"] if shard["done"] else 0
            self._num_shards_left += not shard["done"]
        self._before = Counter(self._done)
        # Work on a split begins where the one before it has given its last news.
        self._split_start: dict[_Split, float] = {}
        self._last_news = self._start
        self._advanced: dict[_Split, None] = {}  # since the last line, in the order in which they did

    def add(self, result: Mapping[str, Any]) -> None:
        """Count a finished shard; log a line if the last one is ten seconds old, or if nothing is left.

        Args:
            result: of the shard, with its `name`.
        """
        split, num_rows = self._shards[result["name"]]
        self._split_start.setdefault(split, self._last_news)
        self._last_news = self._clock()
        self._done[split] += num_rows
        self._advanced[split] = None
        self._num_shards_left -= 1
        now = self._clock()
        if not self._num_shards_left or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            logger.info("%s", self.line())
            self._last_line = now
            self._advanced = {}

    def line(self) -> str:
        """Return how far the splits are that have advanced since the last logged line, and how far the whole is."""
        splits = [self._of_split(split) for split in [*self._advanced][:_MOST_SPLITS_OF_A_LINE]]
        others = len(self._advanced) - len(splits)
        splits += [f"and {others} more"] if others else []
        at_work = f"{', '.join(splits)}; " if splits else ""
        return f"predict: {at_work}all: {self._whole()}"

    def _of_split(self, split: _Split) -> str:
        setting, task, adapter = split
        name = f"{setting} {task}" + (f" ({adapter.rstrip('/').rsplit('/', 1)[-1]})" if adapter else "")
        seconds = self._clock() - self._split_start[split]
        return f"{name} {_how_far(self._done[split], self._in_all[split], self._before[split], seconds)}"

    def _whole(self) -> str:
        seconds = self._clock() - self._start
        return _how_far(self._done.total(), self._in_all.total(), self._before.total(), seconds)


def _how_far(done: int, in_all: int, before: int, seconds: float) -> str:
    """Return rows, rate and time left; `before` were done by an earlier run, the rest in `seconds`."""
    text = f"{done:,} of {in_all:,} rows"
    if before:
        text += f" ({before:,} done before)"
    if done == before or seconds <= 0:
        return text
    rate = (done - before) / seconds
    left = f", about {duration_text((in_all - done) / rate)} left" if done < in_all else ""
    return f"{text}, {rate_text(rate)} rows/s{left}"
