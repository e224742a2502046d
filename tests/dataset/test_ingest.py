"""Ingest end to end: every setting and task, and every way in which an input can be wrong."""

import gzip
import itertools
import json

import pandas as pd
import pytest

from ecellm.config import IngestConfig
from ecellm.dataset.counts import published_count
from ecellm.dataset.ingest import STAGE
from ecellm.dataset.partitions import Partition
from ecellm.errors import InputError, find_cause
from ecellm.settings import SETTINGS
from ecellm.stage import execute
from ecellm.tasks import TASKS

pytestmark = pytest.mark.usefixtures("local_ray")
QPR_INPUT = json.dumps({"query": "q", "product list": ["A: x", "B: y"]})
RELEASE_SPELLING = {"Product_Substitute_Identification": "Product_Substitue_Identification"}


def row(task="Sentiment_Analysis", split="train", setting="IND_Diverse_Instruction", **fields):
    texts = {"instruction": "i", "input": "x", "options": None, "output": "A", "few_shot_example": None}
    return {"split": split, "task": task, "setting": setting, **texts, **fields}


def ingest(tmp_path, content, name="dataset.json", **fields):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    execute(STAGE, IngestConfig(release=str(path), output_dir=str(tmp_path / "out"), **fields))
    return pd.read_parquet(tmp_path / "out" / "data")


def refusal(tmp_path, content, **fields):
    with pytest.raises(Exception, match=".") as caught:
        ingest(tmp_path, content, **fields)
    cause = find_cause(caught.value, InputError)
    assert cause is not None, caught.value
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]  # no trace: mend it, run it again
    return str(cause)


def test_every_setting_and_task_arrives_byte_for_byte(tmp_path):
    combinations = list(itertools.product([task.name for task in TASKS], SETTINGS))
    content = [
        row(RELEASE_SPELLING.get(task, task), "test", setting, input=QPR_INPUT, output=f"é\u0000\n{number}")
        for number, (task, setting) in enumerate(combinations)
    ]
    data = ingest(tmp_path, content)
    assert len(data) == len(combinations) == 80
    assert set(zip(data["task"], data["setting"], strict=True)) == set(combinations)
    assert set(data["output"]) == {sample["output"] for sample in content}
    assert data["sample_id"].is_unique


