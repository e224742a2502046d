"""From scores and answers to what the report says of them: verdicts, failures, confusion, which samples are shown."""

import base64
import gzip
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from ecellm.evaluation.report.answers import confusion_views
from ecellm.evaluation.report.runs import PlaceFiles
from ecellm.evaluation.report.samples import choose, choose_samples, cut, make_block, pack, share_out
from ecellm.evaluation.report.scan import RunScan, ScoreGroup, confusion_of, judge, scan_run
from ecellm.evaluation.report.unreadable import kind_of
from ecellm.evaluation.report.verdicts import Judgement
from ecellm.schema import PREDICTIONS, SAMPLES, SCORES
from ecellm.storage import Storage
from tests.evaluation.made_up_runs import write_tables


def group(is_valid=True, **values):
    return ScoreGroup("id", "strict", "x", is_valid, "y", values)


@pytest.mark.parametrize(
    ("scores", "judgement", "score"),
    [
        (group(correct=1.0), Judgement.RIGHT, 1),
        (group(correct=0.0), Judgement.WRONG, 0),
        (group(is_valid=False, correct=None), Judgement.UNREADABLE, -1),
        (group(hits=2.0, num_predicted=2.0, num_gold=2.0), Judgement.RIGHT, 1),
        (group(hits=1.0, num_predicted=1.0, num_gold=2.0), Judgement.PARTLY, 2 / 3),
        (group(hits=0.0, num_predicted=3.0, num_gold=2.0), Judgement.WRONG, 0),
        (group(hits=0.0, num_predicted=0.0, num_gold=0.0), Judgement.RIGHT, 1),
        (group(hits=4.0, num_predicted=2.0, num_gold=2.0), Judgement.RIGHT, 1),  # released counts repeated hits
        (group(ndcg=0.9999990000010), Judgement.RIGHT, 0.999999),  # the released NDCG of a perfect order
        (group(ndcg=0.6), Judgement.PARTLY, 0.6),
        (group(ndcg=0.01), Judgement.WRONG, 0.01),
        (group(ndcg=0.0), Judgement.WRONG, 0),
        (group(bertscore_f1=0.8, rouge_l=0.2), Judgement.UNJUDGED, 0.8),
        (group(bertscore_f1=None, rouge_l=0.2), Judgement.UNJUDGED, 0.2),
        (group(bertscore_f1=None), Judgement.UNJUDGED, 0),
    ],
)
def test_verdicts(scores, judgement, score):
    assert judge(scores) == (judgement, pytest.approx(score))


@pytest.mark.parametrize(
    ("response", "finish_reason", "choices", "is_json", "kind"),
    [
        ("  \n", "stop", ["yes", "no"], False, "empty answer"),
        ("Yes, they match", "stop", ["yes", "no"], False, "names a choice amid other text"),
        ("noted", "stop", ["yes", "no"], False, "names none of the choices"),
        ("a product", "stop", ["A", "B"], False, "names none of the choices"),
        ("The answer is B", "length", ["A", "B"], False, "names a choice amid other text"),
        ("Well, let me think", "length", ["A", "B"], False, "cut off at the length limit"),
        ("### Response: yes", "stop", ["yes"], False, "empty answer"),
        ("the blue one", "stop", [], True, "text instead of JSON"),
        ('[{"attribute": "col', "length", [], True, "JSON cut off at the length limit"),
        ('[{"attribute": "col', "stop", [], True, "broken JSON"),
        ('{"attribute": "color"}', "stop", [], True, "JSON of another form than asked for"),
        ("[" * 100_000, None, [], True, "broken JSON"),
        ("?", None, [], False, "other"),
    ],
)
def test_why_an_answer_could_not_be_read(response, finish_reason, choices, is_json, kind):
    assert kind_of(response, finish_reason, choices, is_json=is_json) == kind


def scan_with(counts):
    scan = RunScan()
    scan.confusion.update(counts)
    return scan


