"""Studies: arms of several settings and several runs, paired by example, in the table and on the page."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation.paired import holm
from ecellm.evaluation.report.studies import study_views
from ecellm.recipe import validate
from ecellm.schema import RUNS, STUDIES
from ecellm.storage import Storage
from tests.evaluation import made_up_runs
from tests.evaluation.made_up_runs import evaluate_here, make_samples, of_skill

SINGLE, DIVERSE, UNSEEN = (f"IND_{kind}_Instruction" for kind in ("Single", "Diverse", "Unseen"))
PM, SA, SR = "Product_Matching", "Sentiment_Analysis", "Sequential_Recommendation"
TASKS = (PM, SA, SR)
SIZES = {"100": 0.3, "1,000": 0.6, "all": 0.95}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Three sizes, a model of one kind of instruction, and two of one task each."""
    directory = tmp_path_factory.mktemp("studies")
    settings = (SINGLE, DIVERSE, UNSEEN)
    samples = [row for row in make_samples(directory, num_test=60, settings=settings) if row["task"] in TASKS]

    def answers(name, skill, where=lambda row: True, seed=0):
        rows = [row for row in samples if where(row)]
        return made_up_runs.write_predictions(directory / name, rows, of_skill({}, skill, 0.0), seed=seed)

    of = {
        name: answers(f"n{number}", skill, lambda row: row["setting"] != SINGLE, number)
        for number, (name, skill) in enumerate(SIZES.items())
    }
    single = answers("single", 0.4, lambda row: row["setting"] != DIVERSE, 7)
    pm = answers("pm", 0.95, lambda row: row["setting"] == DIVERSE and row["task"] == PM, 8)
    sa = answers("sa", 0.2, lambda row: row["setting"] == DIVERSE and row["task"] == SA, 9)
    ind = {"conditions": {"IND": DIVERSE}}
    both = {"IND unseen": UNSEEN}
    studies = [
        {
            "name": "scaling",
            "axis": "training samples",
            "arms": [
                {"name": name, "runs": [number], "x": x, **ind, **({} if name == "all" else {"against": "all"})}
                for number, (name, x) in enumerate(zip(SIZES, (100, 1000, 8000), strict=True))
            ],
        },
        {
            "name": "instructions",
            "arms": [
                {"name": "single", "runs": [3], "conditions": {"IND seen": SINGLE, **both}},
                {"name": "diverse", "runs": [2], "conditions": {"IND seen": DIVERSE, **both}, "against": "single"},
            ],
        },
        {
            "name": "generalist",
            "arms": [
                {"name": "one for all", "runs": [2], **ind},
                {"name": "one each", "runs": [4, 5], **ind, "against": "one for all"},
            ],
        },
    ]
    fields = {
        "predictions_dirs": (*of.values(), single, pm, sa),
        "samples_dir": made_up_runs.write_samples(directory / "samples", samples),
        "output_dir": str(directory / "out"),
        "num_resamples": 500,
        "columns": (0, 2),
        "studies": studies,
    }
    config = validate(EvaluateConfig, fields, "test")
    with pytest.MonkeyPatch.context() as patch:
        evaluate_here(config, patch)
    return config


def table(config, name):
    return pq.read_table(f"{config.output_dir}/{name}/data/part-00000.parquet")


@pytest.fixture(scope="module")
def rows(evaluated):
    found = table(evaluated, "studies")
    assert found.schema.equals(STUDIES, check_metadata=True)
    return found.to_pylist()


@pytest.fixture(scope="module")
def page(evaluated):
    return Path(f"{evaluated.output_dir}/report.html").read_text()


def test_every_arm_has_its_figures_where_it_was_tested(rows, evaluated):
    found = {}
    for row in rows:
        found.setdefault((row["study"], row["arm"], row["condition"], row["setting"]), set()).add(row["task"])
    assert found == {
        **{("scaling", size, "IND", DIVERSE): {*TASKS} for size in SIZES},
        ("instructions", "single", "IND seen", SINGLE): {*TASKS},
        ("instructions", "single", "IND unseen", UNSEEN): {*TASKS},
        ("instructions", "diverse", "IND seen", DIVERSE): {*TASKS},
        ("instructions", "diverse", "IND unseen", UNSEEN): {*TASKS},
        ("generalist", "one for all", "IND", DIVERSE): {*TASKS},
        ("generalist", "one each", "IND", DIVERSE): {PM, SA},
    }
    assert {(row["arm"], row["x"]) for row in rows if row["study"] == "scaling"} == {
        ("100", 100),
        ("1,000", 1000),
        ("all", 8000),
    }
    metrics = [
        row
        for path in Storage().list_files(f"{evaluated.output_dir}/metrics/data", ".parquet")
        for row in pq.read_table(path).to_pylist()
        if row["is_headline"] and row["slice_name"] is None
    ]
    of = {(row["run_id"], row["setting"], row["task"], row["flavour"]): row for row in metrics}
    for row in rows:
        assert row["value"] == of[row["run_id"], row["setting"], row["task"], row["flavour"]]["value"]


def test_arms_are_compared_by_the_examples_of_both(rows):
    strict = {
        (row["study"], row["arm"], row["condition"], row["task"]): row for row in rows if row["flavour"] == "strict"
    }
    without = {(key[0], key[1]) for key, row in strict.items() if row["against"] is None}
    assert without == {("scaling", "all"), ("instructions", "single"), ("generalist", "one for all")}
    scaled = strict["scaling", "100", "IND", SR]
    assert (scaled["against"], scaled["num_paired"]) == ("all", 60)
    assert scaled["difference"] == pytest.approx(scaled["value"] - strict["scaling", "all", "IND", SR]["value"])
    assert scaled["difference_ci_high"] < 0
    assert scaled["p_adjusted"] < 0.05
    # Two settings: the same examples under other instructions.
    seen = strict["instructions", "diverse", "IND seen", SR]
    assert seen["num_paired"] == 60
    assert seen["against_value"] == pytest.approx(strict["instructions", "single", "IND seen", SR]["value"])
    assert strict["generalist", "one each", "IND", SA]["difference"] < 0


