"""SIGKILL to the job and all of its Ray: run again, it answers what is missing, every row once, as if nothing had been."""

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from tests.driver_process import kill_with_its_ray, start_driver, wait_at_work
from tests.inference.conftest import OPTIONS, write_samples
from tests.openai_server import running_openai_server

NUM_MATCHING, NUM_SENTIMENT = 60, 24


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Enough rows for some dozen parts."""
    directory = tmp_path_factory.mktemp("kill") / "samples"
    write_samples(directory, "Product_Matching", "IND_Diverse_Instruction", NUM_MATCHING)
    write_samples(directory, "Sentiment_Analysis", "IND_Diverse_Instruction", NUM_SENTIMENT, options=OPTIONS)
    return directory


class Place:
    """Where predict reads and writes: a directory or a bucket, looked at from outside."""

    def __init__(self, root, fs, *, overrides=(), environment=None):
        self.root, self.fs = root, fs
        self.overrides, self.environment = overrides, environment or {}

    def parts(self, below="data"):
        """Finished files with what changes when one is written again."""
        path = f"{self.root}/out/{below}"
        if not self.fs.exists(path):
            return {}
        found = self.fs.find(path, detail=True)
        return {name: info.get("ETag") or info["mtime"] for name, info in found.items() if name.endswith(".parquet")}

    def is_done(self):
        return self.fs.exists(f"{self.root}/out/_manifest.json")

    def answers(self):
        """Rows of all parts in order, without what names this run."""
        rows = []
        for path in self.parts():
            with self.fs.open(path) as file:
                rows += pq.read_table(file, partitioning=None).drop_columns(["run_id", "model"]).to_pylist()
        return sorted(rows, key=lambda row: row["sample_id"])

    def start(self, log, *overrides):
        """Start predict in a process of its own."""
        url = self.overrides[0] if self.overrides else self.root
        words = [f"samples_dir={url}/samples", f"output_dir={url}/out", "max_length=512", "max_answer_tokens=16"]
        words += ["ray.num_cpus=6", *self.overrides[1:], *overrides]
        return start_driver("predict", words, log, self.environment)


def kill_when(process, is_time, log):
    """Kill a driver and the local Ray that it started, as soon as it is time."""
    wait_at_work(process, is_time, log)
    kill_with_its_ray(process)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.chaos)])
def place(request, tmp_path, samples, store):
    """The samples on local disk, and on a real S3 server."""
    if request.param == "local":
        (tmp_path / "samples").symlink_to(samples)
        return Place(str(tmp_path), LocalFileSystem())
    fs = store.filesystem()
    fs.mkdir("predict-test")
    fs.put(str(samples), "predict-test/samples", recursive=True)
    overrides = ("s3://predict-test", f"storage.endpoint_url={store.endpoint_url}")
    return Place("predict-test", fs, overrides=overrides, environment=store.environment)


def fields_of(tiny_model):
    return [f"model={tiny_model}", "rows_per_shard=3", "max_batch_size=2", "decoding=greedy"]


@pytest.fixture(scope="module")
def unbroken(samples, tiny_model, tmp_path_factory):
    """The same rows answered without a break, by one actor."""
    directory = tmp_path_factory.mktemp("unbroken")
    (directory / "samples").symlink_to(samples)
    place, log = Place(str(directory), LocalFileSystem()), directory / "log"
    assert place.start(log, *fields_of(tiny_model), "num_actors=1").wait(240) == 0, log.read_text()
    return place.answers()


def test_killed_and_run_again(place, unbroken, tiny_model, tmp_path):
    log, fields, finished = tmp_path / "log", fields_of(tiny_model), {}
    for wanted in (12,) if place.overrides else (2, 14):
        process = place.start(log, *fields, f"num_actors={1 + wanted % 3}")
        kill_when(process, lambda wanted=wanted: len(place.parts()) >= wanted, log)
        assert not place.is_done()
        assert {name: place.parts()[name] for name in finished} == finished, "what was finished is not written again"
        finished = place.parts()
    process = place.start(log, *fields)
    assert process.wait(240) == 0, log.read_text()
    assert "ecellm: exit=0 reason=done" in log.read_text()
    assert {name: place.parts()[name] for name in finished} == finished
    assert len(place.parts()) == NUM_MATCHING // 3 + NUM_SENTIMENT // 3
    assert place.answers() == unbroken
    assert len(unbroken) == NUM_MATCHING + NUM_SENTIMENT


def test_paid_answers_are_not_asked_for_again(samples, tiny_model, tmp_path):
    (tmp_path / "samples").symlink_to(samples)
    place, log = Place(str(tmp_path), LocalFileSystem()), tmp_path / "log"
    with running_openai_server(tiny_model) as server:
        server.behave(seconds=0.2)
        fields = ["engine=openai", "model=tiny", "openai.api_key_env=null", f"openai.base_url={server.base_url}"]
        fields += ["openai.journal_seconds=0.5", "openai.concurrency=4"]
        process = place.start(log, *fields)
        kill_when(process, lambda: len(place.parts("in_progress")) >= 3, log)
        assert not place.parts(), "no part is finished, and yet"
        kept = kept_answers(place)
        assert len(kept) >= 3
        process = place.start(log, *fields)
        assert process.wait(240) == 0, log.read_text()
        answered = server.seen()["times_answered"]
    assert len(place.answers()) == NUM_MATCHING + NUM_SENTIMENT
    assert not place.parts("in_progress")
    again = [prompt for prompt, times in answered.items() if times > 1]
    # Half a second of four at a time, the time of a write, and those that were under way.
    assert len(again) <= 20
    assert sum(answered.values()) - len(again) == NUM_MATCHING + NUM_SENTIMENT
    assert {row["sample_id"]: row["response"] for row in place.answers()}.items() >= kept.items()


def kept_answers(place):
    """What the journal holds, by sample."""
    rows = [row for path in place.parts("in_progress") for row in pq.read_table(path, partitioning=None).to_pylist()]
    return {row["sample_id"]: row["response"] for row in rows}
