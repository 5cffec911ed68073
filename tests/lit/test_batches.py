"""Packed trees against the same examples one by one, and against the loss of transformers itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from litestage.config import three_stages
from litestage.lit.batches import Tokens, collate, tokenize
from litestage.model.tiny import tiny_tokenizer
from litestage.records import Question, Rationale
from litestage.text import miniworld
from litestage.text.stages import Example, examples

PAD = 1
STAGES = ["recall", "analyze", "summarize"]


@pytest.fixture
def rows(engine: Any, questions: list[Question], rationales: list[Rationale]) -> list[list[Tokens]]:
    """One row a question, with all its examples; the rows differ in length."""
    pairs = zip(questions, rationales, strict=True)
    return [tokenize(engine.tokenizer, list(examples(*pair, three_stages())), STAGES) for pair in pairs]


def token_losses(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Loss of each target token of a batch."""
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False).logits
    return cross_entropy(logits[batch["rows"], batch["columns"]], batch["labels"], reduction="none")


def alone(model: Any, tokens: Tokens) -> Tensor:
    """Loss of each target token of one example, by plain transformers: no mask, no positions, no tree."""
    logits = model(torch.tensor([tokens.ids]), use_cache=False).logits[0]
    return cross_entropy(logits[tokens.start - 1 : -1], torch.tensor(tokens.ids[tokens.start :]), reduction="none")


