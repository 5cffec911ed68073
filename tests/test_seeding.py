"""Random numbers depend on their key alone."""

from __future__ import annotations

import pytest
import torch

from litestage.seeding import generator_of, seed_of, uniforms


def test_a_seed_is_the_same_in_every_process() -> None:
    assert seed_of(3, "q1", 0, "recall", "") == 5726040617354238408


def test_different_keys_have_different_seeds() -> None:
    keys = [
        (s, q, a, stage, o)
        for s in (0, 1)
        for q in ("q1", "q11")
        for a in (0, 1, 11)
        for stage in "ab"
        for o in ("", "A")
    ]
    keys += [("ab",), ("a", "b"), (1,), ("1",), ()]
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_row_of_uniforms_is_the_same_whatever_stands_beside_it() -> None:
    keys = [(0, "q", i) for i in range(6)]
    together = uniforms(keys, 40)
    assert together.shape == (6, 40)
    assert together.dtype == torch.float32
    for i in (5, 0, 3):
        assert torch.equal(uniforms([keys[i]], 40)[0], together[i])
    assert len({tuple(row.tolist()) for row in together}) == 6


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    draws = uniforms([("even", i) for i in range(20)], 500)
    assert float(draws.min()) >= 0.0
    assert float(draws.max()) < 1.0
    shares = torch.histc(draws, bins=10, min=0, max=1) / draws.numel()
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.015)  # five standard errors


def test_a_generator_leaves_the_global_state_alone() -> None:
    torch.manual_seed(0)
    want = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(5, generator=generator_of("other"))
    assert torch.equal(torch.rand(3), want)
