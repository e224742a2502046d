"""Every job command that the README shows has fields that exist, and every path that it names is there."""

import re
import shlex

import pytest

from ecellm.config import FetchConfig, PipelineConfig
from ecellm.recipe import load_config
from ecellm.stages import load_stage
from jobs import synthesize
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python -m jobs\.(\w+)((?:[^\n`]|\\\n)*)", README.replace("\\\n", " "))


@pytest.mark.parametrize(("job", "arguments"), COMMANDS, ids=[job for job, _ in COMMANDS])
def test_a_command_of_the_readme_is_valid(job, arguments):
    words = shlex.split(arguments.replace("$RAW", "raw").replace("$MODEL", "model"), comments=True)
    if job == "synthesize":  # options, no fields
        assert synthesize.parser().parse_args(words).scale > 0
        return
    words = [word for word in words if word != "--dry-run"]
    recipes = [str(ROOT / word) for word in words if "=" not in word]
    config_class = {"pipeline": PipelineConfig, "fetch": FetchConfig}.get(job) or load_stage(job).config_class
    load_config(config_class, recipes[0] if recipes else None, [word for word in words if "=" in word])


def test_all_jobs_are_shown():
    shown = {job for job, _ in COMMANDS}
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "demo"}  # `make demo` is shown
    assert shown == jobs


def test_paths_that_are_named_exist():
    named = set(re.findall(r"(?:jobs|tests|cluster|ecellm)/[\w/]+\.(?:py|yaml|txt)", README))
    assert len(named) >= 3
    assert [path for path in named if not (ROOT / path).exists()] == []
