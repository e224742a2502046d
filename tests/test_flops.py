import pytest
import torch

from ecellm.flops import flops_per_token, mfu, peak_flops, peak_of


@pytest.mark.parametrize(
    ("name", "bf16", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", True, 312e12),
        ("NVIDIA A100 80GB PCIe", False, 19.5e12),
        ("NVIDIA H100 80GB HBM3", True, 989e12),
        ("NVIDIA H100 PCIe", True, 756e12),
        ("NVIDIA H200", True, 989e12),
        ("NVIDIA L40S", True, 362e12),
        ("NVIDIA L4", True, 121e12),
        ("NVIDIA A10G", True, 70e12),
        ("NVIDIA GeForce RTX 4090", True, 165e12),
        ("Tesla V100-SXM2-32GB", False, 15.7e12),
        ("Tesla V100-SXM2-32GB", True, None),
        ("NVIDIA GH200 480GB", True, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", True, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", True, None),
        ("", True, None),
    ],
)
def test_the_peak_follows_from_the_name_that_the_driver_gives(name, bf16, peak):
    assert peak_of(name, bf16=bf16) == peak


def test_a_cpu_has_no_known_peak():
    assert peak_flops(torch.device("cpu"), bf16=True) is None
    assert mfu(1000.0, 7_000_000_000, adapters=True, peak=None, num_workers=2) is None


def test_the_backward_pass_of_a_linear_layer_costs_what_is_counted():
    """Count the products that torch really does, with the weight trained and with it frozen."""
    from torch.utils.flop_counter import FlopCounterMode

    size, num_tokens = 64, 10
    for is_frozen in (False, True):
        layer = torch.nn.Linear(size, size, bias=False).requires_grad_(not is_frozen)
        tokens = torch.ones(num_tokens, size, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            layer(tokens).sum().backward()
        assert counter.get_total_flops() == num_tokens * flops_per_token(size * size, adapters=is_frozen)


def test_utilisation_is_a_share_of_all_gpus():
    # 2 workers at 100 FLOP/s; 5 tokens a second of 10 parameters, all trained: 300 FLOP/s.
    assert mfu(5.0, 10, adapters=False, peak=100.0, num_workers=2) == pytest.approx(1.5)
    assert mfu(5.0, 10, adapters=True, peak=100.0, num_workers=2) == pytest.approx(1.0)
