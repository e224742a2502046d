"""How far a cluster may grow, as whoever set it up says: its autoscaler tells no driver.

    ECELLM_NODE_TYPES='[{"max": 4, "CPU": 16}, {"max": 1, "CPU": 64, "GPU": 8, "memory": 500e9}]'

stands in the environment of the head, where drivers run: the most nodes of each kind, and what one of them has. Amounts
of memory are bytes; a kind that says nothing of memory is taken to have enough.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from ecellm.errors import InputError

VARIABLE = "ECELLM_NODE_TYPES"
_MAX = "max"
_RESOURCES = frozenset({"CPU", "GPU", "memory"})


@dataclass(frozen=True)
class NodeType:
    """One kind of node.

    Attributes:
        most: nodes of it that there may be at once.
        resources: what one of them has, by Ray's names.
    """

    most: int
    resources: Mapping[str, float]

    def room(self, needs: Mapping[str, float]) -> int:
        """Return how many processes with such needs all nodes of this kind hold together."""
        unsaid = {"memory": float("inf")}
        there = {name: self.resources.get(name, unsaid.get(name, 0.0)) for name in needs}
        fits = [there[name] // amount for name, amount in needs.items() if amount and there[name] != float("inf")]
        return self.most * int(min(fits, default=0))


def told_node_types() -> list[NodeType] | None:
    """Return the kinds of nodes that the environment tells of; None if it tells nothing.

    Raises:
        InputError: the variable holds something else.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        return [_node_type(entry) for entry in json.loads(text)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{VARIABLE} in the environment of the head is not what it should be: a JSON list of objects like "
            f'{{"max": 4, "CPU": 16, "GPU": 0, "memory": 64e9}}. It is {text[:200]!r}'
        ) from None


def _node_type(entry: Mapping[str, float]) -> NodeType:
    resources = {name: float(amount) for name, amount in entry.items() if name != _MAX}
    if not resources.keys() <= _RESOURCES or isinstance(entry.get(_MAX), bool):
        raise ValueError
    return NodeType(int(entry.get(_MAX, 1)), resources)
