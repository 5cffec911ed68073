"""The embedded benchmark: multiple-choice questions with reasoning, generated from a small written world.

`data/miniworld.json` lists what things are made of, what animals eat and so on, and facts such as "a magnet pulls
many things that are made of metal". A question asks one fact of four entities; exactly one has the attribute value the
fact is about. Every (fact, entity) pair, right or wrong, belongs to one split, so no tested pair was ever trained on.
Harder: every (attribute, entity) pair does, so what a tested entity is like must be known from before fine-tuning.

    splits = build(seed=0)
    question, rationale = splits["train"][0]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from math import comb
from random import Random
from typing import Literal

from litestage.config import StageSettings
from litestage.records import Question, Rationale
from litestage.text.stages import Example, render, targets
from litestage.text.world import Fact, world

HeldOut = Literal["pairs", "attributes"]
"""What lies in one split alone: a fact with an entity, or an attribute with an entity."""
LABELS = "ABCD"
SHARES = {"test": 0.2, "validation": 0.15}
"""Share of a fact's pairs held out for a split; training keeps the rest."""
ATTRIBUTE_SHARES = {"test": 0.3, "validation": 0.2}
"""The same of a value's entities, where attributes are held out; the more there are, the less questions are alike."""
MIN_WRONG = 5
"""Held-out wrong pairs of a fact and split are at least this many, so that questions differ enough."""
MAX_TRIES = 30
"""Draws before a question may have two wrong options of the same value."""


@dataclass(frozen=True)
class Pool:
    """The entities one split may use with one fact."""

    fact: Fact
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    told: Mapping[str, Set[str]]
    """Entity -> attributes that the split's texts may tell of."""

    @property
    def questions(self) -> int:
        """Number of different option sets."""
        return len(self.right) * comb(len(self.wrong), len(LABELS) - 1)


def pools(seed: int, held_out: HeldOut = "pairs") -> dict[str, list[Pool]]:
    """Split -> one pool a fact.

    Of `pairs`, every (fact, entity) pair lies in exactly one split. Of `attributes`, every (attribute, entity) pair
    does, in all facts and texts; a fact without a right entity in a split is not asked there.
    """
    return _by_pairs(seed) if held_out == "pairs" else _by_attributes(seed)


def _by_pairs(seed: int) -> dict[str, list[Pool]]:
    found: dict[str, list[Pool]] = {"train": [], "validation": [], "test": []}
    told = {name: has.keys() for name, has in world().entities.items()}
    for fact in world().facts:
        right = _cut(world().right(fact), SHARES, 1, Random(f"{seed}-right-{fact.recall}"))
        wrong = _cut(world().wrong(fact), SHARES, MIN_WRONG, Random(f"{seed}-wrong-{fact.recall}"))
        for split, made in found.items():
            made.append(Pool(fact, right[split], wrong[split], told))
    return found


def _by_attributes(seed: int) -> dict[str, list[Pool]]:
    found: dict[str, list[Pool]] = {"train": [], "validation": [], "test": []}
    dealt = _dealt_attributes(seed)
    for split, made in found.items():
        told = dealt[split]
        for fact in world().facts:
            right, wrong = (
                tuple(name for name in names if fact.attribute in told.get(name, ()))
                for names in (world().right(fact), world().wrong(fact))
            )
            made.append(Pool(fact, right, wrong, told))
    return found


def _dealt_attributes(seed: int) -> dict[str, dict[str, set[str]]]:
    """Split -> entity -> its attributes there; the entities of every value are dealt out."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, has in world().entities.items():
        for attribute, value in has.items():
            alike.setdefault((attribute, value), []).append(name)
    told: dict[str, dict[str, set[str]]] = {"train": {}, "validation": {}, "test": {}}
    for (attribute, value), names in alike.items():
        cut = _cut(sorted(names), ATTRIBUTE_SHARES, 1, Random(f"{seed}-{attribute}-{value}"))
        for split, mine in cut.items():
            for name in mine:
                told[split].setdefault(name, set()).add(attribute)
    return told


def build(
    seed: int, train: int = 8000, validation: int = 400, test: int = 800, held_out: HeldOut = "pairs"
) -> dict[str, list[tuple[Question, Rationale]]]:
    """Generate the benchmark; the same seed gives the same questions.

    Args:
        seed: decides which pairs are held out and all draws.
        train: number of training questions.
        validation: number of validation questions.
        test: number of test questions.
        held_out: what of the validation and test questions is in no training question: (fact, entity) `pairs`, which
            a small model from scratch can work out; or `attributes` of entities, which a model must know from before.

    Returns:
        Split name -> questions with their written reasoning. No two have the same fact and the same options; the
        right letters are evenly spread.

    Raises:
        ValueError: a split is asked for more questions than the world has.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    name = "miniworld" if held_out == "pairs" else f"miniworld-{held_out}"
    return {split: _split(name, split, made, sizes[split], seed) for split, made in pools(seed, held_out).items()}


