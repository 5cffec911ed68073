"""Work shared between processes that were started together (Lightning's launchers, torchrun); alone, a no-op.

mine = share(questions)                     # every question goes to exactly one process
everything = gather([work(q) for q in mine])    # one list a process, the same on all of them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _together() else 0


def processes() -> int:
    """How many processes work together."""
    return dist.get_world_size() if _together() else 1


def share(items: Sequence[T]) -> list[T]:
    """This process's items: every n-th one."""
    return list(items[rank() :: processes()])


def gather(mine: T) -> list[T]:
    """What every process holds, in the order of their numbers. All of them must call this."""
    if processes() == 1:
        return [mine]
    out: list[Any] = [None] * processes()
    dist.all_gather_object(out, mine)
    return out


def interleave(shares: Sequence[Sequence[T]]) -> list[T]:
    """Undo `share`: the items of all processes in their first order."""
    longest = max((len(s) for s in shares), default=0)
    return [s[i] for i in range(longest) for s in shares if i < len(s)]


def first(value: T) -> T:
    """The first process's value, on all of them."""
    return gather(value)[0]
