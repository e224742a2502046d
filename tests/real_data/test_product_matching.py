"""Product_Matching from the real Amazon-Google files: row for row as in the release."""

import json
import shutil

import pandas as pd
import pytest

from ecellm.config import BuildConfig
from ecellm.dataset.build import STAGE
from ecellm.errors import InputError
from ecellm.stage import execute

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def samples(real_data, local_ray, tmp_path_factory):
    out = tmp_path_factory.mktemp("build") / "out"
    instructions = real_data / "ecinstruct" / "instructions.json"
    execute(
        STAGE,
        BuildConfig(raw_dir=str(real_data), output_dir=str(out), instructions=str(instructions), tasks=("PM",)),
    )
    return pd.read_parquet(out / "data")


def of(samples, split, setting="IND_Single_Instruction"):
    chosen = samples[(samples["split"] == split) & (samples["setting"] == setting)]
    return chosen.sort_values("row_index")


def test_counts_are_those_of_the_release(samples):
    assert [len(of(samples, split)) for split in ("train", "val", "test")] == [2022, 253, 253]
    assert (of(samples, "test")["output"] == "yes").sum() == 111


def test_the_first_test_row_is_the_known_one(samples):
    first = of(samples, "test").iloc[0]
    products = json.loads(first["input"])
    assert products["product 1"]["title"] == "weekly reader preparing for kindergarten"
    assert products["product 2"]["title"] == "mcafee inc total protection 2007 3-user"
    assert first["output"] == "no"


def test_true_inputs_of_the_release_are_met_byte_for_byte(samples, real_data):
    lines = (real_data / "ecinstruct" / "true_inputs.jsonl").read_text(encoding="utf-8").splitlines()
    true = [r for r in map(json.loads, lines) if r["file"].startswith("Product_Matching")]
    ours = set(zip(samples["instruction"], samples["input"], strict=True))
    assert len(true) == 200
    assert [r for r in true if (r["instruction"], r["input"]) not in ours] == []


def test_settings_have_their_instructions(samples, real_data):
    wording = json.loads((real_data / "ecinstruct" / "instructions.json").read_text())["tasks"]["PM"]
    assert set(of(samples, "train")["instruction"]) == {wording["seed"]}
    assert set(of(samples, "train", "IND_Diverse_Instruction")["instruction"]) == set(wording["diverse"])
    assert set(of(samples, "test", "IND_Unseen_Instruction")["instruction"]) == {wording["unseen"]}
    assert wording["unseen"] not in set(samples[samples["split"] == "train"]["instruction"])


def test_one_shot_shows_the_train_row_of_the_same_index(samples):
    shots = of(samples, "test", "IND_Diverse_Instruction_1-shot").reset_index()
    train = of(samples, "train").reset_index()
    for place in (0, 17, 252):
        shown = shots["few_shot_example"][place]
        assert train["input"][place] in shown
        assert shown.endswith("Answer: " + train["output"][place])
    plain = of(samples, "test", "IND_Diverse_Instruction").reset_index()
    assert list(shots["example_id"]) == list(plain["example_id"])
    assert set(shots["sample_id"]).isdisjoint(plain["sample_id"])


def test_no_pair_is_both_trained_on_and_tested(samples):
    train = set(samples[samples["split"] == "train"]["input"])
    assert train.isdisjoint(samples[samples["split"] == "test"]["input"])


def build_from(raw, tmp_path):
    execute(STAGE, BuildConfig(raw_dir=str(raw), output_dir=str(tmp_path / "out"), tasks=("PM",)))


def test_a_missing_file_and_a_missing_column_are_named(real_data, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(real_data / "amazon_google", raw / "amazon_google")
    google = raw / "amazon_google" / "GoogleProducts.csv"
    text = google.read_bytes()
    google.write_bytes(text.replace(b'"manufacturer"', b'"maker"', 1))
    with pytest.raises(InputError, match=r"GoogleProducts.csv has no column manufacturer"):
        build_from(raw, tmp_path)
    google.unlink()
    with pytest.raises(InputError, match=r"missing: .*GoogleProducts.csv"):
        build_from(raw, tmp_path)


def test_a_number_of_samples_is_kept_exactly_and_in_order(real_data, samples, tmp_path):
    config = BuildConfig(
        raw_dir=str(real_data), output_dir=str(tmp_path / "out"), sizes={"train": 100, "test": 10}, tasks=("PM",)
    )
    execute(STAGE, config)
    small = pd.read_parquet(tmp_path / "out" / "data")
    assert len(of(small, "train")) == 100
    assert len(of(small, "test")) == 10
    whole = list(of(samples, "train")["input"])
    places = [whole.index(text) for text in of(small, "train")["input"]]
    assert places == sorted(places)
