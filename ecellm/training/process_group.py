"""How training workers find each other: by PyTorch's own store on a cluster, by a file where all are on one machine.

PyTorch's store listens on all interfaces, asks nobody who they are, and cannot be told otherwise; what ranks exchange
is pickled Python. On a cluster a network policy keeps others away. A laptop has none.
"""

import shutil
import tempfile
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from ecellm.ray_session import keeps_to_this_machine


def torch_config(*, use_gpu: bool) -> TorchConfig:
    """Return how the workers of a training run become one process group.

    Args:
        use_gpu: whether each worker has a GPU.
    """
    backend = "nccl" if use_gpu else "gloo"
    return _OneMachineConfig(backend=backend) if keeps_to_this_machine() else TorchConfig(backend=backend)


class _OneMachineConfig(TorchConfig):
    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _OneMachineBackend


class _OneMachineBackend(_TorchBackend):
    """Ray Train's own, but that a file in a directory of this user alone stands for the store."""

    _directory = ""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        self._directory = tempfile.mkdtemp(prefix="ecellm-workers-")
        worker_group.execute(_set_torch_distributed_env_vars)
        joining = [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend=backend_config.backend,
                world_rank=rank,
                world_size=len(worker_group),
                init_method=f"file://{self._directory}/store",
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        super().on_shutdown(worker_group, backend_config)
        shutil.rmtree(self._directory, ignore_errors=True)