def test_confusion_puts_the_unreadable_last_and_yes_first():
    scan = scan_with({("yes", "yes"): 3, ("yes", "no"): 1, ("no", None): 2})
    confusion = confusion_of(scan)
    assert confusion.references == ("yes", "no")
    assert confusion.answers == ("yes", "no", "unreadable")
    assert confusion.counts == ((3, 1, 0), (0, 0, 2))
    (view,) = confusion_views({("IND_Diverse_Instruction", "PM"): {0: scan}}, ["base"], {"IND_Diverse_Instruction"})
    assert [(cell.heat, cell.is_right) for cell in view.lines[0][1]] == [(8, True), (2, False), (0, False)]
    assert (view.title, view.is_main) == ("base, IND diverse", True)


def test_of_very_many_labels_the_rare_ones_are_counted_together():
    scan = scan_with({(f"label {number:02}", f"label {number:02}"): 100 - number for number in range(50)})
    confusion = confusion_of(scan)
    assert len(confusion.references) == 25
    assert confusion.references[-1] == "(other)"
    assert sum(map(sum, confusion.counts)) == sum(scan.confusion.values())


def test_open_answers_have_no_confusion():
    assert confusion_of(RunScan()) is None


def test_small_places_are_shown_whole_and_the_others_share_what_is_left():
    assert share_out([10, 1000, 500], 710) == [10, 350, 350]
    assert share_out([10, 20], 100) == [10, 20]
    assert sum(share_out([7, 7, 7], 10)) == 10
    assert share_out([], 5) == []


def test_half_of_the_choice_are_the_worst_and_half_is_an_even_spread():
    badness = np.array([[number % 10, 0] for number in range(100)])
    chosen = choose(badness, 20).tolist()
    assert len(chosen) == 20
    assert chosen == sorted(chosen)
    assert set(range(0, 100, 10)) <= set(chosen)
    rest = [place for place in chosen if badness[place, 0]]
    assert (rest[0], rest[-1]) == (1, 99)
    assert max(b - a for a, b in itertools.pairwise(rest)) <= 13
    assert choose(badness, 100).tolist() == list(range(100))
    assert choose(badness, 0).tolist() == []


def test_the_first_of_the_keys_counts_first():
    assert choose(np.array([[1, 0], [0, 1], [0, 0], [1, 1]]), 2).tolist()[-1] >= 2
    assert 2 in choose(np.array([[1, 0], [0, 1], [0, 0], [1, 1]]), 2)


def unpack(packed):
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_packing_is_stable_and_harmless():
    value = {"</script>": "\u2028 ½ <!--"}
    assert pack(value) == pack(value)
    assert unpack(pack(value)) == value
    assert pack(value).replace("=", "").replace("+", "").replace("/", "").isalnum()


def test_long_texts_are_cut_with_a_note():
    assert cut(None) is None
    assert cut("x" * 10_000) == "x" * 10_000
    text = cut("x" * 12_345)
    assert text.startswith("x" * 10_000 + "\n…")
    assert "2,345 more characters" in text


PLACE = {"task": "Product_Matching", "split": "test", "setting": "IND_Diverse_Instruction"}


