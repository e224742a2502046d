"""The paper's sampling: right probabilities, top-p kept, a row's draw its own."""

import torch

from ecellm.inference.sampling import RowSampling, uniform_draw


def test_tokens_come_with_their_probabilities_within_top_p():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    scores = probabilities.log().repeat(4000, 1)
    drawn = RowSampling([f"row{n}" for n in range(4000)], 1, temperature=1.0, top_p=0.9)(None, scores).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert shares[3] == 0  # 0.5 + 0.3 + 0.15 reach top-p without it
    assert torch.allclose(shares[:3], probabilities[:3] / 0.95, atol=0.03)


def test_a_low_temperature_takes_the_best():
    scores = torch.tensor([[1.0, 2.0, 1.5]]).repeat(50, 1)
    drawn = RowSampling([str(n) for n in range(50)], 1, temperature=0.01, top_p=0.95)(None, scores).argmax(-1)
    assert set(drawn.tolist()) == {1}


def test_draws_differ_by_row_step_and_seed():
    draws = {uniform_draw(seed, key, step) for seed in (1, 2) for key in ("a", "b") for step in (0, 1)}
    assert len(draws) == 8
    assert all(0 <= draw < 1 for draw in draws)
