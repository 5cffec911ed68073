"""The written world: its facts are about what is there, and its phrases fit together."""

from __future__ import annotations

import pytest

from litestage.text.world import world


def test_the_world_is_consistent() -> None:
    assert len({fact.recall for fact in world().facts}) == len(world().facts)
    assert world().mass_nouns <= world().entities.keys()
    for fact in world().facts:
        values = {has[fact.attribute] for has in world().entities.values() if fact.attribute in has}
        known = values | {name for name, has in world().entities.items() if fact.attribute in has}
        assert fact.value in values
        assert fact.unclear <= known, f"{fact.recall}: {fact.unclear - known}"
        assert fact.yes != fact.no
        assert fact.recall.endswith(".")


def test_every_core_reads_well_in_every_wrapping() -> None:
    """Each core opens with a verb whose subject is the entity, so it fits after "Which of these" anywhere."""
    for fact in world().facts:
        assert len(set(fact.cores)) == 3
        for core in fact.cores:
            first, second = core.split()[:2]
            assert first.endswith(("s", "ed", "ould")) or first in {"can", "came", "began"}, core
            assert second not in {"a", "an", "the", "you"} or first not in {"would", "could", "can", "does"}, core
            assert core[-1].isalpha(), core
    assert all("{core}" in wrapping and wrapping[-1] in "?." for wrapping in world().wrappings)


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("anchor", "an anchor"), ("nail", "a nail"), ("rice", "rice"), ("pair of pliers", "a pair of pliers")],
)
def test_articles(name: str, phrase: str) -> None:
    assert world().phrase(name) == phrase
