"""sizes: numbers per split, equal shares of some tasks' categories, and a sample of n is the first n of all."""

from collections import Counter
from itertools import groupby

import pytest

from ecellm.config import Sizes
from ecellm.tasks import task_named
from tests.dataset.conftest import build
from tests.dataset.small_builds import in_process, rows_of  # noqa: F401

POOLED = ("PRP", "AVE", "MPC", "PSI", "QPR", "AP", "AG", "PM")
COLUMNS = ("example_id", "instruction", "input", "options", "output", "relevance", "source_ids", "category")
IN_DOMAIN = ["Electronics", "Home_and_Kitchen", "Sports_and_Outdoors"]


@pytest.fixture(scope="module")
def small(world, tmp_path_factory):
    """Ten train, four validation and five test rows a task; of two tasks other numbers."""
    with pytest.MonkeyPatch.context() as patch:
        from ecellm.dataset.builders import flow
        from tests.dataset.small_builds import run_in_process

        patch.setattr(flow, "run_shards", run_in_process)
        return build(
            tmp_path_factory.mktemp("small") / "out",
            raw_dir=str(world),
            held_out_rows=5,
            sizes={"train": 10, "val": 2, "test": 5},
            task_sizes={
                "PRP": {"train": 100, "val": 7},
                "Sequential_Recommendation": {"train": 11, "val": 1, "test": "all"},
            },
        )


def contents(rows):
    return [tuple(str(row[name]) for name in COLUMNS) for row in rows]


def size(task, split):
    sizes = {"PRP": Sizes(train=100, val=7), "SR": Sizes(train=11, val=1)}.get(task, Sizes(train=10, val=2, test=5))
    return getattr(sizes, split)


@pytest.mark.parametrize("task", POOLED)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_sample_of_n_is_the_first_n_of_all(small, built, task, split):
    name = task_named(task).name
    ours, everything = rows_of(small, name, split), rows_of(built, name, split)
    number = size(task, split)
    expected = everything if number == "all" else everything[:number]
    assert contents(ours) == contents(expected)
    assert [row["row_index"] for row in ours] == list(range(len(ours)))


@pytest.mark.parametrize("task", ["SA", "SR"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_categories_have_equal_shares_one_after_the_other(small, built, task, split):
    name = task_named(task).name
    ours, everything = rows_of(small, name, split), rows_of(built, name, split)
    by_category = {key: [row for row in everything if row["category"] == key] for key in IN_DOMAIN}
    assert [key for key, _ in groupby(everything, lambda row: row["category"])] == IN_DOMAIN
    shares = {
        ("SA", "train"): (4, 3, 3), ("SA", "val"): (1, 1, 0), ("SA", "test"): (2, 2, 1),
        ("SR", "train"): (3, 4, 4), ("SR", "val"): (0, 0, 1),
    }.get((task, split), tuple(len(rows) for rows in by_category.values()))  # fmt: skip
    expected = [row for (_, rows), share in zip(by_category.items(), shares, strict=True) for row in rows[:share]]
    assert contents(ours) == contents(expected)


def test_the_out_of_domain_test_has_its_own_number(small):
    for task, number in (("PRP", None), ("SA", 5), ("SR", None)):
        rows = rows_of(small, task_named(task).name, "test", "OOD_Diverse_Instruction")
        assert number is None or len(rows) == number
        assert Counter(row["category"] for row in rows) == {"Tools_and_Home_Improvement": len(rows)}


def test_a_size_that_is_more_than_there_is_takes_all(world, built, tmp_path, in_process):  # noqa: F811
    out = build(
        tmp_path / "out", raw_dir=str(world), tasks=["PM", "AP"], sizes={"train": 10**9, "val": 10**9, "test": 10**9}
    )
    for task in ("PM", "AP"):
        name = task_named(task).name
        assert contents(rows_of(out, name, "train")) == contents(rows_of(built, name, "train"))
