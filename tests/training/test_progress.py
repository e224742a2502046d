import logging
import re

import pyarrow as pa
import pytest
import torch

from ecellm.errors import InputError
from ecellm.schema import TRAINING_LOG
from ecellm.training.progress import Progress, accuracy_text


@pytest.fixture
def group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def add(progress, step, losses, grad_norm=1.0):
    progress.add(
        step=step,
        epoch=step / 10,
        learning_rate=0.1,
        grad_norm=grad_norm,
        num_tokens=75,
        num_positions=100,
        losses=[torch.tensor(loss) for loss in losses],
        sample_ids=[[f"s{step}-{number}"] for number in range(len(losses))],
    )


@pytest.mark.usefixtures("group")
def test_every_step_becomes_a_row():
    progress = Progress(num_steps=10, earlier_seconds=100.0)
    add(progress, 1, [0.5, 1.0])
    add(progress, 2, [0.25])
    assert progress.rows == []
    progress.flush()
    progress.add_validation(step=2, epoch=0.2, loss=0.75)
    assert [(row["step"], row["kind"], row["loss"]) for row in progress.rows] == [
        (1, "train", 1.5),
        (2, "train", 0.25),
        (2, "val", 0.75),
    ]
    assert progress.rows[0]["padding_share"] == 0.25
    assert progress.rows[0]["seconds"] >= 100.0
    assert progress.rows[0]["mfu"] is None
    assert 0.05 < progress.rows[0]["memory_gib"] < 100
    assert set(progress.rows[0]) == set(progress.rows[2]) == set(TRAINING_LOG.names)


@pytest.mark.usefixtures("group")
def test_one_line_says_how_it_goes(caplog):
    caplog.set_level(logging.INFO, logger="ecellm")
    progress = Progress(num_steps=10)
    add(progress, 1, [0.5, 1.0])
    progress.flush()
    add(progress, 2, [0.25])
    progress.mfu_of = lambda tokens_per_second: 0.41 if tokens_per_second > 0 else None
    progress.flush()
    assert [record.message for record in caplog.records] == [
        Matching(
            r"step 1/10 epoch 0\.10: loss 1\.5000, learning rate 1\.00e-01, [\d,]+ tokens/s, padding 25\.0 %, MFU n/a, "
            r"memory \d+\.\d GiB, \d+:\d\d:\d\d left"
        ),
        Matching(r"step 2/10 .*, MFU 41\.0 %, memory .*"),
    ]
    assert [row["mfu"] for row in progress.rows] == [None, 0.41]


class Matching:
    """Equal to a text that a pattern matches as a whole."""

    def __init__(self, pattern):
        self.pattern = pattern

    def __eq__(self, other):
        return re.fullmatch(self.pattern, other) is not None

    __hash__ = None

    def __repr__(self):
        return self.pattern


def test_validations_are_logged_with_their_scores(caplog):
    caplog.set_level(logging.INFO, logger="ecellm")
    progress = Progress(num_steps=120)
    scores = {"Product_Matching": 0.912, "Sentiment_Analysis": 0.55}
    progress.add_validation(step=40, epoch=1.0, loss=0.12341, scores=scores, is_best=True)
    progress.add_validation(step=80, epoch=2.0, loss=0.2)
    assert [record.message for record in caplog.records] == [
        "step 40/120: validation loss 0.1234 (best), accuracy PM 0.91, SA 0.55",
        "step 80/120: validation loss 0.2000",
    ]
    # An earlier attempt's rows come back from Parquet as they were.
    assert pa.Table.from_pylist(progress.rows, schema=TRAINING_LOG).to_pylist() == progress.rows
    assert [row["scores"] for row in progress.rows] == [list(scores.items()), None]


def test_tasks_are_shortened_only_where_they_stay_apart():
    assert accuracy_text({"Price_Match": 0.5, "Product_Matching": 1.0}) == "Price_Match 0.50, Product_Matching 1.00"
    assert accuracy_text({"triage": 0.5}) == "triage 0.50"
    assert accuracy_text({"Attribute_Value_Extraction": 0.5}) == "AVE 0.50"


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_and_sample(bad):
    progress = Progress(num_steps=10)
    add(progress, 4, [0.5])
    add(progress, 5, [0.5, bad])
    with pytest.raises(InputError, match=r"step 5 is not finite \(samples: s5-1\)"):
        progress.flush()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("norm", [float("nan"), -1.0])
def test_a_gradient_that_is_not_finite_stops_too(norm):
    progress = Progress(num_steps=10)
    add(progress, 3, [0.5], grad_norm=torch.tensor(norm))
    with pytest.raises(InputError, match=r"step 3 is not finite \(samples: s3-0\)"):
        progress.flush()
