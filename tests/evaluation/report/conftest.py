"""A report over made-up runs of all ten tasks with hostile texts among them, and a real browser to open it in."""

import shutil
from pathlib import Path

import pytest

from ecellm.config import EvaluateConfig
from tests.chromium import start_browser
from tests.conftest import missing
from tests.evaluation.hostile_texts import HOSTILE, HOSTILE_TASK
from tests.evaluation.made_up_runs import (
    evaluate_here,
    make_samples,
    of_skill,
    write_predictions,
    write_samples,
    write_training_log,
)

SETTINGS = ("IND_Diverse_Instruction", "OOD_Diverse_Instruction", "IND_Unseen_Instruction")
NUM_TEST = 40
LONG_SETTING = "IND_" + "my_own_wording_of_the_instructions_" * 3


def _hostile_rows(sample):
    """Return samples whose every text is hostile: of a known task, and of one whose name is."""
    rows = []
    for number, text in enumerate(HOSTILE):
        for task, first in (("Product_Matching", NUM_TEST), (HOSTILE_TASK, 0)):
            texts = {
                "instruction": text,
                "input": text,
                "options": text,
                "few_shot_example": text,
                "category": text[:50],
            }
            ids = {"task": task, "row_index": first + number, "sample_id": f"{task}-hostile-{number}"}
            ids |= {"setting": LONG_SETTING} if task == HOSTILE_TASK else {}
            rows.append(sample | texts | ids | {"output": "yes" if task == "Product_Matching" else text})
    return rows


def respond_hostile(row, rng):
    if "hostile" in row["sample_id"]:
        return row["input"]
    return of_skill({"Product_Matching": 0.95, "Product_Substitute_Identification": 0.5}, 0.6)(row, rng)


@pytest.fixture(scope="session")
def num_test():
    """How many samples each task has in each setting, hostile ones aside."""
    return NUM_TEST


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """The config of an evaluation that is done: two runs, the second one better, and hostile texts everywhere."""
    root = tmp_path_factory.mktemp("report")
    samples = make_samples(root, num_test=NUM_TEST, settings=SETTINGS)
    samples += _hostile_rows(next(row for row in samples if row["task"] == "Product_Matching"))
    runs = (
        write_predictions(root / "<b>base&1", samples, of_skill({}, 0.3, chattiness=0.2), seed=1),
        write_predictions(root / "tuned", samples, respond_hostile, adapter="/models/<script>", seed=2),
    )
    config = EvaluateConfig(
        predictions_dirs=runs,
        samples_dir=write_samples(root / "samples", samples),
        training_dirs=(write_training_log(root / "tuned-model"),),
        output_dir=str(root / "out"),
        num_resamples=100,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        evaluate_here(config, monkeypatch)
    return config


@pytest.fixture(scope="session")
def page_path(evaluated):
    """Where the report lies."""
    return Path(evaluated.output_dir, "report.html")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium that never asks the network for anything."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        missing("chromium", "no Chromium with its driver: apt-get install chromium chromium-driver")
    running = start_browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.quit()
