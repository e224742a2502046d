"""`python -m jobs.evaluate`: scores, metrics, comparisons and a report from predictions.

In: predictions directories, side by side, and the samples that they answer. Out, below `output_dir`:

    floors/data/setting=/task=/          what classical floors answer
    text_similarity/data/part-*.parquet  one row per free answer: how like the reference it is
    scores/data/part-*.parquet           one row per answer, flavour and figure
    metrics/data/part-*.parquet          every metric with its interval, of runs and floors, and of slices
    comparisons/data/part-*.parquet      every later run against the first, on the same rows, with p-values
    studies/data/part-*.parquet          arms of studies, each against the one it is compared with
    runs/data/part-*.parquet             what made each run: its predictions and their manifest
    report.html                          all of it on one page
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ecellm.config import EvaluateConfig
from ecellm.errors import InputError
from ecellm.evaluation.answered import PredictionPlace, RunFiles, SampleFiles, asked_by_any, sample_files
from ecellm.evaluation.classical_floors import answer_classical_floors, plan_classical_floors
from ecellm.evaluation.comparisons import adjusted
from ecellm.evaluation.headline import OUR_ROLE
from ecellm.evaluation.listing import Listing, check_ids, list_directory
from ecellm.evaluation.memory import BASE_BYTES, FLOOR_BYTES, memory_of_check, memory_of_report, memory_of_scoring
from ecellm.evaluation.report.write import write_report
from ecellm.evaluation.score_shard import evaluate_shard
from ecellm.evaluation.similarity.step import (
    MODEL_FIELDS,
    check_similarity,
    compute_similarity,
    room_for_models,
    similarity_inputs,
)
from ecellm.evaluation.studies import compare_arms, plan_pairs, runs_of_arms
from ecellm.models import fingerprint_with_model
from ecellm.shards import run_shards
from ecellm.stage import Outcome, Run, Stage
from ecellm.storage import Storage, absolute
from ecellm.tasks import FLAVOURS


def _inputs(config: EvaluateConfig) -> dict[str, str]:
    predictions = {f"predictions_dirs.{number}": absolute(path) for number, path in enumerate(config.all_predictions)}
    training = {f"training_dirs.{number}": absolute(path) for number, path in enumerate(config.training_dirs)}
    return {"samples_dir": absolute(config.samples_dir), **predictions, **training, **similarity_inputs(config)}


def _check(config: EvaluateConfig, storage: Storage) -> tuple[str, ...]:
    """Return a line for each run that says what is scored.

    Raises:
        InputError: the predictions are not distinct runs over these samples.
    """
    if len(set(map(absolute, config.all_predictions))) < len(config.all_predictions):
        raise InputError("a predictions directory is given twice")
    samples = sample_files(storage, absolute(config.samples_dir))
    listings = _list(config)
    runs_of_arms(config.studies, listings)
    answered: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for result in run_shards(
        _check_shards(listings, samples),
        check_ids,
        name="evaluate: checking ids",
        function_args={"storage_config": config.storage.model_dump()},
        memory=memory_of_check,
    ):
        answered.setdefault((result["directory"], result["run"]), []).append(result)
    directory_of: dict[str, str] = {}
    lines = []
    for listing in listings:
        for number, of_run in enumerate(listing.runs):
            found = answered.get((listing.directory, number), [])
            run_ids = {str(each["run_id"]) for each in found if each["run_id"] is not None}
            for run_id in run_ids:
                if directory_of.setdefault(run_id, listing.directory) != listing.directory:
                    raise InputError(f"{directory_of[run_id]} and {listing.directory} hold the same run, {run_id}")
            lines.append(_run_line(listing.directory, run_ids, sum(each["num_answers"] for each in found), of_run))
    return (*lines, *check_similarity(config))


def _list(config: EvaluateConfig) -> list[Listing]:
    """Return what every predictions directory holds, in the order of the config; the files are opened on the nodes."""
    shards = [
        {"directory": absolute(path), "task_specific": number in config.task_specific}
        for number, path in enumerate(config.all_predictions)
    ]
    found = run_shards(
        shards,
        list_directory,
        name="evaluate: listing",
        function_args={"storage_config": config.storage.model_dump()},
        memory=None,
    )
    listings = {result["directory"]: Listing.of(result) for result in found}
    return [listings[shard["directory"]] for shard in shards]


def _check_shards(listings: Sequence[Listing], samples: SampleFiles) -> list[dict[str, Any]]:
    """Return a shard for every (setting, task) of every run."""
    return [
        {"directory": listing.directory, "run": number, "predictions": files, "samples": samples.get(place, {})}
        | {"num_rows": listing.num_rows(files)}
        for listing in listings
        for number, of_run in enumerate(listing.runs)
        for place, files in of_run.items()
    ]


def _run_line(directory: str, run_ids: set[str], num_answers: int, places: Collection[PredictionPlace]) -> str:
    tasks, settings = {task for _, task in places}, {setting for setting, _ in places}
    return (
        f"{directory} (run {', '.join(sorted(run_ids)) or 'without answers'}): {num_answers:,} answers in "
        f"{len(places)} shards ({len(tasks)} tasks, {len(settings)} settings), scored in {' and '.join(FLAVOURS)}"
    )


def make_shards(
    predictions: Sequence[RunFiles],
    of_floors: RunFiles,
    samples: SampleFiles,
    num_rows: Mapping[str, int],
    *,
    compared: Sequence[RunFiles],
    roles: Sequence[str],
) -> list[dict[str, Any]]:
    """Return all shards, numbered in a fixed order: runs, floors, comparisons.

    Args:
        predictions: for each run, its files by (setting, task).
        of_floors: the files whose samples the floors answer.
        samples: the samples' files by (setting, task) and split.
        num_rows: answers in each file.
        compared: the runs of which the later ones are compared with the first.
        roles: of the runs, as in the metrics table.
    """
    shards: list[dict[str, Any]] = []

    def add(kind: str, place: PredictionPlace, files: list[str], **more: Any) -> None:
        shard = {"kind": kind, "number": len(shards), "setting": place[0], "task": place[1], "predictions": files}
        all_files = (*files, *more.get("baseline", ()))
        shard |= {"samples": samples.get(place, {}), "num_rows": sum(num_rows[path] for path in all_files)}
        shards.append(shard | more)

    for of_run, role in zip(predictions, roles, strict=True):
        for place, files in of_run.items():
            add("run", place, files, role=role)
    for place, files in of_floors.items():
        add("floors", place, files)
    for of_run in compared[1:]:
        for place in of_floors:
            if place in of_run and place in compared[0]:
                add("comparison", place, of_run[place], baseline=compared[0][place])
    return shards


def columns_of(config: EvaluateConfig, listings: Sequence[Listing]) -> list[int]:
    """Return the numbers of the directories whose runs have columns, in their order.

    Of many task-specific models each answers a task or two: unasked they share a column, unless there is nothing else.
    """
    if config.columns is not None:
        return list(config.columns)
    others = [number for number, listing in enumerate(listings) if OUR_ROLE in listing.roles]
    return others or list(range(len(listings)))


def answer_floors(run: Run[EvaluateConfig], of_floors: RunFiles, samples: SampleFiles) -> None:
    """Let the classical floors answer what the runs were asked."""
    arguments = {"output_dir": run.output_dir, "storage_config": run.config.storage.model_dump()}
    for _ in run_shards(
        plan_classical_floors(of_floors, samples),
        answer_classical_floors,
        name="classical floors",
        function_args=arguments,
        memory=FLOOR_BYTES,
    ):
        pass


def _run(run: Run[EvaluateConfig]) -> Outcome:
    config, storage = run.config, run.storage
    listings = _list(config)
    directories = [listing.directory for listing in listings]
    predictions = [of_run for listing in listings for of_run in listing.runs]
    num_rows = {path: number for listing in listings for path, number in listing.rows.items()}
    samples = sample_files(storage, absolute(config.samples_dir))
    of_floors = asked_by_any(predictions)
    answer_floors(run, of_floors, samples)
    compute_similarity(run, predictions, of_floors, samples)
    roles = [role for listing in listings for role in listing.roles]
    columns = columns_of(config, listings)
    compared = [of_run for number in columns for of_run in listings[number].runs] if config.num_resamples else []
    shards = make_shards(predictions, of_floors, samples, num_rows, compared=compared, roles=roles)
    shared = {"output_dir": run.output_dir, "storage_config": config.storage.model_dump()}
    drawn = {**shared, "num_resamples": config.num_resamples, "seed": config.seed}
    arguments = drawn | {"samples_fingerprint": run.inputs["samples_dir"]}
    rows, comparisons = 0, []
    for result in run_shards(
        shards, evaluate_shard, name="evaluate", function_args=arguments, memory=memory_of_scoring
    ):
        rows += result["rows"]
        comparisons += result["comparisons"]
    first_runs = [listing.runs[0] for listing in listings]
    planned = plan_pairs(config.studies, first_runs, samples, num_rows) if config.num_resamples else []
    results = run_shards(planned, compare_arms, name="studies", function_args=drawn, memory=memory_of_scoring)
    pairs = [pair for result in results for pair in result["pairs"]]
    report = {
        "predictions_dirs": directories,
        "samples_dir": absolute(config.samples_dir),
        "similarity_models": config.model_dump(include={"bertscore_model", "bertscore_layer", "bleurt_model"}),
        "training_dirs": [absolute(path) for path in config.training_dirs],
        "comparisons": adjusted(comparisons),
        "columns": columns,
        "roles": [listing.roles for listing in listings],
        "studies": [study.model_dump() for study in config.studies],
        "pairs": pairs,
    }
    report_memory = memory_of_report(sum(num_rows.values()))
    (written,) = run_shards([report], write_report, name="report", function_args=shared, memory=report_memory)
    return Outcome(rows=rows, details=written["details"], summary=tuple(written["summary"]))


STAGE = Stage(
    job="evaluate",
    version=4,
    config_class=EvaluateConfig,
    inputs=_inputs,
    check=_check,
    run=_run,
    fingerprint_input=fingerprint_with_model(*MODEL_FIELDS),
    room=room_for_models,
    task_memory=BASE_BYTES,
)
