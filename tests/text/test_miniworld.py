"""The embedded benchmark: exactly one right option, and no pair of fact and entity in two splits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import islice

import pytest

from litestage.config import StageSettings, three_stages
from litestage.records import Question, Rationale
from litestage.text import miniworld
from litestage.text.miniworld import LABELS, build, exercises, pools, world
from litestage.text.stages import Example, examples

Split = list[tuple[Question, Rationale]]

FACTS = {fact.recall: fact for fact in world().facts}
NAMES = {world().phrase(name): name for name in world().entities}


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return build(seed=0)


def fact_of(rationale: Rationale) -> miniworld.Fact:
    return FACTS[rationale.texts["recall"][""]]


def test_sizes_and_ids(splits: dict[str, Split]) -> None:
    assert {split: len(made) for split, made in splits.items()} == {"train": 8000, "validation": 400, "test": 800}
    ids = [question.id for made in splits.values() for question, _ in made]
    assert len(set(ids)) == len(ids)
    assert splits["train"][12][0].id == "miniworld-train-00012"
    assert all(question.id == rationale.id for made in splits.values() for question, rationale in made)


def test_same_seed_same_questions() -> None:
    sizes = {"train": 40, "validation": 20, "test": 20}
    assert build(1, **sizes) == build(1, **sizes)
    assert build(1, **sizes) != build(2, **sizes)


def test_exactly_one_option_is_right(splits: dict[str, Split]) -> None:
    for made in splits.values():
        for question, rationale in made:
            fact = fact_of(rationale)
            names = {label: NAMES[text] for label, text in question.options.items()}
            assert len(set(names.values())) == len(LABELS)
            values = {label: world().entities[name][fact.attribute] for label, name in names.items()}
            assert [label for label, value in values.items() if value == fact.value] == [question.answer]
            assert not fact.unclear & {*names.values(), *values.values()}


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_of_fact_and_entity_lies_in_one_split(seed: int) -> None:
    made = build(seed, train=3000)
    found: dict[tuple[str, str, bool], set[str]] = {}
    for split, questions in made.items():
        for question, rationale in questions:
            for label, text in question.options.items():
                pair = (fact_of(rationale).recall, text, label == question.answer)
                found.setdefault(pair, set()).add(split)
    assert {pair for pair, where in found.items() if len(where) > 1} == set()
    kinds = Counter((*where, right) for (_, _, right), where in found.items())
    assert len(kinds) == 6, "every split has right and wrong pairs"


@pytest.mark.parametrize("seed", range(3))
def test_what_a_tested_entity_is_like_is_in_no_other_split_where_attributes_are_held_out(seed: int) -> None:
    """Neither asked nor told in passing: every sentence that states an attribute counts."""
    made = build(seed, train=3000, held_out="attributes")
    found: dict[tuple[str, str], set[str]] = {}
    for split, questions in made.items():
        for question, rationale in questions:
            fact = fact_of(rationale)
            for label, text in question.options.items():
                sentence = rationale.texts["analyze"][label]
                name = NAMES[text]
                told = {a for a in world().entities[name] if world().state(name, a) in sentence}
                assert fact.attribute in told
                for attribute in told:
                    found.setdefault((attribute, name), set()).add(split)
    assert {pair for pair, where in found.items() if len(where) > 1} == set()
    counts = Counter(split for where in found.values() for split in where)
    assert min(counts.values()) > 70, counts
    assert {q.id.rsplit("-", 1)[0] for q, _ in made["test"]} == {"miniworld-attributes-test"}


@pytest.mark.parametrize("seed", range(3))
def test_a_fact_is_asked_wherever_it_has_a_right_entity_where_attributes_are_held_out(seed: int) -> None:
    made = pools(seed, "attributes")
    for split, questions in build(seed, held_out="attributes").items():
        asked = {fact_of(rationale).recall for _, rationale in questions}
        assert asked == {pool.fact.recall for pool in made[split] if pool.right}, split
        assert len(asked) >= (len(FACTS) if split == "train" else len(FACTS) - 2), split


def test_no_question_twice(splits: dict[str, Split]) -> None:
    keys = [
        (fact_of(rationale).recall, frozenset(question.options.values()))
        for made in splits.values()
        for question, rationale in made
    ]
    assert len(set(keys)) == len(keys)


def test_right_option_is_not_the_odd_one_out(splits: dict[str, Split]) -> None:
    """Where an attribute has enough values, the wrong options differ among themselves as well."""
    for question, rationale in splits["train"]:
        attribute = fact_of(rationale).attribute
        if attribute in {"material", "use"}:
            values = [world().entities[NAMES[text]][attribute] for text in question.options.values()]
            assert len(set(values)) == len(LABELS), question.id


def test_right_letters_are_even(splits: dict[str, Split]) -> None:
    for made in splits.values():
        counts = Counter(question.answer for question, _ in made)
        assert counts == dict.fromkeys(LABELS, len(made) // len(LABELS))


def test_every_fact_is_asked_in_every_split(splits: dict[str, Split]) -> None:
    for made in splits.values():
        counts = Counter(fact_of(rationale).recall for _, rationale in made)
        assert counts.keys() == FACTS.keys()
        assert max(counts.values()) <= 3 * min(counts.values())


@pytest.mark.parametrize("seed", range(5))
def test_pools_are_large_enough(seed: int) -> None:
    for made in pools(seed).values():
        assert all(pool.right and len(pool.wrong) >= miniworld.MIN_WRONG for pool in made)
    assert min(pool.questions for pool in pools(seed)["train"]) >= 8000 / len(FACTS)


def test_more_questions_than_the_world_has() -> None:
    there = sum(pool.questions for pool in pools(0)["validation"])
    with pytest.raises(ValueError, match=rf"validation: {there + 1} questions asked for; the world has {there} "):
        build(0, train=4, validation=there + 1, test=4)


def test_a_split_can_be_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(world(), facts=world().facts[-2:])
    monkeypatch.setattr(miniworld, "world", lambda: small)
    there = sum(pool.questions for pool in pools(0)["validation"])
    made = build(0, train=4, validation=there, test=4)["validation"]
    assert len({(fact_of(r).recall, frozenset(q.options.values())) for q, r in made}) == there


def test_rationales_fit_the_stages(splits: dict[str, Split]) -> None:
    for question, rationale in islice(splits["train"], 200):
        made = list(examples(question, rationale, three_stages()))
        assert len(made) == 6
        fact = fact_of(rationale)
        for (label, text), example in zip(question.options.items(), made[1:5], strict=True):
            assert example.target.startswith(f" {text} ")
            stated = world().state(NAMES[text], fact.attribute)
            ending = f"{fact.yes} and fits." if label == question.answer else f"{fact.no}."
            assert stated in example.target
            assert example.target.endswith(f" {ending}")
        assert made[5].target == f" So the answer is option {question.answer}."


def test_exercises_ask_what_each_letter_names(splits: dict[str, Split]) -> None:
    pairs = splits["train"][:50]
    options = {frozenset(question.options.values()) for question, _ in pairs}
    recalls = {rationale.texts["recall"][""] for _, rationale in pairs}
    lines = []
    for row in islice(exercises(pairs, three_stages(), seed=0, bare=False), 80):
        assert len({exercise.prompt for exercise in row}) == 4
        for exercise in row:
            parts = exercise.prompt.split("\n")
            lines.append(len(parts))
            line = next(part for part in parts if part.startswith("(A)"))
            listed = dict(part.split(") ") for part in line.removeprefix("(").split(" ("))
            assert frozenset(listed.values()) in options
            assert all(part.removeprefix("Recall: ") in recalls for part in parts if part.startswith("Recall"))
            label = parts[-1].removeprefix("Analyze: ").removeprefix("For option ").removesuffix(",")
            assert (exercise.stage, exercise.target) == ("exercise", f" {listed[label]}.")
    assert set(lines) == {2, 3, 4}  # bare, one part, both parts around the options


def test_bare_exercises_show_options_and_cue_alone(splits: dict[str, Split]) -> None:
    for row in islice(exercises(splits["train"][:5], three_stages(), seed=0, bare=True), 10):
        for label, exercise in zip(LABELS, row, strict=True):
            assert exercise.prompt.startswith("(A) ")
            assert exercise.prompt.endswith(f"\nFor option {label},")
            assert exercise.prompt.count("\n") == 1


def test_exercises_are_seeded(splits: dict[str, Split]) -> None:
    def made(seed: int) -> list[list[Example]]:
        return list(islice(exercises(splits["train"][:5], three_stages(), seed, bare=False), 40))

    assert made(0) == made(0)
    assert made(0) != made(1)


def test_exercises_need_questions_and_a_stage_that_fans_out(splits: dict[str, Split]) -> None:
    with pytest.raises(ValueError, match="at least one question"):
        next(exercises([], three_stages(), 0, bare=True))
    with pytest.raises(ValueError, match="a stage that fans out"):
        next(exercises(splits["train"][:5], three_stages()[:1], 0, bare=True))


def test_exercises_read_what_earlier_stages_are_taught_to_write(splits: dict[str, Split]) -> None:
    think = StageSettings("think", "{question}", target=" {recall} Well.")
    check = StageSettings("check", "{think}\n{options}\n{cue}", cue="{label}:", target=" {analyze}")
    rows = list(islice(exercises(splits["train"][:5], [think, check], 0, bare=False), 20))
    assert any(" Well.\n" in example.prompt for row in rows for example in row)
