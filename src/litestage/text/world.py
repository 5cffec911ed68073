"""The small written world that the embedded benchmark asks about: what things are like, and facts about that.

world().state("nail", "material")       # "is made of metal"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


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
