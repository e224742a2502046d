"""Every job command that the README shows has fields that exist, and every path that it names is there."""

import re

import pytest

from tests.conftest import ROOT
from tests.job_commands import check, commands_in

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = commands_in(README.replace("$RAW", "raw").replace("$MODEL", "model"))


@pytest.mark.parametrize(("job", "words"), COMMANDS, ids=[job for job, _ in COMMANDS])
def test_a_command_of_the_readme_is_valid(job, words):
    assert check(job, words)


def test_all_jobs_are_shown():
    shown = {job for job, _ in COMMANDS}
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "demo"}  # `make demo` is shown
    assert shown == jobs


def test_paths_that_are_named_exist():
    named = set(re.findall(r"(?:jobs|tests|cluster|ecellm)/[\w/]+\.(?:py|yaml|txt)", README))
    assert len(named) >= 3
    assert [path for path in named if not (ROOT / path).exists()] == []
