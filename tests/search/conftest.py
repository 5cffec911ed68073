"""One architecture is enough here: the floor below is tested on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def model(make: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    return make("llama")
