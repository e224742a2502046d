import pytest
import torch

from ecellm.errors import InputError
from ecellm.training.progress import Progress


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
