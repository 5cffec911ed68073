"""Random numbers that depend on what they are for, never on the order of the work.

uniforms([(seed, question.id, attempt, stage, label)], 200)   # the same row whatever stands beside it
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import torch


def seed_of(*key: Hashable) -> int:
    """A 63-bit seed from a key, the same in every process (unlike `hash`)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_of(*key: Hashable) -> torch.Generator:
    """A CPU generator seeded by a key."""
    return torch.Generator().manual_seed(seed_of(*key))


def uniforms(keys: Sequence[tuple[Hashable, ...]], count: int) -> torch.Tensor:
    """Numbers in [0, 1), one row a key: `[len(keys), count]`, float32, on the CPU."""
    return torch.stack([torch.rand(count, generator=generator_of(*key)) for key in keys])
