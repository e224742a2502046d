"""The words of a text, as floors compare them."""

import re

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words in lower case: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())
