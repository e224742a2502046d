"""The measures of likeness that a config asks for, and why the others are absent."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation.similarity import rouge
from ecellm.evaluation.similarity.bertscore import BertScore, layer_of
from ecellm.evaluation.similarity.bleurt import Bleurt, bleurt_directory
from ecellm.evaluation.similarity.loading import loadable
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.models import local_model, locate
from ecellm.storage import Storage

# Without a GPU larger batches leave the processor's caches: 64 texts took twice the time of 8.
_BATCH_SIZE, _BATCH_SIZE_ON_GPU = 8, 64
EXTRA = "pip install 'ecellm[similarity]'"


class Measure(Protocol):
    """Compares answers with references; figures do not depend on which pairs are given together."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What is computed."""

    def score(self, pairs: Sequence[TextPair]) -> Mapping[str, Sequence[float]]:
        """Return a figure of each pair, in the order given, by metric."""


def needs_models(config: EvaluateConfig) -> bool:
    """Tell whether any model is asked for."""
    return bool(config.bertscore_model or config.bleurt_model)


def absent_metrics(config: EvaluateConfig) -> dict[str, str]:
    """Return the metrics that are not computed in this process, each with the reason."""
    reasons: dict[str, str] = {}
    if not config.bertscore_model:
        reasons |= dict.fromkeys(BertScore.metric_names, "no bertscore_model was given")
    if not config.bleurt_model:
        reasons["bleurt"] = "no bleurt_model was given"
    if not rouge.is_installed():
        reasons["rouge_l"] = f"the package rouge-score is not installed on the node: {EXTRA}"
    return reasons


def load_measures(config: EvaluateConfig, storage: Storage, *, device: str = "cpu") -> list[Measure]:
    """Load the measures that are asked for.

    Args:
        config: the job's config.
        storage: access to the models.
        device: torch's name of where they compute.

    Raises:
        InputError: a model cannot be loaded, or a library is missing.
    """
    measures: list[Measure] = [rouge.RougeL()] if rouge.is_installed() else []
    if config.bertscore_model:
        measures.append(_bertscore(config, config.bertscore_model, storage, device))
    if config.bleurt_model:
        measures.append(_bleurt(config, config.bleurt_model, storage, device))
    return measures


def _bertscore(config: EvaluateConfig, name: str, storage: Storage, device: str) -> BertScore:
    layer = layer_of(name, config.bertscore_layer)
    with loadable("bertscore_model", name):
        path = local_model(locate(name), config.bertscore_model_revision, storage)
        return BertScore(
            path,
            revision=config.bertscore_model_revision,
            layer=layer,
            batch_size=_batch_size(config),
            device=device,
        )


def _bleurt(config: EvaluateConfig, name: str, storage: Storage, device: str) -> Bleurt:
    with loadable("bleurt_model", name):
        try:
            import sentencepiece  # noqa: F401  asked for here, to say what to install
        except ImportError:
            raise InputError(f"bleurt_model needs the package sentencepiece: {EXTRA}") from None
        path = bleurt_directory(name, config.bleurt_model_revision, storage)
        return Bleurt(path, batch_size=_batch_size(config), device=device)


def _batch_size(config: EvaluateConfig) -> int:
    return config.similarity_batch_size or (_BATCH_SIZE_ON_GPU if config.similarity_use_gpu else _BATCH_SIZE)
