"""Checkpoints: what a run needs to go on, independent of the number of workers and of the ZeRO stage.

    weights.safetensors     trainable parameters (adapter, or all weights), fp32, by name
    moments.safetensors     AdamW's two moments, fp32
    state.json              step, seconds, best validation so far
    log.parquet             the training log until here

The rest is a function of these and the config: the learning rate of the step, the batches of (seed, epoch, step), and
the random numbers of dropout, which are seeded anew at each step by (seed, step, rank). All tensors are gathered on
rank 0, which takes 12 bytes of host memory a trainable parameter: nothing for adapters, 84 GB for 7B full.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from ecellm.errors import InputError
from ecellm.schema import TRAINING_LOG

FORMAT_VERSION = 1
BEST_DIRECTORY = "best"
WEIGHTS_NAME, _MOMENTS_NAME, _STATE_NAME, _LOG_NAME = (
    "weights.safetensors",
    "moments.safetensors",
    "state.json",
    "log.parquet",
)


@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Attributes:
        step: after which step.
        loss: its loss.
        weights: name of the file with the weights of then, in `best/` beside the checkpoints.
    """

    step: int
    loss: float
    weights: str


@dataclass(frozen=True)
class TrainingState:
    """Where a run is.

    Attributes:
        step: optimizer steps done.
        seconds: time spent on them, all attempts together.
        best: the best validation, None before the first.
    """

    step: int = 0
    seconds: float = 0.0
    best: Best | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory."""

    state: TrainingState
    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    log: list[dict[str, object]]


def save_weights(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors."""
    for name, tensor in weights.items():
        assert tensor.numel() > 0, f"{name} is empty"
    save_file(weights, path)


def save(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint into a local directory."""
    save_weights(checkpoint.weights, directory / WEIGHTS_NAME)
    save_weights(checkpoint.moments, directory / _MOMENTS_NAME)
    state = {"version": FORMAT_VERSION, **asdict(checkpoint.state)}
    (directory / _STATE_NAME).write_text(json.dumps(state, indent=1))
    pq.write_table(log_table(checkpoint.log), directory / _LOG_NAME)


def load_state(directory: Path) -> TrainingState:
    """Read where the run was.

    Raises:
        InputError: the checkpoint is of another version of the format.
    """
    state = json.loads((directory / _STATE_NAME).read_text())
    if state.pop("version") != FORMAT_VERSION:
        raise InputError(f"{directory} was written by another version of ecellm: start anew with overwrite=true")
    best = state.pop("best")
    return TrainingState(**state, best=Best(**best) if best else None)


def load(directory: Path) -> Checkpoint:
    """Read a checkpoint from a local directory."""
    return Checkpoint(
        state=load_state(directory),
        weights=load_file(directory / WEIGHTS_NAME),
        moments=load_file(directory / _MOMENTS_NAME),
        log=load_log(directory),
    )


def load_log(directory: Path) -> list[dict[str, object]]:
    """Read the training log of a checkpoint."""
    return pq.read_table(directory / _LOG_NAME).to_pylist()


def log_table(rows: list[dict[str, object]]) -> pa.Table:
    """Return log rows as a table of the contract's schema."""
    return pa.Table.from_pylist(rows, schema=TRAINING_LOG)


def load_weights_into(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Set parameters by name; every name must be one of the model's."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
