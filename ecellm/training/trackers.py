"""Other places where a run can be watched: TensorBoard files beside the output, and an MLflow server.

Each gets the rows of the training log as named figures (train/loss, val/loss, train/learning_rate, ...). The log itself
remains the record: what a tracker shows follows from it. A run that goes on gives its whole log again, so:

    TensorBoard   the files are made anew from the log, and replace those of the attempts before
    MLflow        the run is found again, and steps that it has are left out
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.redaction import redacted, redacted_text
from ecellm.storage import Storage, join

logger = logging.getLogger(__name__)
TENSORBOARD_DIRECTORY = "tensorboard"
_EXPERIMENT = "ecellm"
_OUTPUT_TAG, _KEY_TAG = "ecellm.output_dir", "ecellm.output_key"
_PLACE_COLUMNS = ("step", "kind", "scores", "seconds")
_LONGEST_PARAMETER = 500


class Tracker(Protocol):
    """One place where a run can be watched."""

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Note figures of a step that ended `at` a time (Unix, seconds)."""

    def publish(self) -> None:
        """Make all that was noted visible."""

    def close(self) -> None:
        """End: nothing is noted any more."""


def values_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a row of the training log, by their names in a tracker."""
    kind = row["kind"]
    values = {f"{kind}/{name}": row[name] for name in row if name not in _PLACE_COLUMNS}
    scores = {f"{kind}/accuracy/{task}": score for task, score in dict(row.get("scores") or ()).items()}
    return {name: float(value) for name, value in (values | scores).items() if value is not None}


class Trackers:
    """The trackers of a run; without one, nothing happens."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers
        self._num_logged = 0

    def follow(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log what the training log has grown by; the first call logs all of it, earlier attempts included."""
        for row in rows[self._num_logged :]:
            at = time.time() - (rows[-1]["seconds"] - row["seconds"])
            for tracker in self._trackers:
                tracker.log(row["step"], values_of(row), at=at)
        self._num_logged = len(rows)

    def publish(self) -> None:
        """Make all that was noted visible: at each checkpoint."""
        for tracker in self._trackers:
            tracker.publish()

    def close(self) -> None:
        """Publish for the last time, and end."""
        for tracker in self._trackers:
            tracker.publish()
            tracker.close()


def trackers_of(config: FinetuneConfig, *, storage: Storage, output_dir: str, is_resumed: bool) -> Trackers:
    """Return the trackers that a config asks for; to be called by the first rank alone.

    Args:
        config: the job's config.
        storage: access to the output.
        output_dir: the job's output directory, absolute.
        is_resumed: whether training goes on from a checkpoint.

    Raises:
        InputError: MLflow is asked for but not installed, or its server does not answer.
    """
    trackers: list[Tracker] = []
    if config.tensorboard:
        trackers.append(TensorBoardTracker(storage, join(output_dir, TENSORBOARD_DIRECTORY)))
    if config.mlflow_uri is not None:
        trackers.append(MlflowTracker(config, output_dir=output_dir, is_resumed=is_resumed))
    return Trackers(trackers)


class TensorBoardTracker:
    """A TensorBoard event file, written locally and uploaded when published."""

    def __init__(self, storage: Storage, url: str) -> None:
        """Begin an event file that will replace whatever is at `url`."""
        from tensorboardX.event_file_writer import EventsWriter

        self._storage, self._url = storage, url
        self._scratch = tempfile.TemporaryDirectory(prefix="ecellm-tensorboard-")
        # Not SummaryWriter: it writes in a thread, and its `flush` does not wait for that.
        self._writer = EventsWriter(str(Path(self._scratch.name) / "events"))

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Note figures of a step."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        figures = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.write_event(Event(wall_time=at, step=step, summary=Summary(value=figures)))

    def publish(self) -> None:
        """Upload the file, then remove those of earlier attempts."""
        self._writer.flush()
        directory = Path(self._scratch.name)
        self._storage.upload_dir(directory, self._url)
        names = {file.name for file in directory.iterdir()}
        for path in self._storage.list_files(self._url):
            if Path(path).name not in names:
                self._storage.remove(path)

    def close(self) -> None:
        """End the local file."""
        self._writer.close()
        self._scratch.cleanup()


def require_mlflow() -> Any:
    """Return the module `mlflow`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import mlflow
    except ImportError:
        raise InputError(
            "mlflow_uri is given, but MLflow is not installed on this node: pip install 'ecellm[mlflow]', or leave "
            "mlflow_uri out"
        ) from None
    return mlflow


class MlflowTracker:
    """A run on an MLflow tracking server, in the experiment `MLFLOW_EXPERIMENT_NAME`, else `ecellm`.

    Login and password come from MLflow's own variables (MLFLOW_TRACKING_USERNAME, ...). A server that stops answering
    does not stop training: that is said once, and the next attempt, or the training log, fills the gap.
    """

    def __init__(self, config: FinetuneConfig, *, output_dir: str, is_resumed: bool) -> None:
        """Begin a run, or find the one of the attempts before."""
        # MLflow would wait for minutes, and all other ranks with it.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        mlflow = require_mlflow()
        self._error: type[Exception] = mlflow.exceptions.MlflowException
        self._metric = mlflow.entities.Metric
        self._client = mlflow.MlflowClient(tracking_uri=config.mlflow_uri)
        self._is_lost = False
        try:
            self._run_id = self._find_or_begin(config, output_dir, is_resumed=is_resumed)
            self._last_steps = self._read_last_steps()
        except self._error as error:
            server = redacted_text(str(config.mlflow_uri))
            raise InputError(f"mlflow_uri={server}: {redacted_text(_first_line(error))}") from None

    def _find_or_begin(self, config: FinetuneConfig, output_dir: str, *, is_resumed: bool) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        place = redacted_text(output_dir)
        key = sha256(place.encode()).hexdigest()  # a path may hold what a search cannot quote
        if is_resumed:
            query, order = f"tags.`{_KEY_TAG}` = '{key}'", ["attributes.start_time DESC"]
            for run in self._client.search_runs([number], query, max_results=1, order_by=order):
                self._client.update_run(run.info.run_id, status="RUNNING")
                return str(run.info.run_id)
        tags = {_OUTPUT_TAG: place, _KEY_TAG: key}
        run = self._client.create_run(number, tags=tags, run_name=place.rsplit("/", 1)[-1])
        for key, value in parameters_of(config).items():
            self._client.log_param(run.info.run_id, key, value)
        return str(run.info.run_id)

    def _read_last_steps(self) -> dict[str, int]:
        """Return the last step that the server has of each figure."""
        names = self._client.get_run(self._run_id).data.metrics
        history = {name: self._client.get_metric_history(self._run_id, name) for name in names}
        return {name: max(metric.step for metric in metrics) for name, metrics in history.items()}

    def log(self, step: int, values: Mapping[str, float], *, at: float) -> None:
        """Send figures of a step, but for those that the server has."""
        metrics = [
            self._metric(name, value, int(at * 1000), step)
            for name, value in values.items()
            if step > self._last_steps.get(name, 0)
        ]
        if metrics:
            self._try(lambda: self._client.log_batch(self._run_id, metrics=metrics))

    def publish(self) -> None:
        """Do nothing: all was sent at once."""

    def close(self) -> None:
        """Mark the run as finished."""
        self._try(lambda: self._client.set_terminated(self._run_id))

    def _try(self, request: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            request()
        except self._error as error:
            self._is_lost = True
            logger.warning("MLflow does not answer, training goes on without: %s", redacted_text(_first_line(error)))


def parameters_of(config: FinetuneConfig) -> dict[str, str]:
    """Return the config as MLflow's parameters: dotted names, texts, no secrets."""
    flat: dict[str, str] = {}

    def flatten(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for name, item in value.items():
                flatten(f"{prefix}.{name}" if prefix else str(name), item)
        else:
            flat[prefix] = str(value)[:_LONGEST_PARAMETER]

    flatten("", redacted(config.model_dump(mode="json")))
    return flat


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
