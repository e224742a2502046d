"""Every job says so where none of its tasks or workers could ever be scheduled: it would wait without a word."""

import pytest
import ray
from ray._private.state import state

from ecellm import resources
from ecellm.config import BuildConfig, EvaluateConfig, FinetuneConfig, IngestConfig, PredictConfig, PreprocessConfig
from ecellm.errors import InputError
from ecellm.shards import run_shards
from ecellm.stage import check_stage_room
from ecellm.stages import load_stage
from ecellm.storage import Storage

GIB = 2.0**30
CONFIGS = {
    "build": BuildConfig(raw_dir="/raw", output_dir="/out"),
    "ingest": IngestConfig(release="/own.jsonl", output_dir="/out"),
    "preprocess": PreprocessConfig(samples_dir="/samples", base_model="/model", output_dir="/out"),
    "finetune": FinetuneConfig(rows_dir="/rows", base_model="/model", output_dir="/out", num_workers=2, use_gpu=True),
    "predict": PredictConfig(samples_dir="/samples", model="/model", output_dir="/out", use_gpu=True),
    "evaluate": EvaluateConfig(samples_dir="/samples", predictions_dirs=("/answers",), output_dir="/out"),
}


@pytest.fixture
def nodes(monkeypatch):
    """Return a function that makes Ray tell of these nodes; no autoscaler brings more."""

    def tell_of(*nodes):
        total = {}
        for node in nodes:
            for name, amount in node.items():
                total[name] = total.get(name, 0.0) + amount
        monkeypatch.setattr(ray, "cluster_resources", lambda: total)
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
        monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: None)
        monkeypatch.setattr(resources, "brings_nodes", lambda *_: False)
        monkeypatch.setattr(resources, "may_bring_nodes", lambda: False)

    return tell_of


@pytest.mark.parametrize("job", CONFIGS)
def test_a_head_without_cpus_and_without_workers(nodes, job):
    nodes({"memory": 8 * GIB})
    with pytest.raises(
        InputError, match=f"^a task of {job} needs 1 CPUs, but the cluster has 0: give its nodes more, or"
    ):
        check_stage_room(load_stage(job), CONFIGS[job])


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ("finetune", "num_workers=2 with cpus_per_worker=1 needs 2 GPUs, but the cluster has 0: set use_gpu=false"),
        ("predict", "one actor with cpus_per_actor=1 needs 1 GPUs, but the cluster has 0: set use_gpu=false"),
        ("evaluate", r"a task of evaluate needs 0\.5 GiB of memory, but the cluster has 0\.2: give its nodes more"),
    ],
)
def test_nodes_that_are_too_small(nodes, job, told):
    nodes({"CPU": 4.0, "memory": 0.25 * GIB})
    with pytest.raises(InputError, match=told):
        check_stage_room(load_stage(job), CONFIGS[job])


def test_a_cluster_with_room(nodes):
    nodes({"CPU": 4.0, "GPU": 2.0, "memory": 8 * GIB})
    for job, config in CONFIGS.items():
        check_stage_room(load_stage(job), config)


def test_what_runs_before_and_beside_the_stages_says_so_too(nodes, tmp_path):
    nodes({})
    (tmp_path / "raw" / "amazon_google").mkdir(parents=True)
    for name in ("Amazon.csv", "GoogleProducts.csv", "Amzon_GoogleProducts_perfectMapping.csv"):
        (tmp_path / "raw" / "amazon_google" / name).write_text("x\n")
    build = CONFIGS["build"].model_copy(update={"tasks": ("Product_Matching",)})
    with pytest.raises(InputError, match="a task of build needs 1 CPUs"):
        load_stage("build").fingerprint_input(Storage(), build, "raw_dir", str(tmp_path / "raw"))
    with pytest.raises(InputError, match="a task of fetch: files needs 1 CPUs"):
        list(run_shards([{"number": 0}], dict, name="fetch: files"))
