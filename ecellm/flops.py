"""Model FLOP/s utilisation: what share of a GPU's peak goes into the sums that the model asks for.

In: tokens per second and the size of the model. Out: a share of the peak, or None where the peak is not known. Sums
that are done twice (gradient checkpointing) or for nothing (padding) do not count, and those of attention's scores are
left out: at 2,048 tokens they are a few per cent of a model of 3B parameters.
"""

import torch

# FLOP/s of dense matrix products in bf16 with accumulation in fp32, without sparsity, from NVIDIA's data sheets of the
# cards (the RTX ones: from the white papers on GA102 and AD102). Looked up in this order: the first name that is part
# of the device's name counts.
_BF16_PEAKS = (
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("A30", 165e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)
# In fp32: with TF32 switched off, which is torch's default for matrix products.
_FP32_PEAKS = (
    ("H200 NVL", 60e12),
    ("H200", 67e12),
    ("H100 PCIe", 51e12),
    ("H100 NVL", 60e12),
    ("H100", 67e12),
    ("A100", 19.5e12),
    ("V100", 15.7e12),
    ("T4", 8.1e12),
)
# A part of a card, or a smaller card of the same name.
_OTHER_CARDS = ("MIG", "Laptop", "D")


def peak_flops(device: torch.device, bf16: bool) -> float | None:
    """Return the peak of one device in FLOP/s; None on a CPU and for a GPU that is not in the tables."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return peak_of(torch.cuda.get_device_name(device), bf16=bf16)


def peak_of(name: str, *, bf16: bool) -> float | None:
    """Return the peak of a GPU by the name that its driver gives it, e.g. `NVIDIA A100-SXM4-80GB`."""
    words = name.replace("-", " ").split()
    if any(word in words for word in _OTHER_CARDS):
        return None
    for known, peak in _BF16_PEAKS if bf16 else _FP32_PEAKS:
        parts = known.split()
        if any(words[i : i + len(parts)] == parts for i in range(len(words))):
            return peak
    return None


def flops_per_token(num_parameters: int, adapters: bool) -> float:
    """Return the FLOPs of training on one token.

    A parameter costs a multiplication and an addition (2) in the forward pass, 2 in the backward pass through the
    activations, and 2 for its own gradient, which the frozen weights below adapters do not need: 6N, or 4N (Kaplan et
    al. 2020, arXiv:2001.08361, section 2.1).

    Args:
        num_parameters: all parameters of the model, frozen ones included.
        adapters: whether only adapters are trained.
    """
    return (4.0 if adapters else 6.0) * num_parameters


def mfu(
    tokens_per_second: float, num_parameters: int, adapters: bool, peak: float | None, num_workers: int
) -> float | None:
    """Return the model FLOP/s utilisation, a share of 1 (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).

    Args:
        tokens_per_second: real tokens, all workers together.
        num_parameters: all parameters of the model, frozen ones included.
        adapters: whether only adapters are trained.
        peak: of one worker's GPU in FLOP/s; None if not known.
        num_workers: workers, one GPU each.
    """
    if peak is None:
        return None
    return tokens_per_second * flops_per_token(num_parameters, adapters) / (peak * num_workers)
