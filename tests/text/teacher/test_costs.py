from __future__ import annotations

import json
from pathlib import Path

from litestage.records import Question, Rationale
from litestage.text.teacher.costs import Prices, estimate, report, tokens
from litestage.text.teacher.prompts import Prompts, load
from litestage.text.teacher.reply import Reply
from litestage.text.teacher.slots import Journal, Settings, Slot, slots_of

QUESTION = Question("t1", "Which floats?", {"A": "a nail", "B": "a log"}, "B")
GOOD = Reply(json.dumps({"recall": "x", "analyze": {"A": "x.", "B": "y."}, "answer": "B"}), "stop", 700, 30)
WRONG = Reply(GOOD.text.replace('"answer": "B"', '"answer": "A"'), "stop", 700, 30)
BARE = Prompts("x" * 40, "{data}", ())


def slots(path: Path, settings: Settings, prompts: Prompts = BARE) -> list[Slot]:
    return list(slots_of(QUESTION, settings, prompts, Journal(path / "j.jsonl")))


def test_estimate_counts_what_is_left(tmp_path: Path) -> None:
    found = slots(tmp_path, Settings("m", samples=4, retries=2, max_tokens=50))
    found[0].take(GOOD)
    found[1].take(WRONG)
    data = json.dumps({"question": QUESTION.text, "options": QUESTION.options})
    at = "(at 1.0 and 2.0 a million tokens)"
    prompt = 40 // 4 + 4 + tokens(data) + 4
    assert estimate(found, BARE, Prices(1.0, 2.0)) == [
        "requests: 3 to 8; 2 replies are in the journal",
        f"tokens, estimated: prompts {3 * prompt} to {8 * prompt}, replies 150 to 400",
        f"cost, estimated: {(3 * prompt + 300) / 1e6:.4f} to {(8 * prompt + 800) / 1e6:.4f} {at}",
    ]


def test_replies_are_estimated_by_the_examples(tmp_path: Path) -> None:
    prompts = load(None)
    settings = Settings("m", samples=1, retries=0)
    lines = estimate(slots(tmp_path, settings, prompts), prompts, Prices())
    shown = sum(tokens(answer) for _, answer in prompts.examples) / sum(1 + len(e.options) for e, _ in prompts.examples)
    assert lines[1].endswith(f"replies {round(3 * shown)} to {round(3 * shown)}")
    assert len(lines) == 2, "no cost without prices"


def test_tokens_are_counted_by_bytes() -> None:
    assert [tokens(text) for text in ("", "a", "abcd", "abcde", "漢漢漢漢", "\ud800")] == [0, 1, 1, 2, 3, 1]


def test_report(tmp_path: Path) -> None:
    found = slots(tmp_path, Settings("m", samples=5, retries=1))
    for slot, replies in zip(found, [[GOOD], [WRONG, GOOD], [WRONG, Reply("no")], [Reply("no")]], strict=False):
        for reply in replies:
            slot.take(reply)
    found[4].refused = "too long"
    kept = {"t1": [Rationale("t1", {"recall": {"": "x"}})]}
    assert report(found, kept, 3, Prices(1.0, 2.0)) == [
        "asked: 6 (3 in this run)",
        "agreed: 2",
        "disagreed: 2",
        "malformed: 2",
        "cut off: 0",
        "  malformed, 2 times: no JSON object with recall",
        "retried: 2",
        "given up: 1 of 5 slots; still open: 1",
        "refused: 1, the first: too long",
        "tokens: prompts 2800, replies 120",
        "cost: 0.0030 (at 1.0 and 2.0 a million tokens)",
        "rationales: 1, for 1 of 1 questions",
    ]
