r"""From the last stage's output to an option label.

parse("So the answer is option B.", r"the answer is option ([A-Z])\.", "ABCD")  # "B"
"""

from __future__ import annotations

import re
from collections.abc import Collection


def parse(text: str, pattern: str, labels: Collection[str]) -> str | None:
    """The label an output names.

    Args:
        text: the output.
        pattern: regular expression; group 1 of its first match is the label.
        labels: labels of the question's options.

    Returns:
        The label, or `None` when nothing matches or the match is no label of the question.

    Raises:
        ValueError: `pattern` has no group.
    """
    compiled = re.compile(pattern)
    if not compiled.groups:
        raise ValueError(f"answer pattern {pattern!r} has no group; put the label in brackets, as in 'option ([A-Z])'")
    match = compiled.search(text)
    return match[1] if match and match[1] in set(labels) else None
