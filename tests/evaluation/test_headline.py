"""The table at the end of a run."""

from ecellm.evaluation.headline import count_line, headline_rows, summary_lines


def row(run_id, value, task="Product_Matching", setting="IND_Diverse_Instruction", role="ours", **fields):
    figures = {"value": value, "ci_low": None, "ci_high": None, "reason": None, "num_samples": 253, "num_invalid": 0}
    place = {"task": task, "setting": setting, "split": "test", "metric": "f1", "is_headline": True}
    place |= {"flavour": "strict", "slice_name": None}
    return {"run_id": run_id, "role": role, "model": run_id.removeprefix("floor-")} | place | figures | fields


ROWS = [
    row("base", 0.0, ci_low=0.0, ci_high=0.0),
    row("tuned", 0.9, ci_low=0.7, ci_high=0.95),
    row("floor-always-yes", 0.6, role="floor"),
    row("floor-majority", 0.0, role="floor"),
    row("tuned", 0.62, ci_low=0.58, ci_high=0.66, setting="OOD_Diverse_Instruction_1-shot"),
    row("floor-always-yes", 0.6, role="floor", setting="OOD_Diverse_Instruction_1-shot"),
    row("tuned", None, task="Answer_Generation", reason="needs a scorer"),
]


def test_only_an_interval_above_the_best_floor_is_marked():
    lines = headline_rows(ROWS, ["base", "tuned"])
    assert [(line.task, line.is_above_floor) for line in lines] == [
        ("Product_Matching", True),
        ("Product_Matching", False),
        ("Answer_Generation", None),
    ]
    assert count_line(lines) == "1 of 2 tasks and settings above the best floor"
    assert count_line(lines[:1]) == "1 of 1 tasks above the best floor"


def test_the_table_is_aligned_and_says_what_is_missing():
    text = summary_lines(headline_rows(ROWS, ["base", "tuned"]), ["base", "tuned"])
    header, first, second, third = text[:4]
    for word, values in [("base", ["0.000 [", "- ", "- "]), ("tuned", ["0.900 [", "0.620 [", "n/a"])]:
        place = header.index(f"  {word} ") + 2
        assert [line[place:].startswith(value) for line, value in zip((first, second, third), values, strict=True)]
    assert first.startswith("*  Product_Matching   IND diverse  f1")
    assert "0.900 [0.700, 0.950]" in first
    assert first.endswith("0.600 always-yes")
    assert second.startswith("   Product_Matching   OOD 1-shot")
    assert text[4] == "Answer_Generation: needs a scorer"
    assert text[-1] == "1 of 2 tasks and settings above the best floor"


def test_without_an_interval_the_value_is_compared():
    lines = headline_rows([row("tuned", 0.7), row("floor-x", 0.6, role="floor")], ["tuned"])
    assert lines[0].is_above_floor
