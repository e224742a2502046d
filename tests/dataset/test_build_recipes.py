"""Sizes `all`: the rows of every task are what an independent, naive reading of the recipe gives, no more, no less."""

import ast
import json
from collections import Counter

import pytest

from ecellm.tasks import task_named
from ecellm.tasks.shopping_text import is_english
from tests.dataset import naive_recipes
from tests.dataset.conftest import build, paper_categories
from tests.dataset.naive_sequences import faults_of_sequence_sample
from tests.dataset.small_builds import (
    figures,
    in_process,  # noqa: F401
    quality,
    write_lines,
    write_ratings,
)
from tests.dataset.small_builds import rows_of as rows_in


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


def test_extractions(world, built, samples):
    naive = expected("AVE", world)["all"]
    in_domain, held_out_rows = rows_of(samples, "AVE", "IND"), rows_of(samples, "AVE", "OOD")
    first_attributes = {row.source_ids[1] for row in held_out_rows.itertuples()}
    assert len(held_out_rows) >= 5
    possible = Counter((own["input"], own["output"]) for own in naive)
    kept = Counter(
        (own["input"], own["output"]) for own in naive if f"attribute {own['first_attribute']}" not in first_attributes
    )
    assert Counter(zip(in_domain["input"], in_domain["output"], strict=True)) == kept
    assert Counter(zip(held_out_rows["input"], held_out_rows["output"], strict=True)) <= possible
    task = task_named("AVE").name
    assert figures(built, "in both domains", task=task) == {("test", ""): 0}
    later = sum(not first_attributes.isdisjoint(own[2:]) for own in in_domain["source_ids"])
    assert later, "the world has rows of several attributes"
    name = "in-domain row that names a held-out attribute behind its first"
    assert figures(built, "kept by the recipe", task=task) == {(None, name): later}


def test_what_is_left_out_is_counted(world, built, samples):
    left_out = {(row["task"], row["detail"]): row["value"] for row in quality(built) if row["check"] == "left out"}
    mappings = len((world / "amazon_google" / "Amzon_GoogleProducts_perfectMapping.csv").read_text().splitlines()) - 1
    positives = (rows_of(samples, "PM", "IND")["output"] == "yes").sum()
    repeated = left_out.get((task_named("PM").name, "mapping whose two products were seen before"), 0)
    assert mappings == positives + repeated

    both = "Answerability_Prediction, Answer_Generation"
    for short_name in ("AP", "AG"):
        task, categories = task_named(short_name).name, paper_categories(short_name)
        others = out_of_domain = 0
        for split in ("train", "val", "test"):
            for question in naive_recipes.json_lines(world / "amazon_qa" / f"{split}-qar.jsonl"):
                is_out_of_domain = question["category"] in categories["out_of_domain"]
                others += not is_out_of_domain and question["category"] not in categories["in_domain"]
                out_of_domain += is_out_of_domain and split != "test"
        assert left_out[both, f"question of another category, for {task}"] == others > 0
        named = [
            left_out[both, f"{split} question of an out-of-domain category, for {task}"] for split in ("train", "val")
        ]
        assert sum(named) == out_of_domain > 0


def test_purchases_behind_the_fiftieth_are_counted(tmp_path, in_process):  # noqa: F811
    write_ratings(tmp_path / "raw", 60)
    fields = {"tasks": ["SR"], "categories": {"SR": {"in_domain": ["Toys"]}}}
    out = build(tmp_path / "out", raw_dir=str(tmp_path / "raw"), **fields)
    assert figures(out, "left out") == {(None, "purchase behind a user's first 50"): 8 * 10}


def test_repeated_products_and_nulls_among_the_related_ones(tmp_path, in_process):  # noqa: F811
    products = [
        {"asin": "B1", "title": "an old title", "also_buy": ["B3"]},
        {"asin": "B2", "title": "two", "also_buy": None},
        {"asin": "B3", "title": "three"},
        {"asin": "B1", "title": "one", "also_buy": [None, "B2"], "also_view": [None]},
    ]
    write_lines(tmp_path / "raw" / "amazon_review_2018" / "meta" / "meta_Toys.json.gz", products)
    fields = {"tasks": ["PRP"], "categories": {"PRP": {"in_domain": ["Toys"]}}}
    out = build(tmp_path / "out", raw_dir=str(tmp_path / "raw"), **fields)
    rows = [row for split in ("train", "val", "test") for row in rows_in(out, task_named("PRP").name, split)]
    assert [row["input"] for row in rows] == ['{"Product 1:": "one", "Product 2:": "two"}']
    assert figures(out, "left out") == {(None, "product line before another of its asin"): 1}
    assert figures(out, "line that cannot be read") == {}


def test_product_matching_keeps_the_release_s_order(world, samples):
    naive = expected("PM", world)
    built = rows_of(samples, "PM", "IND")
    for split, examples in naive.items():
        rows = built[built["split"] == split].sort_values("row_index")
        assert list(zip(rows["input"], rows["output"], strict=True)) == [
            (own["input"], own["output"]) for own in examples
        ]
