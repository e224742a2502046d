"""The parts of text similarity: what is in them, what a killed run does again, and what their absence is told by."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecellm.command_line import main
from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation.answered import asked_by_any, list_runs, sample_files
from ecellm.evaluation.evaluate import STAGE
from ecellm.evaluation.similarity import measures, rouge, shard, step
from ecellm.evaluation.similarity.texts import TextPair
from ecellm.evaluation.similarity_table import REASONS_KEY, read_similarity
from ecellm.schema import TEXT_SIMILARITY
from ecellm.stage import Run, check_stage_room, plan
from ecellm.stages import load_stage
from ecellm.storage import Storage
from ecellm.tasks import task_named
from tests.evaluation.similarity.conftest import SENTENCES

SETTINGS = ("IND_Diverse_Instruction", "OOD_Diverse_Instruction")
BERTSCORE = ("bertscore_recall", "bertscore_precision", "bertscore_f1")


def short(row):
    return "" if row["row_index"] == 0 else f" {row['output'][:15]}\n### Response: cut"


@pytest.fixture
def config(tmp_path, make_sample, write_samples, write_predictions):
    rows = [
        make_sample("Answer_Generation", n, SENTENCES[n % 4], setting=setting, split=split)
        for setting in SETTINGS
        for split, numbers in (("test", range(5)), ("val", range(5, 8)))
        for n in numbers
    ]
    rows += [make_sample("Product_Matching", n, "yes") for n in range(3)]
    directories = [write_predictions("base", rows, short), write_predictions("tuned", rows, lambda row: row["output"])]
    return EvaluateConfig(
        predictions_dirs=directories, samples_dir=write_samples(rows), output_dir=str(tmp_path / "out")
    )


def check(config):
    check_stage_room(STAGE, config)
    return STAGE.check(config, Storage())


def shards_of(config):
    runs = [files for path in config.all_predictions for files in list_runs(Storage(), path)]
    return step.plan_parts(runs, asked_by_any(runs), sample_files(Storage(), config.samples_dir), config.output_dir)


def compute(config):
    for each in shards_of(config):
        shard.compute_without_models(json.loads(json.dumps(each)), config_json=config.model_dump_json())
    return [pq.read_table(each["path"]) for each in shards_of(config)]


def test_there_is_one_part_for_each_run_and_setting_and_then_for_the_floors(config):
    tables = compute(config)
    assert [path["path"].rsplit("/", 1)[-1] for path in shards_of(config)] == [
        f"part-{n:05d}.parquet" for n in range(6)
    ]
    assert all(table.schema.equals(TEXT_SIMILARITY) for table in tables)
    found = [({*table["run_id"].to_pylist()}, {*table["setting"].to_pylist()}, table.num_rows) for table in tables]
    runs = ["run-base", "run-tuned", "floor-another-answer"]
    assert found == [({run}, {setting}, 8) for run in runs for setting in SETTINGS]
    assert {*tables[0]["task"].to_pylist()} == {"Answer_Generation"}


def test_without_models_there_is_rouge_and_the_reasons_for_the_rest(config):
    tables = compute(config)
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(row[name] is None for row in rows for name in (*BERTSCORE, "bleurt"))
    by_sample = {(row["run_id"], row["sample_id"]): row["rouge_l"] for row in rows}
    assert by_sample[("run-base", f"Answer_Generation-{SETTINGS[0]}-0")] == 0  # an empty answer
    assert by_sample[("run-base", f"Answer_Generation-{SETTINGS[0]}-2")] == 1  # cut at the header: "It fits"
    assert {by_sample[key] for key in by_sample if key[0] == "run-tuned"} == {1}
    reasons = {"bleurt": "no bleurt_model was given", **dict.fromkeys(BERTSCORE, "no bertscore_model was given")}
    assert [json.loads(table.schema.metadata[REASONS_KEY]) for table in tables] == [reasons] * 6


def test_floors_are_the_answers_that_are_scored(config):
    task = task_named("AG")
    compute(config)
    table = read_similarity(Storage(), config.output_dir, task, SETTINGS[1])
    samples = {split: [] for split in ("test", "val")}
    for files in sample_files(Storage(), config.samples_dir)[(SETTINGS[1], task.name)].values():
        for row in Storage().read_table(files[0]).to_pylist():
            samples[row["split"]].append(row)
    for rows in samples.values():
        (answers,) = task.trivial_answers(rows, config.seed).values()
        pairs = [TextPair.of(answer, row["output"]) for answer, row in zip(answers, rows, strict=True)]
        given = table.of_answers("floor-another-answer", rows).figures
        assert [figures["rouge_l"] for figures in given] == rouge.RougeL().score(pairs)["rouge_l"]


def test_without_the_package_rouge_is_absent_and_says_what_to_install(config, monkeypatch):
    monkeypatch.setattr(rouge, "find_spec", lambda _name: None)
    (table, *_others) = compute(config)
    assert table["rouge_l"].null_count == table.num_rows == 8
    assert "pip install 'ecellm[similarity]'" in json.loads(table.schema.metadata[REASONS_KEY])["rouge_l"]


def test_predictions_without_answers_make_an_empty_part_and_floors_go_by_another_run(config):
    for each in shards_of(config)[:2]:
        (path,) = each["predictions"]
        Storage().write_table(path, pq.read_table(path).slice(0, 0))
    assert [table.num_rows for table in compute(config)] == [0, 0, 8, 8, 8, 8]


def run_of(config):
    return Run(config, Storage(), config.output_dir, "0" * 64, {})


def step_on_ray(config):
    runs = [files for path in config.all_predictions for files in list_runs(Storage(), path)]
    step.compute_similarity(run_of(config), runs, asked_by_any(runs), sample_files(Storage(), config.samples_dir))
    return {each["path"]: pq.read_table(each["path"]) for each in shards_of(config)}


@pytest.mark.usefixtures("local_ray")
def test_actors_compute_all_figures_and_a_resumed_run_only_what_is_missing(config, encoder, bleurt_dir, caplog):
    models = {"bertscore_model": encoder, "bertscore_layer": 5, "bleurt_model": bleurt_dir}
    config = config.model_copy(update=models)
    caplog.set_level("INFO")
    parts = step_on_ray(config)
    rows = [row for table in parts.values() for row in table.to_pylist()]
    assert len(rows) == 48
    assert all(row[name] is not None for row in rows for name in (*BERTSCORE, "bleurt", "rouge_l"))
    same = [row["bertscore_f1"] for row in rows if row["run_id"] == "run-tuned"]
    assert same == pytest.approx([1] * 16)
    assert {row["bertscore_f1"] for row in rows if row["sample_id"].endswith("-0") and row["run_id"] == "run-base"} == {
        0
    }
    assert all(json.loads(table.schema.metadata[REASONS_KEY]) == {} for table in parts.values())
    alone = measures.load_measures(config, Storage())
    pair = TextPair.of(short({"row_index": 3, "output": SENTENCES[3]}), SENTENCES[3])
    (row,) = (r for r in rows if (r["run_id"], r["sample_id"]) == ("run-base", f"Answer_Generation-{SETTINGS[1]}-3"))
    for measure in alone:
        for name, (value,) in measure.score([pair]).items():
            assert row[name] == pytest.approx(value, abs=2e-5), name

    caplog.clear()
    before = {path: Path(path).stat().st_mtime_ns for path in parts}
    removed = list(parts)[1]
    Path(removed).unlink()
    again = step_on_ray(config)
    assert "1 of 1 parts, 8 rows in this one" in caplog.text
    kept = set(parts) - {removed}
    assert {path: Path(path).stat().st_mtime_ns for path in kept} == {path: before[path] for path in kept}
    for name in (*BERTSCORE, "bleurt", "rouge_l"):
        assert again[removed][name].to_pylist() == pytest.approx(parts[removed][name].to_pylist(), abs=2e-5)


@pytest.mark.usefixtures("local_ray")
def test_plain_tasks_do_without_models(config):
    parts = step_on_ray(config)
    assert all(table["rouge_l"].null_count == 0 for table in parts.values())
    assert not step_on_ray(config.model_copy(update={"predictions_dirs": ()}))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"bertscore_model": "/no/such/model", "bertscore_layer": 1}, "model /no/such/model does not exist"),
        ({"bertscore_model": "no-one/has-this", "bertscore_layer": 1}, "no-one/has-this is neither a directory nor"),
        ({"bertscore_model": "ENCODER"}, "bertscore_layer must be given"),
        ({"bertscore_model": "ENCODER", "bertscore_layer": 9}, "has 6 layers"),
        ({"bleurt_model": "ENCODER"}, "is no BLEURT checkpoint"),
        ({"bleurt_model": "no-one/BLEURT"}, "bleurt_model no-one/BLEURT cannot be loaded"),
        (
            {"bertscore_model": "ENCODER", "bertscore_layer": 5, "similarity_use_gpu": True},
            "needs 1 GPUs, .* set similarity_use_gpu=false",
        ),
        ({"bertscore_model": "ENCODER", "similarity_actors": 99}, "needs 99 CPUs, .* lower similarity_actors"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_before_the_work(config, encoder, fields, told):
    fields = {name: encoder if value == "ENCODER" else value for name, value in fields.items()}
    config = config.model_copy(update=fields)
    with pytest.raises(InputError, match=told):
        check(config)


@pytest.mark.usefixtures("local_ray")
def test_the_check_says_what_will_be_computed(config, encoder, bleurt_dir):
    lines = STAGE.check(config.model_copy(update={"bertscore_model": encoder, "bertscore_layer": 5}), Storage())
    assert f"BERTScore by {encoder}, layer 5" in lines
    assert "no bleurt: no bleurt_model was given" in lines
    assert f"BLEURT by {bleurt_dir}" in STAGE.check(config.model_copy(update={"bleurt_model": bleurt_dir}), Storage())
    assert any(
        "similarity_use_gpu has no effect" in line
        for line in STAGE.check(config.model_copy(update={"similarity_use_gpu": True}), Storage())
    )


@pytest.mark.usefixtures("local_ray")
def test_the_models_content_and_layer_are_part_of_the_fingerprint_and_how_they_run_is_not(config, bleurt_dir, tmp_path):
    (tmp_path / "copy").symlink_to(bleurt_dir)

    def fingerprint(**fields):
        made = config.model_copy(update={"predictions_dirs": config.predictions_dirs[:1], **fields})
        for directory in (made.samples_dir, *made.all_predictions):
            Storage().write_json(f"{directory}/_manifest.json", {"fingerprint": directory})
        return plan(STAGE, made).fingerprint

    plain, given = fingerprint(), fingerprint(bleurt_model=bleurt_dir)
    assert len({plain, given, fingerprint(bertscore_layer=3), fingerprint(bleurt_model="hub/BLEURT")}) == 4
    assert fingerprint(bleurt_model="hub/BLEURT", bleurt_model_revision="v2") != fingerprint(bleurt_model="hub/BLEURT")
    assert fingerprint(bleurt_model=str(tmp_path / "copy")) == given
    assert (
        fingerprint(bleurt_model=bleurt_dir, similarity_batch_size=1, similarity_actors=3, similarity_use_gpu=True)
        == given
    )


@pytest.mark.usefixtures("local_ray")
def test_the_job_refuses_a_model_on_a_dry_run_and_gives_means_of_the_figures(config, encoder, capsys):
    arguments = [f"predictions_dirs={json.dumps(config.predictions_dirs)}", f"samples_dir={config.samples_dir}"]
    arguments += [f"output_dir={config.output_dir}", "num_resamples=0", "bertscore_layer=5"]
    missing = [*arguments, "bertscore_model=/no/such/model", "--dry-run"]
    assert main(load_stage("evaluate"), missing) == 2
    assert "/no/such/model does not exist" in capsys.readouterr().out.splitlines()[-1]
    assert not Path(config.output_dir).exists()
    assert main(load_stage("evaluate"), [*arguments, f"bertscore_model={encoder}"]) == 0
    rows = [row for each in shards_of(config) for row in pq.read_table(each["path"]).to_pylist()]
    files = Storage().list_files(f"{config.output_dir}/metrics/data", ".parquet")
    metrics = [row for file in files for row in pq.read_table(file).to_pylist() if row["task"] == "Answer_Generation"]
    found = [row for row in metrics if row["metric"] == "bertscore_f1" and row["slice_name"] is None]
    assert {row["run_id"] for row in found} == {"run-base", "run-tuned", "floor-another-answer", "floor-first-sentence"}
    for row in found:
        keys = ("run_id", "setting", "split")
        same = [each["bertscore_f1"] for each in rows if all(each[key] == row[key] for key in keys)]
        assert row["value"] == pytest.approx(sum(same) / len(same))
    reasons = {row["reason"] for row in metrics if row["metric"] == "bleurt" and row["slice_name"] is None}
    assert reasons == {"no bleurt_model was given"}
