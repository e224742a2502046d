"""Which of our figures may stand beside the paper's."""

import copy
import itertools
import json

import pytest

from ecellm.config import BuildConfig, IngestConfig
from ecellm.dataset import build, ingest
from ecellm.dataset.counts import published_count
from ecellm.dataset.partitions import Partition
from ecellm.evaluation.published_comparability import comparability, remarks, similarity_comparability
from ecellm.settings import SETTINGS, SPLITS
from ecellm.sources.synthetic import write_amazon_google
from ecellm.stage import execute
from ecellm.tasks import TASKS

IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"
PARTITIONS = [Partition(*place) for place in itertools.product(SETTINGS, SPLITS, [task.name for task in TASKS])]
RELEASED = [partition for partition in PARTITIONS if published_count(partition)]


def run(stage, config_class, directory, **fields):
    execute(stage, config_class(output_dir=str(directory), **fields))
    return json.loads((directory / "_manifest.json").read_text())


def write_rows(path, rows):
    texts = {"instruction": "i", "input": "x", "options": None, "output": "A", "few_shot_example": None}
    path.write_text(json.dumps([texts | row for row in rows]))
    return str(path)


@pytest.fixture(scope="module")
def ingested(local_ray, tmp_path_factory):
    """The manifest of an ingest: one row in every place of the release."""
    directory = tmp_path_factory.mktemp("ingest")
    rows = [{"setting": p.setting, "split": p.split, "task": p.task} for p in RELEASED]
    release = write_rows(directory / "dataset.json", rows)
    return run(ingest.STAGE, IngestConfig, directory / "out", release=release)


@pytest.fixture(scope="module")
def released(ingested):
    """The same manifest with the numbers of rows that the release has."""
    manifest = copy.deepcopy(ingested)
    assert sorted(map(tuple, (place[:3] for place in ingested["details"]["counts"]))) == sorted(
        (p.setting, p.split, p.task) for p in RELEASED
    )
    manifest["details"]["counts"] = [[p.setting, p.split, p.task, published_count(p)] for p in RELEASED]
    return manifest


@pytest.fixture(scope="module")
def made_up(local_ray, tmp_path_factory):
    """The manifest of a build of Product_Matching from a made-up source."""
    directory = tmp_path_factory.mktemp("build")
    write_amazon_google(directory / "raw" / "amazon_google")
    return run(build.STAGE, BuildConfig, directory / "out", raw_dir=str(directory / "raw"), tasks=("PM",))


@pytest.fixture(scope="module")
def real(real_data, local_ray, tmp_path_factory):
    """The manifest of a build of Product_Matching from the real source."""
    directory = tmp_path_factory.mktemp("build")
    return run(build.STAGE, BuildConfig, directory / "out", raw_dir=str(real_data), tasks=("PM",))


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_all_answers_to_the_release_are_comparable(released, task):
    size = 253 if task == "Product_Matching" else 1000
    assert comparability(released, task, IND, "test", size) is None
    has_ood = task.split("_")[0] in {"Attribute", "Sentiment", "Sequential", "Answerability", "Answer"}
    told = comparability(released, task, OOD, "test", size)
    assert told == (None if has_ood or "Relation" in task else f"the paper has no figures of {task} in {OOD}")
    assert remarks(released, task, 0) == ()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("SA", IND, "test", 999), "999 of the paper's 1,000 test rows are answered"),
        (("PM", IND, "test", 16), "16 of the paper's 253 test rows are answered"),
        (("SA", IND, "val", 1000), "the paper's figures are of the test split, not of val"),
        (("SA", "IND_Unseen_Instruction", "test", 1000), "the paper has no figures of SA in IND_Unseen_Instruction"),
        (("Ticket_Routing", IND, "test", 1000), f"the paper has no figures of Ticket_Routing in {IND}"),
    ],
)
def test_another_place_or_number_is_not(released, place, told):
    assert comparability(released, *place) == told


def test_samples_of_unknown_origin_are_not(released):
    assert comparability(None, "SA", IND, "test", 1000) == "where the samples come from is not known"
    told = comparability({**released, "job": "mix"}, "SA", IND, "test", 1000)
    assert told == "the samples were made by mix, not by ingest of the release"


def test_a_part_of_the_release_is_not(ingested):
    told = comparability(ingested, "SA", IND, "test", 1)
    assert told == (
        "the ingested data are not the whole release: "
        "Attribute_Value_Extraction, IND_Diverse_Instruction, train has 1 rows, not 10,000"
    )


