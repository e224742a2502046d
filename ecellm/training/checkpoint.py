"""Checkpoints: what a run needs to go on, independent of the number of workers and of the ZeRO stage.

    tensors-00000-of-00002.safetensors    trainable parameters and AdamW's two moments, fp32, whole, by name;
    tensors-00001-of-00002.safetensors    each in the shard of one rank
    state.json                            step, seconds, best validation so far, number of shards, size of each file
    log.parquet                           the training log until here

The rest is a function of these and the config: the learning rate of the step, the batches of (seed, epoch, step), and
the random numbers of dropout, which are seeded anew at each step by (seed, step, rank). Parameters are shared out over
ranks by size, so that a rank holds and writes 12 bytes of host memory a trainable parameter, divided by the ranks; on
the way back one tensor at a time is read, by any number of ranks. Each rank copies its own files to the store, at its
own time: by the sizes it is seen whether all have arrived, and whole (see recovery.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ecellm.errors import InputError
from ecellm.schema import TRAINING_LOG

FORMAT_VERSION = 3
RUN_DIRECTORY, BEST_DIRECTORY = "run", "best"
WEIGHT = "weight"
STATE_NAME = "state.json"
_LOG_NAME = "log.parquet"


@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Attributes:
        step: after which step.
        loss: its loss.
        directory: name of the directory with the weights of then, in `best/` beside the checkpoints.
        num_shards: files that these weights are in.
    """

    step: int
    loss: float
    directory: str
    num_shards: int


@dataclass(frozen=True)
class TrainingState:
    """Where a run is.

    Attributes:
        step: optimizer steps done.
        seconds: time spent on them, all attempts together.
        best: the best validation, None before the first.
        is_stopped: whether early stopping ended the run.
    """

    step: int = 0
    seconds: float = 0.0
    best: Best | None = None
    is_stopped: bool = False


@dataclass(frozen=True)
class Description:
    """What state.json says of a checkpoint.

    Attributes:
        state: where the run was.
        num_shards: files that its tensors are in.
        sizes: bytes of every other file of the checkpoint, by name.
    """

    state: TrainingState
    num_shards: int
    sizes: Mapping[str, int]


class UnusableError(ValueError):
    """A checkpoint cannot be gone on from; the message says why."""


def owners(sizes: Mapping[str, int], num_shards: int) -> dict[str, int]:
    """Return which shard holds each parameter, so that shards are about equally large.

    Args:
        sizes: elements of each parameter by name.
        num_shards: how many shards there are.
    """
    filled = [0] * num_shards
    result = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        shard = filled.index(min(filled))
        filled[shard] += sizes[name]
        result[name] = shard
    return result


def label(name: str, key: str = WEIGHT) -> str:
    """Return what a parameter's weight, or one of its moments, is called in a shard."""
    return f"{key}/{name}"


def shard_name(shard: int, num_shards: int) -> str:
    """Return the file name of a shard."""
    return f"tensors-{shard:05d}-of-{num_shards:05d}.safetensors"


def save_shard(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a shard's tensors by label; there may be none."""
    for name, tensor in tensors.items():
        assert tensor.numel() > 0, f"{name} is empty"
    save_file(tensors, path)


def save_state(
    state: TrainingState, log: Sequence[Mapping[str, object]], directory: Path, *, shard_sizes: Sequence[int]
) -> None:
    """Write all but the tensors into a local directory.

    Args:
        state: where the run is.
        log: the training log until here.
        directory: where to.
        shard_sizes: bytes of the file of each shard.
    """
    pq.write_table(log_table(log), directory / _LOG_NAME)
    num_shards = len(shard_sizes)
    sizes = {shard_name(shard, num_shards): size for shard, size in enumerate(shard_sizes)}
    sizes[_LOG_NAME] = (directory / _LOG_NAME).stat().st_size
    values = {"version": FORMAT_VERSION, "num_shards": num_shards, "sizes": sizes, **asdict(state)}
    (directory / STATE_NAME).write_text(json.dumps(values, indent=1))


def load_state(directory: Path) -> tuple[TrainingState, int]:
    """Read where the run was, and in how many shards its tensors are.

    Raises:
        InputError: the state is not there, cannot be read, or is of another version of the format.
    """
    path = directory / STATE_NAME
    try:
        description = parse_state(path.read_bytes() if path.exists() else b"")
    except UnusableError as error:
        raise InputError(f"the checkpoint {directory} cannot be used ({error}). {_ADVICE}") from None
    return description.state, description.num_shards


def parse_state(data: bytes) -> Description:
    """Read the content of a state.json.

    Raises:
        UnusableError: it cannot be read, or is of another version of the format.
    """
    try:
        values: dict[str, Any] = json.loads(data)
        if (version := values.pop("version")) == FORMAT_VERSION:
            best, num_shards, sizes = values.pop("best"), values.pop("num_shards"), values.pop("sizes")
            return Description(TrainingState(**values, best=Best(**best) if best else None), num_shards, sizes)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnusableError(f"it has no readable {STATE_NAME}") from None
    raise UnusableError(f"it was written by another version of ecellm (format {version}, not {FORMAT_VERSION})")


_ADVICE = "To train from the beginning, remove the directory checkpoints/ of the output"


class Tensors:
    """The tensors of some shards by label, read one at a time."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        return tensor

    def names(self, key: str = WEIGHT) -> list[str]:
        """Return the parameters that have a weight, or a moment, sorted."""
        return sorted(own.removeprefix(f"{key}/") for own in self._files if own.startswith(f"{key}/"))


@contextmanager
def open_tensors(directory: Path, num_shards: int) -> Iterator[Tensors]:
    """Open the shards in a local directory.

    Raises:
        InputError: a shard is missing or damaged.
    """
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for shard in range(num_shards):
            path = directory / shard_name(shard, num_shards)
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (OSError, SafetensorError) as error:
                raise InputError(f"the checkpoint's {path} cannot be read ({error}). {_ADVICE}") from None
            files |= dict.fromkeys(file.keys(), file)
        yield Tensors(files)


def load_log(directory: Path) -> list[dict[str, Any]]:
    """Read the training log of a checkpoint."""
    return pq.read_table(directory / _LOG_NAME).to_pylist()


def log_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Return log rows as a table of the contract's schema."""
    return pa.Table.from_pylist(list(rows), schema=TRAINING_LOG)


def load_weights_into(model: torch.nn.Module, tensors: Tensors) -> None:
    """Set the parameters that have a weight.

    Raises:
        InputError: a weight is of another model, or of another shape.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in tensors.names():
            value = tensors[label(name)]
            if name not in parameters or parameters[name].shape != value.shape:
                raise InputError(f"the checkpoint is of another model: {name} {tuple(value.shape)} does not fit")
            parameters[name].copy_(value)
