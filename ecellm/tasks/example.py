"""One example of a task, as a builder gives it: before instructions, settings and ids."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """Input and answer of one example.

    Attributes:
        input: byte-exact input text.
        output: byte-exact reference answer.
        options: the answer options as text; None where the task has none.
        relevance: QPR: the ESCI label of each candidate.
        source_ids: ids in the raw source: products first, then what else says where it came from.
    """

    input: str
    output: str
    options: str | None = None
    relevance: tuple[str, ...] | None = None
    source_ids: tuple[str, ...] = ()

    def as_shot(self) -> str:
        """Write the example for the prompt of a 1-shot setting; the release leaves the form open, this one is ours."""
        options = [f"Options: {self.options}"] if self.options else []
        return "\n".join([f"Input: {self.input}", *options, f"Answer: {self.output}"])
