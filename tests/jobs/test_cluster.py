"""The pipeline as users run it: `ray job submit` to a real cluster, every path on a real S3 server."""

import subprocess
import time

import pytest

from ecellm.sources.synthetic import write_amazon_google
from ecellm.training.tiny_model import make_tiny_model
from tests.conftest import ROOT
from tests.object_store import duckdb_over_s3
from tests.ray_head import BIN, running_ray_head

OVERRIDES = [
    "defaults.base_model=s3://ecellm/model",
    "defaults.raw_dir=s3://ecellm/raw",
    "output_dir=s3://ecellm/run",
    "stages.rows.config.num_samples=24",
    "stages.rows.config.num_val_samples=4",
    "stages.tuned.config.num_epochs=1",
    "stages.tuned.config.num_workers=1",
    "stages.before.config.num_actors=1",
    "stages.after.config.num_actors=2",
]


@pytest.fixture(scope="module")
def bucket(store, tmp_path_factory):
    """A bucket with raw data and a tiny model."""
    local = tmp_path_factory.mktemp("upload")
    write_amazon_google(local / "raw" / "amazon_google", seed=1, num_products=120)
    texts = [path.read_text("latin-1")[:20_000] for path in (local / "raw" / "amazon_google").iterdir()]
    make_tiny_model(local / "model", texts, vocab_size=600, hidden_size=32, num_layers=2, max_length=1024)
    fs = store.filesystem()
    fs.mkdir("ecellm")
    for name in ("raw", "model"):
        fs.put(str(local / name), f"ecellm/{name}", recursive=True)
    return fs


@pytest.fixture(scope="module")
def cluster(store):
    """A head node that knows the object store's credentials."""
    with running_ray_head({**store.environment, "RAY_AUTH_MODE": "disabled"}) as head:
        yield head


def submit(cluster, store, *overrides):
    """Run the recipe by `ray job submit`; return exit code and output."""
    command = [
        str(BIN / "ray"), "job", "submit", "--address", cluster.address, "--runtime-env", "runtime_env.yaml",
        "--working-dir", ".", "--", "python", "-m", "jobs.pipeline", "jobs/recipes/pm_gemma270m.yaml",
        f"storage.endpoint_url={store.endpoint_url}", *OVERRIDES, *overrides,
    ]  # fmt: skip
    for _attempt in range(20):  # the head needs some seconds until it takes jobs
        result = subprocess.run(
            command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, timeout=500, check=False
        )
        output = result.stdout + result.stderr
        if "Failed to connect to Ray" not in output and "ConnectionError" not in output.split("Job '")[0]:
            break
        time.sleep(2)
    return result.returncode, output + cluster.log.read_text()[-1000:]


def test_the_pipeline_runs_on_a_cluster_from_object_storage(cluster, store, bucket):
    code, output = submit(cluster, store)
    assert code == 0, output[-6000:]
    assert "ecellm: exit=0 reason=done" in output

    manifests = bucket.glob("ecellm/run/*/_manifest.json")
    assert len(manifests) == 6
    rows = metrics_over_s3(store)
    assert {role for role, *_ in rows} == {"ours", "floor"}
    ours = [row for row in rows if row[0] == "ours"]
    assert len(ours) == 2
    for _role, metric, value, num_samples in ours:
        assert metric == "f1"
        assert 0 <= value <= 1
        assert num_samples > 10

    again, output = submit(cluster, store)
    assert again == 0
    assert output.count("already done") == 6, output[-4000:]

    # What a run must refuse on a cluster too, with the job's own last line.
    code, output = submit(cluster, store, "seed=2")
    assert code == 1
    assert "ecellm: exit=2 reason=s3://ecellm/run/samples was made by another configuration" in output


def metrics_over_s3(store):
    """Read the headline metrics with DuckDB over S3, without any code of ours."""
    return (
        duckdb_over_s3(store)
        .execute(
            "SELECT role, metric, value, num_samples FROM 's3://ecellm/run/scores/metrics/data/*.parquet' "
            "WHERE is_headline AND flavour = 'strict'"
        )
        .fetchall()
    )
