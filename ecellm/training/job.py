"""What every worker of a training run is given."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ecellm.config import FinetuneConfig
from ecellm.storage import Storage, join
from ecellm.training.batches import TrainingRow

# (rows, their reference answers, what the model answered) -> figure by name. Training knows nothing of tasks: whoever
# starts it says how answers are scored.
EvaluateFn = Callable[[Sequence[TrainingRow], Sequence[str], Sequence[str]], Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is given.

    Attributes:
        config: the job's config.
        storage: access to all paths.
        rows_dir: training rows, absolute.
        base_model: model to tune, a local path made absolute.
        output_dir: of the job, absolute.
        evaluate_fn: scores answers to validation samples; None: they are not asked for.
    """

    config: FinetuneConfig
    storage: Storage
    rows_dir: str
    base_model: str
    output_dir: str
    evaluate_fn: EvaluateFn | None = None

    @property
    def checkpoints_dir(self) -> str:
        """Where checkpoints and the best weights go."""
        return join(self.output_dir, "checkpoints")
