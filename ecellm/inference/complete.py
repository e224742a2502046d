"""Where an answer is complete: what follows is another text, which a plain model goes on writing.

The end token ends every answer. An answer that is one line is complete where its first line ends; blank lines before
it do not count, as a prompt that ends in a header is answered on the next line by many models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecellm.inference.request import Answer, Request


def completed(text: str, *, is_one_line: bool) -> str | None:
    """Return the complete answer that `text` begins with; None if it may go on."""
    if not is_one_line:
        return None
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return None if end < 0 or start == len(text) else text[:end]


@dataclass(frozen=True)
class AnswerReader:
    """Reads answers that a model of our own writes token by token.

    Attributes:
        tokenizer: the model's tokenizer.
        ends: ids that end an answer.
    """

    tokenizer: Any
    ends: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, generation_config: Any) -> "AnswerReader":
        """Take the tokenizer's end token, and others that the model's generation config names, such as a turn's end."""
        named = getattr(generation_config, "eos_token_id", None)
        others = [named] if isinstance(named, int) else named or []
        return cls(tokenizer, frozenset({tokenizer.eos_token_id, *others}))

    def read(self, ids: Sequence[int], request: Request, *, is_finished: bool) -> Answer | None:
        """Return the answer if it ends with its last token, else None.

        Args:
            ids: what is written of it, at least one token unless it is finished.
            request: what was asked.
            is_finished: whether no more tokens will come.
        """
        if ids and ids[-1] in self.ends:
            return Answer(self._decode(ids[:-1]), "stop", len(ids) - 1)
        if request.is_one_line and "\n" in self._decode(ids[-1:]):
            text = completed(self._decode(ids), is_one_line=True)
            if text is not None:
                return Answer(text, "stop", len(ids))
        return Answer(self._decode(ids), "length", len(ids)) if is_finished else None

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))
