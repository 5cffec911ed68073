"""The head: next-token logits, and the likeliest token without computing all of them exactly.

A small model's head is a large part of its weights, and every decode step reads it. Greedy decoding needs only the
largest logit: a bf16 copy of the head, read in half the time, tells with a proven error bound which few tokens can
have it, and theirs are computed in full. The token is the one that all logits would give.

    head = Head(model.lm_head, fuse=True, pack=True)
    head(x), head.likeliest(x)      # [B, V], [B]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from litestage.model.products import FEW, can_pack, product

CHUNK = 64
"""Logits that are compared together."""
LARGE = 2**22
"""Weights from which a bf16 copy of the head is worth having."""
MANY = 1 / 16
"""A longer shortlist than this share of the vocabulary is not worth gathering."""


class Head:
    """The last product.

    Args:
        module: `C` inputs, `V` outputs.
        fuse: as in `product`.
        pack: as in `product`; where it pays, also whether a bf16 copy is kept.
    """

    def __init__(self, module: nn.Linear, fuse: bool, pack: bool) -> None:
        self._product = product((module,), fuse, pack)
        self._shortlist = Shortlist(module.weight.detach()) if pack and can_shorten(module) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `[..., V]` in fp32 of normed residual streams `[..., C]`."""
        return self._product(x).float()

    def likeliest(self, x: Tensor) -> Tensor:
        """The token of the largest logit of each row, `[B]`, of normed residual streams `[B, C]`."""
        token = self._shortlist.likeliest(x) if self._shortlist else None
        return largest(self(x)) if token is None else token


class Shortlist:
    """A bf16 copy of a head's fp32 weight `[V, C]`, and by how much its logits can be off.

    With `w' = bf16(w)` and `x' = bf16(x)`, a logit is off by at most `|x| |w - w'| + |x - x'| |w'|`, by what sums in
    fp32 round, and by 2^-8 of itself, because it is rounded to bf16.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        slack = []
        for part in weight.split(CHUNK * CHUNK):
            near = part.bfloat16().float()
            # Sums of C products, here and in the exact logits: four times what the roundings can add up to.
            sums = part.norm(dim=1) * part.shape[1] * 2**-22
            both = torch.stack(((part - near).norm(dim=1) + sums, near.norm(dim=1)))
            slack.append(both.view(2, -1, CHUNK).amax(-1))
        self._slack = torch.cat(slack, dim=1)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16(), FEW)

    def likeliest(self, x: Tensor) -> Tensor | None:
        """The token of the largest logit of each row `[B]`; `None` when too many could have it."""
        near = x.bfloat16()
        logits = torch.ops.mkldnn._linear_pointwise(near, self._packed, None, "none", [], "")
        logits = logits.view(len(x), -1, CHUNK)
        best = logits.amax(-1).float()
        lengths = torch.stack((x.norm(dim=1), (x - near.float()).norm(dim=1)), dim=1)
        slack = lengths @ self._slack
        floor = (best - slack - best.abs() * 2**-8).amax(1, keepdim=True)
        chunks = (best + slack + best.abs() * 2**-8 >= floor).any(0).nonzero().squeeze(1)
        few = logits[:, chunks].float()
        possible = (few + few.abs() * 2**-8 + slack[:, chunks, None] >= floor[..., None]).any(0).nonzero()
        if not 0 < len(possible) <= MANY * len(self.weight):  # none: there are NaNs
            return None
        tokens = chunks[possible[:, 0]] * CHUNK + possible[:, 1]
        return tokens[linear(x, self.weight[tokens]).argmax(1)]


def can_shorten(module: nn.Module) -> bool:
    """Whether a bf16 copy of this head can be made and is faster on this machine."""
    if type(module) is not nn.Linear or module.bias is not None or not can_pack(module.weight):
        return False
    size, numbers = len(module.weight), module.weight.numel()
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return size % CHUNK == 0 and numbers >= LARGE and bool(known.get("avx512_bf16"))


def largest(logits: Tensor) -> Tensor:
    """`argmax` over the last dimension, in two rounds: torch's own takes one element at a time on a CPU."""
    rows, size = logits.shape
    if size % CHUNK:
        return logits.argmax(-1)
    chunks = logits.view(rows, -1, CHUNK)
    best = chunks.amax(-1).argmax(-1)
    return best * CHUNK + chunks[torch.arange(rows, device=logits.device), best].argmax(-1)
