"""The tiny finished run as a bench, with its experiments made once; plain rows by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from litestage.experiments import KNOWN, Bench, Result
from litestage.runs import trained_engine
from litestage.settings import Given, parse

DEFAULT = Path(__file__).resolve().parents[2] / "configs" / "miniworld.yaml"


def given_of(config: Path, root: Path, *arguments: str) -> Given:
    return parse(["--config", str(config), "--root", str(root), *arguments], DEFAULT)


def open_bench(config: Path, root: Path, *arguments: str) -> Bench:
    given = given_of(config, root, *arguments)
    return Bench(given, trained_engine(given))


@pytest.fixture(scope="session")
def bench(done: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """On a copy: experiments add to the journal."""
    root = tmp_path_factory.mktemp("experiments")
    shutil.copytree(done.folder, root / "mini")
    return open_bench(done.config, root)


@pytest.fixture(scope="session")
def made(bench: Bench) -> Callable[[str], Result]:
    """An experiment by its name, made once."""
    return cache(lambda name: KNOWN[name](bench))


@pytest.fixture
def opened(done: SimpleNamespace, copied: Path) -> Callable[..., Bench]:
    """A bench of its own, on a copy of the run that a test may spoil."""
    return lambda *arguments: open_bench(done.config, copied.parent, *arguments)


@pytest.fixture
def picked() -> Callable[..., list[dict[str, Any]]]:
    """`picked(result, plan="litestage")`: the rows with these values."""

    def pick(result: Result, **values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in result.rows if all(row[name] == value for name, value in values.items())]

    return pick
