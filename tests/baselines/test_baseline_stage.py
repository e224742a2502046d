"""`jobs.baseline` from samples to predictions that evaluate scores as they are."""

import json

import pyarrow.parquet as pq
import pytest

from ecellm.command_line import main
from ecellm.schema import PREDICTIONS
from ecellm.stages import load_stage
from tests.baselines.tiny_encoder import write_tiny_encoder
from tests.evaluation.made_up_runs import write_samples

pytestmark = pytest.mark.usefixtures("local_ray")
WORDS = ["good", "bad", "lamp", "chair", "red", "blue", "tea", "cup", "pot", "jam", "a", "the", "is"]
OPTIONS = json.dumps(["A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative"])


def sample(task, split, number, text, output, *, setting="IND_Diverse_Instruction", **fields):
    from ecellm.schema import SAMPLES

    row = {
        "sample_id": f"{task}-{setting}-{split}-{number}", "example_id": f"{task}-{split}-{number}", "task": task,
        "split": split, "setting": setting, "row_index": number, "domain": setting[:3], "instruction_kind": "diverse",
        "num_shots": 0, "instruction": "Answer.", "input": text, "output": output,
    }  # fmt: skip
    return {**dict.fromkeys(SAMPLES.names), **row, **fields}


def sentiment(split, number, **fields):
    is_good = number % 2 == 0
    text = f"the {WORDS[2 + number % 4]} is {'good' if is_good else 'bad'}"
    return sample(
        "Sentiment_Analysis", split, number, text, json.loads(OPTIONS)[0 if is_good else 4], options=OPTIONS, **fields
    )


def ranking(split, number, **fields):
    products = [f"A: red {WORDS[2 + number % 2]}", "B: blue jam"]
    text = json.dumps({"query": f"red {WORDS[2 + number % 2]}", "product list": products})
    return sample("Query_Product_Ranking", split, number, text, "A,B", relevance=["E", "I"], **fields)


def purchase(split, number, **fields):
    items = ["tea", "cup", "pot", "jam"]
    start = number % 4
    order = [items[(start + 2) % 4], items[start], items[(start + 3) % 4]]
    return sample(
        "Sequential_Recommendation", split, number, repr([f"1st: {items[start]}", f"2nd: {items[(start + 1) % 4]}"]), "A",
        options=repr([f"{letter}: {text}" for letter, text in zip("ABC", order, strict=True)]), **fields,
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    rows = [
        make(split, number)
        for make in (sentiment, ranking, purchase)
        for split, count in (("train", 64), ("val", 8), ("test", 12))
        for number in range(count)
    ]
    rows += [sentiment("test", number, setting="OOD_Diverse_Instruction") for number in range(10)]
    return write_samples(tmp_path_factory.mktemp("baseline") / "samples", rows)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", WORDS)


def answers_of(out):
    table = pq.read_table(out / "data", partitioning=None)
    assert table.schema.equals(PREDICTIONS, check_metadata=False)
    return table.to_pylist()


def right(rows, references):
    return sum(row["response"] == references[row["sample_id"]] for row in rows) / len(rows)


@pytest.fixture(scope="module")
def references(samples):
    rows = pq.read_table(f"{samples}/data", partitioning=None, columns=["sample_id", "output"]).to_pylist()
    return {row["sample_id"]: row["output"] for row in rows}


@pytest.fixture(scope="module")
def of_encoder(samples, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "encoder"
    words = [f"samples_dir={samples}", "kind=encoder", f"encoder={encoder}", f"output_dir={out}", "num_workers=2"]
    words += ["num_epochs=8", "learning_rate=3e-3", "global_batch_size=16", "name=tiny"]
    assert main(load_stage("baseline"), words) == 0
    return out, words


def test_an_encoder_answers_all_its_tasks_in_all_settings(of_encoder, references):
    out, _ = of_encoder
    rows = answers_of(out)
    places = {(row["task"], row["setting"]) for row in rows}
    assert places == {
        ("Sentiment_Analysis", "IND_Diverse_Instruction"),
        ("Sentiment_Analysis", "OOD_Diverse_Instruction"),
        ("Query_Product_Ranking", "IND_Diverse_Instruction"),
    }
    assert len(rows) == 12 + 10 + 12
    assert right(rows, references) == 1.0
    assert {(row["model"], row["engine"]) for row in rows} == {("tiny", "baseline")}
    manifest = json.loads((out / "_manifest.json").read_text())
    assert {row["run_id"] for row in rows} == {manifest["fingerprint"][:12]}
    log = pq.read_table(out / "training_log" / "data").to_pylist()
    assert [row["epoch"] for row in log if row["task"] == "Sentiment_Analysis"] == list(range(1, 9))


def test_done_is_done(of_encoder):
    out, words = of_encoder
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert main(load_stage("baseline"), words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_gsasrec_learns_the_order(samples, references, tmp_path):
    words = [f"samples_dir={samples}", "kind=gsasrec", f"output_dir={tmp_path / 'out'}", "num_epochs=30"]
    words += ["learning_rate=1e-2", "global_batch_size=16", "sequence={hidden_size: 16, num_negatives: 3, dropout: 0}"]
    assert main(load_stage("baseline"), words) == 0
    assert right(answers_of(tmp_path / "out"), references) == 1.0


def test_evaluate_scores_it_beside_the_classical_floors(of_encoder, samples, tmp_path):
    out, _ = of_encoder
    words = [
        f"samples_dir={samples}",
        f"predictions_dir={out}",
        f"output_dir={tmp_path / 'scores'}",
        "num_resamples=20",
    ]
    assert main(load_stage("evaluate"), words) == 0
    rows = pq.read_table(tmp_path / "scores" / "metrics" / "data").to_pylist()
    headline = {
        (row["model"], row["task"], row["setting"]): row["value"]
        for row in rows
        if row["is_headline"] and row["flavour"] == "strict"
    }
    place = ("Sentiment_Analysis", "OOD_Diverse_Instruction")
    assert headline["tiny", *place] == headline["tfidf-logreg", *place] > headline["majority", *place]
    assert "token-overlap" in {model for model, *_ in headline}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kind=encoder"], "kind=encoder needs encoder=MODEL to start from"),
        (["kind=gsasrec", "tasks=[SA]"], "kind=gsasrec cannot answer Sentiment_Analysis"),
        (["kind=gsasrec", "tasks=[PM]"], "tasks: Product_Matching not in"),
        (["kind=gsasrec", "train_setting=IND_Single_Instruction"], "no task with train rows in IND_Single_Instr"),
        (["kind=gsasrec", "encoder=x"], "kind=gsasrec starts from nothing: leave encoder out"),
        (["kind=encoder", "encoder=/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_is_refused(samples, tmp_path, capsys, words, told):
    assert main(load_stage("baseline"), [f"samples_dir={samples}", f"output_dir={tmp_path / 'out'}", *words]) == 2
    assert told in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