@pytest.fixture
def place(tmp_path):
    """Four samples of one place; the second run answered three of them, and wrong."""
    samples, predictions, scores = [], {0: [], 1: []}, {0: [], 1: []}
    for number in range(4):
        ids = {"sample_id": f"s{number}", "example_id": f"e{number}", "row_index": number, **PLACE}
        texts = {"instruction": "Same product?", "input": f"input {number}", "output": "yes", "options": None}
        samples.append(ids | texts)
        for run in (0, 1) if number < 3 else (0,):
            answer = "Sure!" if (run, number) == (0, 2) else "yes" if run == 0 else "no"
            row = ids | {"run_id": f"run-{run}", "response": answer}
            predictions[run].append(
                row
                | {
                    "finish_reason": "stop",
                    "was_shortened": number == 1,
                    "num_prompt_tokens": 9,
                    "num_completion_tokens": 1,
                }
            )
            for flavour in ("released", "strict"):
                is_valid = answer != "Sure!"
                value = float(answer == "yes") if is_valid or flavour == "strict" else None
                score = {"flavour": flavour, "parsed": answer if is_valid else None, "is_valid": is_valid}
                score |= {"reference": "yes", "component": "correct", "value": value}
                scores[run].append(ids | {"run_id": f"run-{run}"} | score)
    files = {}
    for name, rows, schema in [("samples", samples, SAMPLES)] + [
        (f"{kind}-{run}", tables[run], schema)
        for run in (0, 1)
        for kind, tables, schema in (("predictions", predictions, PREDICTIONS), ("scores", scores, SCORES))
    ]:
        columns = pa.schema([schema.field(column) for column in rows[0]])  # others' files may lack the rest
        write_tables(tmp_path / name, rows, ("setting", "task"), columns)
        files[name] = [str(path) for path in (tmp_path / name).rglob("*.parquet")]
    of_runs = [{run: files[f"{kind}-{run}"] for run in (0, 1)} for kind in ("predictions", "scores")]
    return PlaceFiles(PLACE["setting"], PLACE["task"], *of_runs, {"test": files["samples"]}, 7)


def test_a_place_is_read_run_by_run(place):
    storage = Storage()
    first, second = (scan_run(storage, place, run, "strict") for run in (0, 1))
    judgements = [judged.judgement for judged in first.verdicts.of(["s0", "s1", "s2", "s3", "s4"])]
    assert judgements == ["right", "right", "unreadable", "right", "not judged"]
    assert first.confusion == {("yes", "yes"): 3, ("yes", None): 1}
    assert [(each.kind, each.num_answers, each.examples) for each in first.failures] == [
        ("names none of the choices", 1, ("Sure!",))
    ]
    assert (second.num_answers, second.failures) == (3, ())


def test_a_block_holds_texts_once_and_what_each_run_answered(place):
    storage = Storage()
    scans = {run: scan_run(storage, place, run, "strict") for run in (0, 1)}
    chosen = choose_samples(storage, place, scans, 100, main_run=1)
    assert chosen == ["s0", "s1", "s2", "s3"]
    block = make_block(storage, place, scans, chosen)
    assert (block.num_samples, block.num_answers) == (4, 7)
    held = unpack(block.packed)
    assert held["texts"] == ["Same product?"]
    assert held["samples"]["input"] == [f"input {number}" for number in range(4)]
    assert held["samples"]["options"] == [None] * 4
    assert held["runs"]["1"]["answer"] == ["no", "no", "no", None]
    assert held["runs"]["0"]["verdict"] == ["right", "right", "unreadable", "right"]
    assert held["runs"]["0"]["why"] == [None, None, "names none of the choices", None]
    assert held["runs"]["0"]["values"][2] == {"released": {}, "strict": {"correct": 0.0}}
    assert held["runs"]["0"]["tokens"][0] == [9, 1]
    assert held["runs"]["0"]["shortened"] == [None, True, None, None]


def test_the_main_runs_mistakes_are_chosen_first(place):
    storage = Storage()
    scans = {run: scan_run(storage, place, run, "strict") for run in (0, 1)}
    assert "s2" in choose_samples(storage, place, scans, 4, main_run=0), "two samples, of two answers each"
    assert choose_samples(storage, place, scans, 1, main_run=0) == []
    empty = make_block(storage, place, scans, [])
    assert (empty.num_samples, unpack(empty.packed)["samples"]["id"]) == (0, [])


def test_runs_without_scores_are_shown_unjudged(place):
    storage = Storage()
    bare = PlaceFiles(place.setting, place.task, place.predictions, {}, place.samples, 7)
    scans = {run: scan_run(storage, bare, run, "strict") for run in (0, 1)}
    held = unpack(make_block(storage, bare, scans, choose_samples(storage, bare, scans, 100, 0)).packed)
    assert held["runs"]["0"]["verdict"] == ["not judged"] * 4
    assert held["runs"]["0"]["values"] == [None] * 4
