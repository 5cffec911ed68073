"""Importance over the prompts that the pipeline really meets, and every order that is made of it or measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from litestage.config import SearchSettings
from litestage.engine import Engine
from litestage.model.importance import Importance, measure_prompts
from litestage.model.sublayers import Decoder
from litestage.pipeline import run
from litestage.plan import Plan
from litestage.records import Question
from litestage.reuse import Reuse
from litestage.search import ranking
from litestage.search.cost import CostModel
from litestage.search.effects import StageLosses
from litestage.search.ranking import measure_importance, order_by, rank

STAGES = ["recall", "analyze", "summarize"]
IMPORTANCE = Importance(
    "random",
    {
        "recall": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        "analyze": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "summarize": [0.5, 0.2, 0.5, 0.5, 0.5, 0.8],
    },
    4,
)
"""Means: 0.5, 0.4, 0.5, 0.5, 0.5, 0.6."""
COST = CostModel(6, [1, 128], [(1.0, 1.0, 4.0), (128.0, 128.0, 512.0)], (0.0, 0.0, 0.0, 0.0), {})
"""Skipping a feed-forward saves four times what skipping an attention saves."""


def similarity(engine: Engine, ids: Sequence[int]) -> Tensor:
    """Of every sub-layer on one prompt, as the decoder lets one see it."""
    means = torch.zeros(6)

    def observe(sublayer: int, before: Tensor, after: Tensor) -> None:
        means[sublayer] = cosine_similarity(after, before, dim=-1).mean()

    with torch.inference_mode():
        engine.decoder.hidden(torch.tensor(ids), [len(ids)], engine.decoder.new_cache(1, len(ids)), observe=observe)
    return means


def by_hand(engine: Engine, question: Question) -> dict[str, Tensor]:
    """Similarities of one question: its prompts one at a time, then their mean per stage."""
    (attempt,) = run(engine, [question], engine.full_depth()).attempts
    found: dict[str, list[Tensor]] = {}
    for output in attempt.outputs:
        found.setdefault(output.stage, []).append(similarity(engine, engine.tokenizer(output.prompt)["input_ids"]))
    return {stage: torch.stack(rows).mean(0) for stage, rows in found.items()}


def test_options_are_averaged_before_questions(engine: Engine, questions: list[Question]) -> None:
    """The questions have 2 to 4 options; each question weighs the same."""
    made = measure_importance(engine, questions)
    alone = [by_hand(engine, question) for question in questions]
    assert list(made.stages) == engine.stage_names
    for stage, found in made.stages.items():
        wanted = torch.stack([one[stage] for one in alone]).mean(0)
        torch.testing.assert_close(torch.tensor(found), wanted, rtol=0, atol=1e-5)
    assert (made.model, made.questions) == (engine.name, len(questions))
    assert len(made.order) == engine.decoder.num_sublayers


def test_ratios_and_blocks_are_averaged_alike(engine: Engine, questions: list[Question]) -> None:
    made = measure_importance(engine, questions)
    means: dict[str, list[Tensor]] = {name: [] for name in STAGES}
    for attempt in run(engine, questions, engine.full_depth()).attempts:
        for name, rows in means.items():
            prompts = [engine.tokenizer(o.prompt)["input_ids"] for o in attempt.outputs if o.stage == name]
            rows.append(torch.cat([part.mean(0) for part in measure_prompts(engine.decoder, prompts)]))
    for name, rows in means.items():
        found = torch.tensor([*made.stages[name], *made.ratios[name], *made.blocks[name]])
        torch.testing.assert_close(found, torch.stack(rows).mean(0), rtol=0, atol=1e-5)


def test_stages_differ_because_generated_text_is_read(engine: Engine, questions: list[Question]) -> None:
    made = measure_importance(engine, questions)
    assert made.stages["recall"] != pytest.approx(made.stages["summarize"], abs=1e-4)


def test_it_is_measured_at_full_depth(
    engine: Engine, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []

    def spy(engine: Engine, questions: list[Question], plan: Plan) -> object:
        plans.append(plan)
        return run(engine, questions, plan)

    monkeypatch.setattr(ranking, "run", spy)
    told: list[int] = []
    measure_importance(engine, questions, told.append)
    assert plans == [engine.full_depth()]
    assert sum(told) == len(questions)


def test_no_questions_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="at least one question"):
        measure_importance(engine, [])


def ranked(engine: Engine, questions: list[Question] | None = None, **settings: Any) -> dict[str, list[int]]:
    return rank(engine, IMPORTANCE, questions or [], SearchSettings(**settings), COST)


def test_cosine_is_one_order_by_the_mean_over_stages(engine: Engine) -> None:
    """On a tie attentions go first, then lower blocks: 0, 2, 4, 3."""
    assert ranked(engine, ranking="cosine") == {name: [5, 0, 2, 4, 3, 1] for name in STAGES}
    assert IMPORTANCE.order == [5, 0, 2, 4, 3, 1]


def test_cosine_stage_is_every_stages_own_order(engine: Engine) -> None:
    assert ranked(engine, ranking="cosine-stage") == {
        "recall": [0, 1, 2, 3, 4, 5],
        "analyze": [5, 4, 3, 2, 1, 0],
        "summarize": [5, 0, 2, 4, 3, 1],
    }


@pytest.fixture
def unlike(make: Callable[..., torch.nn.Module], engine: Engine) -> Engine:
    """A model whose stages rank differently."""
    return replace(engine, decoder=Decoder(make("llama", 5)))


def measured(engine: Engine, questions: list[Question]) -> dict[str, StageLosses]:
    reuse = Reuse()
    attempts = run(engine, questions, engine.full_depth(), reuse=reuse).attempts
    return {name: StageLosses(engine, reuse, attempts, name) for name in STAGES}


def test_loss_is_the_order_of_measured_rises(unlike: Engine, questions: list[Question]) -> None:
    orders = ranked(unlike, questions, ranking="loss")
    for name, losses in measured(unlike, questions).items():
        rises = [losses.rise({j}) for j in range(6)]
        assert orders[name] == sorted(range(6), key=lambda j: rises[j])
    assert len({tuple(order) for order in orders.values()}) == 3


class MadeUp:
    """Losses that rise by 0.1 to 0.6, and by 5 more without both of 0 and 1."""

    def __init__(self, *_: object) -> None:
        pass

    def rise(self, skip: Collection[int]) -> float:
        return sum(0.1 + 0.1 * j for j in skip) + 5.0 * ({0, 1} <= {*skip})


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({"ranking": "loss"}, [0, 1, 2, 3, 4, 5]),
        ({"ranking": "greedy"}, [0, 2, 3, 4, 5, 1]),
        ({"ranking": "greedy", "max_budget": 2}, [0, 2, 1, 3, 4, 5]),
        ({"ranking": "greedy", "max_budget": 0}, [0, 1, 2, 3, 4, 5]),
        ({"ranking": "loss", "per_second": True}, [1, 0, 3, 5, 2, 4]),  # by 0.05, 0.1, 0.1, 0.15, 0.3, 0.5
        ({"ranking": "greedy", "per_second": True}, [1, 3, 5, 2, 4, 0]),
    ],
)
def test_greedy_measures_each_beside_those_before_it(
    engine: Engine,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    order: list[int],
) -> None:
    monkeypatch.setattr(ranking, "StageLosses", MadeUp)
    assert ranked(engine, questions[:1], **settings) == dict.fromkeys(STAGES, order)


def test_per_second_puts_what_saves_more_first(engine: Engine) -> None:
    """1 - similarity of recall: 0.1 to 0.6 in steps of 0.1; a feed-forward's counts a quarter."""
    orders = ranked(engine, ranking="cosine-stage", per_second=True)
    assert orders["recall"] == [1, 0, 3, 5, 2, 4]


