"""One view of a Llama-type decoder as a list of `2L` sub-layers, each of which can be skipped.

Block `j` holds sub-layers `2j` (attention) and `2j + 1` (feed-forward), each with its norm and residual add. The
view borrows the modules of a Hugging Face model (adapters included) and owns positions, masks and cache lengths.

    decoder = Decoder(model)
    x = decoder.hidden(ids, [len(ids)], decoder.new_cache(rows=1), skip={0, 5})
    logits = decoder.logits(x[-1:])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from litestage.model.attention import Pass
from litestage.model.cache import KVCache, Layout
from litestage.model.glue import EAGER, Glue
from litestage.model.head import Head
from litestage.model.products import product

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral")
"""Values of `config.model_type` whose blocks have the layout below."""

Observer = Callable[[int, Tensor, Tensor], None]
"""Called with (sub-layer, residual stream before `[N, C]`, residual stream after `[N, C]`)."""


class Decoder:
    """A causal language model as embedding, `2L` sub-layers, norm and head.

    Args:
        model: a transformers model of one of `ARCHITECTURES`, or such a model wrapped by peft.
        fuse: whether products of the same input become one. The model's own weights then are views of the joined
            ones, so it works as before and no memory is added; but it must not be moved or retyped afterwards.
        pack: whether the fused weights are kept a second time, arranged for few rows (fp32 on a CPU, else no effect).
        glue: the element-wise work between the products, compiled or not.

    Raises:
        ValueError: the architecture or its activation is another one.
    """

    def __init__(self, model: nn.Module, fuse: bool = False, pack: bool = False, glue: Glue = EAGER) -> None:
        base, self.glue = base_model(model), glue
        self.config = base.config
        check_architecture(self.config.model_type)
        if self.config.hidden_act != "silu":
            raise ValueError(f"activation {self.config.hidden_act!r} is not supported; the blocks must use 'silu'")
        self.embed, self.norm, self.head = base.model.embed_tokens, base.model.norm, base.lm_head
        self.rotary, self.blocks = base.model.rotary_emb, list(base.model.layers)
        self.num_sublayers = 2 * len(self.blocks)
        self.kv_heads = self.config.num_key_value_heads
        self.head_dim = self.blocks[0].self_attn.head_dim
        self.groups = self.config.num_attention_heads // self.kv_heads
        self.context = self.config.max_position_embeddings
        self.windows = [_window(self.config, block) for block in self.blocks]
        if fuse and base.device.type == "cpu":
            for parameter in base.parameters():  # or the mapped file they were read from stays in memory as well
                parameter.data = parameter.data.clone()
        attns, mlps = [block.self_attn for block in self.blocks], [block.mlp for block in self.blocks]
        # Looked up once: every look into a module costs as much as a small operation.
        norms = [norm for b in self.blocks for norm in (b.input_layernorm, b.post_attention_layernorm)]
        self._norms = [_of_norm(norm) for norm in (*norms, self.norm)]
        self._qk_norms = [[_of_norm(n) for n in (a.q_norm, a.k_norm)] if hasattr(a, "q_norm") else None for a in attns]
        self._scaling = [a.scaling for a in attns]
        self._qkv = [product((a.q_proj, a.k_proj, a.v_proj), fuse, pack) for a in attns]
        self._out = [product((a.o_proj,), fuse, pack) for a in attns]
        self._gate_up = [product((m.gate_proj, m.up_proj), fuse, pack) for m in mlps]
        self._down = [product((m.down_proj,), fuse, pack) for m in mlps]
        self._head = Head(self.head, fuse, pack)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return self.embed.weight.dtype

    @property
    def layout(self) -> Layout:
        """What a cache keeps of one token."""
        return Layout(tuple(range(len(self.blocks))), self.kv_heads, self.head_dim, self.dtype, self.device)

    def new_cache(self, rows: int, capacity: int = 0) -> KVCache:
        """An empty cache of `rows` rows with room for `capacity` tokens each; it grows on demand."""
        return KVCache(self.layout, rows, capacity)

    def parameters(self, sublayer: int) -> int:
        """How many parameters a sub-layer has, its norm included."""
        block = self.blocks[sublayer // 2]
        attention = (block.input_layernorm, block.self_attn)
        modules = (block.post_attention_layernorm, block.mlp) if sublayer % 2 else attention
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    def hidden(
        self,
        ids: Tensor,
        counts: Sequence[int] | None,
        cache: KVCache,
        skip: Collection[int] = (),
        observe: Observer | None = None,
        scale: Mapping[int, float] | None = None,
    ) -> Tensor:
        """Run new tokens through the kept sub-layers and append them to `cache`.

        Args:
            ids: `[N]` token ids, those of the first row first.
            counts: new tokens of each row, N in all; `None` is one each.
            cache: holds what the tokens may attend to; a skipped attention writes nothing into it.
            skip: sub-layers that pass their input on, unchanged or multiplied by their factor in `scale`.
            observe: sees the residual stream before and after every kept sub-layer.
            scale: skipped sub-layer -> factor.

        Returns:
            The residual stream after the last sub-layer, `[N, C]`.
        """
        x = self.embed(ids)
        step = Pass(cache, counts, self.groups)
        cos, sin = self.rotary(x[None], step.positions[None])
        half = self.head_dim // 2
        # The sign of the rotated half is moved into the sine.
        rope = cos[0, :, None], torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)[0, :, None]
        for sublayer in range(self.num_sublayers):
            if sublayer in skip:
                if scale and sublayer in scale:
                    x = x * scale[sublayer]
                continue
            index, is_ffn = divmod(sublayer, 2)
            after = x + (self._ffn(index, x) if is_ffn else self._attention(index, x, rope, step))
            if observe is not None:
                observe(sublayer, x, after)
            x = after
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Next-token logits `[..., V]` in fp32 of residual streams `[..., C]`."""
        return self._head(self.glue.norm(x, *self._norms[-1]))

    def likeliest(self, x: Tensor) -> Tensor:
        """The token of the largest logit `[B]` of residual streams `[B, C]`, without all the logits where that pays."""
        return self._head.likeliest(self.glue.norm(x, *self._norms[-1]))

    def _ffn(self, index: int, x: Tensor) -> Tensor:
        both = self._gate_up[index](self.glue.norm(x, *self._norms[2 * index + 1]))
        return self._down[index](self.glue.gate(both))

    def _attention(self, index: int, x: Tensor, rope: tuple[Tensor, Tensor], step: Pass) -> Tensor:
        queries, norms = self.groups * self.kv_heads, self._qk_norms[index]
        qkv = self._qkv[index](self.glue.norm(x, *self._norms[2 * index])).view(len(x), -1, self.head_dim)
        if norms:
            q, k, v = qkv.split((queries, self.kv_heads, self.kv_heads), dim=1)
            qkv = torch.cat((self.glue.norm(q, *norms[0]), self.glue.norm(k, *norms[1]), v), dim=1)
        v = qkv.narrow(1, queries + self.kv_heads, self.kv_heads)
        qk = self.glue.rotate(qkv.narrow(1, 0, queries + self.kv_heads), *rope)
        q, k = qk.narrow(1, 0, queries), qk.narrow(1, queries, self.kv_heads)
        return self._out[index](step.attend(index, q, k, v, self._scaling[index], self.windows[index]))


def _of_norm(norm: Any) -> tuple[Tensor, float]:
    """What the norm multiplies by, and its epsilon."""
    return norm.weight, norm.variance_epsilon


def check_architecture(model_type: str) -> None:
    """Raise `ValueError` unless the blocks of this `config.model_type` are known."""
    if model_type not in ARCHITECTURES:
        raise ValueError(f"architecture {model_type!r} is not supported; supported are {', '.join(ARCHITECTURES)}")


def base_model(model: Any) -> Any:
    """The transformers model itself, whether or not peft wraps it (its adapters stay in place)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _window(config: Any, block: nn.Module) -> int | None:
    """Tokens that a block's attention looks back over; `None` for all."""
    if config.model_type == "mistral":
        return config.sliding_window
    return getattr(block.self_attn, "sliding_window", None)
