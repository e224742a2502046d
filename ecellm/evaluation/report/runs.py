"""What is known of the runs besides their figures: what made them, how fast, at which cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecellm.contract import conform
from ecellm.evaluation.answered import (
    PredictionPlace,
    RunFiles,
    first_row,
    first_row_of_run,
    list_runs,
    num_rows,
    read_columns,
)
from ecellm.evaluation.score_shard import model_name
from ecellm.fingerprint import MANIFEST_NAME
from ecellm.schema import TRAINING_LOG
from ecellm.storage import Storage, join

_RUN_COLUMNS = ("run_id", "model", "adapter", "engine", "decoding")
_MOST_REASONS = 3
_MOST_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class RunInfo:
    """What is known of one run.

    Attributes:
        label: its short name in the tables.
        run_id: as in the metrics table; of a run without answers, which has none, words that no other run has.
        model: model and adapter.
        engine: what ran it.
        decoding: how answers were drawn.
        role: what it is, as in the metrics table.
        num_rows: samples answered, in all tasks.
        reasons: why samples failed and have no answer, with their numbers.
        directory: number of the predictions directory that holds it.
        files: its predictions by (setting, task).
    """

    label: str
    run_id: str
    model: str
    engine: str
    decoding: str
    role: str
    num_rows: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    directory: int = 0
    files: RunFiles = field(default_factory=dict)

    @property
    def short_model(self) -> str:
        """Model and adapter without the directories that hold them."""
        return " + ".join(path.rstrip("/").rsplit("/", 1)[-1] for path in self.model.split(" + "))

    @property
    def num_errors(self) -> int:
        """How many samples failed and have no answer."""
        return sum(self.reasons.values())

    @property
    def failure(self) -> str:
        """What is to be said of samples without an answer; empty where there are none."""
        failed = f"{self.num_errors:,} rows failed"
        if not self.num_rows:
            return f"{self.label} has no answers and no figures; {failed}"
        share = self.num_errors / (self.num_errors + self.num_rows)
        return f"{self.label}: {failed} and have no answer, {share:.1%} of its rows" if self.num_errors else ""

    @property
    def top_reasons(self) -> list[str]:
        """Why most of them failed."""
        top = Counter(self.reasons).most_common(_MOST_REASONS)
        return [f"{_shortened(reason)} ({number:,})" for reason, number in top]


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_REASON_CHARACTERS else f"{text[:_MOST_REASON_CHARACTERS]}…"


def describe_runs(storage: Storage, directories: Sequence[str], roles: Sequence[Sequence[str]]) -> list[RunInfo]:
    """Return what the predictions say of the runs that made them, in the order given.

    Args:
        storage: access to the files.
        directories: of the predictions.
        roles: of the runs of each directory.
    """
    runs = []
    for directory, (path, label) in enumerate(zip(directories, short_names(directories), strict=True)):
        errors = _errors_by_part(storage, path)
        nothing = dict.fromkeys(_RUN_COLUMNS, "")
        found = [
            (files, first_row_of_run(storage, files, _RUN_COLUMNS) or nothing) for files in list_runs(storage, path)
        ]
        adapters = short_names([str(row["adapter"]) for _, row in found]) if len(found) > 1 else [None]
        for (files, row), adapter, role in zip(found, adapters, roles[directory], strict=True):
            paths = [path for own in files.values() for path in own]
            reasons = sum((errors.get(path.rsplit("/", 1)[-1], Counter()) for path in paths), Counter[str]())
            run = RunInfo(
                label=f"{label} ({adapter})" if adapter else label,
                run_id=str(row["run_id"]) or f"{label} has no answers",
                model=model_name(row),
                engine=str(row["engine"]),
                decoding=str(row["decoding"]),
                role=role,
                num_rows=sum(num_rows(storage, path) for path in paths),
                reasons=reasons,
                directory=directory,
                files=files,
            )
            runs.append(run)
    return runs


def _errors_by_part(storage: Storage, directory: str) -> dict[str, Counter[str]]:
    """Return why rows of each part failed, by the part's file name."""
    paths = storage.list_files(join(directory, "errors"), ".parquet")
    return {path.rsplit("/", 1)[-1]: _reasons(storage, path) for path in paths}


def _reasons(storage: Storage, path: str) -> Counter[str]:
    with storage.parquet_file(path) as file:
        if "reason" not in file.schema_arrow.names:
            return Counter({"no reason given": file.metadata.num_rows})
        return Counter(str(reason) for reason in file.read(columns=["reason"])["reason"].to_pylist())


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the shortest endings of paths, of one length in directories, that tell them apart."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


