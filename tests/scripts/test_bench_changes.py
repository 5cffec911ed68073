"""The benchmark of the engine's parts: every variant says the same, and what is left out is really left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from litestage.engine import Engine
from litestage.model import cache, head
from litestage.model.decode import Prompts
from litestage.records import Question


def test_each_variant_lacks_one_part_more_and_says_the_same(
    bench: ModuleType,
    make: Callable[..., torch.nn.Module],
    engine: Engine,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "SPARE", 2**20)
    monkeypatch.setattr(head, "can_shorten", lambda _: True)
    monkeypatch.setattr(head, "Shortlist", lambda weight: None)
    made = bench.variants(make("llama"))
    assert len(made) == 5
    assert [spare for _, spare in made.values()] == [2**20, 2**20, 0, 0, 0]
    shared = []
    longest = Prompts.longest_prefix

    def spy(self: Prompts, ids: list[int]) -> object:
        shared.append(cache.SPARE)
        return longest(self, ids)

    monkeypatch.setattr(Prompts, "longest_prefix", spy)
    found = bench.compare(engine, made, questions, 2, 2)
    assert found["same"]
    assert set(shared) == {0, 2**20}
    assert [*found["variants"]] == [*made]
    first, *others = found["variants"].values()
    assert first["slower"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    for values in (first, *others):
        assert 0 < values["seconds_per_question"]["low"] <= values["seconds_per_question"]["median"]
    json.dumps(found)
