"""Ways to choose what is skipped, all behind one interface: a budget of sub-layers in, a plan out.

All skip while decoding only, and the same in every stage. A budget counts sub-layers; methods that skip whole blocks
read it as `budget // 2` blocks, and some skip more or fewer than that: `skipped_sublayers` says how many.

    plan = peer("shortgpt", engine, importance).plan(budget=6)
    skipped_sublayers(engine, plan)      # {"recall": 6.0, "analyze": 6.0, "summarize": 6.0}
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from litestage.engine import Engine
from litestage.model.importance import Importance, mean_of
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.seeding import generator_of


class Policy(Protocol):
    """A method that turns a budget into a plan."""

    @property
    def name(self) -> str:
        """What results call the method."""
        ...

    def plan(self, budget: int) -> Plan:
        """The plan that skips about `budget` sub-layers in every stage."""
        ...


def staged_plan(
    model: str,
    num_sublayers: int,
    orders: Mapping[str, Sequence[int]],
    budgets: Mapping[str, int],
    exits: Mapping[str, ExitRule] | None = None,
    prefill: Collection[str] = (),
) -> Plan:
    """Skip the first `budgets[stage]` sub-layers of `orders[stage]` in each stage, in those of `prefill` there too.

    Raises:
        ValueError: a budget is negative or larger than the number of sub-layers.
    """
    exits, stages = exits or {}, {}
    for stage, budget in budgets.items():
        if not 0 <= budget <= len(orders[stage]):
            raise ValueError(f"stage {stage!r}: budget {budget} is outside 0 to {len(orders[stage])} sub-layers")
        stages[stage] = StagePlan(tuple(orders[stage][:budget]), exits.get(stage), stage in prefill and budget > 0)
    return Plan(model, num_sublayers, stages)


@dataclass(frozen=True)
class AdaSkip:
    """The most similar sub-layers, by the ranking averaged over the stages (AdaSkip, AAAI 2025).

    As in LiteStage's comparison: the ranking is measured once and fixed. AdaSkip's code skips further feed-forwards
    by what each request shows, which is left out here.

    Args:
        importance: similarities of the sub-layers.
        stages: the pipeline's stages.
        scaled: whether a skipped sub-layer multiplies its input by its mean norm ratio, as AdaSkip's code does.

    Raises:
        ValueError: `scaled`, and the importance has no norm ratios.
    """

    importance: Importance
    stages: Sequence[str]
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.scaled and not self.importance.ratios:
            raise ValueError(_outdated("norm ratios", self.name))

    @property
    def name(self) -> str:
        """What results call the method."""
        return "adaskip scaled" if self.scaled else "adaskip"

    def plan(self, budget: int) -> Plan:
        """The `budget` most similar sub-layers."""
        order = self.importance.order
        orders, budgets = dict.fromkeys(self.stages, order), dict.fromkeys(self.stages, budget)
        plan = staged_plan(self.importance.model, len(order), orders, budgets)
        if not self.scaled:
            return plan
        ratios = mean_of(self.importance.ratios)
        scale = tuple((j, ratios[j]) for j in order[:budget])
        return replace(plan, stages={name: replace(stage, scale=scale) for name, stage in plan.stages.items()})


@dataclass(frozen=True)
class UnifiedSkip:
    """Blocks at equal distances (Unified Layer Skipping, arXiv 2404.06954, as in AdaSkip's code).

    For k blocks of L the period is p = floor(L / k), and block l is skipped iff l mod p == 1. So more or fewer than k
    are skipped, and none at all where p is 1.

    Args:
        full: a plan for the model and the stages; only those count.
    """

    full: Plan
    name: str = "unifiedskip"

    def plan(self, budget: int) -> Plan:
        """Skip about `budget // 2` blocks."""
        count, blocks = _blocks(budget, self.full), self.full.num_sublayers // 2
        period = blocks // count if count else 1
        return _everywhere(self.full, _halves(block for block in range(blocks) if period > 1 and block % period == 1))


@dataclass(frozen=True)
class EveryMth:
    """Every m-th block, beginning with block m - 1: a floor that other methods should beat.

    m is the least with which no more blocks are skipped than the budget allows.

    Args:
        full: a plan for the model and the stages; only those count.
    """

    full: Plan
    name: str = "every-mth"

    def plan(self, budget: int) -> Plan:
        """Skip at most `budget // 2` blocks."""
        count, blocks = _blocks(budget, self.full), self.full.num_sublayers // 2
        m = blocks // (count + 1) + 1
        return _everywhere(self.full, _halves(range(m - 1, blocks, m)))


@dataclass(frozen=True)
class SkipDecode:
    """Early blocks, the more of them the longer an output is (SkipDecode, arXiv 2307.02628, as in AdaSkip's code).

    For k blocks, decode step c skips blocks 1 to min(n, k), n = ceil(c / M * (k - 1)) + 1, where M is the stage's cap
    on new tokens. Steps are counted as in `StagePlan`: step 0 reads token 0, which prefill gave. Block 0 always stays.

    Args:
        full: a plan for the model and the stages; only those count.
        caps: stage -> M.
    """

    full: Plan
    caps: Mapping[str, int]
    name: str = "skipdecode"

    def plan(self, budget: int) -> Plan:
        """Skip `budget // 2` blocks in the end, if the cap leaves time to grow to so many."""
        most = _blocks(budget, self.full)
        return replace(self.full, stages={name: self._stage(most, self.caps[name]) for name in self.full.stages})

    def _stage(self, most: int, cap: int) -> StagePlan:
        last = min(most, self.full.num_sublayers // 2 - 1)
        if not last:
            return StagePlan()
        first_at: dict[int, int] = {}  # blocks skipped -> the first step that skips so many
        for step in range(cap):
            first_at.setdefault(min(-(-step * (most - 1) // cap) + 1, last), step)
        (_, begin), *later = ((step, _halves(range(1, 1 + n))) for n, step in first_at.items())
        return StagePlan(begin, later=tuple(later))


@dataclass(frozen=True)
class ShortGPT:
    """The blocks of least influence, 1 - mean cos(block in, block out) (ShortGPT, arXiv 2403.03853).

    Influence is averaged over the stages; on a tie the lower block goes first. ShortGPT removes the blocks; here they
    are skipped while decoding, as with the other methods.

    Args:
        importance: similarities of the blocks.
        stages: the pipeline's stages.

    Raises:
        ValueError: the importance has no similarities of blocks.
    """

    importance: Importance
    stages: Sequence[str]
    name: str = "shortgpt"

    def __post_init__(self) -> None:
        if not self.importance.blocks:
            raise ValueError(_outdated("block similarities", self.name))

    def plan(self, budget: int) -> Plan:
        """Skip `budget // 2` blocks."""
        similarity = mean_of(self.importance.blocks)
        full = Plan.full_depth(self.importance.model, 2 * len(similarity), self.stages)
        order = sorted(range(len(similarity)), key=lambda block: (-similarity[block], block))
        return _everywhere(full, _halves(order[: _blocks(budget, full)]))


@dataclass(frozen=True)
class Random:
    """Sub-layers in a random order: a floor. A larger budget skips all that a smaller one does.

    Args:
        full: a plan for the model and the stages; only those count.
        seed: of the order.
    """

    full: Plan
    seed: int
    name: str = "random"

    def plan(self, budget: int) -> Plan:
        """Skip the first `budget` sub-layers of the order."""
        count = self.full.num_sublayers
        order = torch.randperm(count, generator=generator_of(self.seed, "random policy")).tolist()
        stages = self.full.stages
        return staged_plan(self.full.model, count, dict.fromkeys(stages, order), dict.fromkeys(stages, budget))


def peer(name: str, engine: Engine, importance: Importance, seed: int = 0) -> Policy:
    """A peer of LiteStage by its name, for the engine's model and stages.

    Raises:
        ValueError: there is no such method (names the known ones), or the importance lacks what it needs.
    """
    full, stages = engine.full_depth(), engine.stage_names
    caps = {stage.name: stage.max_new_tokens for stage in engine.reasoning.stages}
    known: dict[str, Callable[[], Policy]] = {
        "adaskip": lambda: AdaSkip(importance, stages),
        "adaskip scaled": lambda: AdaSkip(importance, stages, scaled=True),
        "unifiedskip": lambda: UnifiedSkip(full),
        "skipdecode": lambda: SkipDecode(full, caps),
        "shortgpt": lambda: ShortGPT(importance, stages),
        "every-mth": lambda: EveryMth(full),
        "random": lambda: Random(full, seed),
    }
    if name not in known:
        raise ValueError(f"unknown method {name!r}; known are {', '.join(known)}")
    return known[name]()


def skipped_sublayers(engine: Engine, plan: Plan) -> dict[str, float]:
    """Stage -> sub-layers that a decode step skips, the mean over the steps from 0 up to the stage's cap."""
    return _means(engine, plan, [1] * engine.decoder.num_sublayers)


def skipped_parameters(engine: Engine, plan: Plan) -> dict[str, int]:
    """Stage -> parameters that a decode step skips, the mean over the steps from 0 up to the stage's cap, rounded.

    What the norms, projections and adapters of the skipped sub-layers hold; times the bytes of a weight it is what a
    step need not read.
    """
    sizes = [engine.decoder.parameters(sublayer) for sublayer in range(engine.decoder.num_sublayers)]
    return {name: round(mean) for name, mean in _means(engine, plan, sizes).items()}


def _means(engine: Engine, plan: Plan, sizes: Sequence[int]) -> dict[str, float]:
    """Stage -> size of what a decode step skips, the mean over as many steps as the stage's cap."""
    caps = {stage.name: stage.max_new_tokens for stage in engine.reasoning.stages}
    return {
        name: sum(sizes[sublayer] for step in range(caps[name]) for sublayer in stage.at(step)) / caps[name]
        for name, stage in plan.stages.items()
    }


def nearest_budget(plan: Plan) -> int:
    """The uniform budget, in sub-layers, nearest to a plan's mean."""
    return round(2 * plan.mean_full_layers)


def _everywhere(full: Plan, skip: Sequence[int]) -> Plan:
    """The plan that skips the same in every stage."""
    return replace(full, stages=dict.fromkeys(full.stages, StagePlan(tuple(skip))))


def _blocks(budget: int, full: Plan) -> int:
    """A budget of sub-layers as whole blocks."""
    if not 0 <= budget <= full.num_sublayers:
        raise ValueError(f"budget {budget} is outside 0 to {full.num_sublayers} sub-layers")
    return budget // 2


def _halves(blocks: Iterable[int]) -> tuple[int, ...]:
    """The sub-layers of some blocks."""
    return tuple(sublayer for block in blocks for sublayer in (2 * block, 2 * block + 1))


def _outdated(what: str, name: str) -> str:
    """What to do about an importance file from before something was measured."""
    return f"the importance has no {what}, which {name!r} needs; run `python train.py` again, which measures them"