def test_p_is_adjusted_over_all_comparisons_of_a_study(rows):
    for study, number in (("scaling", 2 * 3), ("instructions", 2 * 3), ("generalist", 2)):
        own = [
            row for row in rows if (row["study"], row["flavour"]) == (study, "strict") and row["against"] is not None
        ]
        assert len(own) == number
        assert [row["p_adjusted"] for row in own] == pytest.approx(holm([row["p_value"] for row in own]))


def test_only_columns_are_columns_and_every_run_is_traced(page, evaluated):
    heads = re.findall(r"<th scope=\"col\"><span class=\"run\">.*?</span>(\w+)</span></th>", page)
    assert set(heads) == {"n0", "n2"}
    made = table(evaluated, "runs")
    assert made.schema.equals(RUNS, check_metadata=True)
    assert made["label"].to_pylist() == ["n0", "n1", "n2", "single", "pm", "sa"]
    for path in made["manifest"].to_pylist():
        assert Path(path).exists()
        assert path in page
    assert {row["run_id"] for row in table(evaluated, "studies").to_pylist()} == set(made["run_id"].to_pylist())
    compared = table(evaluated, "comparisons").to_pylist()
    assert {(row["run_id"], row["baseline_run_id"]) for row in compared} == {("run-n2", "run-n0")}


def test_the_page_draws_curves_and_says_how_often_an_arm_is_better(page):
    section = page[page.index('id="studies"') :]
    section = section[: section.index("</section>")]
    assert re.search(r"<strong>100</strong> against all: clearly better in 0, clearly worse in 3 of 3 tests", section)
    assert section.count("<figure>") == 3 + 2 + 1  # a task each; a condition each
    assert "training samples" in section
    assert re.search(r'<td title="run run-sa"><span class="value">0\.\d+</span>', section)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": [9]}, "there is no predictions directory number 9"),
        ({"against": "nobody"}, "arm one each is against nobody, which is no other arm"),
        ({"x": 3}, "all arms have an x where there is an axis, and none where not"),
        ({"conditions": {"IND": "Elsewhere"}}, "unknown setting 'Elsewhere'"),
    ],
)
def test_a_study_that_cannot_be_is_refused(evaluated, change, message):
    fields = evaluated.model_dump(mode="json")
    fields["studies"][2]["arms"][1] |= change
    with pytest.raises(InputError, match=re.escape(message)):
        validate(EvaluateConfig, fields, "test")


def test_the_page_praises_nothing_that_is_no_better_than_a_floor(rows, evaluated):
    metrics = [
        row
        for path in Storage().list_files(f"{evaluated.output_dir}/metrics/data", ".parquet")
        for row in pq.read_table(path).to_pylist()
    ]

    def praised(metrics):
        (view,) = [each for each in study_views(rows, metrics, {}, 500) if each.name == "instructions"]
        return [cell.verdict for group in view.groups for line in group.lines for cell in line.cells if cell.difference]

    assert "above" in praised(metrics)
    unbeaten = [row | {"value": 1.0} if row["role"] == "floor" else row for row in metrics]
    assert "above" not in praised(unbeaten)


def test_the_page_says_where_resamples_are_too_few(rows):
    views = study_views(rows, [row | {"role": "ours", "slice_name": None, "is_headline": True} for row in rows], {}, 60)
    assert all("no adjusted p can be below" in view.note for view in views if view.name != "generalist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ()}, "columns"),
        ({"columns": (1, 1)}, "columns names a predictions directory twice"),
        ({"task_specific": (9,)}, "there is no predictions directory number 9"),
    ],
)
def test_columns_that_cannot_be_are_refused(evaluated, change, message):
    with pytest.raises(InputError, match=message):
        validate(EvaluateConfig, evaluated.model_dump(mode="json") | change, "test")


def test_unasked_the_first_column_is_no_task_specific_model(evaluated, monkeypatch, tmp_path):
    fields = evaluated.model_dump(mode="json") | {"output_dir": str(tmp_path / "out"), "columns": None, "studies": []}
    config = validate(EvaluateConfig, fields | {"task_specific": (0, 4, 5), "num_resamples": 60}, "test")
    evaluate_here(config, monkeypatch)
    compared = {(row["run_id"], row["baseline_run_id"]) for row in table(config, "comparisons").to_pylist()}
    assert compared == {("run-n2", "run-n1"), ("run-single", "run-n1")}
    roles = {row["run_id"]: row["role"] for row in table(config, "runs").to_pylist()}
    assert {run_id for run_id, role in roles.items() if role == "task_specific"} == {"run-n0", "run-pm", "run-sa"}


def test_an_arm_that_answers_a_task_twice_is_refused(evaluated, monkeypatch, tmp_path):
    fields = evaluated.model_dump(mode="json") | {"output_dir": str(tmp_path / "out")}
    fields["studies"][2]["arms"][1]["runs"] = [4, 2]
    with pytest.raises(InputError, match=f"arm one each answers {PM} in {DIVERSE} twice"):
        evaluate_here(validate(EvaluateConfig, fields, "test"), monkeypatch)