def gradients(model: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_packed_rows_learn_what_separate_examples_learn(
    make: Callable[..., torch.nn.Module], architecture: str, rows: list[list[Tokens]]
) -> None:
    model = make(architecture, initializer_range=0.1)
    packed = token_losses(model, collate(rows, PAD))
    separate = torch.cat([alone(model, tokens) for row in rows for tokens in row])
    torch.testing.assert_close(packed, separate, rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(model, packed.mean()), gradients(model, separate.mean()), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_loss_is_on_target_and_end_token_only(engine: Any, rows: list[list[Tokens]]) -> None:
    tokenizer = engine.tokenizer
    for tokens in (tokens for row in rows for tokens in row):
        batch = collate([[tokens]], PAD)
        target = tokens.ids[tokens.start :]
        assert batch["labels"].tolist() == target
        assert target[-1] == tokenizer.eos_token_id
        assert batch["columns"].tolist() == list(range(tokens.start - 1, len(tokens.ids) - 1))
        assert set(batch["rows"].tolist()) == {0}
        assert batch["input_ids"][0].tolist() == tokens.ids[:-1]  # the end token is predicted, never read


def test_packed_targets_are_those_of_all_examples(rows: list[list[Tokens]]) -> None:
    batch = collate(rows, PAD)
    found = Counter(zip(batch["rows"].tolist(), batch["labels"].tolist(), batch["stages"].tolist(), strict=True))
    wanted = Counter((b, label, t.stage) for b, row in enumerate(rows) for t in row for label in t.ids[t.start :])
    assert found == wanted


def test_tokenize_keeps_the_prompt_as_inference_sees_it(
    engine: Any, questions: list[Question], rationales: list[Rationale]
) -> None:
    made = list(examples(questions[2], rationales[2], three_stages()))
    for example, tokens in zip(made, tokenize(engine.tokenizer, made, STAGES), strict=True):
        prompt = engine.tokenizer(example.prompt)["input_ids"]
        assert tokens.ids[: tokens.start] == prompt
        assert engine.tokenizer.decode(tokens.ids[tokens.start : -1]) == example.target
        assert tokens.ids[:-1] == engine.tokenizer(example.prompt + example.target)["input_ids"]
        assert STAGES[tokens.stage] == example.stage


def test_an_unknown_stage_is_an_exercise(engine: Any) -> None:
    (tokens,) = tokenize(engine.tokenizer, [Example("exercise", "(A) a nail\nFor option A,", " a nail.")], STAGES)
    assert tokens.stage == -1


def test_a_token_to_begin_with_comes_once(engine: Any) -> None:
    """Llama-type tokenizers put a token before every text; it belongs to the prompt."""

    class Beginning:
        eos_token_id = engine.tokenizer.eos_token_id

        def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, Any]:
            made = engine.tokenizer(texts, return_offsets_mapping=True)
            ids = [[PAD, *row] for row in made["input_ids"]]
            return {"input_ids": ids, "offset_mapping": [[(0, 0), *row] for row in made["offset_mapping"]]}

    (tokens,) = tokenize(Beginning(), [Example("recall", "Recall:", " Wood floats.")], STAGES)
    assert tokens.ids.count(PAD) == 1
    assert tokens.ids[: tokens.start] == [PAD, *engine.tokenizer("Recall:")["input_ids"]]
    assert engine.tokenizer.decode(tokens.ids[tokens.start : -1]) == " Wood floats."


def test_a_joint_token_across_the_border_is_not_read_twice() -> None:
    """ "flo" and "ats" make one token together; then the target is spelled by itself."""
    tokenizer = tiny_tokenizer(["floats " * 50], 300)
    assert len(tokenizer("floats")["input_ids"]) == 1
    (tokens,) = tokenize(tokenizer, [Example("recall", "flo", "ats on")], STAGES)
    assert tokens.ids[: tokens.start] == tokenizer("flo")["input_ids"]
    assert tokenizer.decode(tokens.ids[:-1]) == "floats on"


def test_plain_rows_have_the_loss_of_transformers(model: Any, rows: list[list[Tokens]]) -> None:
    singles = [[tokens] for row in rows for tokens in row]
    width = max(len(t.ids) for row in rows for t in row)
    ids, labels = torch.full((len(singles), width), PAD), torch.full((len(singles), width), -100)
    for b, (tokens,) in enumerate(singles):
        ids[b, : len(tokens.ids)] = torch.tensor(tokens.ids)
        labels[b, tokens.start : len(tokens.ids)] = torch.tensor(tokens.ids[tokens.start :])
    batch = collate(singles, PAD)
    assert batch["attention_mask"].shape == (len(singles), width - 1)
    with torch.no_grad():
        theirs = model(input_ids=ids, attention_mask=(ids != PAD).long(), labels=labels).loss
        torch.testing.assert_close(token_losses(model, batch).mean(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("packed", [True, False])
def test_padding_changes_nothing(model: Any, rows: list[list[Tokens]], packed: bool) -> None:
    """The shortest row beside the longest one, whatever id pads it."""
    sizes = sorted(rows, key=lambda row: max(len(t.ids) for t in row))
    short, long = (sizes[0], sizes[-1]) if packed else (sizes[0][:1], sizes[-1][-1:])
    assert max(len(t.ids) for t in short) < max(len(t.ids) for t in long)
    with torch.no_grad():
        by_itself = token_losses(model, collate([short], PAD))
        for pad in (PAD, 77):
            batch = collate([short, long], pad)
            losses = token_losses(model, batch)
            assert losses.isfinite().all()
            torch.testing.assert_close(losses[batch["rows"] == 0], by_itself, rtol=1e-5, atol=1e-5)


def test_shared_beginnings_are_kept_once(engine: Any) -> None:
    """A miniworld question with its six sequences takes less than half of their tokens."""
    made = miniworld.build(0, train=4, validation=1, test=1)["train"]
    rows = [tokenize(engine.tokenizer, list(examples(*pair, three_stages())), STAGES) for pair in made]
    packed = sum(collate([row], PAD)["input_ids"].numel() for row in rows)
    separate = sum(len(t.ids) - 1 for row in rows for t in row)
    assert packed < 0.5 * separate


def test_a_tree_has_each_beginning_once_and_every_token_its_place() -> None:
    first = Tokens([5, 6, 7, 8, 0], start=2, stage=0)
    second = Tokens([5, 6, 7, 9, 4, 0], start=4, stage=1)  # its prompt runs through the first one's target
    batch = collate([[first, second]], PAD)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 3, 4]]
    assert batch["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1, 1],
    ]
    targets = zip(*(batch[name].tolist() for name in ("columns", "labels", "stages")), strict=True)
    assert list(targets) == [(1, 7, 0), (2, 8, 0), (3, 0, 0), (4, 4, 1), (5, 0, 1)]


def test_tokens_know_which_stage_decodes_them() -> None:
    """The second prompt runs through all of the first one's output; the third leaves it early."""
    first = Tokens([5, 6, 7, 8, 0], start=2, stage=0)
    second = Tokens([5, 6, 7, 8, 9, 4, 0], start=5, stage=1)
    third = Tokens([5, 6, 7, 3, 2, 0], start=4, stage=2)
    exercise = Tokens([5, 6, 0], start=1, stage=-1)
    for row in ([first, second, third], [second, first, third], [third, second, first]):
        batch = collate([row, [exercise]], PAD)
        found = dict(zip(batch["input_ids"][0].tolist(), batch["decoded"][0].tolist(), strict=True))
        assert found == {5: -1, 6: -1, 7: 0, 8: 0, 9: -1, 4: 1, 3: -1, 2: 2}
        assert set(batch["decoded"][1].tolist()) == {-1}


def test_what_a_stage_decodes_are_the_targets_of_its_examples(
    engine: Any, questions: list[Question], rationales: list[Rationale], rows: list[list[Tokens]]
) -> None:
    batch = collate(rows, PAD)
    for b, pair in enumerate(zip(questions, rationales, strict=True)):
        made = list(examples(*pair, three_stages()))
        for index, stage in enumerate(STAGES):
            ids = batch["input_ids"][b][batch["decoded"][b] == index]
            assert engine.tokenizer.decode(ids) == "".join(e.target for e in made if e.stage == stage)
