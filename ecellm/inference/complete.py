"""Where an answer is complete: what follows is another text, which a plain model goes on writing.

The end token ends every answer. An answer that is one line is complete where its first line ends; blank lines before
it do not count, as a prompt that ends in a header is answered on the next line by many models.
"""


def completed(text: str, *, is_one_line: bool) -> str | None:
    """Return the complete answer that `text` begins with; None if it may go on."""
    if not is_one_line:
        return None
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return None if end < 0 or start == len(text) else text[:end]
