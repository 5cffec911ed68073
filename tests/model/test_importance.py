"""What is measured against hooks on the transformers model; the ranking; the file."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from litestage.model.importance import FORMAT, VERSION, Importance, mean_of, measure_prompts
from litestage.model.sublayers import Decoder
from litestage.report.schema import validate

LENGTHS = (3, 17, 1, 30, 8)


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, 300, (n,), generator=generator).tolist() for n in LENGTHS]


def hooked(model: torch.nn.Module, prompt: list[int]) -> tuple[list[float], list[float], list[float]]:
    """From forward hooks on one prompt: of every sub-layer the mean over tokens of cos(x + f(x), x) and the norm of the
    whole x + f(x) over that of x; of every block the mean over tokens of cos(out, in)."""
    inputs: dict[int, Tensor] = {}
    means: dict[int, float] = {}
    ratios: dict[int, float] = {}
    blocks: list[float] = []

    def before(sublayer: int) -> Any:
        return lambda module, args, output: inputs.__setitem__(sublayer, args[0])

    def after(sublayer: int) -> Any:
        def hook(module: torch.nn.Module, args: object, output: Any) -> None:
            x, change = inputs[sublayer], output[0] if isinstance(output, tuple) else output
            means[sublayer] = float(cosine_similarity(x + change, x, dim=-1).mean())
            ratios[sublayer] = float(torch.norm(x + change) / torch.norm(x))

        return hook

    def through(module: torch.nn.Module, args: Any, output: Any) -> None:
        blocks.append(float(cosine_similarity(output, args[0], dim=-1).mean()))

    handles = []
    for j, block in enumerate(model.model.layers):
        handles += [
            block.input_layernorm.register_forward_hook(before(2 * j)),
            block.self_attn.register_forward_hook(after(2 * j)),
            block.post_attention_layernorm.register_forward_hook(before(2 * j + 1)),
            block.mlp.register_forward_hook(after(2 * j + 1)),
            block.register_forward_hook(through),
        ]
    with torch.inference_mode():
        model(torch.tensor([prompt]))
    for handle in handles:
        handle.remove()
    return [means[j] for j in range(len(means))], [ratios[j] for j in range(len(ratios))], blocks


def test_measures_equal_forward_hooks_and_every_prompt_has_its_own(model: torch.nn.Module) -> None:
    prompts = make_prompts()
    wanted = [torch.tensor(rows) for rows in zip(*(hooked(model, prompt) for prompt in prompts), strict=True)]
    got = measure_prompts(Decoder(model), prompts)
    assert [part.shape for part in got] == [(5, 6), (5, 6), (5, 3)]
    for part, want in zip(got, wanted, strict=True):
        assert part.dtype == torch.float32
        torch.testing.assert_close(part, want, rtol=0, atol=1e-5)
        assert want.std() > 0.01


def test_measures_of_a_prompt_do_not_depend_on_the_batch(model: torch.nn.Module) -> None:
    decoder, prompts = Decoder(model), make_prompts()
    together, backwards = measure_prompts(decoder, prompts), measure_prompts(decoder, prompts[::-1])
    alone = [torch.cat(rows) for rows in zip(*(measure_prompts(decoder, [p]) for p in prompts), strict=True)]
    for part, turned, one in zip(together, backwards, alone, strict=True):
        torch.testing.assert_close(part, one, rtol=0, atol=1e-5)
        torch.testing.assert_close(turned, one.flip(0), rtol=0, atol=1e-5)


def test_measures_of_a_half_precision_model_are_taken_in_fp32(model: torch.nn.Module) -> None:
    prompts = make_prompts()
    want = measure_prompts(Decoder(model), prompts)
    got = measure_prompts(Decoder(model.bfloat16()), prompts)
    assert {part.dtype for part in got} == {torch.float32}
    for part, exact in zip(got, want, strict=True):
        torch.testing.assert_close(part, exact, rtol=0, atol=0.1)


def test_similarity_is_the_mean_over_stages_of_equal_weight() -> None:
    made = Importance("m", {"a": [0.2, 0.4], "b": [0.6, 0.0], "c": [0.1, 0.2]}, 7)
    assert made.similarity == pytest.approx([0.3, 0.2])


def test_order_is_most_similar_first_and_joint() -> None:
    assert Importance("m", {"a": [0.1, 0.9, 0.5, 0.7, 0.8, 0.2]}, 1).order == [1, 4, 3, 2, 5, 0]


def test_ties_go_to_attention_and_then_to_the_lower_block() -> None:
    assert Importance("m", {"a": [0.5, 0.5, 0.5, 0.5, 0.9, 0.5]}, 1).order == [4, 0, 2, 1, 3, 5]


def test_json_and_back() -> None:
    made = Importance("m", {"a": [0.25, 0.5, 0.5, 0.75], "b": [0.5, 0.25, 0.0, 1.0]}, 3)
    data = json.loads(json.dumps(made.to_json()))
    assert Importance.from_json(data) == made
    assert data["num_sublayers"] == 4
    assert data["order"] == [3, 0, 1, 2]
    assert data["similarity"] == [0.375, 0.375, 0.25, 0.875]
    assert set(data["stages"]["a"]) == {"similarity", "questions"}


def test_ratios_and_blocks_are_kept_per_stage() -> None:
    ratios, blocks = {"a": [1.5, 0.5], "b": [2.5, 1.5]}, {"a": [0.25], "b": [0.75]}
    made = Importance("m", {"a": [0.25, 0.5], "b": [0.5, 0.25]}, 3, ratios, blocks)
    data = json.loads(json.dumps(made.to_json()))
    validate(data, "importance")
    assert Importance.from_json(data) == made
    assert (data["stages"]["b"]["ratios"], data["stages"]["b"]["blocks"]) == ([2.5, 1.5], [0.75])
    assert (mean_of(made.ratios), mean_of(made.blocks)) == ([2.0, 1.0], [0.5])


def test_a_file_from_before_ratios_and_blocks_reads_as_one_without() -> None:
    made = Importance.from_json(GOOD)
    assert (made.ratios, made.blocks) == ({}, {})
    validate(made.to_json(), "importance")


STAGE = {"similarity": [0.1, 0.2], "questions": 2}
GOOD = {"format": FORMAT, "version": VERSION, "model": "m", "stages": {"a": STAGE}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, f"here.json: not a '{FORMAT}' file of version {VERSION}"),
        ({"version": 99}, f"here.json: not a '{FORMAT}' file of version {VERSION}"),
        ({"model": None, "stages": {"a": {"questions": 2}}}, "here.json: not an importance file: KeyError.*similarity"),
        ({"stages": [1]}, "here.json: not an importance file"),
        ({"stages": {}}, "here.json: the stages must have one similarity per sub-layer"),
        ({"stages": {"a": STAGE, "b": {"similarity": [0.1], "questions": 2}}}, r"found \{'a': 2, 'b': 1\}"),
    ],
)
def test_a_file_that_is_no_ranking_is_refused(changes: dict[str, Any], message: str) -> None:
    assert Importance.from_json(GOOD).questions == 2
    with pytest.raises(ValueError, match=message):
        Importance.from_json({**GOOD, **changes}, "here.json")
