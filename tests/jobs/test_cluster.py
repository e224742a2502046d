"""The pipeline as users run it on a cluster: submitted to a head that asks for a token, done by three nodes, all on S3.

Compared with the same recipe run on one node, on local disk.
"""

import json
import subprocess
from collections import defaultdict

import pytest

from ecellm.config import StorageConfig
from ecellm.storage import Storage
from ecellm.training.rows import RowReader
from tests.conftest import ROOT
from tests.driver_process import start_driver
from tests.object_store import duckdb_over_s3
from tests.ray_cluster import BIN
from tests.same_output import assert_same_output
from tests.small_run import RECIPE, STAGES, words_of_run

BUCKET = "cluster-test"
# A worker and an actor of the size of a node each: they have to be on different ones.
SPREAD = [
    "stages.tuned.config.cpus_per_worker=2",
    *(
        f"stages.{name}.config.{words}"
        for name in ("before", "after")
        for words in ("cpus_per_actor=2", "num_actors=3")
    ),
]


@pytest.fixture(scope="module")
def words(store, uploaded):
    """The command line of the run."""
    store.filesystem().mkdir(BUCKET)
    return [*words_of_run(f"s3://{BUCKET}/run", uploaded), f"storage.endpoint_url={store.endpoint_url}", *SPREAD]


@pytest.fixture(scope="module")
def log_of_the_run(cluster, words, tmp_path_factory):
    """What the run says, once it is done."""
    log = tmp_path_factory.mktemp("submit") / "log"
    submitted = start_driver("submit", [RECIPE, "--address", cluster.address, *words], log, cluster.environment)
    assert submitted.wait(550) == 0, log.read_text()[-8000:]
    return log.read_text()


@pytest.fixture(scope="module")
def run(log_of_the_run, store, tmp_path_factory):
    """A local copy of what it made."""
    local = tmp_path_factory.mktemp("fetched") / "run"
    store.filesystem().get(f"{BUCKET}/run", str(local), recursive=True)
    return local


def test_it_ends_with_the_job_s_own_last_line(log_of_the_run):
    assert log_of_the_run.splitlines()[-1].startswith("ecellm: exit=0 reason=pm_gemma270m-")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_gives_what_it_gives_on_one_node(run, undisturbed, stage):
    """The same ids, rows and answers; the same scores; losses and gradients to rounding."""
    assert_same_output(run / stage, undisturbed / stage, tolerance=1e-5)


def test_every_step_learns_from_the_same_samples(run, undisturbed, store, monkeypatch):
    """Read as a worker reads them, from S3 and from local disk; the loss of each step is compared above."""
    store.log_in(monkeypatch)
    config = json.loads((run / "tuned" / "_manifest.json").read_text())["config"]
    on_s3 = Storage(StorageConfig(endpoint_url=store.endpoint_url))
    for epoch in range(config["num_epochs"]):
        of = {name: config[name] for name in ("seed", "global_batch_size")} | {"epoch": epoch}
        batches = [
            [[(row.position, row.sample_id, row.input_ids.tolist()) for row in batch] for batch in reader.epoch(**of)]
            for reader in (
                RowReader(on_s3, f"s3://{BUCKET}/run/rows", "train"),
                RowReader(Storage(), str(undisturbed / "rows"), "train"),
            )
        ]
        assert batches[0] == batches[1]
        assert sum(map(len, batches[0])) == 160


def test_the_work_was_spread_over_the_nodes(cluster, run):
    """By what Ray itself recorded of each task and actor."""
    nodes = nodes_by_work(cluster)
    assert len(nodes["RayTrainWorker.run_train_fn"]) == 2, nodes
    assert len(nodes["MapWorker(Map(_ShardActor)).submit"]) == 3, nodes
    assert len({node for name, own in nodes.items() if name.startswith("build") for node in own}) >= 2, nodes
    head = head_of(cluster)
    ours = [name for name in nodes if name.split(":")[0].split(",")[0] in {*STAGES.values(), "report"}]
    assert len(ours) >= 8, nodes
    assert not any(head in nodes[name] for name in ours), "the head only schedules"


def ray_list(cluster, what):
    command = [
        str(BIN / "ray"),
        "list",
        what,
        "--address",
        cluster.address,
        "--detail",
        "--format=json",
        "--limit=9999",
    ]
    listed = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(listed.stdout)


def head_of(cluster):
    return next(node["node_id"] for node in ray_list(cluster, "nodes") if node["is_head_node"])


def nodes_by_work(cluster):
    """Return on which of the nodes that are there tasks, and methods of actors, of each name have run.

    Other tests of the session may have lost some on purpose.
    """
    alive = {node["node_id"] for node in ray_list(cluster, "nodes") if node["state"] == "ALIVE"}
    nodes = defaultdict(set)
    for task in ray_list(cluster, "tasks"):
        if task["node_id"] in alive:
            nodes[task["name"]].add(task["node_id"])
    return nodes


def test_the_table_of_metrics_is_queried_on_s3_as_it_stands(run, store):
    sql = f"""
        SELECT role, metric, value, num_samples FROM 's3://{BUCKET}/run/scores/metrics/data/*.parquet'
        WHERE is_headline AND flavour = 'strict'
    """
    rows = duckdb_over_s3(store).execute(sql).fetchall()
    assert {role for role, *_ in rows} == {"ours", "floor"}
    ours = [row for row in rows if row[0] == "ours"]
    assert len(ours) == 6  # three tasks before and after
    for _role, metric, value, num_samples in ours:
        assert metric == "f1"
        assert 0 <= value <= 1
        assert num_samples > 10


def plain_submit(cluster, words):
    """Run the recipe by plain `ray job submit`; return exit code and output."""
    command = [
        str(BIN / "ray"), "job", "submit", "--address", cluster.address, "--runtime-env", "runtime_env.yaml",
        "--working-dir", ".", "--", "python", "-m", "jobs.pipeline", RECIPE, *words,
    ]  # fmt: skip
    result = subprocess.run(
        command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, timeout=500, check=False
    )
    return result.returncode, result.stdout + result.stderr


def test_plain_ray_job_submit_finds_it_done(cluster, words, run):
    code, output = plain_submit(cluster, words)
    assert code == 0, output[-6000:]
    assert output.count("already done") == 6, output[-4000:]
    assert "ecellm: exit=0 reason=done" in output


def test_another_configuration_is_refused_with_the_job_s_own_last_line(cluster, words, run):
    code, output = plain_submit(cluster, [*words, "seed=2"])
    assert code == 1
    assert f"ecellm: exit=2 reason=s3://{BUCKET}/run/samples was made by another configuration" in output
    assert "config.seed: 1 there, 2 now" in output
