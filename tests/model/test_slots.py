"""Who works when: refill, order, shrink; and that a narrow batch changes no token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
import torch

from litestage.model import decode as module
from litestage.model.cache import KVCache, Layout
from litestage.model.decode import Generated, Prompts, Rules, Trace, decode, prefill
from litestage.model.slots import Slots, decode_steps
from litestage.model.sublayers import Decoder
from litestage.plan import ExitRule
from litestage.seeding import uniforms

LAYOUT = Layout((0,), 1, 1, torch.float32, torch.device("cpu"))
LENGTHS = (5, 30, 9, 17, 3, 21, 12, 8, 26, 11)
ROWS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 3, 1)


def stamp(output: int, step: int) -> float:
    """The key of a token; steps below zero belong to the prompt."""
    return 1000.0 * output + step + 500


def make_slots(total: int, width: int, family: Sequence[int] = ()) -> Slots:
    """Output `i` starts from a row with 1 + i % 4 tokens of its own."""
    trunk = KVCache(LAYOUT, 3, 5) if family else None
    if trunk:
        trunk.lengths, trunk.used = torch.tensor([5, 0, 2]), 5
    source = KVCache(LAYOUT, total, 4, trunk, family)
    for row in range(total):
        source.lengths[row] = length = 1 + row % 4
        source.kv[0][:, row, 0, :length, 0] = torch.tensor([stamp(row, step) for step in range(-length, 0)])
    source.used = min(total, 4)
    return Slots(source, range(total), LAYOUT, width)


def assert_holds(slots: Slots) -> None:
    """Every busy slot has its output's prompt and steps, and every free one points behind the outputs."""
    cache, total = slots.cache, len(slots.sources)
    assert cache.rows == len(slots.outputs) == len(slots.steps) == len(slots.index)
    for slot, output in enumerate(slots.outputs):
        assert slots.index[slot] == (total if output is None else output)
        if output is None:
            continue
        steps, length = int(slots.steps[slot]), 1 + output % 4
        assert cache.lengths[slot] == length + steps
        want = torch.tensor([stamp(output, step) for step in range(-length, steps)])
        assert torch.equal(cache.kv[0][0, slot, 0, : length + steps, 0], want)
        if cache.trunk:
            assert cache.family[slot] == slots.source.family[output]


def step(slots: Slots) -> None:
    """One more token in every row, as a decode step does it; free slots write along."""
    cache = slots.cache
    cache.reserve(int(cache.lengths.max()) + 1)
    for slot, output in enumerate(slots.outputs):
        value = -1.0 if output is None else stamp(output, int(slots.steps[slot]))
        cache.kv[0][:, slot, 0, int(cache.lengths[slot]), 0] = value
    cache.lengths += 1
    cache.used += 1
    slots.steps += 1


@pytest.mark.parametrize(("total", "width", "size"), [(5, 64, 5), (9, 4, 4), (1, 1, 1)])
def test_the_first_outputs_fill_all_slots(total: int, width: int, size: int) -> None:
    slots = make_slots(total, width)
    assert slots.busy == []
    new = slots.refill()
    assert new is not None
    assert new.tolist() == slots.outputs == slots.busy == list(range(size))
    assert len(slots.waiting) == total - size
    assert not slots.done
    assert_holds(slots)
    assert slots.refill() is None


def test_outputs_enter_in_order_when_an_eighth_is_free() -> None:
    slots = make_slots(40, 16)
    slots.refill()
    step(slots)
    slots.end([9])
    assert slots.refill() is None  # one of sixteen
    step(slots)
    slots.end([3])
    new = slots.refill()
    assert new is not None
    assert new.tolist() == [3, 9]
    assert (slots.outputs[3], slots.outputs[9], slots.waiting[0]) == (16, 17, 18)
    assert slots.steps.tolist() == [0 if slot in (3, 9) else 2 for slot in range(16)]
    assert_holds(slots)


