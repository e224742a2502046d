"""Finds the job commands that a text names, and checks them as the jobs themselves would."""

import re
import shlex

from ecellm.config import PipelineConfig
from ecellm.config.study import StudyConfig
from ecellm.pipeline import resolve
from ecellm.recipe import load_config
from ecellm.stages import load_stage
from ecellm.studies.grid import make_grid, pipeline_of
from ecellm.submitting.request import CONFIGS, job_of
from jobs import submit, synthesize
from tests.conftest import ROOT

_COMMAND = re.compile(r"python -m jobs\.(\w+)((?:[^\n`]|\\\n)*)")


def commands_in(text):
    """Return (job, words) of each command in a text; a backslash or a comment's `#` may break its lines."""
    joined = re.sub(r"\\\n[# ]*", " ", text)
    return [(job, shlex.split(arguments, comments=True)) for job, arguments in _COMMAND.findall(joined)]


def check(job, words):
    """Return what a command gives, its config or its options; raise if a recipe or a field of it does not exist."""
    if job == "synthesize":  # options, no fields
        return synthesize.parser().parse_args(words)
    if job == "submit":
        options = submit.parser().parse_intermixed_args(words)
        named = [str(ROOT / word) for word in options.words if "=" not in word]
        return check(options.job or job_of(named[0]), options.words)
    words = [word for word in words if word != "--dry-run"]
    recipes = [str(ROOT / word) for word in words if "=" not in word]
    assert len(recipes) <= 1
    config = load_config(CONFIGS[job], recipes[0] if recipes else None, [word for word in words if "=" in word])
    if isinstance(config, StudyConfig):
        config = pipeline_of(config, make_grid(config), lambda stage: None)
    if isinstance(config, PipelineConfig):
        resolve(config, load_stage)  # the stages' own fields
    return config
