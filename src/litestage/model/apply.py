"""A plan under plain transformers `generate`: sub-layers of one stage skipped while decoding, early exit included.

    with plan.apply(model, stage="analyze"):
        model.generate(**inputs, do_sample=False)

The tokens are those of litestage's engine. The engine is faster (it also shares prompts and batches better); this is
for code that has its own pipeline around `generate`. Greedy or sampled decoding with a cache, one new token a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from litestage.model.exit import ExitWatch, confidence_of
from litestage.model.sublayers import base_model, check_architecture
from litestage.plan import ExitRule, Plan


@contextmanager
def applied(model: nn.Module, plan: Plan, stage: str) -> Iterator[nn.Module]:
    """Let `model.generate` follow one stage of a plan; everything is as before afterwards.

    Raises:
        ValueError: the plan has no such stage, is for another number of sub-layers, or skips otherwise than a fixed set
            while decoding; or the model's architecture is not supported.
    """
    base = base_model(model)
    check_architecture(base.config.model_type)
    blocks = list(base.model.layers)
    if stage not in plan.stages:
        raise ValueError(f"the plan has no stage {stage!r}; it has {', '.join(plan.stages)}")
    if plan.num_sublayers != 2 * len(blocks):
        raise ValueError(f"the plan is for {plan.num_sublayers} sub-layers, this model has {2 * len(blocks)}")
    part = plan.stages[stage]
    if part.prefill or part.later or part.scale:
        raise ValueError(
            f"stage {stage!r} skips in prefill, more and more, or with factors; only litestage's own engine does that"
        )
    step = _Step()
    hook = base.model.register_forward_pre_hook(step.begin, with_kwargs=True)
    patched: list[nn.Module] = []
    for sublayer in part.skip:
        block = blocks[sublayer // 2]
        module = block.mlp if sublayer % 2 else block.self_attn
        # transformers takes the length of the cache from block 0: its attention goes on writing, unheard.
        around = step.feed_forward if sublayer % 2 else step.attention if sublayer else step.first_attention
        module.forward = partial(around, module.forward)
        patched.append(module)
    if part.exit:
        model.generate = partial(_generate_with_exit, model.generate, part.exit)  # type: ignore[arg-type,assignment]
        patched.append(model)
    try:
        yield model
    finally:
        hook.remove()
        for module in patched:
            vars(module).pop("forward", None)
            vars(module).pop("generate", None)


class _Step:
    """Knows whether the running forward pass decodes, and stands in for what is skipped then."""

    def __init__(self) -> None:
        self.decodes = False

    def begin(self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A pass decodes when it reads one token behind others."""
        ids = inputs[0] if inputs else options.get("input_ids")
        read = options["inputs_embeds"] if ids is None else ids
        past = options.get("past_key_values")
        self.decodes = read.shape[1] == 1 and past is not None and past.get_seq_length() > 0

    def feed_forward(self, forward: Callable[..., Tensor], x: Tensor) -> Tensor:
        return torch.zeros_like(x) if self.decodes else forward(x)

    def attention(self, forward: Callable[..., Any], hidden_states: Tensor, **options: Any) -> Any:
        if self.decodes:
            return torch.zeros_like(hidden_states), None
        return forward(hidden_states=hidden_states, **options)

    def first_attention(self, forward: Callable[..., Any], hidden_states: Tensor, **options: Any) -> Any:
        out = forward(hidden_states=hidden_states, **options)
        return (torch.zeros_like(hidden_states), *out[1:]) if self.decodes else out


def _generate_with_exit(generate: Callable[..., Any], rule: ExitRule, *inputs: Any, **options: Any) -> Any:
    """The model's own `generate`, which also stops rows whose confidence fades."""
    watch = _Fading(rule)
    processors = [watch, *(options.pop("logits_processor", None) or [])]
    criteria = [*(options.pop("stopping_criteria", None) or []), _Stopped(watch)]
    options["logits_processor"] = LogitsProcessorList(processors)
    return generate(*inputs, stopping_criteria=StoppingCriteriaList(criteria), **options)


class _Fading(LogitsProcessor):
    """Watches the scores that go by."""

    def __init__(self, rule: ExitRule) -> None:
        self.rule = rule
        self.watch: ExitWatch | None = None
        self.stops: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note the confidences `[B]` of the tokens about to be chosen."""
        if self.watch is None:
            self.watch = ExitWatch(self.rule, len(scores), scores.device)
        self.stops = self.watch.update(confidence_of(scores))
        return scores


class _Stopped(StoppingCriteria):
    """Rows whose confidence has faded are done."""

    def __init__(self, watch: _Fading) -> None:
        self.watch = watch

    def __call__(self, input_ids: Tensor, scores: Any, **options: Any) -> Tensor:
        """Which rows stop, `[B]`."""
        if self.watch.stops is None:
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        return self.watch.stops
