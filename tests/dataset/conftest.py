"""A made-up raw world and what the build makes of all of it."""

from pathlib import Path

import pandas as pd
import pytest

from ecellm.config import PAPER_CATEGORIES, BuildConfig
from ecellm.dataset.build import STAGE
from ecellm.sources.synthetic_raw import WorldSize, write_raw_world
from ecellm.stage import execute
from ecellm.tasks import task_named

DIVERSE = "Diverse_Instruction"


def build(output_dir, **fields):
    """Build into a directory; return it."""
    execute(STAGE, BuildConfig(output_dir=str(output_dir), **fields))
    return Path(output_dir)


def read_samples(directory):
    """Read all samples of a build, in the order of the contract."""
    rows = pd.concat([pd.read_parquet(file, partitioning=None) for file in sorted(directory.glob("data/**/*.parquet"))])
    return rows.astype(object).where(rows.notna(), None).reset_index(drop=True)


def paper_categories(short_name):
    """Return the paper's categories of a task as the naive recipes take them."""
    categories = PAPER_CATEGORIES.get(task_named(short_name).name)
    return categories.model_dump() if categories else {}


@pytest.fixture(scope="session")
def world(local_ray, tmp_path_factory):
    """A raw directory with all sources: 2,000 reviews."""
    directory = tmp_path_factory.mktemp("world")
    write_raw_world(str(directory), WorldSize(num_reviews=2000))
    return directory


@pytest.fixture(scope="session")
def built(world, tmp_path_factory):
    """What the build makes of the world, with sizes `all`."""
    return build(tmp_path_factory.mktemp("built") / "samples", raw_dir=str(world), held_out_rows=5)


@pytest.fixture(scope="session")
def samples(built):
    """All its samples."""
    return read_samples(built)
