"""A row that kills the process that answers it is found and put aside by itself; all others are answered."""

import json
import sys

import pandas as pd
import pytest
from ray import cloudpickle

from ecellm.config import PredictConfig
from ecellm.errors import SurroundingsError
from ecellm.inference.predict import make_stage
from ecellm.stage import execute
from ecellm.stages import answer_space
from tests.chaos import faults_engine
from tests.chaos.faults_engine import be_killed, crash, dying_engine
from tests.inference.conftest import write_samples

pytestmark = pytest.mark.usefixtures("local_ray")
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(faults_engine)
NUM_ROWS = 24


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    directory = tmp_path_factory.mktemp("poison")
    write_samples(directory, "Answer_Generation", "IND_Diverse_Instruction", NUM_ROWS)
    return str(directory)


def predict(samples, out, space=answer_space, **fields):
    fields = {"engine": "fake", "model": "none/none", "rows_per_shard": 8, "num_actors": 1, **fields}
    config = PredictConfig(samples_dir=samples, output_dir=str(out), max_length=512, max_answer_tokens=16, **fields)
    execute(make_stage(space), config)


def answers(out):
    return pd.read_parquet(out / "data").sort_values("sample_id").reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(samples, tmp_path_factory, local_ray):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    predict(samples, out)
    return answers(out)


def test_a_row_that_crashes_the_engine_is_put_aside(samples, tmp_path, undisturbed):
    out, log = tmp_path / "out", tmp_path / "deaths"

    def is_deadly(requests):
        return any("blue lamp 11 " in request.prompt for request in requests)

    predict(samples, out, dying_engine(is_deadly, str(log), crash), max_error_share=0.1)
    errors = pd.read_parquet(out / "errors")
    assert list(errors["row_index"]) == [11]
    assert errors["reason"][0].startswith("engine_died: the process that answered died 2 times")
    assert log.read_text().split() == ["8", "8", "1", "1"], "twice with its part, twice alone"
    expected = undisturbed[undisturbed["row_index"] != 11].reset_index(drop=True)
    pd.testing.assert_frame_equal(answers(out), expected)
    manifest = json.loads((out / "_manifest.json").read_text())
    assert (manifest["status"], manifest["rows"], manifest["errors"]) == ("complete_with_errors", NUM_ROWS - 1, 1)
    assert not (out / "in_progress").exists()

    predict(samples, out, max_error_share=0.1, retry_errors=True)  # with an engine that takes it
    pd.testing.assert_frame_equal(answers(out), undisturbed)


@pytest.mark.chaos
def test_bad_rows_above_the_share_end_the_job_and_the_answers_stay(samples, tmp_path, undisturbed):
    out = tmp_path / "out"

    def is_deadly(requests):
        return any("blue lamp 2" in request.prompt for request in requests)

    space = dying_engine(is_deadly, str(tmp_path / "deaths"), crash)
    with pytest.raises(RuntimeError, match=r"3 of 22 rows failed.*errors.*retry_errors=true"):
        predict(samples, out, space, limit=22, max_error_share=0.05)
    assert sorted(pd.read_parquet(out / "errors")["row_index"]) == [2, 20, 21]
    assert len(answers(out)) == 22 - 3


@pytest.mark.chaos
def test_a_batch_that_memory_does_not_hold_is_answered_row_by_row(samples, tmp_path, undisturbed):
    out, log = tmp_path / "out", tmp_path / "deaths"

    def is_deadly(requests):
        return len(requests) > 4 and any("blue lamp 11 " in request.prompt for request in requests)

    predict(samples, out, dying_engine(is_deadly, str(log), be_killed))
    assert log.read_text().split() == ["8", "8"]
    pd.testing.assert_frame_equal(answers(out), undisturbed)


@pytest.mark.chaos
def test_an_engine_that_dies_of_any_row_ends_the_job_with_one_message(samples, tmp_path, undisturbed):
    out, log = tmp_path / "out", tmp_path / "deaths"

    def is_deadly(requests):
        return any("blue lamp 1" in request.prompt for request in requests)

    with pytest.raises(SurroundingsError, match=r"part-0000[12].parquet: .*asked alone: it is not the rows.*max_b"):
        predict(samples, out, dying_engine(is_deadly, str(log), be_killed))
    assert not (out / "_manifest.json").exists()
    # Twice: each part as a whole, the one deadly row of the first, and three rows of the other two.
    assert len(log.read_text().split()) <= 2 * (3 + 1 + 2 * 3)
    predict(samples, out, retry_errors=True)  # row 1, alone in its part, had been put aside
    pd.testing.assert_frame_equal(answers(out), undisturbed)


@pytest.mark.chaos
def test_an_actor_that_dies_while_it_loads_ends_the_job_with_one_message(samples, tmp_path, undisturbed, monkeypatch):
    from ecellm.inference import predict as module

    class DiesWhileItLoads:
        def __init__(self, **_arguments):
            be_killed()

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(module, "Answerer", DiesWhileItLoads)
        with pytest.raises(SurroundingsError, match=r"(3 of 3 parts|an actor).* GiB.*Give the actor more memory"):
            predict(samples, out)
    predict(samples, out)
    pd.testing.assert_frame_equal(answers(out), undisturbed)