def test_the_last_ones_enter_as_soon_as_all_of_them_fit() -> None:
    slots = make_slots(17, 16)
    slots.refill()
    slots.end([5])
    new = slots.refill()
    assert new is not None
    assert new.tolist() == [5]
    assert not slots.waiting
    slots.end([2, 4])
    assert slots.refill() is None
    assert slots.outputs[2] is None


def test_more_free_slots_than_waiting_outputs() -> None:
    slots = make_slots(6, 4)
    slots.refill()
    slots.end([1, 2, 3])
    assert slots.refill().tolist() == [1, 2]  # type: ignore[union-attr]
    assert slots.outputs == [0, 4, 5, None]
    assert slots.index.tolist() == [0, 4, 5, 6]
    assert_holds(slots)


def test_the_batch_shrinks_at_three_quarters() -> None:
    slots = make_slots(8, 8)
    slots.refill()
    step(slots)
    slots.end([0])
    assert slots.shrink() is None
    slots.end([5])
    kept = slots.shrink()
    assert kept is not None
    assert kept.tolist() == slots.outputs == [1, 2, 3, 4, 6, 7]
    assert_holds(slots)
    assert slots.shrink() is None


def test_the_batch_keeps_its_size_while_outputs_wait() -> None:
    slots = make_slots(9, 4)
    slots.refill()
    slots.end([0, 1, 2])
    assert slots.shrink() is None
    assert len(slots.outputs) == 4


def test_a_freed_slot_starts_from_an_empty_row() -> None:
    slots = make_slots(3, 3)
    slots.refill()
    step(slots)
    slots.end([1])
    assert slots.cache.lengths[1] == slots.steps[1] == 0
    assert slots.index.tolist() == [0, 3, 2]
    step(slots)
    assert_holds(slots)


@pytest.mark.parametrize("forked", [False, True])
def test_random_ends_do_every_output_once_and_in_order(forked: bool) -> None:
    random = Random(0)
    for _ in range(20):
        total, width = random.randint(1, 40), random.randint(1, 20)
        slots = make_slots(total, width, random.choices(range(3), k=total) if forked else ())
        started: list[int] = []
        ended: list[int] = []
        while not slots.done:
            new = slots.refill()
            started += [] if new is None else [slots.outputs[slot] for slot in new.tolist()]
            assert len(slots.outputs) <= width
            assert_holds(slots)
            step(slots)
            assert_holds(slots)
            ends = [slot for slot in slots.busy if random.random() < 0.2]
            ended += [slots.outputs[slot] for slot in ends]
            if ends:
                slots.end(ends)
                if not slots.done:
                    slots.shrink()
        assert started == sorted(ended) == list(range(total))


@pytest.mark.parametrize("width", [1, 2, 5, 16, 64])
def test_steps_follow_from_the_lengths_of_the_outputs(width: int) -> None:
    random = Random(width)
    for _ in range(15):
        lengths = [random.randint(1, 12) for _ in range(random.randint(1, 40))]
        slots, counted = make_slots(len(lengths), width), Counter[int]()
        while not slots.done:
            slots.refill()
            slots.steps += slots.working
            ended = [s for s in slots.busy if slots.steps[s] == lengths[slots.outputs[s]]]  # type: ignore[index]
            if ended:
                slots.end(ended)
                if slots.done:
                    break
                slots.shrink()
            counted[len(slots.outputs)] += 1
        assert decode_steps(lengths, width) == counted
        assert sum(rows * steps for rows, steps in counted.items()) >= sum(lengths) - len(lengths)


def test_outputs_of_one_token_or_none_at_all_take_no_step() -> None:
    assert decode_steps([], 4) == decode_steps([1, 1, 1], 3) == {}


@pytest.fixture
def decoder(model: torch.nn.Module) -> Decoder:
    return Decoder(model)


@pytest.fixture
def filled(decoder: Decoder) -> Prompts:
    generator = torch.Generator().manual_seed(3)
    head = torch.randint(2, 300, (20,), generator=generator).tolist()
    prompts = [torch.randint(2, 300, (n,), generator=generator).tolist() for n in LENGTHS]
    return prefill(decoder, [*prompts[:4], *(head + p for p in prompts[4:])], Trace())


