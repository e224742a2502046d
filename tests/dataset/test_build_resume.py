"""A build that was killed, at whatever moment, and is started again gives the rows of one that was not."""

import json
from pathlib import Path

import pytest

from ecellm.dataset.builders import flow
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.storage import Storage
from tests.dataset.conftest import build
from tests.dataset.small_builds import assert_same_rows, in_process, manifest, quality, run_in_process  # noqa: F401
from tests.driver_process import kill_with_its_ray, start_driver, wait_at_work

SMALL = {"held_out_rows": 5, "tasks": ["SR", "PRP", "AP", "QPR"], "leakage": "drop"}


class Killed(BaseException):
    """Ends a run at once: nothing catches it."""


@pytest.fixture(scope="module")
def unbroken(world, local_ray, tmp_path_factory):
    """Some tasks, built without a break."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "run_shards", run_in_process)
        return build(tmp_path_factory.mktemp("unbroken") / "out", raw_dir=str(world), **SMALL)


def kill_after(monkeypatch, number, *, is_halfway):
    """Let `number` steps run and kill the next one: before it begins, or when it has written but not said so."""
    left = [number]

    def run_some(shards, function, *, name, function_args, num_workers=None):
        for shard in shards:
            if left[0] == 0:
                if is_halfway:
                    step = json.loads(json.dumps(shard))
                    function_args["functions"][step["step"]](function_args["context"], **step["arguments"])
                raise Killed
            left[0] -= 1
            yield from run_in_process([shard], function, name=name, function_args=function_args)

    monkeypatch.setattr(flow, "run_shards", run_some)


@pytest.mark.parametrize(("steps", "is_halfway"), [(9, True), (16, False)])
def test_killed_again_and_again(world, unbroken, tmp_path, monkeypatch, local_ray, steps, is_halfway):
    kills = 0
    while True:
        kill_after(monkeypatch, steps, is_halfway=is_halfway)
        try:
            out = build(tmp_path / "out", raw_dir=str(world), **SMALL)
        except Killed:
            kills += 1
            assert not (tmp_path / "out" / "_manifest.json").exists()
            continue
        break
    assert kills >= 4
    assert_same_rows(out, unbroken)
    assert quality(out) == quality(unbroken)
    assert manifest(out)["dropped"] == manifest(unbroken)["dropped"]
    assert not (out / "staging").exists()


@pytest.mark.parametrize("number", [5, 30, 55])
def test_killed_and_run_again_with_other_buckets(world, unbroken, tmp_path, monkeypatch, local_ray, number):
    """Neither field changes a row, so neither may stand in the way, nor mix with what the killed run left."""
    kill_after(monkeypatch, number, is_halfway=True)
    with pytest.raises(Killed):
        build(tmp_path / "out", raw_dir=str(world), **SMALL)
    monkeypatch.setattr(flow, "run_shards", run_in_process)
    out = build(tmp_path / "out", raw_dir=str(world), bucket_bytes=20_000, core_rows=0, **SMALL)
    assert_same_rows(out, unbroken)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_killed_while_tidying_up(world, unbroken, tmp_path, monkeypatch, in_process, share, is_reversed):  # noqa: F811
    """Whatever part of the staged files is gone, in whatever order."""
    fields = {"raw_dir": str(world), **SMALL, "tasks": ["AP", "PRP"]}
    remove = Storage.remove

    def remove_some(storage, path):
        if "/staging" in path:
            files = sorted((file for file in Path(path).rglob("*") if file.is_file()), reverse=is_reversed)
            for file in files[: int(len(files) * share)]:
                file.unlink()
            raise Killed
        remove(storage, path)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", remove_some)
        with pytest.raises(Killed):
            build(tmp_path / "out", **fields)
    out = build(tmp_path / "out", **fields)
    for task in ("Answerability_Prediction", "Product_Relation_Prediction"):
        for file in unbroken.glob(f"data/*/*/task={task}/*.parquet"):
            ours = out / file.relative_to(unbroken)
            assert Storage().read_table(str(ours)).equals(Storage().read_table(str(file)))
    assert (out / "_manifest.json").exists()


def start(world, out, log, *overrides):
    return start_driver("build", [f"raw_dir={world}", f"output_dir={out}", "held_out_rows=5", *overrides], log)


def steps_done(out):
    return len(list((out / "staging" / "steps").rglob("*.json")))


def test_a_process_killed_twice_gives_the_same_rows(tmp_path, local_ray):
    """SIGKILL to the job and all of its Ray, each time a little later, then once without a kill."""
    categories = "categories={all: {in_domain: [Electronics], out_of_domain: [Tools_and_Home_Improvement]}}"
    world, out, log = tmp_path / "world", tmp_path / "out", tmp_path / "log"
    size = WorldSize(num_reviews=1500, in_domain=("Electronics",), out_of_domain=("Tools_and_Home_Improvement",))
    write_raw_world(str(world), size)
    for wanted in (3, 60):
        process = start(world, out, log, categories, f"num_workers={1 + wanted % 2}")
        wait_at_work(process, lambda wanted=wanted: steps_done(out) >= wanted, log)
        kill_with_its_ray(process)
        assert not (out / "_manifest.json").exists()
    process = start(world, out, log, categories)
    assert process.wait(180) == 0, log.read_text()
    assert "ecellm: exit=0 reason=done" in log.read_text()
    fields = {"categories": {"all": {"in_domain": ["Electronics"], "out_of_domain": ["Tools_and_Home_Improvement"]}}}
    assert_same_rows(out, build(tmp_path / "unbroken", raw_dir=str(world), held_out_rows=5, **fields))
