"""Harder wrong answers, and users kept apart: what is promised of `negatives=hard` and of `user_disjoint`."""

import ast
import json
from collections import Counter

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from ecellm.dataset.builders import flow
from ecellm.tasks import task_named
from tests.dataset.conftest import build, paper_categories, read_samples
from tests.dataset.naive_recipes import examples as naive_examples
from tests.dataset.naive_sequences import faults_of_sequence_sample
from tests.dataset.small_builds import run_in_process

SPLITS = ("train", "val", "test")


def build_here(world, directory, **fields):
    """Build the two tasks in this process; return their samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "run_shards", run_in_process)
        return read_samples(build(directory, raw_dir=str(world), **fields))


@pytest.fixture(scope="module")
def hard(world, tmp_path_factory):
    return build_here(world, tmp_path_factory.mktemp("hard") / "out", tasks=("PM", "SR"), negatives="hard")


@pytest.fixture(scope="module")
def disjoint(world, tmp_path_factory):
    return build_here(
        world, tmp_path_factory.mktemp("disjoint") / "out", tasks=("SR",), sequential_split="user_disjoint"
    )


@pytest.fixture(scope="module")
def naive(world):
    """What users bought, and the pools."""
    return naive_examples("SR", world, paper_categories("SR"))


def of(samples, short_name, domain="IND"):
    task = task_named(short_name).name
    return samples[(samples["task"] == task) & (samples["setting"] == f"{domain}_Diverse_Instruction")]


def user_of(row):
    return row.category, row.source_ids[1].removeprefix("user ")


def mean_similarity(pairs):
    """Return the mean cosine of TF-IDF vectors of words and parts of words."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    vectors = vectorizer.fit_transform([text for pair in pairs for text in pair])
    return float(vectors[0::2].multiply(vectors[1::2]).sum()) / len(pairs)


def negative_titles(rows):
    fields = [json.loads(text) for text in rows[rows["output"] == "no"]["input"]]
    return [(str(own["product 1"]["title"]), str(own["product 2"]["title"])) for own in fields]


def test_hard_negatives_of_matching_have_alike_titles(hard, samples):
    ours, random = negative_titles(of(hard, "PM")), negative_titles(of(samples, "PM"))
    assert len(ours) == len(random)
    assert mean_similarity(ours) > 1.5 * mean_similarity(random)


def test_a_mapped_pair_is_never_a_negative_and_no_pair_stands_twice(world, hard):
    mapping = pd.read_csv(world / "amazon_google" / "Amzon_GoogleProducts_perfectMapping.csv")
    mapped = set(zip(mapping["idAmazon"], mapping["idGoogleBase"], strict=True))
    rows = of(hard, "PM")
    ids = [tuple(pair) for pair in rows["source_ids"]]
    assert {output for pair, output in zip(ids, rows["output"], strict=True) if pair in mapped} == {"yes"}
    assert {output for pair, output in zip(ids, rows["output"], strict=True) if pair not in mapped} == {"no"}
    assert rows["input"].is_unique


def test_positives_of_matching_are_the_same_with_hard_negatives(hard, samples):
    def positives(rows):
        return Counter(rows[rows["output"] == "yes"]["input"])

    assert positives(of(hard, "PM")) == positives(of(samples, "PM"))


def candidate_pairs(rows):
    """Pair the target of each row with each wrong candidate."""
    pairs = []
    for row in rows.itertuples():
        by_letter = {option[0]: option[3:] for option in ast.literal_eval(row.options)}
        target = by_letter.pop(row.output)
        pairs += [(target, other) for other in by_letter.values()]
    return pairs


def test_hard_candidates_are_like_the_target(hard, samples, naive):
    assert len(naive["pools"]["IND"]) > 60, "with few items to draw from there is no choice"
    ours, random = candidate_pairs(of(hard, "SR")), candidate_pairs(of(samples, "SR"))
    assert len(ours) == len(random) > 0
    assert mean_similarity(ours) > 1.5 * mean_similarity(random)


@pytest.mark.parametrize("domain", ["IND", "OOD"])
def test_hard_candidates_are_distinct_and_none_of_the_last_three(hard, naive, domain):
    rows = of(hard, "SR", domain)
    assert set(rows["split"]) == ({"train", "val", "test"} if domain == "IND" else {"test"})
    for row in rows.itertuples():
        options = [option[3:] for option in ast.literal_eval(row.options)]
        assert len(set(options)) == 20
        sequence = naive["sequences"][domain, *user_of(row)]
        assert not faults_of_sequence_sample(
            sequence, naive["pools"][domain], row.split, row.input, row.options, row.output
        )


def test_hard_candidates_do_not_give_the_letter_away(hard):
    letters = Counter(of(hard, "SR")["output"])
    assert len(letters) == 20
    total = sum(letters.values())
    # Six standard deviations of a binomial count.
    assert all(abs(count - total / 20) < 6 * (total * 0.05 * 0.95) ** 0.5 for count in letters.values())


def test_hard_and_random_rows_ask_the_same_users_for_the_same_targets(hard, samples):
    def asked(rows):
        return [(row.split, user_of(row), row.source_ids[0], row.input) for row in rows.itertuples()]

    assert asked(of(hard, "SR")) == asked(of(samples, "SR"))


def test_a_user_is_in_one_split_only_and_the_last_purchase_is_asked_for(disjoint, naive):
    for domain in ("IND", "OOD"):
        seen = set()
        for row in of(disjoint, "SR", domain).itertuples():
            assert user_of(row) not in seen
            seen.add(user_of(row))
            sequence = naive["sequences"][domain, *user_of(row)]
            # The last purchase is what the paper's split asks for in test.
            faults = faults_of_sequence_sample(
                sequence, naive["pools"][domain], "test", row.input, row.options, row.output
            )
            assert not faults, faults
            assert row.source_ids[0] == sequence[-1].asin


def test_users_are_shared_out_exactly(disjoint, naive):
    users = Counter((domain, category) for domain, category, _ in naive["sequences"])
    for (domain, category), number in users.items():
        rows = of(disjoint, "SR", domain)
        found = Counter(rows[rows["category"] == category]["split"])
        bounds = [0, number * 8 // 10, number * 9 // 10, number]
        sizes = {split: bounds[place + 1] - bounds[place] for place, split in enumerate(SPLITS)}
        assert found == Counter(sizes if domain == "IND" else {"test": sizes["test"]})
