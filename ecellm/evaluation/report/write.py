"""The last task of evaluate: gathers what the shards wrote, and writes comparisons and the report.

Scores, predictions and samples are read one (setting, task) at a time, in batches of rows: memory holds the metrics
table, one place's verdicts (some 50 bytes an answer), and the packed samples of the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ecellm.config import StorageConfig
from ecellm.config.evaluate import Study
from ecellm.dataset.partitions import part_name
from ecellm.evaluation.answered import PredictionPlace, read_columns, sample_files
from ecellm.evaluation.headline import (
    HeadlineRow,
    headline_rows,
    order_of,
    shown_flavour,
    summary_lines,
)
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.published_comparability import comparability, remarks, similarity_comparability
from ecellm.evaluation.report.about import describe_evaluation
from ecellm.evaluation.report.page import ReportData, render
from ecellm.evaluation.report.paper import Comparability
from ecellm.evaluation.report.runs import (
    PlaceFiles,
    RunInfo,
    describe_costs,
    describe_runs,
    list_places,
    run_rows,
    short_names,
    training_log,
)
from ecellm.evaluation.report.samples import MAX_ANSWERS, SampleBlock, choose_samples, make_block, share_out
from ecellm.evaluation.report.scan import RunScan, scan_run
from ecellm.evaluation.report.standings import best_standing, standings
from ecellm.evaluation.similarity.bertscore import layer_of
from ecellm.evaluation.studies import StudyRuns, study_rows
from ecellm.loss_curve import LossCurve, loss_curve
from ecellm.manifest import read_manifest
from ecellm.schema import COMPARISONS, METRICS, RUNS, STUDIES
from ecellm.storage import Storage, join


def write_report(
    shard: Mapping[str, Any],
    *,
    output_dir: str,
    storage_config: Mapping[str, Any],
    max_answers: int = MAX_ANSWERS,
) -> dict[str, Any]:
    """Write `comparisons/`, `studies/`, `runs/` and `report.html`.

    Args:
        shard: `predictions_dirs`, `samples_dir`, `training_dirs`, `similarity_models` (the models' names in the
            config), `comparisons` (rows of that table), `columns` (numbers of the directories that have one), `roles`
            (of the runs of each directory), `studies` (of the config), and `pairs` (what comparing arms gave).
        output_dir: evaluate's output, with all parts of `metrics/` and `scores/` written.
        storage_config: how to reach all of these.
        max_answers: how many answers the page holds at most.

    Returns:
        `summary` (lines of text) and `details` (the headline figures).
    """
    storage = Storage(StorageConfig(**storage_config))
    metrics = read_columns(storage, storage.list_files(join(output_dir, "metrics", "data"), ".parquet"), METRICS.names)
    rows = metrics.to_pylist()
    found = describe_runs(storage, shard["predictions_dirs"], shard["roles"])
    manifests = {path: read_manifest(storage, path) for path in shard["predictions_dirs"]}
    of_runs = run_rows(manifests, found)
    of_studies = _study_rows(shard, found, rows)
    for name, table, schema in (
        ("comparisons", shard["comparisons"], COMPARISONS),
        ("studies", of_studies, STUDIES),
        ("runs", of_runs, RUNS),
    ):
        storage.write_table(join(output_dir, name, "data", part_name(0)), pa.Table.from_pylist(table, schema=schema))
    runs = [run for number in shard["columns"] for run in found if run.directory == number]
    lines = headline_rows(rows, [run.run_id for run in runs])
    samples_dir = shard["samples_dir"]
    places = list_places(storage, runs, join(output_dir, "scores", "data"), sample_files(storage, samples_dir))
    main_run = best_standing(standings(lines, len(runs))).number
    scans, blocks = _read_places(storage, places, shown_flavour(rows), main_run, max_answers)
    data = ReportData(
        rows=rows,
        lines=lines,
        runs=runs,
        costs=describe_costs(manifests, found),
        comparisons=shard["comparisons"],
        studies=of_studies,
        made=of_runs,
        curves=_loss_curves(storage, shard["training_dirs"]),
        scans=scans,
        blocks=blocks,
        num_answers=sum(place.num_answers for place in places),
        about=describe_evaluation(storage, samples_dir, output_dir),
        comparability=_comparability(read_manifest(storage, samples_dir), shard["similarity_models"]),
    )
    storage.write_bytes(join(output_dir, "report.html"), render(data).encode())
    labels = [run.label for run in runs]
    return {"summary": summary_lines(lines, labels), "details": {"headline": [_detail(row, labels) for row in lines]}}


def _study_rows(
    shard: Mapping[str, Any], runs: Sequence[RunInfo], metrics: Sequence[MetricRow]
) -> list[dict[str, Any]]:
    studies = [Study.model_validate(study) for study in shard["studies"]]
    run_ids = {run.directory: run.run_id for run in runs}  # a directory of an arm holds one run
    of_directories = [run_ids.get(number) for number in range(len(shard["predictions_dirs"]))]
    return study_rows(StudyRuns(studies, of_directories, metrics, shard["pairs"]))


def _read_places(
    storage: Storage, places: Sequence[PlaceFiles], flavour: str, main_run: int, max_answers: int
) -> tuple[dict[PredictionPlace, dict[int, RunScan]], list[SampleBlock]]:
    """Read one (setting, task) after the other, in the order in which they are shown."""
    scans: dict[PredictionPlace, dict[int, RunScan]] = {}
    blocks = []
    ordered = sorted(places, key=lambda place: order_of((place.task, place.setting, "")))
    shares = share_out([place.num_answers for place in ordered], max_answers)
    for place, share in zip(ordered, shares, strict=True):
        own = {run: scan_run(storage, place, run, flavour) for run in place.predictions}
        chosen = choose_samples(storage, place, own, share, main_run)
        blocks.append(make_block(storage, place, own, chosen))
        for scan in own.values():
            scan.forget_answers()  # what the page needs of them is in the block
        scans[place.setting, place.task] = own
    return scans, blocks


def _loss_curves(storage: Storage, directories: Sequence[str]) -> list[LossCurve]:
    curves = [
        loss_curve(label, training_log(storage, directory))
        for directory, label in zip(directories, short_names(directories), strict=True)
    ]
    return [curve for curve in curves if curve is not None]


def _comparability(samples_manifest: Mapping[str, Any], similarity_models: Mapping[str, Any]) -> Comparability:
    """Return what tells whether a figure may be compared with the paper's."""
    manifest = samples_manifest or None
    bertscore, layer = similarity_models["bertscore_model"], similarity_models["bertscore_layer"]
    models = {
        "bertscore_model": bertscore,
        "bertscore_layer": layer_of(bertscore, layer) if bertscore else None,
        "bleurt_model": similarity_models["bleurt_model"],
    }

    def tell(row: MetricRow) -> tuple[str | None, Sequence[str]]:
        reason = comparability(manifest, row["task"], row["setting"], row["split"], row["num_samples"])
        reason = reason or similarity_comparability(row["metric"], **models)
        return reason, () if reason or manifest is None else remarks(manifest, row["task"], row["num_invalid"])

    return tell


def _detail(row: HeadlineRow, labels: Sequence[str]) -> dict[str, Any]:
    values = {label: None if run is None else run["value"] for label, run in zip(labels, row.runs, strict=True)}
    return {
        "task": row.task,
        "setting": row.setting,
        "split": row.split,
        "metric": row.metric,
        "flavour": row.flavour,
        "num_samples": row.num_samples,
        "values": values,
        "best_task_specific": None if row.specialist is None else row.specialist["value"],
        "best_floor": None if row.floor is None else row.floor["value"],
        "is_above_floor": row.is_above_floor,
    }
