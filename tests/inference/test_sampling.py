"""The paper's sampling: right probabilities, top-p kept, a row's draw its own."""

import torch

from ecellm.inference.sampling import draw_tokens, row_seed, uniform_draw


def draws(number):
    return [uniform_draw(1, f"row{n}", 0) for n in range(number)]


def test_tokens_come_with_their_probabilities_within_top_p():
    probabilities = torch.tensor([0.3, 0.05, 0.5, 0.15])
    logits = probabilities.log().repeat(4000, 1)
    drawn = draw_tokens(logits, draws(4000), temperature=1.0, top_p=0.9)
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert shares[1] == 0  # 0.5 + 0.3 + 0.15 reach top-p without it
    kept = torch.tensor([0.3, 0.0, 0.5, 0.15])
    assert torch.allclose(shares, kept / kept.sum(), atol=0.03)


def test_a_flat_distribution_over_a_large_vocabulary_is_drawn_from_as_a_whole():
    logits = torch.zeros(3000, 1000)
    drawn = draw_tokens(logits, draws(3000), temperature=1.0, top_p=0.95)
    assert drawn.max() < 951  # equally likely tokens are kept in the order of their ids
    assert len(drawn.unique()) > 850


def test_most_likely_tokens_alone_give_what_the_whole_vocabulary_gives():
    torch.manual_seed(1)
    logits = torch.randn(64, 2000) * 4
    some = draw_tokens(logits, draws(64), temperature=0.5, top_p=0.9)
    padded = torch.cat([logits, torch.full((64, 5), -1e4)], dim=1)
    padded[-1] = 0.0  # one flat row: all are sorted whole
    assert some[:-1].tolist() == draw_tokens(padded, draws(64), temperature=0.5, top_p=0.9)[:-1].tolist()


def test_a_low_temperature_takes_the_best():
    logits = torch.tensor([[1.0, 2.0, 1.5]]).repeat(50, 1)
    assert set(draw_tokens(logits, draws(50), temperature=0.01).tolist()) == {1}


def test_draws_differ_by_row_step_and_seed():
    found = {uniform_draw(seed, key, step) for seed in (1, 2) for key in ("a", "b") for step in (0, 1)}
    assert len(found) == 8
    assert all(0 <= draw < 1 for draw in found)
    seeds = {row_seed(seed, key) for seed in (1, 2) for key in ("a", "b")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
