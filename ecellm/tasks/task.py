"""What a task of ECInstruct is: its names, its closed answers, its trivial answers, and which scorers rate answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ecellm.tasks.scorer import RELEASED, Sample, Samples, Scorer


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One task; families of tasks with the same kind of answer are its subclasses.

    Attributes:
        name: canonical name, spelled correctly.
        short_name: the paper's abbreviation.
        description: what is asked, in one line.
        headline_metric: the metric of the paper's overview table.
        aliases: other spellings, as the release and the authors' scripts have them.
        max_answer_tokens: cap on the answer's length that no correct answer reaches.
        ranks_choices: whether an answer names all choices, best first, joined by commas.
        is_one_line: whether no correct answer has a line break.
    """

    name: str
    short_name: str
    description: str
    headline_metric: str
    aliases: tuple[str, ...] = ()
    max_answer_tokens: int = 100
    ranks_choices: bool = False
    is_one_line: bool = True

    def choices(self, sample: Sample) -> tuple[str, ...] | None:  # noqa: ARG002  open tasks have none
        """Return the full texts of the possible answers, or of what is ranked.

        None where the answer is open, or they cannot be read.
        """
        return None

    @abstractmethod
    def scorers(self) -> tuple[Scorer, ...]:
        """Return the scorers of the task, one for each flavour."""

    def scorer(self, flavour: str = RELEASED) -> Scorer:
        """Return the scorer of a flavour.

        Raises:
            ValueError: there is no such flavour.
        """
        by_flavour = {scorer.flavour: scorer for scorer in self.scorers()}
        if flavour not in by_flavour:
            raise ValueError(f"unknown flavour {flavour!r}; known flavours: {', '.join(by_flavour)}")
        return by_flavour[flavour]

    def trivial_answers(self, samples: Samples, seed: int) -> dict[str, list[str]]:  # noqa: ARG002
        """Return answers that need no model, by name: one response for each sample.

        The samples are gone over once or more, and not kept. Those named after the most frequent answer look at the
        references of the very samples that they answer, so that they are a little better than what could be known
        beforehand.
        """
        return {}
