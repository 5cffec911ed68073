"""Shares of the work: each item goes to one process, and everything comes back in its order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from litestage import sharing

WORKER = """
import json, sys
from datetime import timedelta
import torch.distributed as dist
from litestage import sharing

group = {"rank": int(sys.argv[1]), "world_size": 2, "timeout": timedelta(seconds=60)}
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", **group)
mine = sharing.share("abcde")
everything = sharing.gather([letter.upper() for letter in mine])
told = sharing.first({"from": sharing.rank()})
print(json.dumps([sharing.rank(), sharing.processes(), mine, sharing.interleave(everything), told]))
dist.destroy_process_group()
"""


@pytest.mark.parametrize("items", [[], [3], ["a", "b", "c"]])
def test_alone_it_does_nothing(items: list[object]) -> None:
    assert (sharing.rank(), sharing.processes()) == (0, 1)
    assert sharing.share(items) == items
    assert sharing.gather(items) == [items]
    assert sharing.interleave(sharing.gather(sharing.share(items))) == items
    assert sharing.first(items) is items


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("total", [0, 1, 2, 3, 7, 10])
def test_interleaving_undoes_sharing(monkeypatch: pytest.MonkeyPatch, count: int, total: int) -> None:
    items, shares = [f"item {i}" for i in range(total)], []
    monkeypatch.setattr(sharing, "processes", lambda: count)
    for number in range(count):
        monkeypatch.setattr(sharing, "rank", lambda number=number: number)
        shares.append(sharing.share(items))
    assert sharing.interleave(shares) == items
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_no_shares_are_nothing() -> None:
    assert sharing.interleave([]) == []


def test_two_processes_share_gather_and_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meet")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert [json.loads(out) for out, _ in outputs] == [
        [0, 2, ["a", "c", "e"], ["A", "B", "C", "D", "E"], {"from": 0}],
        [1, 2, ["b", "d"], ["A", "B", "C", "D", "E"], {"from": 0}],
    ]
