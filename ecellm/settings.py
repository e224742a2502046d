"""The eight settings of ECInstruct, and what their names say.

A setting is a domain (IND or OOD) and a kind of instruction. Source: the release's `setting` column.
"""

from typing import NamedTuple

SPLITS = ("train", "val", "test")


class Setting(NamedTuple):
    """What the name of a setting means."""

    name: str
    domain: str
    instruction_kind: str
    num_shots: int


_KINDS = (
    ("Single_Instruction", "single", 0),
    ("Diverse_Instruction", "diverse", 0),
    ("Unseen_Instruction", "unseen", 0),
    ("Diverse_Instruction_1-shot", "diverse", 1),
)
SETTINGS: dict[str, Setting] = {
    f"{domain}_{suffix}": Setting(f"{domain}_{suffix}", domain, kind, shots)
    for domain in ("IND", "OOD")
    for suffix, kind, shots in _KINDS
}
PAPER_TRAINING_SETTING = "IND_Diverse_Instruction"
