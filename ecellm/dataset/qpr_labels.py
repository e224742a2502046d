"""QPR's graded relevance: one list of ESCI labels a test row, which the release keeps in a file of its own."""

from ecellm.errors import InputError
from ecellm.json_text import read_json
from ecellm.storage import Storage
from ecellm.visible_text import short_repr

ESCI_LABELS = ("E", "S", "C", "I")


def read_qpr_labels(storage: Storage, path: str) -> list[list[str]]:
    """Read the labels: a JSON list of lists of E, S, C, I, in the order of the IND test rows.

    Raises:
        InputError: the file is not of that form; the message names the list.
    """
    value = storage.read_json(path)
    if not isinstance(value, list) or not value:
        raise InputError(f"{path} must be a JSON list with one list of labels for each test row")
    known = ", ".join(ESCI_LABELS)
    for number, labels in enumerate(value):
        if not isinstance(labels, list) or not labels or not all(label in ESCI_LABELS for label in labels):
            raise InputError(f"{path}: list {number} must hold labels out of {known}, not {short_repr(labels)}")
    return value


def check_labels(labels: list[str], input_text: str, row_index: int) -> list[str]:
    """Return the labels of a row if there is one for each candidate of its input.

    Raises:
        InputError: their numbers differ.
    """
    try:
        num_candidates = len(read_json(input_text)["product list"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"QPR test row {row_index}: the input has no 'product list' to label") from None
    if num_candidates != len(labels):
        raise InputError(
            f"qpr_labels: list {row_index} has {len(labels)} labels, but the row has {num_candidates} candidates; "
            "the labels must be in the order of the test rows"
        )
    return labels