def exercises(
    pairs: Sequence[tuple[Question, Rationale]], stages: Sequence[StageSettings], seed: int, bare: bool
) -> Iterator[list[Example]]:
    """Endless warm-up for looking an option up by its letter: say what each letter names.

    A model from scratch learns fluent reasoning long before it learns to look up, and then stays at chance; with
    these exercises first it learns the lookup in a few hundred steps. Bare exercises show the options and the cue
    alone, which is what makes the lookup click. The others are prompts of the stage that fans out, with shuffled
    options and the earlier stages' texts of another question, so that only looking up helps; each part around the
    options is left out half of the time.

    Args:
        pairs: training questions with their rationales.
        stages: the pipeline; one of its stages fans out.
        seed: decides all draws.
        bare: options and cue alone.

    Yields:
        One example an option.

    Raises:
        ValueError: `pairs` is empty, or no stage fans out.
    """
    if not pairs:
        raise ValueError("exercises need at least one question to take options from; got none")
    index = next((i for i, stage in enumerate(stages) if stage.fans_out), None)
    if index is None:
        raise ValueError("exercises need a stage that fans out (one with a cue); set data.curriculum_steps to 0")
    draw = Random(f"{seed}-exercises-{bare}")
    while True:
        question, other = draw.choice(pairs)[0], draw.choice(pairs)
        texts = draw.sample(list(question.options.values()), len(question.options))
        shuffled = replace(question, options=dict(zip(question.options, texts, strict=True)))
        prompts = render(shuffled, stages, index, targets(*other, stages[:index]))
        line = " ".join(f"({label}) {text}" for label, text in shuffled.options.items())
        above, between = not bare and draw.random() < 0.5, not bare and draw.random() < 0.5
        row = []
        for label, text in shuffled.options.items():
            cue = stages[index].cue.format(label=label, option=text)
            head, shown, tail = prompts[label].partition(line)  # nothing is shown where a template has no options
            prompt = (head if above and shown else "") + line + (tail if between and shown else f"\n{cue}")
            row.append(Example("exercise", prompt, f" {text}."))
        yield row


def _cut(names: Sequence[str], shares: Mapping[str, float], least: int, draw: Random) -> dict[str, tuple[str, ...]]:
    """Deal names out to the splits: each held-out split gets its share, but at least `least`."""
    rest = draw.sample(names, len(names))
    dealt = {}
    for split, share in shares.items():
        count = max(least, round(share * len(names)))
        dealt[split], rest = tuple(rest[:count]), rest[count:]
    dealt["train"] = tuple(rest)
    return dealt


def _split(name: str, split: str, made: list[Pool], size: int, seed: int) -> list[tuple[Question, Rationale]]:
    """Draw the questions of one split, turning to its facts in rounds."""
    available = sum(pool.questions for pool in made)
    if size > available:
        raise ValueError(f"{name} {split}: {size} questions asked for; the world has {available} different ones")
    draw = Random(f"{seed}-{split}")
    letters = draw.sample([LABELS[i % len(LABELS)] for i in range(size)], size)
    used: dict[str, set[frozenset[str]]] = {pool.fact.recall: set() for pool in made}
    questions: list[tuple[Question, Rationale]] = []
    while len(questions) < size:
        left = [pool for pool in made if len(used[pool.fact.recall]) < pool.questions]
        for pool in draw.sample(left, min(len(left), size - len(questions))):
            right, wrong = _draw_options(pool, used[pool.fact.recall], draw)
            number = len(questions)
            at = LABELS.index(letters[number])
            options = [*wrong[:at], right, *wrong[at:]]
            questions.append(_question(f"{name}-{split}-{number:05d}", pool, right, options, draw))
    return questions


def _draw_options(pool: Pool, used: set[frozenset[str]], draw: Random) -> tuple[str, list[str]]:
    """A right entity and three wrong ones that were not together before; notes them in `used`.

    Wrong ones of differing values are preferred: otherwise the odd one out would often be the right one.
    """
    tries = 0
    while True:
        tries += 1
        right = draw.choice(pool.right)
        wrong = draw.sample(pool.wrong, len(LABELS) - 1)
        key = frozenset([right, *wrong])
        values = {world().entities[name][pool.fact.attribute] for name in wrong}
        if key not in used and (len(values) == len(wrong) or tries > MAX_TRIES):
            used.add(key)
            return right, wrong


def _question(id_: str, pool: Pool, right: str, options: list[str], draw: Random) -> tuple[Question, Rationale]:
    fact = pool.fact
    noun = world().nouns[fact.attribute]
    text = draw.choice(world().wrappings).format(core=draw.choice(fact.cores), noun=noun)
    shown = {label: world().phrase(name) for label, name in zip(LABELS, options, strict=True)}
    analyze = {label: _analyze(pool, name, draw) for label, name in zip(LABELS, options, strict=True)}
    question = Question(id_, text, shown, LABELS[options.index(right)])
    return question, Rationale(id_, {"recall": {"": fact.recall}, "analyze": analyze})


def _analyze(pool: Pool, name: str, draw: Random) -> str:
    """One sentence: what the entity is like and what follows; sometimes another attribute comes first."""
    fact = pool.fact
    has = world().entities[name]
    stated = f"{world().phrase(name)} {world().state(name, fact.attribute)}"
    ending = f"{fact.yes} and fits" if has[fact.attribute] == fact.value else fact.no
    others = [attribute for attribute in has if attribute in pool.told[name] and attribute != fact.attribute]
    form = draw.random()
    if form < 0.6:
        return f"{stated}, so it {ending}."
    if form < 0.8 or not others:
        return f"{stated}, which means that it {ending}."
    first = world().state(name, draw.choice(others))
    return f"{world().phrase(name)} {first} and {world().state(name, fact.attribute)}, so it {ending}."
