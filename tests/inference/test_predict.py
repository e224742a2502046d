"""Predict end to end: every row once, whatever happens, and the same answers however they are batched."""

import json
import math
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecellm.config import EvaluateConfig, PredictConfig
from ecellm.errors import InputError, find_cause
from ecellm.inference.answer_lengths import answer_limits
from ecellm.inference.answerer import Answerer
from ecellm.inference.engines.load import prompt_tokenizer
from ecellm.inference.request import Failure
from ecellm.stage import execute, plan
from ecellm.stages import answer_space, load_stage
from ecellm.storage import Storage
from tests.inference.conftest import write_samples
from tests.openai_server import running_openai_server

pytestmark = pytest.mark.usefixtures("local_ray")


def config_of(samples_dir, out, **fields):
    fields = {"engine": "fake", "model": "none/none", "rows_per_shard": 8, **fields}
    return PredictConfig(samples_dir=samples_dir, output_dir=str(out), max_length=512, max_answer_tokens=16, **fields)


def predict(samples_dir, out, **fields):
    execute(load_stage("predict"), config_of(samples_dir, out, **fields))
    return pd.read_parquet(out / "data")


def test_all_rows_of_all_settings_are_answered_once(samples_dir, tmp_path):
    answers = predict(samples_dir, tmp_path / "out")
    samples = pd.read_parquet(f"{samples_dir}/data")
    assert sorted(answers["sample_id"]) == sorted(samples["sample_id"])
    counts = answers.groupby(["task", "setting"], observed=True).size().to_dict()
    assert counts[("Product_Matching", "IND_Diverse_Instruction")] == 23
    assert counts[("Answer_Generation", "OOD_Diverse_Instruction")] == 4
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["rows"] == 41
    assert manifest["details"]["num_completion_tokens"] == answers["num_completion_tokens"].sum()
    assert manifest["details"]["num_rows_by_split"]["IND_Diverse_Instruction/Sentiment_Analysis"] == 9
    assert set(answers["run_id"]) == {manifest["fingerprint"][:12]}


def test_limit_tasks_and_settings_choose_rows(samples_dir, tmp_path):
    answers = predict(samples_dir, tmp_path / "out", limit=3, tasks=("Product_Matching",))
    assert sorted(answers["row_index"]) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputError, match="Poetry not in"):
        predict(samples_dir, tmp_path / "other", tasks=("Poetry",))


