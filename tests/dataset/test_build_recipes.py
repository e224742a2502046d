"""Sizes `all`: the rows of every task are what an independent, naive reading of the recipe gives, no more, no less."""

import ast
import json
from collections import Counter

import pytest

from ecellm.tasks import task_named
from ecellm.tasks.shopping_text import is_english
from tests.dataset import naive_recipes
from tests.dataset.conftest import paper_categories
from tests.dataset.naive_sequences import faults_of_sequence_sample


def expected(short_name, world):
    return naive_recipes.examples(short_name, world, paper_categories(short_name), is_english)


def rows_of(samples, short_name, domain):
    task = task_named(short_name).name
    return samples[(samples["task"] == task) & (samples["setting"] == f"{domain}_Diverse_Instruction")]


def contents(rows):
    """Count rows by category and texts."""
    columns = ("category", "input", "options", "output")
    return Counter(zip(*(rows[name] for name in columns), strict=True))


def naive_contents(examples, domain, categories=None):
    return Counter(
        (own["category"], own["input"], own["options"], own["output"])
        for own in examples
        if own["domain"] == domain and (categories is None or own["category"] in categories)
    )


@pytest.mark.parametrize("short_name", ["PRP", "SA"])
def test_random_splits_share_out_exactly_what_the_recipe_gives(short_name, world, samples):
    naive = expected(short_name, world)["all"]
    built = rows_of(samples, short_name, "IND")
    assert contents(built) == naive_contents(naive, "IND")
    by_category = Counter(own["category"] for own in naive if own["domain"] == "IND")
    for category, number in by_category.items():
        sizes = built[built["category"] == category]["split"].value_counts()
        bounds = [int(number * 0.8), int(number * 0.9)]
        assert [sizes["train"], sizes["val"], sizes["test"]] == [bounds[0], bounds[1] - bounds[0], number - bounds[1]]

    # Out of domain only the test part is used: a tenth of the examples, each one that the recipe gives.
    out_of_domain = contents(rows_of(samples, short_name, "OOD"))
    possible = naive_contents(naive, "OOD")
    assert out_of_domain <= possible
    assert out_of_domain.total() == possible.total() - int(possible.total() * 0.9)


@pytest.mark.parametrize("short_name", ["AP", "AG"])
def test_splits_of_the_source_are_kept(short_name, world, samples):
    naive = expected(short_name, world)
    for domain, splits in (("IND", ("train", "val", "test")), ("OOD", ("test",))):
        built = rows_of(samples, short_name, domain)
        assert set(built["split"]) == set(splits)
        for split in splits:
            assert contents(built[built["split"] == split]) == naive_contents(naive[split], domain)


@pytest.mark.parametrize("short_name", ["MPC", "PSI"])
def test_judged_products(short_name, world, samples):
    naive = expected(short_name, world)
    built = rows_of(samples, short_name, "IND")
    is_train = built["split"] == "train"
    assert contents(built[is_train]) == naive_contents(naive["train"], "IND")
    assert contents(built[~is_train]) == naive_contents(naive["test"], "IND")
    halves = built["split"].value_counts()
    assert halves["val"] == (halves["val"] + halves["test"]) // 2


def test_rankings(world, samples):
    naive = expected("QPR", world)
    built = rows_of(samples, "QPR", "IND")
    for split, own in (("train", built["split"] == "train"), ("test", built["split"] != "train")):
        queries = naive[split]
        found = {}
        titles = {}
        for row in built[own].itertuples():
            fields = json.loads(row.input)
            labels = list(row.relevance)
            assert [item[:3] for item in fields["product list"]] == [f"{letter}: " for letter in "ABCD"[: len(labels)]]
            for item, label in zip(fields["product list"], labels, strict=True):
                assert item[3:] in queries[fields["query"]][label]
                titles.setdefault((fields["query"], label), set()).add(item[3:])
            assert row.output == naive_recipes.ranking_output(labels)
            found.setdefault(fields["query"], []).append(frozenset(labels))
        assert all(len(own) == 1 for own in titles.values()), "one product stands for each (query, label)"
        wanted = {query: naive_recipes.label_subsets(set(own)) for query, own in queries.items()}
        assert {query: Counter(own) for query, own in found.items()} == {
            query: Counter(own) for query, own in wanted.items() if own
        }


def test_sequences(world, samples):
    naive = expected("SR", world)
    for domain, splits in (("IND", ("train", "val", "test")), ("OOD", ("test",))):
        built = rows_of(samples, "SR", domain)
        users = {(category, user) for own, category, user in naive["sequences"] if own == domain}
        for split in splits:
            rows = built[built["split"] == split]
            named = [(row.category, row.source_ids[1].removeprefix("user ")) for row in rows.itertuples()]
            assert len(named) == len(set(named))
            assert set(named) == users
            for row, (category, user) in zip(rows.itertuples(), named, strict=True):
                sequence = naive["sequences"][domain, category, user]
                faults = faults_of_sequence_sample(
                    sequence, naive["pools"][domain], split, row.input, row.options, row.output
                )
                assert not faults, (row, faults)
                assert row.source_ids[0] == sequence[len(sequence) - {"train": 3, "val": 2, "test": 1}[split]].asin


def test_candidates_are_drawn_from_the_whole_pool_and_answers_from_all_letters(samples):
    rows = rows_of(samples, "SR", "IND")
    answers = Counter(rows["output"])
    assert len(answers) == 20
    options = Counter(option[3:] for text in rows["options"] for option in ast.literal_eval(text))
    assert max(options.values()) < 12 * sum(options.values()) / len(options), "no item is drawn much more than others"


def test_extractions(world, samples):
    naive = expected("AVE", world)["all"]
    built, held_out_rows = rows_of(samples, "AVE", "IND"), rows_of(samples, "AVE", "OOD")
    first_attributes = {row.source_ids[1] for row in held_out_rows.itertuples()}
    assert len(held_out_rows) >= 5
    possible = Counter((own["input"], own["output"]) for own in naive)
    kept = Counter(
        (own["input"], own["output"]) for own in naive if f"attribute {own['first_attribute']}" not in first_attributes
    )
    assert Counter(zip(built["input"], built["output"], strict=True)) == kept
    assert Counter(zip(held_out_rows["input"], held_out_rows["output"], strict=True)) <= possible


def test_product_matching_keeps_the_release_s_order(world, samples):
    naive = expected("PM", world)
    built = rows_of(samples, "PM", "IND")
    for split, examples in naive.items():
        rows = built[built["split"] == split].sort_values("row_index")
        assert list(zip(rows["input"], rows["output"], strict=True)) == [
            (own["input"], own["output"]) for own in examples
        ]
