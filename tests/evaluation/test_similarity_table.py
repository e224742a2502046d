"""Figures of free text, read from where the step before leaves them."""

import json

import pyarrow as pa

from ecellm.evaluation.scored import score_answers
from ecellm.evaluation.scored_rows import tallies_of
from ecellm.evaluation.similarity_table import REASONS_KEY, read_similarity
from ecellm.storage import Storage
from ecellm.tasks import task_named

SETTING = "IND_Diverse_Instruction"


def write(directory, number, rows, reasons=None):
    rows = [{"setting": SETTING} | row for row in rows]
    path = f"{directory}/text_similarity/data/part-{number:05d}.parquet"
    metadata = {} if reasons is None else {REASONS_KEY: json.dumps(reasons).encode()}
    Storage().write_table(path, pa.Table.from_pylist(rows).replace_schema_metadata(metadata))


def test_figures_of_all_parts_are_found_by_run_and_sample(tmp_path):
    write(tmp_path, 0, [{"run_id": "a", "sample_id": "s", "bertscore_f1": 0.9, "bleurt": None, "model": "m"}])
    write(tmp_path, 1, [{"run_id": "floor-x", "sample_id": "s", "bertscore_f1": 0.1, "bleurt": 0.2, "model": "m"}])
    table = read_similarity(Storage(), str(tmp_path), task_named("AG"), SETTING)
    figures = table.of_answers("a", [{"sample_id": "s"}, {"sample_id": "t"}]).figures
    assert figures == [{"bertscore_f1": 0.9, "bleurt": None}, None]
    assert table.of_answers("floor-x", [{"sample_id": "s"}]).figures == [{"bertscore_f1": 0.1, "bleurt": 0.2}]
    assert table.reasons == {}


def test_the_reason_of_the_step_is_the_reason_in_the_metrics(tmp_path):
    rows = [{"run_id": "a", "sample_id": name, "rouge_l": 0.9, "bleurt": None} for name in "st"]
    write(tmp_path, 0, rows, {"bleurt": "no bleurt_model is given"})
    task, samples = task_named("AG"), [{"sample_id": name, "output": "x"} for name in "st"]
    similarity = read_similarity(Storage(), str(tmp_path), task, SETTING).of_answers("a", samples)
    for scored in score_answers(task, samples, ["y", "z"], similarity):
        (tally,) = tallies_of([scored.take([1])])
        assert tally.unavailable()["bleurt"] == "no bleurt_model is given"
        assert "text similarity" in tally.unavailable()["bertscore_f1"]
        assert "rouge_l" not in tally.unavailable()


def test_other_tasks_and_runs_without_the_step_have_none(tmp_path):
    assert (
        read_similarity(Storage(), str(tmp_path), task_named("AG"), SETTING).of_answers("a", [{"sample_id": "s"}])
        is None
    )
    write(tmp_path, 0, [{"run_id": "a", "sample_id": "s", "rouge_l": 0.9}])
    for task in (task_named("PM"), None):
        assert read_similarity(Storage(), str(tmp_path), task, SETTING).figures == {}


def test_parts_of_other_settings_are_not_read(tmp_path):
    write(tmp_path, 0, [{"run_id": "a", "sample_id": "s", "rouge_l": 0.9}])
    write(tmp_path, 1, [{"setting": "OOD_Diverse_Instruction", "run_id": "a", "sample_id": "o", "rouge_l": 0.1}])
    table = read_similarity(Storage(), str(tmp_path), task_named("AG"), SETTING)
    assert table.of_answers("a", [{"sample_id": "s"}, {"sample_id": "o"}]).figures == [{"rouge_l": 0.9}, None]