@pytest.mark.parametrize("order", [[3, 1, 5], [0], [], [5, 4, 3, 2, 1, 0]])
def test_a_given_order_is_taken_as_it_is_and_nothing_is_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    monkeypatch.setattr(ranking, "run", lambda *_, **__: pytest.fail("nothing is to be measured"))
    orders = ranked(engine, order=order, ranking="greedy", per_second=True)
    assert orders == dict.fromkeys(STAGES, order)


@pytest.mark.parametrize("order", [[0, 6], [-1], [1, 2, 1]])
def test_an_order_of_what_the_model_lacks_or_has_once_is_refused(engine: Engine, order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"search\.order is \[.*it may name each of 0 to 5 once"):
        ranked(engine, order=order)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Importance("other", IMPORTANCE.stages, 1), r"other \(6 sub-layers\) but the model is random \(6\).*train\.py"),
        (Importance("random", dict.fromkeys(STAGES, [0.5] * 8), 1), r"random \(8 sub-layers\) but .* random \(6\)"),
        (Importance("random", {"recall": [0.5] * 6}, 1), r"for the stages \['recall'\], .*'analyze'.*train\.py"),
    ],
)
@pytest.mark.parametrize("order", [None, [1]])
def test_importance_of_another_model_or_other_stages_is_refused(
    engine: Engine, other: Importance, message: str, order: list[int] | None
) -> None:
    with pytest.raises(ValueError, match=message):
        rank(engine, other, [], SearchSettings(order=order), COST)


def test_ties_go_to_attention_and_then_to_the_lower_block() -> None:
    assert order_by([0.5, 0.5, 0.5, 0.5, 0.1, 0.5], [1.0] * 6) == [4, 0, 2, 1, 3, 5]
    assert order_by([1.0, 1.0, 1.0, 1.0, 0.1, 1.0], [2.0, 2.0, 2.0, 2.0, 2.0, 4.0]) == [4, 5, 0, 2, 1, 3]


def test_without_weights_effects_are_not_rounded_to_harmless() -> None:
    assert order_by([-0.1, -0.3, 0.0, -0.2], [1.0] * 4) == [1, 3, 0, 2]
    assert order_by([-0.1, -0.3, 0.0, -0.2], [1.0, 1.0, 1.0, 2.0]) == [3, 0, 2, 1]
