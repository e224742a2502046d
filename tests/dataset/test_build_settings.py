"""All eight settings: which rows stand in which, with which instruction and shown example, and what rows are called."""

import json
from collections import Counter

import pytest

from ecellm.dataset.instructions import read_catalogue
from ecellm.dataset.partitions import Partition
from ecellm.dataset.sample import TEXT_FIELDS, SampleNumberer
from ecellm.settings import SETTINGS
from ecellm.storage import Storage
from ecellm.tasks import TASKS, task_named
from tests.dataset.conftest import build
from tests.dataset.small_builds import in_process, rows_of, write_questions, write_reviews  # noqa: F401

WITH_OOD = {task_named(name).name for name in ("AVE", "PRP", "SA", "SR", "AP", "AG")}
FIELDS = ["setting", "split", "task"]


def of(samples, **values):
    chosen = samples
    for name, value in values.items():
        chosen = chosen[chosen[name] == value]
    return chosen.sort_values("row_index")


def test_every_task_stands_in_its_settings_and_only_test_rows_in_unseen_and_1_shot(samples):
    found = {tuple(row) for row in samples[FIELDS].drop_duplicates().itertuples(index=False)}
    expected = set()
    for setting in SETTINGS.values():
        is_test_alone = setting.domain == "OOD" or "Unseen" in setting.name or "1-shot" in setting.name
        for task in TASKS:
            if setting.domain == "IND" or task.name in WITH_OOD:
                splits = ("test",) if is_test_alone else ("train", "val", "test")
                expected |= {(setting.name, split, task.name) for split in splits}
    assert found == expected


def test_rows_of_a_split_are_the_same_examples_in_every_setting(samples):
    for _, rows in samples.groupby(["domain", "split", "task"]):
        ids = [list(own.sort_values("row_index")["example_id"]) for _, own in rows.groupby("setting")]
        assert all(own == ids[0] for own in ids)


def test_row_indices_have_no_gaps_and_files_are_in_their_order(samples):
    for _, rows in samples.groupby(FIELDS):
        assert list(rows["row_index"]) == list(range(len(rows)))


def shown(row):
    options = [f"Options: {row.options}"] if row.options is not None else []
    return "\n".join([f"Input: {row.input}", *options, f"Answer: {row.output}"])


@pytest.mark.parametrize("domain", ["IND", "OOD"])
def test_one_shot_shows_the_train_row_of_the_same_index_counted_round(samples, domain):
    went_round = 0
    for task in TASKS:
        shots = of(samples, setting=f"{domain}_Diverse_Instruction_1-shot", task=task.name)
        train = list(of(samples, setting="IND_Diverse_Instruction", split="train", task=task.name).itertuples())
        for row in shots.itertuples():
            assert row.few_shot_example == shown(train[row.row_index % len(train)])
            went_round += row.row_index >= len(train)
        assert (shots["num_shots"] == 1).all()
    assert samples[~samples["setting"].str.contains("1-shot")]["few_shot_example"].isna().all()


def test_one_shot_goes_round_where_there_are_more_test_rows_than_train_rows(tmp_path, in_process):  # noqa: F811
    questions = {
        split: [(f"{split} question {number}?", ["some snippet"], number % 2, f"B{number}") for number in range(count)]
        for split, count in (("train", 3), ("val", 1), ("test", 8))
    }
    write_questions(tmp_path, questions)
    categories = {"AP": {"in_domain": ["Toys"]}}
    out = build(tmp_path / "out", raw_dir=str(tmp_path), tasks=["AP"], categories=categories)
    name = task_named("AP").name
    train = rows_of(out, name, "train")
    shots = rows_of(out, name, "test", "IND_Diverse_Instruction_1-shot")
    assert len(shots) == 8
    expected = [train[number % 3] for number in range(8)]
    assert [row["few_shot_example"] for row in shots] == [
        f"Input: {row['input']}\nAnswer: {row['output']}" for row in expected
    ]


def test_the_diverse_instruction_of_an_example_is_the_same_in_1_shot(samples):
    for domain in ("IND", "OOD"):
        plain = of(samples, setting=f"{domain}_Diverse_Instruction", split="test").set_index(["task", "row_index"])
        shots = of(samples, setting=f"{domain}_Diverse_Instruction_1-shot").set_index(["task", "row_index"])
        assert len(plain) == len(shots)
        assert (plain["instruction"].sort_index() == shots["instruction"].sort_index()).all()
        assert set(plain["sample_id"]).isdisjoint(shots["sample_id"])


