"""Notices that a node will be taken away: Ray tells of them, and a checkpoint is written before it is gone."""

import logging
import time

import ray.train
import torch

logger = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 5.0


class PreemptionWatch:
    """Asks Ray every few seconds; all ranks must ask equally often, so steps are counted, not seconds.

    How many steps a few seconds are is agreed on at each look.

    Args:
        device: on which ranks agree.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._answered: frozenset[str] = frozenset()
        self._steps_left = 1
        self._steps, self._since = 1, time.monotonic()

    def is_announced(self) -> bool:
        """Tell, once for each node, whether one is about to be taken away; call after every step, on every rank."""
        self._steps_left -= 1
        if self._steps_left:
            return False
        seconds = torch.tensor([(time.monotonic() - self._since) / self._steps], device=self._device)
        torch.distributed.all_reduce(seconds, op=torch.distributed.ReduceOp.MAX)
        self._steps = self._steps_left = max(1, int(_SECONDS_BETWEEN_LOOKS / max(float(seconds), 1e-6)))
        self._since = time.monotonic()
        info = ray.train.get_preemption_info()
        nodes = frozenset() if info is None else frozenset(info.preempted_node_ids)
        is_new = bool(nodes - self._answered)
        self._answered |= nodes
        if is_new:
            logger.warning("nodes will be taken away (%s): writing a checkpoint", ", ".join(sorted(nodes)))
        return is_new