def test_bad_rows_and_own_data_are_not(released, tmp_path, local_ray):
    row = {"setting": IND, "split": "test", "task": "Sentiment_Analysis"}
    release = write_rows(tmp_path / "dataset.json", [row, {**row, "task": "Poetry"}])
    bad = run(ingest.STAGE, IngestConfig, tmp_path / "bad", release=release, on_bad_row="quarantine")
    told = comparability({**bad, "details": released["details"]}, "SA", IND, "test", 1000)
    assert told == "ingest left 1 rows of its input out"
    own_rows = write_rows(tmp_path / "own.json", [{**row, "task": None}])
    defaults = {"task": "Sentiment_Analysis"}
    own = run(ingest.STAGE, IngestConfig, tmp_path / "own", release=own_rows, defaults=defaults)
    told = comparability({**own, "details": released["details"]}, "SA", IND, "test", 1000)
    assert told == "the samples are data of your own, not the release"


def test_a_build_from_the_real_source_is_comparable_for_product_matching(real):
    assert comparability(real, "Product_Matching", IND, "test", 253) is None
    assert comparability(real, "PM", IND, "test", 252) == "252 of the paper's 253 test rows are answered"
    told = comparability(real, "Sentiment_Analysis", IND, "test", 1000)
    assert told == "the test rows are drawn anew from the raw sources, and are not those of the release"
    (remark,) = remarks(real, "PM", 0)
    assert remark.endswith("their instructions are drawn anew from the project's own wording")


@pytest.mark.parametrize("fields", [{"sizes": {"test": 200}}, {"negatives": "hard"}])
def test_the_real_source_built_in_another_way_is_not(real_data, tmp_path, local_ray, fields):
    manifest = run(build.STAGE, BuildConfig, tmp_path / "out", raw_dir=str(real_data), tasks=("PM",), **fields)
    num_test = sum(
        rows for setting, split, _, rows in manifest["details"]["counts"] if (setting, split) == (IND, "test")
    )
    told = comparability(manifest, "PM", IND, "test", num_test)
    assert told == "the test rows are built from other sources or sizes than the release"


def test_a_build_from_a_made_up_source_is_not(made_up):
    told = comparability(made_up, "PM", IND, "test", 253)
    assert told == "the test rows are built from other sources or sizes than the release"


def test_unreadable_answers_are_told_where_the_paper_counts_them(released):
    (remark,) = remarks(released, "SR", 1344)
    assert remark == "the 1,344 answers that could not be read are left out here; the paper has them as wrong"
    assert remarks(released, "QPR", 5) == remarks(released, "AVE", 5) == remarks(released, "AG", 5) == ()


@pytest.mark.parametrize("name", ["roberta-large", "FacebookAI/roberta-large", "/models/roberta-large/"])
def test_the_standard_models_are_comparable(name):
    for metric in ("bertscore_recall", "bertscore_precision", "bertscore_f1"):
        assert similarity_comparability(metric, bertscore_model=name, bertscore_layer=17) is None
    assert similarity_comparability("bleurt", bleurt_model="lucadiliello/BLEURT-20-D12") is None
    assert similarity_comparability("f1") is None


@pytest.mark.parametrize(
    ("metric", "models", "told"),
    [
        ("bertscore_f1", {}, "BERTScore is by no model, the paper's by layer 17 of roberta-large"),
        (
            "bertscore_f1",
            {"bertscore_model": "roberta-large", "bertscore_layer": 24},
            "BERTScore is by layer 24 of roberta-large, the paper's by layer 17 of roberta-large",
        ),
        (
            "bertscore_recall",
            {"bertscore_model": "x/tiny", "bertscore_layer": 17},
            "BERTScore is by layer 17 of x/tiny, the paper's by layer 17 of roberta-large",
        ),
        ("bleurt", {}, "BLEURT is by no model, the paper's by BLEURT-20-D12"),
        ("bleurt", {"bleurt_model": "x/BLEURT-20"}, "BLEURT is by x/BLEURT-20, the paper's by BLEURT-20-D12"),
        ("rouge_l", {}, "the paper does not give rouge_l"),
    ],
)
def test_other_models_are_not(metric, models, told):
    assert similarity_comparability(metric, **models) == told
