"""The scripts as modules: those that import one another find each other as when they are started."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The script that the test file is named after."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module(request.module.__name__.rpartition(".")[2].removeprefix("test_"))
    sys.path.remove(str(SCRIPTS))
