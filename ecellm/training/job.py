"""What every worker of a training run is given."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ecellm.config import FinetuneConfig
from ecellm.storage import Storage, join
from ecellm.training.batches import TrainingRow


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """How answers to validation samples are scored. Training knows nothing of tasks: whoever starts it says this.

    Attributes:
        can_score: tells by the name of a task whether answers to it can be scored; if not, none are asked for.
        score: (rows, their reference answers, what the model answered) -> figure by name.
    """

    can_score: Callable[[str], bool]
    score: Callable[[Sequence[TrainingRow], Sequence[str], Sequence[str]], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is given.

    Attributes:
        config: the job's config.
        storage: access to all paths.
        rows_dir: training rows, absolute.
        base_model: model to tune, a local path made absolute.
        output_dir: of the job, absolute.
        evaluator: scores answers to validation samples; None: they are not asked for.
    """

    config: FinetuneConfig
    storage: Storage
    rows_dir: str
    base_model: str
    output_dir: str
    evaluator: Evaluator | None = None

    @property
    def checkpoints_dir(self) -> str:
        """Where checkpoints and the best weights go."""
        return join(self.output_dir, "checkpoints")