def test_instructions_are_those_of_the_catalogue(samples):
    catalogue = read_catalogue(Storage(), None)
    for task in TASKS:
        wordings = catalogue[task.short_name]
        rows = samples[samples["task"] == task.name]
        by_kind = {
            kind: set(zip(own["instruction_index"], own["instruction"], strict=True))
            for kind, own in rows.groupby("instruction_kind")
        }
        assert by_kind["single"] == {(0, wordings.seed)}
        assert by_kind["unseen"] == {(len(wordings.diverse), wordings.unseen)}
        assert by_kind["diverse"] <= set(enumerate(wordings.diverse))
        assert wordings.unseen not in set(rows[rows["split"] != "test"]["instruction"])


def test_diverse_instructions_are_drawn_uniformly(samples):
    drawn = Counter(of(samples, setting="IND_Diverse_Instruction", split="train")["instruction_index"])
    total = sum(drawn.values())
    assert set(drawn) == set(range(5))
    for count in drawn.values():
        # Five standard deviations of a binomial count.
        assert abs(count - total / 5) < 5 * (total * 0.2 * 0.8) ** 0.5


def test_relevance_is_given_for_rankings_alone_and_agrees_with_the_answer(samples):
    rankings = samples[samples["task"] == "Query_Product_Ranking"]
    assert samples[samples["task"] != "Query_Product_Ranking"]["relevance"].isna().all()
    for row in rankings.itertuples():
        labels = list(row.relevance)
        assert len(labels) == len(set(labels)) == len(json.loads(row.input)["product list"])
        letters = row.output.split(",")
        assert ["ESCI".index(labels["ABCD".index(letter)]) for letter in letters] == sorted(
            "ESCI".index(label) for label in labels
        )


def assert_ids_follow_from_texts(samples):
    assert samples["sample_id"].is_unique
    for key, rows in samples.groupby(FIELDS):
        numberer = SampleNumberer(Partition(*key))
        for row in rows.sort_values("row_index").to_dict("records"):
            numbered = numberer.number({name: row[name] for name in TEXT_FIELDS})
            assert numbered == {name: row[name] for name in ("sample_id", "example_id", "row_index")}, key


def test_ids_are_unique_and_follow_from_the_texts_alone(samples):
    assert_ids_follow_from_texts(samples)


def test_ids_of_repeated_examples_follow_from_the_texts_too(tmp_path, in_process):  # noqa: F811
    from tests.dataset.conftest import read_samples

    text = "this very review was sent in again and again by many people"
    reviews = [(f"{text} number {number % 6}", 5.0, f"B{number}", f"U{number}") for number in range(60)]
    write_reviews(tmp_path, "Toys", reviews)
    write_reviews(tmp_path, "Tools", reviews[:30])
    categories = {"SA": {"in_domain": ["Toys"], "out_of_domain": ["Tools"]}}
    samples = read_samples(build(tmp_path / "out", raw_dir=str(tmp_path), tasks=["SA"], categories=categories))
    assert samples["example_id"].nunique() == 6
    assert_ids_follow_from_texts(samples)


def test_a_repeated_example_is_numbered_whatever_it_shows(tmp_path, in_process):  # noqa: F811
    from tests.dataset.conftest import read_samples

    questions = {"train": [(f"is it {number}?", ["a snippet"], True, f"B{number}") for number in range(5)]}
    questions |= {split: [("again?", ["a snippet"], False, "B9")] * 4 for split in ("val", "test")}
    write_questions(tmp_path, questions)
    categories = {"AP": {"in_domain": ["Toys"]}}
    samples = read_samples(build(tmp_path / "out", raw_dir=str(tmp_path), tasks=["AP"], categories=categories))
    assert of(samples, setting="IND_Diverse_Instruction_1-shot")["few_shot_example"].nunique() == 4
    assert_ids_follow_from_texts(samples)


def test_a_catalogue_of_one_s_own(tmp_path, world, in_process):  # noqa: F811
    catalogue = {"tasks": {"PM": {"seed": "Same?", "diverse": ["Equal?", "Same?"], "unseen": "Alike?"}}}
    (tmp_path / "own.json").write_text(json.dumps(catalogue))
    out = build(tmp_path / "out", raw_dir=str(world), tasks=["PM"], instructions=str(tmp_path / "own.json"))
    kinds = {"IND_Single_Instruction": {"Same?"}, "IND_Unseen_Instruction": {"Alike?"}}
    for setting, expected in {**kinds, "IND_Diverse_Instruction": {"Same?", "Equal?"}}.items():
        assert {row["instruction"] for row in rows_of(out, "Product_Matching", "test", setting)} == expected
