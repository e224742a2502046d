"""The paper's figures: as its tables print them, and the models that a reader compares with."""

import json
from pathlib import Path

import duckdb
import pytest
import yaml

from ecellm.errors import InputError
from ecellm.evaluation.published import (
    PUBLISHED_PATH,
    convert,
    published_rows,
    reference_models,
)
from ecellm.evaluation.published_tables import metric_rows_of
from ecellm.schema import CONTRACT_VERSION, METRICS
from ecellm.storage import Storage
from ecellm.tasks import TASKS, task_named
from tests.conftest import REAL_DATA, ROOT, missing

IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"
OF_TWO_TASKS = "SR/QPR"
PLACES = [(task.name, setting) for task in TASKS for setting in (IND, OOD)]


@pytest.fixture(scope="module")
def source():
    path = REAL_DATA.parent / "published_results.json"
    if not path.is_file():
        missing("real_data", f"{path} is not there")
    return path


def figures(task, setting, model):
    rows = [row for row in published_rows(task, setting) if row["model"] == model]
    return {row["metric"]: row["value"] for row in rows}, {row["num_invalid"] for row in rows}


@pytest.mark.parametrize(
    ("task", "setting", "model", "expected", "num_invalid"),
    [
        (
            "PM", IND, "eCeLLM-L (GEN Llama-2 13B-chat)",
            {"acc": 0.996, "recall": 0.991, "precision": 1.0, "f1": 0.995, "specificity": 1.0, "npr": 0.993}, 0,
        ),
        ("PRP", OOD, "eCeLLM-S (GEN Phi-2)", {"acc": 0.71, "recall": 0.541, "precision": 0.611, "f1": 0.52}, 0),
        ("AVE", IND, "GPT-4 Turbo", {"recall": 0.422, "precision": 0.598, "f1": 0.495}, 6),
        ("SR", IND, "SoTA: Recformer", {"recall@1": 0.265}, 0),
        ("SR", OOD, "eCeLLM-M (GEN Mistral-7B Instruct-v0.2)", {"recall@1": 0.28}, 0),
        ("SR", OOD, "eCeLLM-S (GEN Phi-2)", {"recall@1": 0.241}, 8),
        ("QPR", IND, "SoTA: BERT", {"ndcg": 0.839}, 0),
        ("QPR", IND, "EcomGPT", {"ndcg": 0.0}, 1000),
        (
            "AG", OOD, "Claude 2.1",
            {"bertscore_recall": 0.851, "bertscore_precision": 0.833, "bertscore_f1": 0.842, "bleurt": 0.325}, 0,
        ),
    ],
)  # fmt: skip
def test_figures_stand_as_the_tables_print_them(task, setting, model, expected, num_invalid):
    assert figures(task, setting, model) == (expected, {num_invalid})


