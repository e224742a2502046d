"""Studies: arms compared with each other, each on the same examples as the arm that it is against.

An arm's answers to a task under a condition lie in one setting. Where two arms are tested in different settings (an
instruction that each has seen, 0-shot against 1-shot), their answers are paired by example, otherwise by sample.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ecellm.config import StorageConfig
from ecellm.config.evaluate import Study, StudyArm
from ecellm.errors import InputError
from ecellm.evaluation.answered import Row, RunFiles, SampleFiles
from ecellm.evaluation.intervals import Bootstrap
from ecellm.evaluation.joined import join_answered
from ecellm.evaluation.listing import Listing
from ecellm.evaluation.metric_rows import MetricRow
from ecellm.evaluation.paired import holm
from ecellm.evaluation.score_shard import Side, compare_runs
from ecellm.evaluation.similarity_table import read_similarity
from ecellm.schema import STUDIES
from ecellm.storage import Storage
from ecellm.tasks import find_task

_KEYS = ("study", "arm", "condition", "task", "split", "flavour")


def runs_of_arms(studies: Sequence[Study], listings: Sequence[Listing]) -> None:
    """Make sure that every arm's answers can be told.

    Args:
        studies: what is compared.
        listings: the predictions directories, in the order in which the arms count them.

    Raises:
        InputError: a directory holds several runs, or two of an arm's directories answer one task.
    """
    for study in studies:
        for arm in study.arms:
            for number in arm.runs:
                if len(listings[number].runs) > 1:
                    raise InputError(
                        f"studies: {study.name}, arm {arm.name}: {listings[number].directory} holds several runs; give "
                        "each adapter a predict of its own"
                    )
            _files_of(study, arm, [listing.runs[0] for listing in listings])


def _files_of(study: Study, arm: StudyArm, predictions: Sequence[RunFiles]) -> dict[tuple[str, str], list[str]]:
    """Return an arm's files by (condition, task)."""
    files: dict[tuple[str, str], list[str]] = {}
    for number in arm.runs:
        for (setting, task), own in predictions[number].items():
            for condition in (name for name, tests in arm.conditions.items() if tests == setting):
                if (condition, task) in files:
                    raise InputError(f"studies: {study.name}, arm {arm.name} answers {task} in {setting} twice")
                files[condition, task] = own
    return files


def plan_pairs(
    studies: Sequence[Study], predictions: Sequence[RunFiles], samples: SampleFiles, num_rows: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return a shard for each arm that is against another, condition and task: those that both answered.

    Args:
        studies: what is compared.
        predictions: the files of each predictions directory by (setting, task).
        samples: the samples' files by (setting, task) and split.
        num_rows: answers in each file.
    """
    shards = []
    for study in studies:
        arms = {arm.name: arm for arm in study.arms}
        files = {arm.name: _files_of(study, arm, predictions) for arm in study.arms}
        for arm in study.arms:
            if arm.against is None:
                continue
            other = arms[arm.against]
            for (condition, task), own in files[arm.name].items():
                theirs = files[arm.against].get((condition, task))
                if theirs is None or find_task(task) is None:
                    continue
                sides = [
                    {"setting": setting, "predictions": paths, "samples": samples.get((setting, task), {})}
                    for setting, paths in ((arm.conditions[condition], own), (other.conditions[condition], theirs))
                ]
                shard = {"kind": "study", "study": study.name, "arm": arm.name, "condition": condition, "task": task}
                shards.append(shard | {"sides": sides, "num_rows": sum(num_rows[path] for path in (*own, *theirs))})
    return shards


def compare_arms(
    shard: Mapping[str, Any],
    *,
    output_dir: str,
    storage_config: Mapping[str, Any],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare two arms by one task under one condition.

    Args:
        shard: as `plan_pairs` makes it.
        output_dir: evaluate's output.
        storage_config: how to reach all files.
        num_resamples: bootstrap resamples, at least 1.
        seed: of the bootstrap.

    Returns:
        `pairs`: rows of the comparisons table with the shard's `study`, `arm` and `condition`.
    """
    storage, task = Storage(StorageConfig(**storage_config)), find_task(shard["task"])
    run, against = (
        Side(
            join_answered(storage, side["predictions"], side["samples"]),
            read_similarity(storage, output_dir, task, side["setting"]),
        )
        for side in shard["sides"]
    )
    is_one_setting = len({side["setting"] for side in shard["sides"]}) == 1
    id_column = "sample_id" if is_one_setting else "example_id"
    rows = compare_runs(run, against, Bootstrap(num_resamples, seed), id_column)
    named = {name: shard[name] for name in ("study", "arm", "condition")}
    return {"pairs": [row | named for row in rows]}


class StudyRuns(NamedTuple):
    """What the studies' rows are made of.

    Attributes:
        studies: what is compared.
        run_ids: of each predictions directory; None of one without answers.
        metrics: the metrics table.
        pairs: what `compare_arms` returned, all shards together.
    """

    studies: Sequence[Study]
    run_ids: Sequence[str | None]
    metrics: Sequence[MetricRow]
    pairs: Sequence[Row]


def study_rows(of: StudyRuns) -> list[Row]:
    """Return the rows of the studies table: by study and arm in the recipe's order, then by condition and task."""
    headline: dict[tuple[str, str], list[MetricRow]] = {}
    for row in of.metrics:
        if row["is_headline"] and row["slice_name"] is None:
            headline.setdefault((row["run_id"], row["setting"]), []).append(row)
    tests = {tuple(pair[name] for name in _KEYS): pair for pair in _adjusted(of.pairs)}
    return [
        dict.fromkeys(STUDIES.names) | row | _test_of(tests, row, arm.against)
        for study in of.studies
        for arm in study.arms
        for row in _figures(study, arm, of.run_ids, headline)
    ]


def _figures(
    study: Study,
    arm: StudyArm,
    run_ids: Sequence[str | None],
    headline: Mapping[tuple[str, str], Sequence[MetricRow]],
) -> Iterator[Row]:
    copied = ("task", "split", "setting", "flavour", "metric", "run_id", "value", "ci_low", "ci_high", "num_samples")
    for condition, setting in arm.conditions.items():
        for number in arm.runs:
            for row in headline.get((str(run_ids[number]), setting), ()):
                named = {"study": study.name, "arm": arm.name, "axis": study.axis, "x": arm.x, "condition": condition}
                yield named | {name: row[name] for name in copied}


def _test_of(tests: Mapping[tuple[Any, ...], Row], row: Row, against: str | None) -> Row:
    pair = tests.get(tuple(row[name] for name in _KEYS))
    if pair is None:
        return {}
    return {
        "against": against,
        "against_run_id": pair["baseline_run_id"],
        "against_value": pair["baseline_value"],
        "paired_value": pair["value"],
        "difference": pair["difference"],
        "difference_ci_low": pair["ci_low"],
        "difference_ci_high": pair["ci_high"],
        "p_value": pair["p_value"],
        "p_adjusted": pair["p_adjusted"],
        "num_paired": pair["num_samples"],
    }


def _adjusted(pairs: Sequence[Row]) -> Iterator[Row]:
    """Yield the pairs with p-values adjusted over all of a study in one flavour: a study asks one question."""
    families: dict[tuple[str, str], list[Row]] = {}
    for pair in pairs:
        families.setdefault((pair["study"], pair["flavour"]), []).append(pair)
    for family in families.values():
        for pair, value in zip(family, holm([pair["p_value"] for pair in family]), strict=True):
            yield pair | {"p_adjusted": value}
