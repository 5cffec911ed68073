"""Products with the weights of linear layers: joined where they share an input, packed for few rows on a CPU.

A batch of 4 to 40 rows is too few for the matrix product that torch uses in fp32 on a CPU: it rearranges the weights
at every call. oneDNN can keep them arranged, at the price of holding them a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEW = 4
"""Rows from which packed weights are as fast or faster (measured, see docs/performance.md)."""

Product = Callable[[Tensor], Tensor]


def can_pack(weight: Tensor) -> bool:
    """Whether packed weights exist for this kind of weight on this machine."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return known and weight.device.type == "cpu" and weight.dtype == torch.float32


def product(modules: Sequence[nn.Module], fuse: bool, pack: bool) -> Product:
    """The outputs of linear layers of one input, side by side.

    Args:
        modules: the layers. Those that carry adapters stay as they are.
        fuse: whether they become one product. Their weights then are views of the joined one.
        pack: whether the joined weight is also kept packed.
    """
    plain = [module for module in modules if type(module) is nn.Linear]
    if not fuse or len(plain) < len(modules):
        return modules[0] if len(modules) == 1 else lambda x: torch.cat([module(x) for module in modules], dim=-1)
    weight = _join([module.weight for module in plain])
    biases: list[Any] = [module.bias for module in plain]
    bias = None if biases[0] is None else _join(biases)
    if not pack or not can_pack(weight):
        return lambda x: linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, FEW)

    def multiply(x: Tensor) -> Tensor:
        if x.size(0) >= FEW:
            return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return linear(x, weight, bias)

    return multiply


def _join(parameters: Sequence[Tensor]) -> Tensor:
    """The parameters in one tensor, of which they become views; one alone stays where it is."""
    if len(parameters) == 1:
        return parameters[0].detach()
    joined = torch.cat([p.detach() for p in parameters])
    for parameter, part in zip(parameters, joined.split([len(p) for p in parameters]), strict=True):
        parameter.data = part
    return joined
