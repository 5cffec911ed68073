"""Budgets in, plans out: the skip sets of every method for 22 blocks (TinyLlama) and 30 (SmolLM2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random as Draw
from typing import Any

import pytest

from litestage.config import EvaluateSettings
from litestage.config.judging import OWN, PEERS
from litestage.engine import Engine
from litestage.model.importance import Importance
from litestage.pipeline import run
from litestage.plan import ExitRule, Plan, StagePlan
from litestage.records import Question
from litestage.search import policies
from litestage.search.policies import AdaSkip, Policy, nearest_budget, peer, staged_plan

STAGES = ("recall", "analyze", "summarize")
ORDER = [4, 1, 3, 2, 0, 5]
"""Most skippable first; attention wins the tie."""
SIMILARITY = [0.5, 0.9, 0.7, 0.9, 0.9, 0.1]
RATIOS = {"recall": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "analyze": [1.2] * 6, "summarize": [1.1, 1.0, 0.9, 1.1, 1.0, 0.9]}
BLOCKS = {"recall": [0.5, 0.75, 0.25], "analyze": [0.5, 0.25, 0.75], "summarize": [0.75, 0.5, 0.5]}
IMPORTANCE = Importance("m", dict.fromkeys(STAGES, SIMILARITY), 3, RATIOS, BLOCKS)
ORDERS = dict.fromkeys(STAGES, ORDER)


def full(blocks: int) -> Plan:
    return Plan.full_depth("m", 2 * blocks, STAGES)


def whole(skip: tuple[int, ...]) -> set[int]:
    """The blocks of a skip set that holds whole ones only."""
    assert set(skip) == {half for j in skip for half in (j, j ^ 1)}
    return {j // 2 for j in skip}


def only(plan: Plan) -> StagePlan:
    """What all stages have in common."""
    assert list(plan.stages) == list(STAGES)
    (stage,) = set(plan.stages.values())
    return stage


def test_the_most_skippable_go_first() -> None:
    plan = staged_plan("m", 6, ORDERS, {"recall": 0, "analyze": 1, "summarize": 4})
    skips = {name: stage.skip for name, stage in plan.stages.items()}
    assert skips == {"recall": (), "analyze": (4,), "summarize": (1, 2, 3, 4)}
    assert (plan.model, plan.num_sublayers) == ("m", 6)


def test_exit_rules_go_to_their_stages() -> None:
    rule = ExitRule(3, 0.4)
    plan = staged_plan("m", 6, ORDERS, dict.fromkeys(STAGES, 2), {"analyze": rule})
    assert [stage.exit for stage in plan.stages.values()] == [None, rule, None]


def test_prefill_skips_in_the_stages_named_if_they_skip_at_all() -> None:
    budgets = {"recall": 0, "analyze": 2, "summarize": 2}
    plan = staged_plan("m", 6, ORDERS, budgets, prefill=("recall", "analyze"))
    assert [stage.prefill for stage in plan.stages.values()] == [False, True, False]


@pytest.mark.parametrize("budget", [-1, 7])
def test_an_impossible_budget_names_its_stage(budget: int) -> None:
    with pytest.raises(ValueError, match=rf"'analyze': budget {budget} is outside 0 to 6"):
        staged_plan("m", 6, ORDERS, {"recall": 0, "analyze": budget})


def made(name: str, blocks: int = 3) -> Policy:
    """A method for `blocks` blocks; those that need an importance have 3."""
    caps = dict.fromkeys(STAGES, 200)
    return {
        "adaskip": lambda: AdaSkip(IMPORTANCE, STAGES),
        "adaskip scaled": lambda: AdaSkip(IMPORTANCE, STAGES, scaled=True),
        "unifiedskip": lambda: policies.UnifiedSkip(full(blocks)),
        "skipdecode": lambda: policies.SkipDecode(full(blocks), caps),
        "shortgpt": lambda: policies.ShortGPT(IMPORTANCE, STAGES),
        "every-mth": lambda: policies.EveryMth(full(blocks)),
        "random": lambda: policies.Random(full(blocks), 0),
    }[name]()


@pytest.mark.parametrize("name", PEERS)
def test_every_method_skips_nothing_for_nothing_the_same_everywhere_and_never_exits(name: str) -> None:
    policy = made(name)
    assert policy.name == name
    assert policy.plan(0) == full(3)
    for budget in range(7):
        plan = policy.plan(budget)
        assert only(plan).exit is None
        assert (plan.model, plan.num_sublayers) == ("m", 6)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("budget", [-1, 7])
def test_impossible_budgets_are_refused(name: str, budget: int) -> None:
    with pytest.raises(ValueError, match=rf"budget {budget} is outside 0 to 6 sub-layers"):
        made(name).plan(budget)


@pytest.mark.parametrize("budget", range(7))
def test_adaskip_takes_the_most_similar(budget: int) -> None:
    plan = made("adaskip").plan(budget)
    assert only(plan) == StagePlan(tuple(ORDER[:budget]))
    assert nearest_budget(plan) == budget


@pytest.mark.parametrize("budget", range(7))
def test_adaskip_scaled_has_the_mean_ratio_of_everything_it_skips(budget: int) -> None:
    stage, means = only(made("adaskip scaled").plan(budget)), [1.1, 1.1, 1.1, 1.2, 1.2, 1.2]
    assert replace(stage, scale=()) == only(made("adaskip").plan(budget))
    assert dict(stage.scale) == pytest.approx({j: means[j] for j in ORDER[:budget]})


@pytest.mark.parametrize(
    ("blocks", "counts", "skipped"),
    [
        (22, [0, *range(12, 23)], []),
        (22, [1], [1]),
        (22, [2], [1, 12]),
        (22, [3], [1, 8, 15]),
        (22, [4], [1, 6, 11, 16, 21]),
        (22, [5], [1, 5, 9, 13, 17, 21]),
        (22, [6, 7], [1, 4, 7, 10, 13, 16, 19]),
        (22, [8, 9, 10, 11], range(1, 22, 2)),
        (30, [0, *range(16, 31)], []),
        (30, [1], [1]),
        (30, [2], [1, 16]),
        (30, [3], [1, 11, 21]),
        (30, [4], [1, 8, 15, 22, 29]),
        (30, [5], [1, 7, 13, 19, 25]),
        (30, [6], [1, 6, 11, 16, 21, 26]),
        (30, [7], [1, 5, 9, 13, 17, 21, 25, 29]),
        (30, [8, 9, 10], [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]),
        (30, range(11, 16), range(1, 30, 2)),
    ],
)
def test_unifiedskip_takes_blocks_at_equal_distances(blocks: int, counts: Any, skipped: Any) -> None:
    for count in counts:
        for budget in {2 * count, min(2 * count + 1, 2 * blocks)}:  # half a block more is no block more
            stage = only(made("unifiedskip", blocks).plan(budget))
            assert (whole(stage.skip), stage.later) == ({*skipped}, ())


@pytest.mark.parametrize(
    ("blocks", "count", "skipped"),
    [
        (22, 1, [11]),
        (22, 4, [4, 9, 14, 19]),
        (22, 6, [3, 7, 11, 15, 19]),
        (22, 7, [2, 5, 8, 11, 14, 17, 20]),
        (22, 11, range(1, 22, 2)),
        (22, 21, range(1, 22, 2)),
        (22, 22, range(22)),
        (30, 2, [10, 21]),
        (30, 4, [6, 13, 20, 27]),
        (30, 10, range(2, 30, 3)),
        (30, 15, range(1, 30, 2)),
    ],
)
def test_every_mth_takes_as_many_as_the_budget_allows(blocks: int, count: int, skipped: Any) -> None:
    skip = only(made("every-mth", blocks).plan(2 * count)).skip
    assert whole(skip) == {*skipped}
    assert len(skip) <= 2 * count


@pytest.mark.parametrize(("blocks", "most"), [(22, 1), (22, 4), (22, 7), (22, 22), (30, 5), (30, 11)])
@pytest.mark.parametrize("cap", [1, 8, 50, 200])
def test_skipdecode_skips_early_blocks_the_more_the_longer(blocks: int, most: int, cap: int) -> None:
    """At step c blocks 1 to min(n, k), n = ceil(c / M (k - 1)) + 1."""
    stage = only(policies.SkipDecode(full(blocks), dict.fromkeys(STAGES, cap)).plan(2 * most))
    for c in range(cap):
        n = math.ceil(round(c / cap * (most - 1), 9)) + 1
        assert whole(stage.at(c)) == {*range(1, min(n, most, blocks - 1) + 1)}
    assert len(stage.later) < most


def test_skipdecode_with_four_blocks_and_a_cap_of_200() -> None:
    stage = only(made("skipdecode", 22).plan(8))
    assert stage.skip == (2, 3)
    assert [(step, whole(skip)) for step, skip in stage.later] == [(1, {1, 2}), (67, {1, 2, 3}), (134, {1, 2, 3, 4})]
    assert made("skipdecode", 22).plan(8).budgets == dict.fromkeys(STAGES, 8)


def test_skipdecode_follows_each_stages_own_cap() -> None:
    plan = policies.SkipDecode(full(22), {"recall": 10, "analyze": 100, "summarize": 10}).plan(6)
    assert [stage.later[-1][0] for stage in plan.stages.values()] == [6, 51, 6]


@pytest.mark.parametrize("budget", range(7))
def test_shortgpt_takes_the_blocks_of_least_influence(budget: int) -> None:
    """By the mean over the stages: 0, then 1 and 2 alike; with another first stage 2, then 0 and 1 alike."""
    assert whole(only(made("shortgpt").plan(budget)).skip) == {*[0, 1, 2][: budget // 2]}
    other = replace(IMPORTANCE, blocks={**BLOCKS, "recall": [0.25, 0.75, 1.0]})
    assert whole(only(policies.ShortGPT(other, STAGES).plan(budget)).skip) == {*[2, 0, 1][: budget // 2]}


@pytest.mark.parametrize("blocks", [22, 30])
def test_random_sets_are_nested_and_follow_the_seed(blocks: int) -> None:
    sets = [{*only(made("random", blocks).plan(budget)).skip} for budget in range(2 * blocks + 1)]
    assert [len(skip) for skip in sets] == [*range(2 * blocks + 1)]
    assert all(small < large for small, large in pairwise(sets))
    again, other = (only(policies.Random(full(blocks), seed).plan(blocks)).skip for seed in (0, 1))
    assert {*again} == sets[blocks] != {*other}


@pytest.mark.parametrize(
    ("lacking", "build"),
    [
        ("ratios", lambda importance: AdaSkip(importance, STAGES, scaled=True)),
        ("blocks", lambda importance: policies.ShortGPT(importance, STAGES)),
    ],
)
def test_an_importance_without_what_a_method_needs_says_how_to_get_it(lacking: str, build: Callable[..., Any]) -> None:
    build(IMPORTANCE)
    with pytest.raises(ValueError, match=r"the importance has no .* needs; run `python train.py` again"):
        build(replace(IMPORTANCE, **{lacking: {}}))


@pytest.mark.parametrize(("budgets", "nearest"), [((0, 0, 0), 0), ((2, 4, 5), 4), ((1, 0, 0), 0), ((6, 6, 5), 6)])
def test_nearest_budget_is_the_mean_in_sublayers(budgets: tuple[int, ...], nearest: int) -> None:
    stages = {name: StagePlan(tuple(range(b))) for name, b in zip(STAGES, budgets, strict=True)}
    assert nearest_budget(Plan("m", 6, stages)) == nearest


def importance_of(engine: Engine) -> Importance:
    draw, names = Draw(0), engine.stage_names
    lists = [{name: [draw.uniform(0.5, 1.5) for _ in range(n)] for name in names} for n in (6, 6, 3)]
    return Importance(engine.name, lists[0], 1, lists[1], lists[2])


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("budget", [2, 4])
def test_a_peer_runs_in_the_pipeline_as_in_a_naive_reference(
    engine: Engine, model: Any, questions: list[Question], naive: Callable[..., list[int]], name: str, budget: int
) -> None:
    plan = peer(name, engine, importance_of(engine)).plan(budget)
    assert peer(name, engine, importance_of(engine)).name == name
    engine = replace(engine, reasoning=replace(engine.reasoning, rows=2))
    stage = plan.stages["recall"]
    since = {j: next(c for c in range(8) if j in stage.at(c)) for j in stage.most}
    for question, attempt in zip(questions, run(engine, questions, plan).attempts, strict=True):
        prompt = engine.tokenizer(attempt.outputs[0].prompt)["input_ids"]
        tokens = naive(model, prompt, since, 8, scale=dict(stage.scale))
        assert attempt.outputs[0].text == engine.tokenizer.decode(tokens, skip_special_tokens=True).strip(), question.id


def test_an_unknown_peer_names_the_known_ones_and_the_settings_know_the_same(engine: Engine) -> None:
    with pytest.raises(ValueError, match=f"unknown method 'layerdrop'; known are {', '.join(PEERS)}"):
        peer("layerdrop", engine, importance_of(engine))
    assert EvaluateSettings(methods=[*OWN, *PEERS]).methods == [*OWN, *PEERS]


def test_skipped_parameters_are_those_of_the_modules(engine: Engine, model: Any) -> None:
    kinds = {0: ("input_layernorm", "self_attn"), 1: ("post_attention_layernorm", "mlp")}
    sizes = [
        sum(p.numel() for n, p in model.named_parameters() if n.startswith(f"model.layers.{j // 2}.{kind}"))
        for j in range(6)
        for kind in kinds[j % 2]
    ]
    by_sublayer = [a + b for a, b in zip(sizes[::2], sizes[1::2], strict=True)]
    everything = sum(p.numel() for p in model.model.layers.parameters())
    parts = {"recall": StagePlan((0, 3, 4)), "analyze": StagePlan(), "summarize": StagePlan(tuple(range(6)))}
    plan = Plan(engine.name, 6, parts)
    wanted = by_sublayer[0] + by_sublayer[3] + by_sublayer[4]
    assert policies.skipped_parameters(engine, plan) == {"recall": wanted, "analyze": 0, "summarize": everything}
    assert policies.skipped_sublayers(engine, plan) == {"recall": 3, "analyze": 0, "summarize": 6}


def test_of_a_growing_set_the_mean_over_the_steps_counts(engine: Engine) -> None:
    """The stages' cap is 8: two steps skip one sub-layer, five skip two, one skips four."""
    growing = StagePlan((1,), later=((2, (1, 3)), (7, (1, 3, 4, 5)), (9, tuple(range(6)))))
    plan = Plan(engine.name, 6, dict.fromkeys(engine.stage_names, growing))
    attention, ffn = engine.decoder.parameters(4), engine.decoder.parameters(1)
    parameters = round((2 * ffn + 5 * 2 * ffn + attention + 3 * ffn) / 8)
    assert attention != ffn
    assert policies.skipped_sublayers(engine, plan) == dict.fromkeys(engine.stage_names, (2 * 1 + 5 * 2 + 4) / 8)
    assert policies.skipped_parameters(engine, plan) == dict.fromkeys(engine.stage_names, parameters)
