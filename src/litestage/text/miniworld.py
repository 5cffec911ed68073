"""The embedded benchmark: multiple-choice questions with reasoning, generated from a small written world.

`data/miniworld.json` lists what things are made of, what animals eat and so on, and facts such as "a magnet pulls
many things that are made of metal". A question asks one fact of four entities; exactly one has the attribute value the
fact is about. Every (fact, entity) pair, right or wrong, belongs to one split, so no tested pair was ever trained on.

    splits = build(seed=0)
    question, rationale = splits["train"][0]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import comb
from random import Random

from litestage.config import StageSettings
from litestage.records import Question, Rationale
from litestage.text.stages import Example, render, targets

LABELS = "ABCD"
SHARES = {"test": 0.2, "validation": 0.15}
"""Share of a fact's pairs held out for a split; training keeps the rest."""
MIN_WRONG = 5
"""Held-out wrong pairs of a fact and split are at least this many, so that questions differ enough."""
MAX_TRIES = 30
"""Draws before a question may have two wrong options of the same value."""


@dataclass(frozen=True)
class Fact:
    """A piece of knowledge about one value of one attribute, and how it is asked."""

    attribute: str
    value: str
    recall: str
    """The general knowledge in one sentence; it is unique, so it names the fact."""
    cores: tuple[str, ...]
    """Ways to ask, each of which completes "Which of these ...?"."""
    yes: str
    """What holds of an entity that has the value."""
    no: str
    """What holds of an entity that has another value."""
    unclear: frozenset[str]
    """Entities and values never used with this fact, because people could argue about them."""


@dataclass(frozen=True)
class World:
    """The written world."""

    nouns: Mapping[str, str]
    """Attribute -> what its entities are called together."""
    says: Mapping[str, str]
    """Attribute -> template that states a value."""
    entities: Mapping[str, Mapping[str, str]]
    """Entity -> attribute -> value."""
    facts: tuple[Fact, ...]
    wrappings: tuple[str, ...]
    """Templates of a question around a core."""
    mass_nouns: frozenset[str]

    def phrase(self, entity: str) -> str:
        """The entity with its article, as in "an anchor"; none before a mass noun."""
        if entity in self.mass_nouns:
            return entity
        return f"{'an' if entity[0] in 'aeiou' else 'a'} {entity}"

    def state(self, entity: str, attribute: str) -> str:
        """What the entity is like, as in "is made of metal"."""
        return self.says[attribute].format(value=self.entities[entity][attribute])

    def right(self, fact: Fact) -> list[str]:
        """Entities that answer the fact's question, sorted."""
        return self._asked(fact, is_right=True)

    def wrong(self, fact: Fact) -> list[str]:
        """Entities whose attribute has another value, sorted."""
        return self._asked(fact, is_right=False)

    def _asked(self, fact: Fact, is_right: bool) -> list[str]:
        names = []
        for name, has in self.entities.items():
            value = has.get(fact.attribute)
            if value is not None and (value == fact.value) == is_right and not {name, value} & fact.unclear:
                names.append(name)
        return sorted(names)


@dataclass(frozen=True)
class Pool:
    """The entities one split may use with one fact."""

    fact: Fact
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def questions(self) -> int:
        """Number of different option sets."""
        return len(self.right) * comb(len(self.wrong), len(LABELS) - 1)


@cache
def world() -> World:
    """The packaged world."""
    data = json.loads(files("litestage.text.data").joinpath("miniworld.json").read_text(encoding="utf-8"))
    entities: dict[str, dict[str, str]] = {}
    for attribute, spec in data["attributes"].items():
        for value, names in spec["values"].items():
            for name in names:
                entities.setdefault(name, {})[attribute] = value
    facts = [
        Fact(**{**fact, "cores": tuple(fact["cores"]), "unclear": frozenset(fact["unclear"])}) for fact in data["facts"]
    ]
    return World(
        nouns={name: spec["noun"] for name, spec in data["attributes"].items()},
        says={name: spec["says"] for name, spec in data["attributes"].items()},
        entities=entities,
        facts=tuple(facts),
        wrappings=tuple(data["wrappings"]),
        mass_nouns=frozenset(data["mass_nouns"]),
    )


def pools(seed: int) -> dict[str, list[Pool]]:
    """Split -> one pool a fact. Every (fact, entity) pair lies in exactly one split."""
    found: dict[str, list[Pool]] = {"train": [], "validation": [], "test": []}
    for fact in world().facts:
        right = _cut(world().right(fact), 1, Random(f"{seed}-right-{fact.recall}"))
        wrong = _cut(world().wrong(fact), MIN_WRONG, Random(f"{seed}-wrong-{fact.recall}"))
        for split, made in found.items():
            made.append(Pool(fact, right[split], wrong[split]))
    return found


def build(
    seed: int, train: int = 8000, validation: int = 400, test: int = 800
) -> dict[str, list[tuple[Question, Rationale]]]:
    """Generate the benchmark; the same seed gives the same questions.

    Args:
        seed: decides which pairs are held out and all draws.
        train: number of training questions.
        validation: number of validation questions.
        test: number of test questions.

    Returns:
        Split name -> questions with their written reasoning. No two have the same fact and the same options; the
        right letters are evenly spread.

    Raises:
        ValueError: a split is asked for more questions than the world has.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    return {split: _split(split, made, sizes[split], seed) for split, made in pools(seed).items()}


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


def _cut(names: Sequence[str], least: int, draw: Random) -> dict[str, tuple[str, ...]]:
    """Deal names out to the splits: each held-out split gets its share, but at least `least`."""
    rest = draw.sample(names, len(names))
    dealt = {}
    for split, share in SHARES.items():
        count = max(least, round(share * len(names)))
        dealt[split], rest = tuple(rest[:count]), rest[count:]
    dealt["train"] = tuple(rest)
    return dealt


def _split(split: str, made: list[Pool], size: int, seed: int) -> list[tuple[Question, Rationale]]:
    """Draw the questions of one split, turning to its facts in rounds."""
    available = sum(pool.questions for pool in made)
    if size > available:
        raise ValueError(f"miniworld {split}: {size} questions asked for; the world has {available} different ones")
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
            questions.append(_question(f"miniworld-{split}-{number:05d}", pool.fact, right, options, draw))
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


def _question(id_: str, fact: Fact, right: str, options: list[str], draw: Random) -> tuple[Question, Rationale]:
    noun = world().nouns[fact.attribute]
    text = draw.choice(world().wrappings).format(core=draw.choice(fact.cores), noun=noun)
    shown = {label: world().phrase(name) for label, name in zip(LABELS, options, strict=True)}
    analyze = {label: _analyze(fact, name, draw) for label, name in zip(LABELS, options, strict=True)}
    question = Question(id_, text, shown, LABELS[options.index(right)])
    return question, Rationale(id_, {"recall": {"": fact.recall}, "analyze": analyze})


def _analyze(fact: Fact, name: str, draw: Random) -> str:
    """One sentence: what the entity is like and what follows; sometimes another attribute comes first."""
    has = world().entities[name]
    stated = f"{world().phrase(name)} {world().state(name, fact.attribute)}"
    ending = f"{fact.yes} and fits" if has[fact.attribute] == fact.value else fact.no
    others = [attribute for attribute in has if attribute != fact.attribute]
    form = draw.random()
    if form < 0.6:
        return f"{stated}, so it {ending}."
    if form < 0.8 or not others:
        return f"{stated}, which means that it {ending}."
    first = world().state(name, draw.choice(others))
    return f"{world().phrase(name)} {first} and {world().state(name, fact.attribute)}, so it {ending}."
