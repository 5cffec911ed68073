"""The list of experiments is the same wherever it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from litestage.config import EvaluateSettings
from litestage.config.judging import EXPERIMENTS
from litestage.experiments import KNOWN

DOCS = Path(__file__).resolve().parents[1] / "docs" / "experiments.md"


def test_settings_and_docs_list_what_can_be_made() -> None:
    assert tuple(KNOWN) == EXPERIMENTS
    assert re.findall(r"^\| `([a-z-]+)` \|", DOCS.read_text(), flags=re.MULTILINE) == list(KNOWN)


@pytest.mark.parametrize("name", [None, "all", *EXPERIMENTS])
def test_known_names_are_taken(name: str | None) -> None:
    assert EvaluateSettings(experiment=name).experiment == name


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.experiment is 'fig5'; known are motivation, .*proxy, all of them"):
        EvaluateSettings(experiment="fig5")
