"""DeepSpeed's engine in a worker, and its state as plain tensors by parameter name, whatever the ZeRO stage."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.training.checkpoint import WEIGHT, label
from ecellm.training.deepspeed_config import deepspeed_config, start_deepspeed
from ecellm.training.loss import AnswerLoss
from ecellm.training.model import trainable_parameters, whole_shape

MOMENTS = ("exp_avg", "exp_avg_sq")


class ReadsTensors(Protocol):
    """Tensors by `checkpoint.label`, such as `checkpoint.Tensors` or a dict."""

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> torch.Tensor: ...


def prepare_process(config: FinetuneConfig) -> torch.device:
    """Set up a worker process before DeepSpeed is imported; return its device."""
    on_gpu = config.use_gpu and torch.cuda.is_available()
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"
    quiet_libraries()
    torch.set_num_threads(config.cpus_per_worker)
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def quiet_libraries() -> None:
    """Keep progress bars, upgrade notices and Ray's bookkeeping of checkpoints out of the user's log."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)  # Ray Train's own lines about reports come here
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


class Engine:
    """A DeepSpeed engine around `AnswerLoss`, with what training needs of it.

    Attributes:
        module: the `AnswerLoss` that is trained.
        parameters: the trainable parameters by name.
        sizes: how many numbers each of them holds, whole.
        num_trainable: how many all hold.
        is_sharded: whether weights are spread over ranks (ZeRO-3), so that every forward pass is a collective.
    """

    def __init__(self, model: nn.Module, config: FinetuneConfig, *, bf16: bool, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        deepspeed = start_deepspeed(on_gpu=on_gpu)
        self.module = AnswerLoss(model)
        self.parameters = trainable_parameters(model)
        self.sizes = {name: whole_shape(parameter).numel() for name, parameter in self.parameters.items()}
        self.num_trainable = sum(self.sizes.values())
        settings = deepspeed_config(config, bf16=bf16, on_gpu=on_gpu, num_trainable=self.num_trainable)
        self._stage = settings["zero_optimization"]["stage"]
        self.is_sharded = self._stage == 3
        self._adamw = _adamw(list(self.parameters.values()), config)
        self._own_norm: torch.Tensor | None = None
        if not self._stage:
            self._clip_at = config.optimizer.max_grad_norm
            self._adamw.register_step_pre_hook(self._clip)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its memory use, whatever its log level
            self._engine, *_ = deepspeed.initialize(model=self.module, optimizer=self._adamw, config=settings)

    def _clip(self, *_: Any) -> None:
        self._own_norm = nn.utils.clip_grad_norm_(self.parameters.values(), self._clip_at)

    def loss(self, **arguments: Any) -> torch.Tensor:
        """Run the forward pass."""
        return self._engine(**arguments)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of one micro-batch."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> None:
        """Sum gradients over ranks, clip, update, clear."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._engine.step()

    def train(self, mode: bool = True) -> None:
        """Switch dropout on or off."""
        self._engine.train(mode)

    @property
    def grad_norm(self) -> torch.Tensor | float:
        """Norm of the last step's gradient before clipping."""
        norm = self._own_norm if not self._stage else self._engine.get_global_grad_norm()
        return float("nan") if norm is None else norm

    def gather(self, owners: Mapping[str, int], *, with_moments: bool = True) -> dict[str, torch.Tensor]:
        """Return this rank's share of the fp32 weights and moments, on the CPU; a collective of all ranks.

        Args:
            owners: which rank keeps each parameter, by name.
            with_moments: whether the optimizer's moments are wanted too.

        Returns:
            Whole tensors by `checkpoint.label`.
        """
        own_rank = torch.distributed.get_rank()
        result: dict[str, torch.Tensor] = {}
        self._link_moments()
        for name, parameter in self.parameters.items():
            for key in (WEIGHT, *(MOMENTS if with_moments else ())):
                value = self._full(parameter, key)
                assert value.numel() > 0, f"{name} has no elements: its shards were not gathered"
                if owners[name] == own_rank:
                    result[label(name, key)] = value.detach().float().cpu().contiguous().clone()
        return result

    def _full(self, parameter: nn.Parameter, key: str) -> torch.Tensor:
        if not self._stage:
            return parameter if key == WEIGHT else self._adamw.state[parameter][key]
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if key == WEIGHT:
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, key)

    def restore(self, tensors: ReadsTensors, step: int) -> None:
        """Put back what all ranks' `gather` returned after optimizer step `step`, one tensor at a time.

        Raises:
            InputError: a parameter has no weight or no moments, or another shape: the checkpoint is of another model.
        """
        missing = [name for name in self.parameters for key in (WEIGHT, *MOMENTS) if label(name, key) not in tensors]
        if missing:
            raise InputError(f"the checkpoint is of another model: it has nothing, or not all, of {missing[0]}")
        self._set_step(step)
        for name, parameter in self.parameters.items():
            for key in (WEIGHT, *MOMENTS):
                value = tensors[label(name, key)]
                if value.shape != whole_shape(parameter):
                    raise InputError(f"the checkpoint is of another model: its {name} has shape {tuple(value.shape)}")
                self._set(parameter, key, value)

    def start_over(self, tensors: ReadsTensors) -> None:
        """Put weights back and forget all steps: the optimizer is as it was before the first."""
        self._set_step(0)
        for name, parameter in self.parameters.items():
            self._set(parameter, WEIGHT, tensors[label(name)])

    def _set_step(self, step: int) -> None:
        """Let the optimizer have done `step` steps, with moments of zero."""
        for flat in self._flat_parameters():
            zeros = {key: torch.zeros_like(flat) for key in MOMENTS}
            self._adamw.state[flat] = {"step": torch.tensor(float(step), device=flat.device), **zeros}
        self._link_moments()

    def _link_moments(self) -> None:
        """Let DeepSpeed find the moments of each parameter in the flat ones that the optimizer made.

        It does so once, after the first parameter group's first step, and misses those of the groups that follow.
        """
        if self._stage in {1, 2}:
            optimizer = self._engine.optimizer
            optimizer._hp_optimizer_states_linked = False  # noqa: SLF001
            optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001

    def _flat_parameters(self) -> Iterator[torch.Tensor]:
        """Yield the tensors that the optimizer updates on this rank: all parameters, or flat shards of them."""
        if self._stage == 3:
            yield from self._engine.optimizer.fp32_partitioned_groups_flat
        else:
            for group in self._adamw.param_groups:
                yield from group["params"]

    def _set(self, parameter: nn.Parameter, key: str, value: torch.Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        with torch.no_grad():
            if not self._stage:
                (parameter if key == WEIGHT else self._adamw.state[parameter][key]).copy_(value)
            elif self._stage == 3:
                self._set_shard(parameter, key, value)
            elif key == WEIGHT:
                safe_set_full_fp32_param(parameter, value.to(parameter.device))
                parameter.copy_(value)  # what is computed with; the above is the optimizer's copy
            else:
                safe_set_full_optimizer_state(parameter, value.to(parameter.device), key)

    def _set_shard(self, parameter: Any, key: str, value: torch.Tensor) -> None:
        """Set this rank's shard of a ZeRO-3 parameter, which is padded to a multiple of the world size."""
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        size = parameter.ds_tensor.numel()
        rank = torch.distributed.get_rank()
        shard = torch.zeros(size, dtype=torch.float32)
        part = value.flatten()[rank * size : (rank + 1) * size]
        shard[: len(part)] = part
        shard = shard.to(parameter.ds_tensor.device)
        if key == WEIGHT:
            safe_set_local_fp32_param(parameter, shard)
            with GatheredParameters([parameter], modifier_rank=0):
                if rank == 0:
                    parameter.copy_(value)
        else:
            safe_set_local_optimizer_state(parameter, shard, key)


def _adamw(parameters: list[nn.Parameter], config: FinetuneConfig) -> torch.optim.AdamW:
    """Return AdamW over `parameters`; biases and norms are not decayed, as transformers' trainer does."""
    settings = config.optimizer
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if settings.weight_decay:
        matrices = [parameter for parameter in parameters if len(whole_shape(parameter)) > 1]
        vectors = [parameter for parameter in parameters if len(whole_shape(parameter)) <= 1]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
