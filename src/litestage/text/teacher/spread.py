"""Of several rationales of one question, a few that differ most.

spread(rationales, 2)  # the first, and the one least like it
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from litestage.records import Rationale


def spread(rationales: Sequence[Rationale], count: int) -> list[Rationale]:
    """At most `count` rationales, in the order given; each next one is farthest from all that were chosen before.

    A rationale with the words of another one is never chosen beside it.
    """
    words = [
        [word for texts in made.texts.values() for text in texts.values() for word in text.split()]
        for made in rationales
    ]
    chosen = [0] if rationales and count > 0 else []
    nearest = [distance(words[0], other) for other in words] if chosen else []
    while chosen and len(chosen) < count:
        farthest = max(range(len(words)), key=nearest.__getitem__)
        if not nearest[farthest]:
            break
        chosen.append(farthest)
        nearest = [min(near, distance(words[farthest], other)) for near, other in zip(nearest, words, strict=True)]
    return [rationales[i] for i in sorted(chosen)]


def distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of words that an edit of one text into the other does not keep: 0 (equal) to 1."""
    return 1 - SequenceMatcher(None, one, other, autojunk=False).ratio()