@dataclass(frozen=True)
class Cost:
    """What one predict job took, as its manifest says; None where it does not.

    Attributes:
        label: short names of its runs.
        engine: what ran them.
        num_rows: answered rows.
        num_prompt_tokens: tokens of their prompts.
        num_completion_tokens: tokens of their answers.
        actor_hours: time of all actors together.
        rows_per_actor_second: rows an actor answers in a second, loading the model included.
        tokens_per_actor_second: tokens of prompts and answers that it handles in a second.
        rows_per_wall_second: rows of the whole job in a second; None where it took several attempts.
        cost: what it cost, in `currency`; None without a price.
        currency: of the price.
    """

    label: str
    engine: str
    num_rows: int
    num_prompt_tokens: int | None = None
    num_completion_tokens: int | None = None
    actor_hours: float | None = None
    rows_per_actor_second: float | None = None
    tokens_per_actor_second: float | None = None
    rows_per_wall_second: float | None = None
    cost: float | None = None
    currency: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the manifest says anything."""
        return self.num_prompt_tokens is not None


def run_rows(manifests: Mapping[str, Mapping[str, Any]], runs: Sequence[RunInfo]) -> list[dict[str, Any]]:
    """Return the rows of the runs table: what leads from a figure to the manifest of the job that made it.

    Args:
        manifests: of the predictions directories, in their order, by path; empty where there is none.
        runs: all runs.
    """
    directories = list(manifests)
    rows = []
    for run in runs:
        path = directories[run.directory]
        manifest = manifests[path]
        row = {
            "run_id": run.run_id if run.num_rows else None,
            "label": run.label,
            "role": run.role,
            "model": run.model,
            "engine": run.engine,
            "decoding": run.decoding,
            "num_rows": run.num_rows,
            "num_errors": run.num_errors,
            "predictions_dir": path,
            "manifest": join(path, MANIFEST_NAME) if manifest else None,
            "fingerprint": _text(manifest.get("fingerprint")),
            "git_commit": _text(manifest.get("git_commit")),
        }
        rows.append(row)
    return rows


def _text(value: Any) -> str | None:
    """Return a manifest's value as text, None where it has none: other programs may have written it."""
    return None if value is None else str(value)


_DETAILS = {
    "num_prompt_tokens": int,
    "num_completion_tokens": int,
    "actor_hours": float,
    "rows_per_actor_second": float,
    "tokens_per_actor_second": float,
    "rows_per_wall_second": float,
    "cost": float,
    "currency": str,
}


def _of_type(value: Any, kind: type) -> Any:
    """Return a manifest's value; None, as if it were not there, where it is not of the kind that jobs write."""
    return value if isinstance(value, kind if kind is not float else int | float) else None


def describe_costs(manifests: Mapping[str, Mapping[str, Any]], runs: Sequence[RunInfo]) -> list[Cost]:
    """Return what each predict job took, in the order given.

    Args:
        manifests: of the predictions directories, in their order, by path; empty where there is none.
        runs: all runs.
    """
    costs = []
    for number, manifest in enumerate(manifests.values()):
        own = [run for run in runs if run.directory == number]
        details = manifest.get("details") or {}
        label = ", ".join(run.label for run in own)
        known = {name: _of_type(details.get(name), kind) for name, kind in _DETAILS.items()}
        costs.append(Cost(label, own[0].engine, sum(run.num_rows for run in own), **known))
    return costs


@dataclass(frozen=True)
class PlaceFiles:
    """The files of one (setting, task).

    Attributes:
        setting: as in the data.
        task: as in the data.
        predictions: files by the number of the run.
        scores: parts of the scores table by the number of the run.
        samples: files by split.
        num_answers: answers of all runs.
    """

    setting: str
    task: str
    predictions: Mapping[int, Sequence[str]]
    scores: Mapping[int, Sequence[str]]
    samples: Mapping[str, Sequence[str]]
    num_answers: int


def list_places(
    storage: Storage,
    runs: Sequence[RunInfo],
    scores_dir: str,
    samples: Mapping[PredictionPlace, Mapping[str, Sequence[str]]],
) -> list[PlaceFiles]:
    """Return the files of every (setting, task) that was answered, sorted.

    Args:
        storage: access to the files.
        runs: all runs.
        scores_dir: `data` directory of the scores table; a part is of one run, setting and task.
        samples: files of the samples by (setting, task), then by split.
    """
    number_of = {run.run_id: number for number, run in enumerate(runs)}
    scores: dict[tuple[PredictionPlace, int], list[str]] = {}
    for path in storage.list_files(scores_dir, ".parquet"):
        row = first_row(storage, path, ("run_id", "setting", "task"))
        if row.get("run_id") in number_of:
            scores.setdefault(((row["setting"], row["task"]), number_of[row["run_id"]]), []).append(path)
    places = []
    for place in sorted({place for run in runs for place in run.files}):
        predictions = {number: run.files[place] for number, run in enumerate(runs) if place in run.files}
        own = {number: scores[place, number] for number in predictions if (place, number) in scores}
        num_answers = sum(num_rows(storage, path) for files in predictions.values() for path in files)
        places.append(PlaceFiles(*place, predictions, own, samples.get(place, {}), num_answers))
    return places


_CURVE_COLUMNS = ("step", "kind", "loss", "learning_rate")


def training_log(storage: Storage, directory: str) -> list[dict[str, Any]]:
    """Return what the loss curves need of a finetune output's log; nothing where it has none."""
    files = storage.list_files(join(directory, "training_log", "data"), ".parquet")
    if not files:
        return []
    table = read_columns(storage, files, _CURVE_COLUMNS)
    return conform(table, TRAINING_LOG, files[0], _CURVE_COLUMNS[:3]).to_pylist()
