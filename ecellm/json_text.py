"""JSON of unknown origin, such as a model's answer or a file: whatever is wrong with it is one kind of error."""

import json
from typing import Any


def read_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; NaN and Infinity are numbers, as Python writes them.

    Raises:
        ValueError: the text is no JSON, is nested too deeply for the parser, or has a number of too many digits.
    """
    try:
        return json.loads(text)
    except (RecursionError, MemoryError) as error:
        raise ValueError("nested too deeply or too long") from error
