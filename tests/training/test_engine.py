"""DeepSpeed's stages, world sizes and checkpoints against each other: one start of the workers for many trainings."""

import sys

import matrix
import pytest

from ecellm.config import FinetuneConfig
from ecellm.storage import Storage
from ecellm.training.loop import Job

NUM_STEPS = 20


@pytest.fixture(scope="module")
def run_matrix(local_ray, llama, rows_dir, tmp_path_factory):
    from ray import cloudpickle
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    cloudpickle.register_pickle_by_value(sys.modules["matrix"])  # workers do not have the tests on their path
    output = tmp_path_factory.mktemp("matrix")

    def job(changes):
        defaults = {
            "global_batch_size": 16,
            "num_epochs": 5,
            "lora": {"dropout": 0.0, "r": 4},
            "micro_batch_size": 3,
            "optimizer": {"learning_rate": 3e-3, "max_grad_norm": 0.9},
        }
        config = FinetuneConfig(
            rows_dir=str(rows_dir), base_model=str(llama), output_dir=str(output), **{**defaults, **changes}
        )
        return Job(config, Storage(), str(rows_dir), str(llama), str(output))

    def run(num_workers, jobs, resume=None):
        trainer = TorchTrainer(
            matrix.train_matrix,
            train_loop_config={
                "jobs": {name: job(changes) for name, changes in jobs.items()},
                "num_steps": NUM_STEPS,
                "resume": resume or {},
                "extensions_dir": str(output / "extensions"),
            },
            scaling_config=ScalingConfig(num_workers=num_workers, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=str(output), name=f"{num_workers}-{len(list(output.iterdir()))}"),
        )
        result = trainer.fit().return_value
        assert not (output / "extensions").exists(), "something was compiled"
        return result

    return run


def stage(number, **changes):
    return {"deepspeed": {"stage": number}, **changes}


def same(first, second, tolerance=1e-5):
    assert len(first) == len(second) > 0
    for (loss, norm), (other_loss, other_norm) in zip(first, second, strict=True):
        assert loss == pytest.approx(other_loss, abs=tolerance)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def check_all_agree(results, others):
    reference = next(iter(results.values()))["losses"]
    assert reference[-1][0] < reference[0][0] - 0.1
    for result in [*results.values(), *others.values()]:
        same(reference, result["losses"])
        for name, losses in result.items():
            if name != "losses":
                same(reference[NUM_STEPS // 2 :], losses)


def test_stages_and_worlds_and_restarts_agree_with_adapters(run_matrix):
    two = {"0": stage(0), "2": stage(2), "3": stage(3)}
    crossed = {"0": ["3"], "2": ["2"], "3": ["0", "2"]}
    two["packed"] = stage(2, packing=True, micro_batch_size=16, micro_batch_tokens=100)
    one = {"2": stage(2, micro_batch_size=16), "0": stage(0, micro_batch_size=1)}
    one["budget"] = stage(2, micro_batch_size=16, micro_batch_tokens=100)
    check_all_agree(run_matrix(2, two, crossed), run_matrix(1, one, {"2": ["0"]}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"method": "full"}, {"loss_normalization": "token"}, {"gradient_checkpointing": True}]
)
def test_every_stage_agrees(run_matrix, changes):
    jobs = {str(number): stage(number, **changes) for number in range(4)}
    every = {name: list(jobs) for name in jobs}
    check_all_agree(run_matrix(2, jobs, every), run_matrix(1, jobs, every))


@pytest.mark.slow
def test_weight_decay_has_parameter_groups_of_its_own(run_matrix):
    optimizer = {"learning_rate": 3e-3, "weight_decay": 0.1}
    jobs = {str(number): stage(number, method="full", optimizer=optimizer) for number in range(4)}
    every = {name: list(jobs) for name in jobs}
    check_all_agree(run_matrix(2, jobs, every), run_matrix(1, jobs))


@pytest.mark.slow
def test_bf16_stays_near_fp32_and_restarts_exactly(run_matrix):
    jobs = {str(number): stage(number, precision="bf16") for number in range(4)}
    results = run_matrix(2, {"fp32": stage(2), **jobs}, {name: [name] for name in jobs})
    for name in jobs:
        same(results["fp32"]["losses"], [(loss, norm) for loss, norm in results["fp32"]["losses"]])
        assert [x for x, _ in results[name]["losses"]] == pytest.approx(
            [x for x, _ in results["fp32"]["losses"]], abs=5e-3
        )
        same(results[name]["losses"][NUM_STEPS // 2 :], results[name][f"resumed by {name}"], tolerance=1e-6)
