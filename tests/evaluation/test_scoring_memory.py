"""Memory of a shard of evaluate hardly follows its rows: what a million answers to one task stand or fall by."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.driver_process import environment_without_ray

_FEW, _MANY = 3_000, 18_000
# Declared are 250 bytes, 1,050 with the floors (ecellm/evaluation/memory.py); at so few rows the allocator's slack
# counts as much. Rows held as Python objects took 11,000.
_MOST_BYTES_OF_A_ROW = 2_000
_MOST_BYTES = 400 * 2**20  # of all that a task has anyway, most of it imports: declared are 512 MiB


def peak(directory, task, num_rows, kind):
    """Return the peak of a process that scores so many rows."""
    command = [sys.executable, "-m", "tests.evaluation.scoring_memory", str(directory), task, str(num_rows), kind]
    environment = environment_without_ray() | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])["peak"]


@pytest.mark.parametrize("kind", ["run", "floors"])
def test_memory_hardly_grows_with_the_rows(tmp_path, kind):
    """Extraction is the worst task: long answers, many kinds of scores, slices of its own."""
    few, many = (peak(tmp_path / str(number), "AVE", number, kind) for number in (_FEW, _MANY))
    assert many < _MOST_BYTES
    assert many - few < _MOST_BYTES_OF_A_ROW * (_MANY - _FEW)
