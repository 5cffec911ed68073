"""The element-wise work between a block's products: norm, rotary embedding, gated activation.

Each piece takes tensors only, so its compiled form serves every block and every skip set: a search over many plans
compiles nothing anew.

    glue = compiled()      # or EAGER
    glue.norm(x, weight, 1e-6)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu


@dataclass(frozen=True)
class Glue:
    """The three pieces."""

    norm: Callable[[Tensor, Tensor, float], Tensor]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]
    gate: Callable[[Tensor], Tensor]


def norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMS norm of `[..., C]`."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return rms_norm(x, x.shape[-1:], weight, epsilon)
    # torch's own takes a dozen steps on a CPU; these are half as many, in place.
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().mul_(1 / x.shape[-1]).add_(epsilon).rsqrt_()
    return (x * scale).mul_(weight)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of heads `[N, H, D]` (half-split form); `sin` `[N, 1, D]` is negative in its first half."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def gate(x: Tensor) -> Tensor:
    """SiLU of the first half of `[N, 2F]` times the second."""
    half = x.shape[-1] // 2
    return silu(x.narrow(-1, 0, half)).mul_(x.narrow(-1, half, half))


EAGER = Glue(norm, rotate, gate)


def compiled(device: torch.device, backend: str = "inductor") -> Glue:
    """The pieces through `torch.compile`; with a warning the eager ones where that does not work."""
    made = Glue(*(torch.compile(piece, dynamic=True, backend=backend) for piece in (norm, rotate, gate)))
    x = torch.ones(2, 1, 8, device=device)
    try:
        made.gate(made.rotate(made.norm(x, x[0, 0], 1e-6), x, x)[:, 0])
    except (RuntimeError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"torch.compile does not work here, going on without: {reason}", stacklevel=2)
        return EAGER
    return made
