"""One view of a Llama-type decoder as a list of `2L` sub-layers, each of which can be skipped.

Block `j` holds sub-layers `2j` (attention) and `2j + 1` (feed-forward), each with its norm and residual add. The
view borrows the modules of a Hugging Face model (adapters included) and owns positions, masks and cache lengths.

    decoder = Decoder(model)
    x = decoder.hidden(ids, positions, decoder.new_cache(rows=1), skip={0, 5})
    logits = decoder.logits(x[:, -1])
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from litestage.model.cache import KVCache

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral")
"""Values of `config.model_type` whose blocks have the layout below."""

Observer = Callable[[int, Tensor, Tensor], None]
"""Called with (sub-layer, residual stream before `[B, T, C]`, residual stream after `[B, T, C]`)."""


class Decoder:
    """A causal language model as embedding, `2L` sub-layers, norm and head.

    Args:
        model: a transformers model of one of `ARCHITECTURES`, or such a model wrapped by peft.

    Raises:
        ValueError: the architecture is another one.
    """

    def __init__(self, model: nn.Module) -> None:
        base = base_model(model)
        self.config = base.config
        check_architecture(self.config.model_type)
        self.embed, self.norm, self.head = base.model.embed_tokens, base.model.norm, base.lm_head
        self.rotary, self.blocks = base.model.rotary_emb, list(base.model.layers)
        self.num_sublayers = 2 * len(self.blocks)
        self.kv_heads = self.config.num_key_value_heads
        self.head_dim = self.blocks[0].self_attn.head_dim
        self.groups = self.config.num_attention_heads // self.kv_heads
        self.context = self.config.max_position_embeddings
        self.windows = [_window(self.config, block) for block in self.blocks]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return self.embed.weight.dtype

    def new_cache(self, rows: int, capacity: int = 0) -> KVCache:
        """An empty cache of `rows` rows with room for `capacity` tokens each; it grows on demand."""
        shape = (rows, self.kv_heads, capacity, self.head_dim)
        return KVCache(len(self.blocks), shape, self.dtype, self.device)

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        cache: KVCache,
        skip: Collection[int] = (),
        observe: Observer | None = None,
    ) -> Tensor:
        """Run tokens through the kept sub-layers and append them to `cache`.

        Args:
            ids: `[B, T]` token ids; anything where `positions` is -1.
            positions: `[B, T]` place of each token in its row, -1 for padding.
            cache: holds what the tokens may attend to; a skipped attention writes nothing into it.
            skip: sub-layers that pass their input on unchanged.
            observe: sees the residual stream before and after every kept sub-layer.

        Returns:
            The residual stream after the last sub-layer, `[B, T, C]`.
        """
        x = self.embed(ids)
        rope = self.rotary(x, positions.clamp(min=0))
        cache.append(positions)
        masks = {window: self._mask(cache, positions, window) for window in set(self.windows)}
        for sublayer in range(self.num_sublayers):
            if sublayer in skip:
                continue
            index, is_ffn = divmod(sublayer, 2)
            block = self.blocks[index]
            if is_ffn:
                after = x + block.mlp(block.post_attention_layernorm(x))
            else:
                after = x + self._attention(index, block.input_layernorm(x), rope, masks[self.windows[index]], cache)
            if observe is not None:
                observe(sublayer, x, after)
            x = after
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Next-token logits `[..., V]` in fp32 of residual streams `[..., C]`."""
        return self.head(self.norm(x)).float()

    def _attention(self, index: int, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, cache: KVCache) -> Tensor:
        attn = self.blocks[index].self_attn
        rows, tokens, _ = x.shape
        q = attn.q_proj(x).view(rows, tokens, -1, self.head_dim)
        k = attn.k_proj(x).view(rows, tokens, -1, self.head_dim)
        v = attn.v_proj(x).view(rows, tokens, -1, self.head_dim)
        if hasattr(attn, "q_norm"):
            q, k = attn.q_norm(q), attn.k_norm(k)
        q, k = _rotate(q, rope).transpose(1, 2), _rotate(k, rope).transpose(1, 2)
        keys, values = cache.write(index, k, v.transpose(1, 2))
        # The query heads that share a key-value head become further queries of it, so keys are never repeated.
        q = q.reshape(rows, self.kv_heads, self.groups * tokens, self.head_dim)
        out = scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=attn.scaling)
        out = out.view(rows, -1, tokens, self.head_dim).transpose(1, 2).reshape(rows, tokens, -1)
        return attn.o_proj(out)

    def _mask(self, cache: KVCache, positions: Tensor, window: int | None) -> Tensor:
        """What each query may see, `[B, 1, groups * T, S]`: its own past, at most `window` tokens of it."""
        rows, tokens = positions.shape
        keys, queries = cache.positions[:, None, :], positions[:, :, None]
        mask = (keys >= 0) & (keys <= queries)
        if window is not None:
            mask &= keys > queries - window
        # A padded query sees itself alone: a row of nothing would turn into NaN and spread.
        mask[:, :, -tokens:] |= torch.eye(tokens, dtype=torch.bool, device=mask.device)
        return mask[:, None].expand(rows, self.groups, tokens, -1).reshape(rows, 1, self.groups * tokens, -1)


def check_architecture(model_type: str) -> None:
    """Raise `ValueError` unless the blocks of this `config.model_type` are known."""
    if model_type not in ARCHITECTURES:
        raise ValueError(f"architecture {model_type!r} is not supported; supported are {', '.join(ARCHITECTURES)}")


def base_model(model: Any) -> Any:
    """The transformers model itself, whether or not peft wraps it (its adapters stay in place)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of `[B, T, H, D]` with cos and sin of `[B, T, D]` (half-split form)."""
    cos, sin = rope[0].unsqueeze(2), rope[1].unsqueeze(2)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def _window(config: Any, block: nn.Module) -> int | None:
    """Tokens that a block's attention looks back over; `None` for all."""
    if config.model_type == "mistral":
        return config.sliding_window
    return getattr(block.self_attn, "sliding_window", None)