def test_the_kept_file_holds_every_figure_of_the_tables(source):
    """Flattened again by place alone, each row of a table gives its own numbers back."""
    tables = json.loads(source.read_text())["tables"]
    num_figures = 0
    for title, table in tables.items():
        parts = [name.split()[:-1] for name in table["columns"]]
        failed = [name.endswith("#fail") for name in table["columns"]]
        for place, numbers in enumerate(table["rows"].values()):
            printed = [number for number, is_failed in zip(numbers, failed, strict=True) if not is_failed]
            num_figures += len(printed)
            if title == OF_TWO_TASKS:
                assert [name for name, is_failed in zip(parts, failed, strict=True) if not is_failed] == [
                    ["SR", "IND"], ["SR", "OOD"], ["QPR"]
                ]  # fmt: skip
                tests = [("SR", IND, 1), ("SR", OOD, 1), ("QPR", IND, 1)]
            else:
                width = len(printed) // (2 if ["OOD"] in parts else 1)
                tests = [(title, IND, width), (title, OOD, width)][: len(printed) // width]
            ours, invalid = [], []
            for task, setting, width in tests:
                rows = published_rows(task, setting)[place * width : (place + 1) * width]
                ours += [row["value"] for row in rows]
                invalid += {row["num_invalid"] for row in rows}
            assert ours == printed, (title, place)
            assert invalid == [number for number, is_failed in zip(numbers, failed, strict=True) if is_failed]
    assert num_figures == sum(len(published_rows(*place)) for place in PLACES)


def test_the_kept_file_is_what_the_command_makes(source, tmp_path):
    convert(source, tmp_path / "again.parquet")
    assert Storage().read_table(str(tmp_path / "again.parquet")).equals(Storage().read_table(str(PUBLISHED_PATH)))


def test_the_file_is_a_metrics_table():
    table = Storage().read_table(str(PUBLISHED_PATH))
    assert table.schema.equals(METRICS)
    assert table.schema.metadata[b"ecellm_contract"] == CONTRACT_VERSION.encode()
    query = f"SELECT task, setting, run_id, count(*) FILTER (is_headline) FROM '{PUBLISHED_PATH}' GROUP BY ALL"
    counts = duckdb.sql(query).fetchall()
    assert {count for *_, count in counts} == {1}
    assert {row[1] for row in counts} == {IND, OOD}
    assert [sum(row[0] == task.name for row in counts) for task in TASKS] == [40, 40, 20, 42, 40, 20, 20, 20, 40, 38]


@pytest.mark.parametrize(("task", "setting"), PLACES)
def test_metrics_have_the_names_and_the_order_of_our_own(task, setting):
    names = [name for name in task_named(task).scorer().metric_names if name != "rouge_l"]
    rows = published_rows(task, setting)
    assert [row["metric"] for row in rows] == names * (len(rows) // len(names))
    assert all(row["num_samples"] == (253 if "Matching" in task else 1000) for row in rows)


# Of the positives, PM's are those of its files, and PSI's give "always yes" the F1 of 0.37 that is known of it.
@pytest.mark.parametrize(
    ("task", "setting", "size", "num_positive"),
    [("PM", IND, 253, 111), ("PSI", IND, 1000, 230), ("AP", IND, 1000, 633), ("AP", OOD, 1000, 686)],
)
def test_all_rows_of_a_test_count_unreadable_answers_too(task, setting, size, num_positive):
    """The six figures of each model come from one table of four counts that add up to the whole test."""
    num_negative = size - num_positive
    models = {row["model"] for row in published_rows(task, setting)}
    assert len(models) == 20
    for model in models:
        printed, _ = figures(task, setting, model)
        tp, tn = round(printed["recall"] * num_positive), round(printed["specificity"] * num_negative)
        fp, fn = num_negative - tn, num_positive - tp
        expected = {
            "acc": (tp + tn) / size,
            "recall": tp / num_positive,
            "precision": tp / max(1, tp + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "specificity": tn / num_negative,
            "npr": tn / (tn + fn),
        }
        assert printed == pytest.approx(expected, abs=5.001e-4), model


def test_a_figure_with_unreadable_answers_is_of_all_rows():
    values, invalid = figures("SR", IND, "EcomGPT")
    assert (values, invalid) == ({"recall@1": 0.042}, {344})
    assert 0.042 not in {round(hits / (1000 - 344), 3) for hits in range(656)}


FAMILY = ["eCeLLM-L", "eCeLLM-M", "eCeLLM-S", "GPT-4 Turbo", "EcomGPT"]


@pytest.mark.parametrize(
    ("task", "setting", "best"),
    [
        ("AVE", IND, "SUOpenTag"),
        ("AVE", OOD, "AVEQA"),
        ("PM", IND, "BERT"),
        ("SA", OOD, "DeBERTaV3"),
        ("SR", IND, "Recformer"),
        ("QPR", IND, "DeBERTaV3"),
        ("AG", IND, None),
    ],
)
def test_the_models_to_compare_with_come_in_a_fixed_order(task, setting, best):
    models = reference_models(task, setting)
    assert [model.label for model in models] == FAMILY + ([best] if best else [])
    assert [model.is_task_specific for model in models] == [False] * 5 + [True] * bool(best)
    assert {model.metric for model in models} == {task_named(task).headline_metric}
    assert all(model.value == model.values[model.metric] for model in models)
    specific = [row["value"] for row in published_rows(task, setting) if row["model"].startswith("SoTA") and best]
    assert not best or len(specific) == len(models[-1].values) * (3 if task == "SA" else 2)


def test_the_general_model_is_the_one_without_training():
    assert [(model.label, model.run_id, model.value) for model in reference_models("AG", OOD)[2:4]] == [
        ("eCeLLM-S", "published-ecellm-s", 0.84),
        ("GPT-4 Turbo", "published-gpt-4-turbo", 0.86),
    ]


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        ("PM", OOD),
        ("QPR", OOD),
        ("SA", "IND_Unseen_Instruction"),
        ("SA", "OOD_Diverse_Instruction_1-shot"),
        ("Ticket_Routing", IND),
    ],
)
def test_where_the_paper_has_no_figures_there_are_none(task, setting):
    assert published_rows(task, setting) == reference_models(task, setting) == []


def test_any_name_of_a_task_finds_its_rows_and_they_are_new_ones():
    rows = published_rows("Product_Substitue_Identification", IND)
    assert rows == published_rows("PSI", IND)
    rows[0]["value"] = 7.0
    assert published_rows("PSI", IND)[0]["value"] < 1


@pytest.mark.parametrize(
    ("title", "columns", "figures", "told"),
    [
        ("PM", ["IND Acc", "IND Kappa", "IND #fail"], [0.1, 0.2, 0], "unknown column 'IND Kappa'"),
        ("PM", ["Acc", "RP Acc", "#fail"], [0.1, 0.2, 0], "unknown column 'RP Acc'"),
        ("PM", ["IND Acc"], [0.1], "its last column must be #fail"),
        ("PM", ["IND Acc", "OOD R", "#fail"], [0.1, 0.2, 0], "of one task and one domain"),
        ("PM", ["IND Acc", "#fail"], [0.1], "GPT-4 Turbo has 1 figures in 2 columns"),
        ("PM", ["OOD Acc", "OOD #fail"], [0.1, 0], "Product_Matching has no test in OOD_Diverse_Instruction"),
        ("XYZ", ["IND Acc", "#fail"], [0.1, 0], "unknown task 'XYZ'"),
    ],
)
def test_a_table_of_another_form_is_refused(title, columns, figures, told):
    with pytest.raises(InputError, match=told):
        metric_rows_of({"tables": {title: {"columns": columns, "rows": {"GPT-4 Turbo": figures}}}})


def test_a_submitted_job_brings_the_figures_along():
    """What runtime_env.yaml leaves out, other Parquet among it, is never this file."""
    from ray._private.runtime_env.packaging import _get_excludes

    excludes = yaml.safe_load((ROOT / "runtime_env.yaml").read_text(encoding="utf-8"))["excludes"]
    is_left_out = _get_excludes(ROOT, excludes)
    assert not is_left_out(Path(PUBLISHED_PATH))
    assert is_left_out(ROOT / "part-00000.parquet")
