import struct

import pytest

from ecellm.config import FinetuneConfig
from ecellm.errors import InputError
from ecellm.storage import Storage
from ecellm.training.trackers import parameters_of, trackers_of, values_of


def config(tmp_path, **changes):
    return FinetuneConfig(rows_dir="rows", base_model="model", output_dir=str(tmp_path / "out"), **changes)


def log(*steps, validated=()):
    rows = []
    for step in steps:
        figures = {"loss": 1.0 / step, "learning_rate": 0.1, "mfu": None, "scores": None}
        rows.append({"step": step, "epoch": step / 4, "kind": "train", **figures, "seconds": 10.0 * step})
        if step in validated:
            figures = {"loss": 2.0 / step, "learning_rate": None, "mfu": None, "scores": [("Product_Matching", 0.75)]}
            rows.append({"step": step, "epoch": step / 4, "kind": "val", **figures, "seconds": 10.0 * step})
    return rows


def events(directory):
    """Read event files as TensorBoard does: {name: [(step, value)]}, and the wall times of train/loss."""
    from tensorboardX.proto.event_pb2 import Event

    scalars, times = {}, []
    for file in sorted(directory.iterdir()):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
                times += [event.wall_time] if value.tag == "train/loss" else []
    return scalars, times


def test_without_trackers_nothing_is_written(tmp_path):
    trackers = trackers_of(config(tmp_path), storage=Storage(), output_dir=str(tmp_path / "out"), is_resumed=False)
    trackers.follow(log(1))
    trackers.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_every_figure_once(tmp_path):
    output = tmp_path / "out"
    made = config(tmp_path, tensorboard=True)
    trackers = trackers_of(made, storage=Storage(), output_dir=str(output), is_resumed=False)
    trackers.follow(log(1, 2))
    trackers.publish()
    assert events(output / "tensorboard")[0]["train/loss"] == [(1, 1.0), (2, 0.5)]
    trackers.follow(log(1, 2, 3, 4, validated=[4]))
    trackers.close()
    scalars, times = events(output / "tensorboard")
    assert scalars == {
        "train/loss": [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)],
        "train/epoch": [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)],
        "train/learning_rate": [(step, 0.1) for step in range(1, 5)],
        "val/loss": [(4, 0.5)],
        "val/epoch": [(4, 1.0)],
        "val/accuracy/Product_Matching": [(4, 0.75)],
    }
    assert times[3] - times[2] == pytest.approx(10.0, abs=0.5)


def test_a_run_that_goes_on_logs_no_step_twice(tmp_path):
    """The first attempt has published steps that its last checkpoint does not have."""
    output = tmp_path / "out"
    made = config(tmp_path, tensorboard=True)
    first = trackers_of(made, storage=Storage(), output_dir=str(output), is_resumed=False)
    first.follow(log(1, 2, 3))
    first.publish()
    second = trackers_of(made, storage=Storage(), output_dir=str(output), is_resumed=True)
    second.follow(log(1, 2))
    second.follow(log(1, 2, 3, 4))
    second.close()
    assert [step for step, _ in events(output / "tensorboard")[0]["train/loss"]] == [1, 2, 3, 4]
    assert len(list((output / "tensorboard").iterdir())) == 1


def test_figures_that_are_not_known_are_left_out():
    row = {"step": 1, "kind": "train", "loss": 1.5, "mfu": None, "scores": None, "seconds": 1.0}
    assert values_of(row) == {"train/loss": 1.5}


def test_mlflow_that_is_not_installed_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    made = config(tmp_path, mlflow_uri="http://localhost:5000")
    with pytest.raises(InputError, match=r"pip install 'ecellm\[mlflow\]'"):
        trackers_of(made, storage=Storage(), output_dir=str(tmp_path), is_resumed=False)


def test_parameters_hold_no_secrets(tmp_path):
    made = config(tmp_path, mlflow_uri="https://me:hunter2@server/path")  # pragma: allowlist secret
    parameters = parameters_of(made)
    assert "hunter2" not in str(parameters)
    assert (parameters["lora.r"], parameters["optimizer.learning_rate"]) == ("16", "0.0001")


def test_an_mlflow_run_goes_on_without_a_step_twice(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "server").as_uri()
    # A directory as the server: newer versions of MLflow want to be asked for it.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    made = config(tmp_path, mlflow_uri=uri)
    first = trackers_of(made, storage=Storage(), output_dir="s3://bucket/it's", is_resumed=False)
    first.follow(log(1, 2, 3))
    changed = config(tmp_path, mlflow_uri=uri, num_workers=2)
    second = trackers_of(changed, storage=Storage(), output_dir="s3://bucket/it's", is_resumed=True)
    second.follow(log(1, 2))
    second.follow(log(1, 2, 3, 4, validated=[4]))
    second.close()
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("ecellm").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert run.data.metrics["val/accuracy/Product_Matching"] == 0.75
    assert run.data.params["method"] == "lora"
    assert (run.info.run_name, run.info.status) == ("it's", "FINISHED")


def test_an_mlflow_server_that_does_not_answer_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = config(tmp_path, mlflow_uri="http://me:hunter2@127.0.0.1:9")  # pragma: allowlist secret
    with pytest.raises(InputError, match="mlflow_uri=http") as caught:
        trackers_of(made, storage=Storage(), output_dir=str(tmp_path), is_resumed=False)
    assert "hunter2" not in str(caught.value)
