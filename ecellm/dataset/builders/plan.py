"""What a flow is given before it begins, and what it returns."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ecellm.config import BuildConfig, DomainCategories
from ecellm.dataset.builders.exchange import num_buckets
from ecellm.dataset.builders.flow import Context, Flow
from ecellm.dataset.builders.ranked import RankedSet
from ecellm.dataset.shares import Size, equal_parts
from ecellm.errors import InputError
from ecellm.storage import Storage
from ecellm.tasks import task_named


@dataclass
class Built:
    """What a flow made of its raw files.

    Attributes:
        sets: ranked examples, to draw samples from.
        dropped: raw rows and examples left out, by reason.
        kept: rows that the recipe keeps though a reader might not expect it, by reason.
        quarantined: lines that could not be read, by raw file.
        notes: what a reader of the data should know about this build.
    """

    sets: list[RankedSet] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def count(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Add what steps dropped, kept and put aside: their `dropped`, `kept` and `quarantined`, if any."""
        for result in results:
            self.dropped.update({reason: rows for reason, rows in result.get("dropped", {}).items() if rows})
            self.kept.update({reason: rows for reason, rows in result.get("kept", {}).items() if rows})
            self.quarantined.update({name: rows for name, rows in result.get("quarantined", {}).items() if rows})


@dataclass(frozen=True)
class Plan:
    """A flow's surroundings.

    Attributes:
        config: of the build.
        context: given to all steps.
        task: canonical name of the task (PSI is built with MPC, and each has its own sets).
        categories: of the task by domain; None where it has none.
    """

    config: BuildConfig
    context: Context
    task: str
    categories: DomainCategories | None

    @property
    def by_domain(self) -> list[tuple[str, str]]:
        """The task's (domain, category), in-domain first."""
        assert self.categories is not None
        in_domain = [("IND", name) for name in self.categories.in_domain]
        return in_domain + [("OOD", name) for name in self.categories.out_of_domain]

    def share(self, domain: str, category: str, split: str) -> Size:
        """Return how many examples of a split a category gives where the categories of a domain have equal shares."""
        own = [name for part, name in self.by_domain if part == domain]
        size = sizes_of(self.config, self.task)[split]
        parts = equal_parts(size, len(own), larger_first=self.task in LARGER_SHARE_FIRST)
        return parts[own.index(category)]

    def num_buckets(self, files: Sequence[str]) -> int:
        """Return the number of buckets for the rows of some raw files together."""
        return buckets_of_files(self.context.storage, files, self.config.bucket_bytes)


T = TypeVar("T")
ALL_TASKS = "all"  # in `categories`: every task that has some
# Tasks whose categories have equal shares, one after the other; the others are pooled. Of 10,000 among three, the
# release has 3,334 first for SA and last for SR.
EQUAL_SHARES = ("Sentiment_Analysis", "Sequential_Recommendation")
LARGER_SHARE_FIRST = ("Sentiment_Analysis",)


def by_task_name(values: Mapping[str, T], field: str) -> dict[str, T]:
    """Return what a field says of tasks by their canonical names, without what it says of `all`.

    Raises:
        InputError: a task is unknown, or is named twice.
    """
    result: dict[str, T] = {}
    for name, own in values.items():
        if name != ALL_TASKS and result.setdefault(task_named(name).name, own) is not own:
            raise InputError(f"{field}: {task_named(name).name} is named twice, as {task_named(name).short_name} too")
    return result


def sizes_of(config: BuildConfig, task: str) -> dict[str, Size]:
    """Return the size of each split of a task."""
    return by_task_name(config.task_sizes, "task_sizes").get(task, config.sizes).model_dump()


def buckets_of_files(storage: Storage, files: Sequence[str], bucket_bytes: int) -> int:
    """Return the number of buckets for the rows of some raw files together."""
    return num_buckets(sum(storage.size(file) for file in files), bucket_bytes)


@dataclass(frozen=True)
class Builder:
    """How one task, or a family of tasks with one source, is built.

    Attributes:
        tasks: canonical names of the tasks that one flow makes.
        source: name of the raw source, as in raw_dir.
        has_categories: whether the recipe tells product categories apart.
        files: the raw files that a flow reads: (storage, raw_dir, categories) -> paths, all required.
        optional_files: files that are read if they are there.
        look: looks at the files before the build begins; raises InputError where they cannot be right.
        flow: makes the flow of some of the tasks: (plan by task) -> flow.
    """

    tasks: tuple[str, ...]
    source: str
    has_categories: bool
    files: Callable[[Storage, str, Sequence[str]], list[str]]
    look: Callable[[Storage, str, Sequence[str]], None]
    flow: Callable[[Mapping[str, Plan]], Flow[Built]]
    optional_files: Callable[[Storage, str, Sequence[str]], list[str]] = lambda _storage, _raw_dir, _categories: []
