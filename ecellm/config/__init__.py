"""One frozen pydantic model per job: what a recipe may say, with meaning, unit and default.

A field is made by `content` when it changes what a job writes (it is then part of the fingerprint), by `operational`
when it changes only how or where the job runs, and by `location` when it names an input, whose own fingerprint counts
instead of its path.
"""

from ecellm.config.base import (
    ClusterConfig,
    Frozen,
    JobConfig,
    RayConfig,
    StorageConfig,
    content_of,
)
from ecellm.config.baseline import BaselineConfig
from ecellm.config.data import (
    PAPER_CATEGORIES,
    BuildConfig,
    DomainCategories,
    FetchConfig,
    IngestConfig,
    OwnDataDefaults,
    Size,
    Sizes,
)
from ecellm.config.evaluate import EvaluateConfig
from ecellm.config.pipeline import (
    PipelineConfig,
)
from ecellm.config.predict import OpenAISettings, PredictConfig, PriceSettings, VllmSettings
from ecellm.config.prompts import PreprocessConfig, PromptConfig
from ecellm.config.training import FinetuneConfig, LoraSettings, OptimizerSettings

__all__ = [
    "PAPER_CATEGORIES",
    "BaselineConfig",
    "BuildConfig",
    "ClusterConfig",
    "DomainCategories",
    "EvaluateConfig",
    "FetchConfig",
    "FinetuneConfig",
    "Frozen",
    "IngestConfig",
    "JobConfig",
    "LoraSettings",
    "OpenAISettings",
    "OptimizerSettings",
    "OwnDataDefaults",
    "PipelineConfig",
    "PredictConfig",
    "PreprocessConfig",
    "PriceSettings",
    "PromptConfig",
    "RayConfig",
    "Size",
    "Sizes",
    "StorageConfig",
    "VllmSettings",
    "content_of",
]