def test_killed_in_the_middle_it_answers_only_what_is_missing(samples_dir, tmp_path, monkeypatch):
    whole = predict(samples_dir, tmp_path / "whole").sort_values("sample_id").reset_index(drop=True)
    out = tmp_path / "out"
    import ecellm.inference.predict as module

    def some(shards, actor_class, *, constructor_args, **_others):
        actor = actor_class(**constructor_args)
        for shard in shards[:3]:
            yield actor(shard)
        raise KeyboardInterrupt

    original = module.run_shards_on_actors
    monkeypatch.setattr(module, "run_shards_on_actors", some)
    with pytest.raises(KeyboardInterrupt):
        predict(samples_dir, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.parquet")}
    assert len(before) == 3
    monkeypatch.setattr(module, "run_shards_on_actors", original)
    resumed = predict(samples_dir, out).sort_values("sample_id").reset_index(drop=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(resumed, whole)


def test_a_prompt_that_cannot_fit_goes_to_errors_and_stops_the_run(samples_dir, tiny_model, tmp_path):
    fields = {"engine": "transformers", "model": tiny_model, "tasks": ("Sentiment_Analysis",), "num_actors": 1}
    config = config_of(samples_dir, tmp_path / "out", **fields)
    config = config.model_copy(update={"max_length": 20})
    with pytest.raises(RuntimeError, match="9 of 9 rows failed"):
        execute(load_stage("predict"), config)
    errors = pd.read_parquet(tmp_path / "out" / "errors")
    assert len(errors) == 9
    assert errors["reason"].str.contains("raise max_length").all()
    assert not (tmp_path / "out" / "_manifest.json").exists()
    forgiving = config.model_copy(update={"max_error_share": 1.0})
    execute(load_stage("predict"), forgiving)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["status"], manifest["errors"], manifest["rows"]) == ("complete_with_errors", 9, 0)


def test_a_row_that_breaks_the_engine_is_put_aside_and_tried_again_on_request(samples_dir, tmp_path, monkeypatch):
    import ecellm.inference.predict as module
    from ecellm.inference.engines.fake import FakeEngine

    original = FakeEngine.answer

    def break_on_one(engine, requests, adapter):
        if any("blue lamp 3 " in request.prompt for request in requests):
            raise RuntimeError("out of memory")
        return original(engine, requests, adapter)

    def here(shards, actor_class, *, constructor_args, **_others):
        actor = actor_class(**constructor_args)
        return map(actor, shards)

    monkeypatch.setattr(module, "run_shards_on_actors", here)
    monkeypatch.setattr(FakeEngine, "answer", break_on_one)
    fields = {"tasks": ("Answer_Generation",), "max_error_share": 0.5}
    answers = predict(samples_dir, tmp_path / "out", **fields)
    assert sorted(answers["row_index"]) == [0, 1, 2]
    errors = pd.read_parquet(tmp_path / "out" / "errors")
    assert list(errors["reason"]) == ["RuntimeError: out of memory"]
    asked = []

    def answer_and_note(engine, requests, adapter):
        asked.extend(request.key for request in requests)
        return original(engine, requests, adapter)

    monkeypatch.setattr(FakeEngine, "answer", answer_and_note)
    assert len(predict(samples_dir, tmp_path / "out", **fields)) == 3  # done is done
    assert len(predict(samples_dir, tmp_path / "out", retry_errors=True, **fields)) == 4
    assert asked == list(errors["sample_id"]), "only what failed is asked again"
    assert not list((tmp_path / "out").rglob("errors/*.parquet"))


def test_an_actor_that_no_node_can_hold_is_refused(samples_dir, tiny_model, tmp_path):
    with pytest.raises(InputError, match="needs 64 CPUs, but the cluster has"):
        predict(samples_dir, tmp_path / "out", engine="transformers", model=tiny_model, cpus_per_actor=64)


def answer_all(samples_dir, tmp_path, tiny_model, name, **fields):
    """Answer with a real engine in this process."""
    from ecellm.inference.predict import _plan

    config = config_of(samples_dir, tmp_path / name, engine="transformers", model=tiny_model, **fields)
    shards, limits = _plan(config, config.output_dir, "f" * 64)
    actor = Answerer(
        config_json=config.model_dump_json(),
        output_dir=config.output_dir,
        answer_space=answer_space,
        answer_limits=limits,
    )
    for shard in shards:
        actor(shard)
    return pd.read_parquet(f"{config.output_dir}/data").set_index("sample_id").sort_index()


@pytest.mark.parametrize("decoding", ["greedy", "paper", "choice"])
def test_answers_do_not_depend_on_how_rows_are_batched(samples_dir, tiny_model, tmp_path, decoding):
    one = answer_all(samples_dir, tmp_path, tiny_model, "one", decoding=decoding, max_batch_size=1, rows_per_shard=3)
    many = answer_all(samples_dir, tmp_path, tiny_model, "many", decoding=decoding, max_batch_size=16)
    assert list(one["response"]) == list(many["response"])
    assert list(one["finish_reason"]) == list(many["finish_reason"])


def test_sampling_changes_with_the_seed_and_only_then(samples_dir, tiny_model, tmp_path):
    runs = [
        list(answer_all(samples_dir, tmp_path, tiny_model, f"r{n}", decoding="paper", seed=seed)["response"])
        for n, seed in enumerate((1, 1, 2))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_choice_gives_only_allowed_answers_with_their_scores(samples_dir, tiny_model, tmp_path):
    answers = answer_all(samples_dir, tmp_path, tiny_model, "choice", decoding="choice")
    matching = answers[answers["task"] == "Product_Matching"]
    assert set(matching["response"]) <= {"yes", "no"}
    assert set(matching["finish_reason"]) == {"choice"}
    for scores, response in zip(matching["choice_scores"], matching["response"], strict=True):
        assert max(dict(scores), key=dict(scores).get) == response
    sentiment = answers[answers["task"] == "Sentiment_Analysis"]
    assert len(sentiment) == 9
    assert set(sentiment["response"].str[:2]) <= {"A:", "B:", "C:", "D:", "E:"}
    open_task = answers[answers["task"] == "Answer_Generation"]
    assert open_task["choice_scores"].isna().all()
    assert set(open_task["finish_reason"]) <= {"stop", "length"}


def test_a_model_that_is_not_there_is_named(samples_dir, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        predict(samples_dir, tmp_path / "out", engine="transformers", model="./no/such/model")


def test_several_adapters_answer_in_one_job_as_runs_of_their_own(samples_dir, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(name)
    adapters = (str(tmp_path / "one"), str(tmp_path / "two"))
    answers = predict(samples_dir, tmp_path / "out", adapters=adapters)
    by_run = answers.groupby("run_id")
    assert by_run["sample_id"].nunique().tolist() == by_run.size().tolist() == [41, 41]
    assert answers.groupby("adapter", observed=True)["run_id"].nunique().to_dict() == dict.fromkeys(adapters, 1)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert set(manifest["details"]["run_ids"].values()) == set(answers["run_id"])

    config = EvaluateConfig(
        predictions_dir=str(tmp_path / "out"), samples_dir=samples_dir, output_dir=str(tmp_path / "scores")
    )
    execute(load_stage("evaluate"), config)
    metrics = pd.read_parquet(tmp_path / "scores" / "metrics" / "data")
    assert set(metrics[metrics["role"] == "ours"]["run_id"]) == set(answers["run_id"])
    comparisons = pd.read_parquet(tmp_path / "scores" / "comparisons" / "data")
    assert set(comparisons["run_id"]) | set(comparisons["baseline_run_id"]) == set(answers["run_id"])
    page = (tmp_path / "scores" / "report.html").read_text()
    assert "(one)" in page
    assert "(two)" in page


def test_answers_are_little_longer_than_the_longest_to_learn_from(tmp_path, tiny_model):
    samples = tmp_path / "samples"
    write_samples(samples, "Product_Matching", "IND_Diverse_Instruction", 3)
    write_samples(samples, "Product_Matching", "IND_Diverse_Instruction", 3, split="train", output="no")
    write_samples(samples, "Poetry", "IND_Diverse_Instruction", 3)
    write_samples(samples, "Poetry", "IND_Diverse_Instruction", 2, split="train", output="the red lamp " * 3)
    config = config_of(str(samples), tmp_path / "out", engine="transformers", model=tiny_model)
    storage = Storage()
    tokenizer = prompt_tokenizer(config, storage)
    limits = answer_limits(config, storage, tokenizer)
    tokens = {
        "Product_Matching": tokenizer.answer("", [], "no"),
        "Poetry": tokenizer.answer("", [], "the red lamp " * 3),
    }
    assert limits == {task: math.ceil(1.25 * len(ids)) for task, ids in tokens.items()}
    assert answer_limits(config.model_copy(update={"decoding": "paper"}), storage, tokenizer) == {}
    answers = answer_all(str(samples), tmp_path, tiny_model, "limited")
    assert answers[answers["task"] == "Product_Matching"]["num_completion_tokens"].max() <= limits["Product_Matching"]


def test_a_ranking_is_chosen_too(tmp_path, tiny_model):
    samples = tmp_path / "samples"
    text = json.dumps({"query": "lamp", "product list": ["A: the red lamp", "B: the blue lamp", "C: lamp"]})
    write_samples(samples, "Query_Product_Ranking", "IND_Diverse_Instruction", 4, input=text, output="A,B,C")
    answers = answer_all(str(samples), tmp_path, tiny_model, "ranked", decoding="choice")
    assert {"".join(sorted(response)) for response in answers["response"]} == {",,ABC"}
    assert set(answers["finish_reason"]) == {"choice"}


def test_the_dry_run_counts_rows_and_tokens_by_split(samples_dir, tiny_model, tmp_path):
    config = config_of(samples_dir, tmp_path / "out", engine="transformers", model=tiny_model)
    lines = load_stage("predict").check(config, Storage())
    (line,) = [line for line in lines if line.split()[:2] == ["IND_Diverse_Instruction", "Sentiment_Analysis"]]
    assert line.split()[2] == "9"
    assert int(line.split()[3].replace(",", "")) > 9 * 20


def test_a_refused_key_ends_the_job_at_once_and_is_told_nowhere(samples_dir, tiny_model, tmp_path, caplog):
    with running_openai_server(tiny_model) as server:
        server.behave(key="another")
        # PATH is the one variable that the nodes are sure to have.
        openai = {"base_url": server.base_url, "api_key_env": "PATH", "concurrency": 2}  # pragma: allowlist secret
        config = config_of(samples_dir, tmp_path / "out", engine="openai", model="tiny", openai=openai)
        with pytest.raises(Exception, match="401") as raised:
            execute(load_stage("predict"), config)
        refused = find_cause(raised.value, InputError)
        asked = sum(server.seen()["times_asked"].values())
    assert refused is not None
    assert asked <= 4
    assert not (tmp_path / "out" / "_manifest.json").exists()
    told = (
        str(refused)
        + caplog.text
        + "".join(path.read_text(errors="replace") for path in (tmp_path / "out").rglob("*") if path.is_file())
    )
    assert os.environ["PATH"] not in told


def test_a_retry_that_is_killed_loses_no_row(samples_dir, tmp_path, monkeypatch):  # noqa: C901
    from ecellm.inference.engines.fake import FakeEngine

    original = FakeEngine.answer

    def fail_on(*numbers):
        def answer(engine, requests, adapter):
            for place, answer in original(engine, requests, adapter):
                failed = any(f"blue lamp {n} " in requests[place].prompt for n in numbers)
                yield place, Failure("no") if failed else answer

        return answer

    def here(shards, actor_class, *, constructor_args, **_others):
        return map(actor_class(**constructor_args), shards)

    class Killed(BaseException):
        pass

    class Deadly(Storage):
        """Ends the run before the n-th change of data or errors."""

        left = 0

        def _count(self, path):
            if "/data/" in path or "/errors/" in path:
                Deadly.left -= 1
                if Deadly.left < 0:
                    raise Killed

        def write_table(self, path, table, row_group_size=None):
            self._count(path)
            super().write_table(path, table, row_group_size)

        def remove(self, path):
            self._count(path)
            super().remove(path)

    monkeypatch.setattr("ecellm.inference.predict.run_shards_on_actors", here)
    fields = {"tasks": ("Answer_Generation",), "max_error_share": 0.5}
    for changes_before_the_kill in (0, 1):
        out = tmp_path / str(changes_before_the_kill)
        monkeypatch.setattr(FakeEngine, "answer", fail_on(1, 3))
        assert len(predict(samples_dir, out, **fields)) == 2
        for still_failing in ((3,), ()):
            monkeypatch.setattr(FakeEngine, "answer", fail_on(*still_failing))
            with monkeypatch.context() as patch, pytest.raises(Killed):
                Deadly.left = changes_before_the_kill
                patch.setattr("ecellm.inference.answerer.Storage", Deadly)
                predict(samples_dir, out, retry_errors=True, **fields)
            assert not (out / "_manifest.json").exists()
            answered = set(pd.read_parquet(out / "data")["row_index"])
            failed = set(pd.read_parquet(out / "errors")["row_index"])
            assert answered | failed == {0, 1, 2, 3}
        assert len(predict(samples_dir, out, retry_errors=True, **fields)) == 4
        manifest = json.loads((out / "_manifest.json").read_text())
        assert (manifest["rows"], manifest["errors"]) == (4, 0)


def test_an_engine_that_is_broken_ends_the_job(samples_dir, tmp_path, monkeypatch):
    from ecellm.inference.engines.fake import FakeEngine

    def broken(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    def here(shards, actor_class, *, constructor_args, **_others):
        return map(actor_class(**constructor_args), shards)

    monkeypatch.setattr("ecellm.inference.predict.run_shards_on_actors", here)
    monkeypatch.setattr(FakeEngine, "answer", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        predict(samples_dir, tmp_path / "out", max_error_share=1.0, rows_per_shard=4)
    assert len(pd.read_parquet(tmp_path / "out" / "errors")) == 4


def test_models_of_an_endpoint_are_told_apart(samples_dir, tmp_path):
    endpoint = {"engine": "openai", "openai": {"api_key_env": None}}
    runs = [
        plan(load_stage("predict"), config_of(samples_dir, tmp_path / "out", model=model, **endpoint))
        for model in ("gpt-4-turbo", "gpt-4o", "gpt-4o")
    ]
    assert runs[0].fingerprint != runs[1].fingerprint == runs[2].fingerprint


def test_a_row_that_cannot_be_asked_goes_to_errors(tmp_path):
    samples = tmp_path / "samples"
    write_samples(samples, "Query_Product_Ranking", "IND_Diverse_Instruction", 2)
    write_samples(samples, "Product_Matching", "IND_Diverse_Instruction", 2)
    file = next((samples / "data").rglob("*task=Query_Product_Ranking/part-00000.parquet"))
    table = pq.ParquetFile(file).read()
    broken = pa.array([None] * table.num_rows, pa.string())
    field = table.schema.field("input").with_nullable(True)
    pq.write_table(table.set_column(table.schema.get_field_index("input"), field, broken), file)
    answers = predict(str(samples), tmp_path / "out", max_error_share=0.5)
    assert len(answers) == 3
    (reason,) = pd.read_parquet(tmp_path / "out" / "errors")["reason"]
    assert "TypeError" in reason