EOS = tuple(range(0, 300, 12))
"""Many, so that outputs end at many steps."""

CASES = {
    "greedy": {},
    "exit": {"exit": ExitRule(2, 0.1), "skip": frozenset({1, 2})},
    "sampled": {"temperature": 1.5, "draws": uniforms([("row", i) for i in range(len(ROWS))], 12)},
    "all": {
        "temperature": 0.8,
        "draws": uniforms([("all", i) for i in range(len(ROWS))], 12),
        "exit": ExitRule(3, 0.1),
        "skip": frozenset({0, 5}),
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_width_changes_no_token(decoder: Decoder, filled: Prompts, case: str) -> None:
    outputs: dict[int, list[Generated]] = {}
    for width in (64, 1, 2, 3):
        trace = Trace()
        outputs[width] = decode(decoder, filled, ROWS, Rules(12, EOS, width=width, **CASES[case]), trace)
        assert trace.steps == decode_steps([len(o.tokens) for o in outputs[width]], width)
        assert max(trace.steps) <= width
        assert sum(rows * steps for rows, steps in trace.steps.items()) >= sum(len(o.tokens) - 1 for o in outputs[64])
    assert outputs[1] == outputs[2] == outputs[3] == outputs[64]
    assert len({len(o.tokens) for o in outputs[64]}) > 2
    assert {"eos", "confidence" if "exit" in CASES[case] else "cap"} <= {o.stop for o in outputs[64]}


def test_free_slots_do_no_harm(decoder: Decoder, filled: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a freed row holds, the others go on as before."""
    rules = Rules(12, EOS, width=5)
    want = decode(decoder, filled, ROWS, rules, Trace())

    class Littered(Slots):
        def end(self, slots: Sequence[int]) -> None:
            super().end(slots)
            for kv in self.cache.kv.values():
                kv[:, slots] = 1e3

    monkeypatch.setattr(module, "Slots", Littered)
    assert decode(decoder, filled, ROWS, rules, Trace()) == want


@pytest.mark.parametrize("sampled", [False, True])
def test_a_slot_may_stay_free_for_long(decoder: Decoder, sampled: bool) -> None:
    """One output of sixteen ends at once, and its slot is empty until all the others and their followers end."""
    cap, total = 4, 30
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(2, 300, (6,), generator=generator).tolist() for _ in range(total)]
    draws = torch.full((total, cap), 0.5) if sampled else None
    settings = {"temperature": 0.01, "draws": draws} if sampled else {}
    filled = prefill(decoder, prompts, Trace())
    free = decode(decoder, filled, range(total), Rules(cap, (), **settings), Trace())
    everything = [token for output in free for token in output.tokens]
    early = next(i for i, output in enumerate(free) if everything.count(output.tokens[0]) == 1)
    rows = [i for i in range(total) if i != early]
    rows.insert(15, early)
    rules = Rules(cap, (free[early].tokens[0],), width=16, **settings)
    outputs = decode(decoder, filled, rows, rules, Trace())
    assert [o.tokens for o in outputs] == [free[row].tokens[: 1 if row == early else cap] for row in rows]


@pytest.mark.parametrize("skip", [set(), {0}, {0, 3, 4}, {1, 5}, {0, 2, 4}])
def test_a_skipped_attention_keeps_nothing(
    decoder: Decoder, filled: Prompts, monkeypatch: pytest.MonkeyPatch, skip: set[int]
) -> None:
    made: list[Slots] = []

    class Seen(Slots):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(module, "Slots", Seen)
    decode(decoder, filled, ROWS, Rules(5, (), frozenset(skip), width=4), Trace())
    assert set(made[0].cache.kv) == {layer for layer in range(3) if 2 * layer not in skip}
    assert set(filled.cache.kv) == {0, 1, 2}
