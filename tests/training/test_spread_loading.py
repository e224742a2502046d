"""ZeRO-3 loads a model in shares: two processes have half of it each, and together what is in the files."""

import os

import pytest
import torch
from architectures import make
from safetensors.torch import save_file

from ecellm.config import FinetuneConfig
from ecellm.model_loading import load_base
from ecellm.training.deepspeed_config import spread_while_loading
from ecellm.training.model import (
    add_adapters,
    build_model,
    head_is_tied,
    num_parameters,
    trainable_parameters,
)

WORLD_SIZE = 2


def config(**changes):
    fields = {"deepspeed": {"stage": 3}, "lora": {"r": 2}, **changes}
    return FinetuneConfig(rows_dir="rows", base_model="model", output_dir="out", **fields)


CASES = {
    "llama": config(),
    "full": config(method="full"),
    "bf16": config(precision="bf16"),
    "gemma3_text": config(),  # output layer tied
    "gpt_neox": config(precision="bf16"),  # biases
    "gpt2": config(),  # transposed weights
    "flan-t5": config(),  # an output layer of its own, which its config does not tell
    "t5": config(),  # tied, but in the files twice
}


@pytest.fixture(scope="module")
def models(llama, tmp_path_factory):
    """Base models by case."""
    from transformers import GPT2Config, GPT2LMHeadModel

    directory = tmp_path_factory.mktemp("models")
    made = {name: make(name) for name in ("gemma3_text", "gpt_neox", "flan-t5", "t5")}
    torch.manual_seed(3)
    made["gpt2"] = GPT2LMHeadModel(
        GPT2Config(vocab_size=160, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    )
    head = made["flan-t5"].lm_head
    head.weight = torch.nn.Parameter(torch.randn(head.weight.shape))
    made["flan-t5"].config.tie_word_embeddings = True
    for name, model in made.items():
        model.save_pretrained(directory / name)
    both = made["t5"].state_dict()
    save_file(
        {name: own.clone() for name, own in both.items()}, directory / "t5" / "model.safetensors", {"format": "pt"}
    )
    return {name: str(directory / name if name in made else llama) for name in CASES}


def spread(rank, models, output):
    """Load every case on one of the ranks, and write down what it has of it."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD_SIZE), DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{output}/meeting", rank=rank, world_size=WORLD_SIZE
    )
    for name, settings in CASES.items():
        torch.save(share_of(models[name], settings), f"{output}/{name}-{rank}.pt")
    torch.save(spread_odd_weights_are_equal(), f"{output}/odd-{rank}.pt")
    torch.distributed.destroy_process_group()


def spread_odd_weights_are_equal():
    """Compare weights that do not divide by the ranks, and of which only what fills up the last share differs."""
    import deepspeed

    made = []
    for last in (1.0, 1.0, 2.0):
        layer = torch.nn.Linear(3, 1, bias=False)
        layer.weight.data = torch.tensor([[0.0, 0.0, last]])
        deepspeed.zero.Init(module=layer, config_dict_or_path={"train_micro_batch_size_per_gpu": 1})
        if torch.distributed.get_rank() == WORLD_SIZE - 1:
            layer.weight.ds_tensor[-1] = len(made)
        made.append(layer.weight)
    with spread_while_loading(config(), bf16=False, on_gpu=False):
        return [torch.equal(made[0], other) for other in made]


def share_of(path, settings):
    from deepspeed.runtime import zero
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    gathered = []

    class Watched(zero.GatheredParameters):
        def __exit__(self, *error):
            gathered.append(sum(own.numel() for own in getattr(self, "params", ())))
            return super().__exit__(*error)

    import deepspeed

    original = deepspeed.zero.GatheredParameters
    deepspeed.zero.GatheredParameters = Watched
    try:
        model = build_model(path, settings, bf16=settings.precision == "bf16")
    finally:
        deepspeed.zero.GatheredParameters = original
    assert not is_deepspeed_zero3_enabled(), "a model that is loaded later would be taken for a spread one"
    base = [own for own in model.parameters() if hasattr(own, "ds_tensor")]
    result = {
        "own": sum(own.ds_tensor.numel() for own in base),
        "data": sum(own.numel() for own in base),
        "most_gathered": max(gathered),
        "num_parameters": num_parameters(model),
        "is_tied": head_is_tied(model),
        "is_fresh": {name: not hasattr(own, "ds_tensor") for name, own in model.named_parameters()},
        "buffers": dict(model.named_buffers()),
    }
    with zero.GatheredParameters(base):
        result["weights"] = {name: own.detach().clone() for name, own in model.named_parameters()}
    return result


@pytest.fixture(scope="module")
def shares(models, tmp_path_factory):
    """What each rank has, by case."""
    output = tmp_path_factory.mktemp("shares")
    torch.multiprocessing.spawn(spread, (models, str(output)), nprocs=WORLD_SIZE)
    return {
        name: [torch.load(output / f"{name}-{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]
        for name in (*CASES, "odd")
    }


def plain(path, settings):
    """Return the model that training would get without ZeRO-3."""
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    model = load_base(path, revision=None, dtype=dtype)
    if settings.uses_adapters:
        model = add_adapters(model, settings.lora, seed=settings.seed)
    return model, dtype


@pytest.mark.parametrize("case", CASES)
def test_no_rank_has_more_than_its_share_and_one_layer(case, shares, models):
    base = load_base(models[case], revision=None, dtype=torch.float32)
    whole = sum(own.numel() for own in base.parameters())
    layer = max(sum(own.numel() for own in module.parameters(recurse=False)) for module in base.modules())
    for share in shares[case]:
        assert share["data"] == 0
        assert whole / 2 <= share["own"] <= 0.51 * whole
        assert share["most_gathered"] <= layer
        assert layer < 0.5 * whole


@pytest.mark.parametrize("case", CASES)
def test_shares_are_together_the_model_of_the_files_with_the_same_adapters(case, shares, models):
    model, dtype = plain(models[case], CASES[case])
    adapters = trainable_parameters(model) if CASES[case].uses_adapters else {}
    for share in shares[case]:
        assert share["weights"].keys() == dict(model.named_parameters()).keys()
        for name, own in model.named_parameters():
            assert share["weights"][name].dtype == dtype
            assert torch.equal(share["weights"][name], own.to(dtype)), name
            assert share["is_fresh"][name] == (name in adapters)
        buffers = dict(model.named_buffers())
        assert share["buffers"].keys() == buffers.keys()
        assert all(torch.equal(own, share["buffers"][name]) for name, own in buffers.items())
        assert share["num_parameters"] == model.num_parameters()
        assert share["is_tied"] == head_is_tied(model) == (case in {"gemma3_text", "gpt2", "t5"})


def test_spread_weights_are_equal_if_all_that_belongs_to_them_is(shares):
    assert shares["odd"] == [[True, True, False]] * WORLD_SIZE
