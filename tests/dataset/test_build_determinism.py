"""Same configuration, same rows in the same order, however the work is cut and spread; another seed, others."""

import shutil

import pytest

from ecellm.config import BuildConfig
from ecellm.dataset.build import STAGE
from ecellm.stage import plan
from tests.dataset.conftest import build
from tests.dataset.small_builds import assert_same_rows, in_process, manifest, quality, tables  # noqa: F401


@pytest.mark.parametrize("fields", [{"num_workers": 1, "bucket_bytes": 50_000}, {"num_workers": 4}], ids=str)
def test_the_number_of_workers_changes_no_row(world, built, tmp_path, fields):
    out = build(tmp_path / "out", raw_dir=str(world), held_out_rows=5, **fields)
    assert_same_rows(out, built)
    assert quality(out) == quality(built)


@pytest.mark.parametrize("fields", [{"bucket_bytes": 2_000}, {"core_rows": 0}, {"core_rows": 150}], ids=str)
def test_the_size_of_buckets_and_peeling_in_turns_change_no_row(world, built, tmp_path, fields, in_process):  # noqa: F811
    out = build(tmp_path / "out", raw_dir=str(world), held_out_rows=5, **fields)
    assert_same_rows(out, built)
    assert quality(out) == quality(built)
    assert manifest(out)["fingerprint"] == manifest(built)["fingerprint"]


def test_raw_files_that_were_written_in_another_order_and_place_change_no_row(world, built, tmp_path, in_process):  # noqa: F811
    other = tmp_path / "elsewhere"
    for file in sorted((path for path in world.rglob("*") if path.is_file()), key=lambda path: str(path)[::-1]):
        target = other / file.relative_to(world)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    fields = {"raw_dir": str(other), "held_out_rows": 5}
    assert_same_rows(build(tmp_path / "out", **fields), built)
    assert (
        plan(STAGE, BuildConfig(output_dir=str(tmp_path / "out"), **fields)).fingerprint
        == manifest(built)["fingerprint"]
    )


def test_another_seed_gives_other_rows_and_leaves_the_release_s_own_split(world, built, tmp_path, in_process):  # noqa: F811
    other, ours = tables(build(tmp_path / "out", raw_dir=str(world), held_out_rows=5, seed=2)), tables(built)
    train = [name for name in ours if "IND_Single" in name and "split=train" in name]
    assert len(train) == 10
    columns = ["input", "options", "output"]
    for name in train:
        is_same = other[name].select(columns).equals(ours[name].select(columns))
        assert is_same == ("Product_Matching" in name), name