def test_rows_keep_their_order_and_equal_rows_their_own_ids(tmp_path):
    content = [row(output=str(number // 2)) for number in range(2500)]
    data = ingest(tmp_path, content, max_rows_per_file=1000)
    assert list(data["row_index"]) == list(range(2500))
    assert list(data["output"]) == [sample["output"] for sample in content]
    assert data["sample_id"].is_unique
    assert data["example_id"].nunique() == 1250
    assert len(list((tmp_path / "out" / "data").rglob("*.parquet"))) == 3


def test_dropping_a_row_renames_no_other(tmp_path):
    content = [row(output=str(number)) for number in range(5)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = ingest(tmp_path / "a", content).set_index("output")["sample_id"]
    rest = ingest(tmp_path / "b", content[1:]).set_index("output")["sample_id"]
    assert rest.equals(whole.loc[rest.index])


def test_the_catalogue_of_instructions_is_found(tmp_path):
    content = [
        row(setting="IND_Single_Instruction", instruction="seed"),
        *(row(instruction=text) for text in ("second", "seed", "third")),
        row(setting="IND_Unseen_Instruction", split="test", instruction="held out"),
    ]
    data = ingest(tmp_path, content)
    catalogue = json.loads((tmp_path / "out" / "instructions.json").read_text())["tasks"]["SA"]
    assert catalogue == {"seed": "seed", "diverse": ["seed", "second", "third"], "unseen": "held out"}
    indices = dict(zip(data["instruction"], data["instruction_index"], strict=True))
    assert indices == {"seed": 0, "second": 1, "third": 2, "held out": 3}


def qpr_rows(number):
    task = "Query_Product_Rank"
    return [row(task, "test", input=QPR_INPUT, output="A,B", instruction=str(i)) for i in range(number)]


def test_labels_of_rankings_come_from_their_own_file(tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps([["E", "S"], ["I", "E"]]))
    data = ingest(tmp_path, qpr_rows(2), qpr_labels=str(labels))
    assert [list(value) for value in data["relevance"]] == [["E", "S"], ["I", "E"]]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([["E", "S"]], "has 1 lists, but .* has 2 test rows"),
        ([["E", "S"], ["E"]], "list 1 has 1 labels, but the row has 2 candidates"),
        ([["E", "X"], ["E", "S"]], "list 0 must hold labels"),
        ({"a": 1}, "must be a JSON list"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, told):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels))
    import re

    assert re.search(told, refusal(tmp_path, qpr_rows(2), qpr_labels=str(path)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"split": "train"}', "is not a JSON array"),
        (b'{"a": 1}\n{"a": 2}\n', "is not a JSON array"),
        (b"", "is not a JSON array"),
        (b"[]", "holds no rows"),
        (json.dumps([row(), row()]).encode()[:-40], "is cut off or malformed: it ends with"),
        (json.dumps([row(), row()]).encode()[:-1], "is cut off or malformed: it ends with"),
        (json.dumps([row(), row()]).encode()[:-40] + b"]", "is cut off or malformed after row 0"),
        (json.dumps([row()]).encode() + b"]", "is cut off or malformed after row 0"),
        ([row(), row(task="Poetry")], "row 1 .*unknown task 'Poetry'"),
        ([row(), row(), row(split="dev")], "row 2 .*unknown split 'dev'"),
        ([row(setting="IND")], "row 0 .*unknown setting 'IND'"),
        ([row(), 7], "row 1 .*must be an object"),
        ([row(output=None)], "row 0 .*output must be text"),
        ([row(), {"task": "PM"}], "row 1 .*has no 'split'"),
        ([row(input="\ud800")], "row 0 .*lone surrogate"),
    ],
)
def test_a_wrong_release_is_named_with_its_place(tmp_path, content, told):
    import re

    assert re.search(told, refusal(tmp_path, content))


def test_bad_rows_can_be_put_aside(tmp_path):
    content = [row(output="1"), row(task="Poetry"), row(input="\ud800"), row(output="2")]
    data = ingest(tmp_path, content, on_bad_row="quarantine")
    assert list(data["output"]) == ["1", "2"]
    aside = pd.read_parquet(tmp_path / "out" / "quarantine")
    assert list(aside["row_number"]) == [1, 2]
    assert "Poetry" in aside["reason"][0]
    assert json.loads(aside["row"][1])["input"] == "\ud800"
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["dropped"] == {"bad_row": 2}


OWN = {"instruction": "do", "input": "x", "output": "y"}
OWN_PLACE = {"task": "Returns_Triage", "split": "train", "setting": "IND_Diverse_Instruction"}


def test_own_data_as_json_lines(tmp_path):
    lines = "\n".join(json.dumps({**OWN, "output": str(n)}) for n in range(3)).encode() + b"\n\n"
    data = ingest(tmp_path, lines, "own.jsonl", defaults=OWN_PLACE)
    assert list(data["output"]) == ["0", "1", "2"]
    assert set(data["task"]) == {"Returns_Triage"}


def test_own_data_as_parquet(tmp_path):
    path = tmp_path / "source.parquet"
    pd.DataFrame([{**OWN, "split": "test"}, {**OWN, "split": "train"}]).to_parquet(path)
    data = ingest(tmp_path, path.read_bytes(), "own.parquet", defaults={**OWN_PLACE, "split": None})
    assert sorted(data["split"]) == ["test", "train"]


def test_own_data_without_a_task_says_what_to_do(tmp_path):
    told = refusal(tmp_path, json.dumps(OWN).encode(), name="own.jsonl")
    assert "has no 'task'" in told
    assert "defaults.task" in told


def test_a_broken_line_is_named(tmp_path):
    told = refusal(tmp_path, json.dumps(OWN).encode() + b"\n{oops\n", name="own.jsonl", defaults=OWN_PLACE)
    assert "line 2 is not valid JSON" in told


def test_killed_between_its_halves_it_goes_on(tmp_path, monkeypatch):
    content = [row(output=str(number)) for number in range(10)]
    import ecellm.dataset.ingest as module

    def die(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_shards", die)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path, content)
    monkeypatch.undo()
    staged = tmp_path / "out" / "staging" / "split.json"
    before = staged.stat().st_mtime_ns
    kept = []
    original = module.run_shards

    def spy(*args, **kwargs):
        kept.append(staged.stat().st_mtime_ns)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "run_shards", spy)
    data = ingest(tmp_path, content)
    assert kept == [before]  # the input was not read again
    assert list(data["output"]) == [str(number) for number in range(10)]
    assert not (tmp_path / "out" / "staging").exists()


def test_published_counts_add_up_to_the_paper():
    proper = [
        Partition(setting, split, task.name)
        for setting in ("IND_Diverse_Instruction", "OOD_Diverse_Instruction")
        for split in ("train", "val", "test")
        for task in TASKS
    ]
    assert sum(published_count(partition) or 0 for partition in proper) == 116_528


@pytest.mark.parametrize(("name", "cut"), [("own.jsonl.gz", 20), ("dataset.json.gz", 20), ("own.jsonl.gz", 0)])
def test_a_damaged_gzip_is_named(tmp_path, name, cut):
    whole = gzip.compress(b"\n".join(json.dumps({**OWN, "input": str(n) * 50}).encode() for n in range(500)))
    content = whole[:-cut] if cut else b"not gzip at all"
    assert "cut off or" in refusal(tmp_path, content, name=name, defaults=OWN_PLACE) or name.startswith("dataset")


def test_mended_input_goes_on_under_the_same_command(tmp_path):
    refusal(tmp_path, [row(), row(task="Poetry")])
    assert len(ingest(tmp_path, [row(), row()])) == 2
