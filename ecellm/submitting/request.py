"""From a recipe and overrides to a submission: which job it is for, its command line, and an id.

The id is made of the recipe's name and the fingerprint of its whole config, so that the same run gets the same id
whenever and by whomever it is submitted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecellm.config import (
    BaselineConfig,
    BuildConfig,
    ClusterConfig,
    EvaluateConfig,
    FetchConfig,
    FinetuneConfig,
    IngestConfig,
    PipelineConfig,
    PredictConfig,
    PreprocessConfig,
)
from ecellm.config.study import StudyConfig
from ecellm.errors import InputError
from ecellm.fingerprint import fingerprint_of
from ecellm.recipe import load_config, read_yaml
from ecellm.redaction import redacted_text
from ecellm.submitting.upload import RUNTIME_ENV_NAME, Upload

CONFIGS: dict[str, type[ClusterConfig]] = {
    "fetch": FetchConfig,
    "build": BuildConfig,
    "ingest": IngestConfig,
    "preprocess": PreprocessConfig,
    "finetune": FinetuneConfig,
    "predict": PredictConfig,
    "baseline": BaselineConfig,
    "evaluate": EvaluateConfig,
    "pipeline": PipelineConfig,
    "study": StudyConfig,
}
_OUTPUT = {"fetch": "raw_dir"}  # the others: output_dir
_COMMAND_IN_HEADER = re.compile(r"^#.*\bpython -m jobs\.(\w+)", re.MULTILINE)
_FINGERPRINT_LENGTH = 12


@dataclass(frozen=True)
class Request:
    """What is asked of a cluster.

    Attributes:
        name: id of its first submission.
        command: what the cluster runs, word by word.
    """

    name: str
    command: tuple[str, ...]


def make_request(
    upload: Upload, recipe: str | None, overrides: Sequence[str], *, job: str | None = None, dry_run: bool = False
) -> Request:
    """Return the submission of a recipe.

    Args:
        upload: the code that goes along; the job runs in it.
        recipe: path of a YAML file that goes along; None where overrides say all.
        overrides: `key=value`.
        job: the job that the recipe is for; None to tell by the recipe.
        dry_run: only check and show on the cluster.

    Raises:
        InputError: recipe, overrides or job are wrong, or the output would be lost.
    """
    for override in overrides:
        if redacted_text(override) != override:
            raise InputError(
                f"{redacted_text(override)}: Ray shows a job's command to all who see its dashboard; give the nodes "
                "the credentials instead"
            )
    if recipe is None and job is None:
        raise InputError("name a recipe (jobs/recipes/NAME.yaml), or a job (--job NAME) and its fields as key=value")
    job = job or job_of(str(recipe))
    config = load_config(CONFIGS[job], recipe, overrides)
    if recipe is not None:
        _refuse_secrets(recipe)
    _refuse_lost_output(job, config)
    identity = {"job": job, "config": config.model_dump(mode="json"), "dry_run": dry_run}
    name = f"{_stem(recipe) or job}-{fingerprint_of(identity)[:_FINGERPRINT_LENGTH]}"
    words = ["python", "-m", f"jobs.{job}"]
    words += [_uploaded_path(upload, recipe)] if recipe else []
    return Request(name, (*words, *overrides, *(["--dry-run"] if dry_run else [])))


def job_of(recipe: str) -> str:
    """Return the job that a recipe is for: a study or pipeline if it has such, else the one that its header runs.

    Raises:
        InputError: the recipe cannot be read, or does not tell.
    """
    values = read_yaml(recipe)
    for key, job in (("studies", "study"), ("stages", "pipeline")):
        if key in values:
            return job
    named = set(_COMMAND_IN_HEADER.findall(Path(recipe).read_text(encoding="utf-8"))) & CONFIGS.keys()
    if len(named) != 1:
        raise InputError(
            f"{recipe} does not tell which job it is for: give --job ({', '.join(CONFIGS)}), or begin it with its "
            f"command, such as `# python -m jobs.build {recipe}`"
        )
    return named.pop()


def _refuse_secrets(recipe: str) -> None:
    """Raise `InputError` if a recipe holds a login or a key: it goes along, and stays on the cluster."""
    for number, line in enumerate(Path(recipe).read_text(encoding="utf-8").splitlines(), 1):
        if redacted_text(line) != line:
            raise InputError(
                f"{recipe}, line {number}: {redacted_text(line).strip()}: recipes are copied to the cluster; give the "
                "nodes the credentials instead"
            )


def _refuse_lost_output(job: str, config: ClusterConfig) -> None:
    field = _OUTPUT.get(job, "output_dir")
    path = str(getattr(config, field))
    if "://" not in path and not path.startswith("/"):
        raise InputError(
            f"{field}={path} would lie in the cluster's own copy of the code, which is thrown away: give a URL such as "
            f"{field}=s3://BUCKET/{path.removeprefix('./')}, or an absolute path on a disk that all nodes share"
        )


def _stem(recipe: str | None) -> str:
    return re.sub(r"[^\w.-]", "-", Path(recipe).stem, flags=re.ASCII) if recipe else ""


def _uploaded_path(upload: Upload, recipe: str) -> str:
    path = Path(recipe).resolve()
    if path.is_relative_to(upload.root) and (below := path.relative_to(upload.root).as_posix()) in upload.files:
        return below
    raise InputError(
        f"{recipe} is not among the files that are uploaded ({upload.root} without what .gitignore and "
        f"{RUNTIME_ENV_NAME} exclude): copy it to jobs/recipes/"
    )
