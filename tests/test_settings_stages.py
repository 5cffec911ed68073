"""Files of stages on the command line and in a configuration: what they replace, and how their mistakes are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from litestage.settings import Given, parse

DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "miniworld.yaml"


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., Given]:
    """Parse a YAML text (and further arguments) as `--config`."""

    def parsed(text: str, *arguments: str) -> Given:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return parse(["--config", str(path), *arguments], DEFAULT)

    return parsed


STAGES = """# my stages
answer_pattern: '([A-Z])'
stages:
- name: think
  prompt: "{question}"
- name: answer
  prompt: "{think} {options}"
"""


@pytest.fixture
def of_stages(tmp_path: Path) -> Callable[[str, str], Path]:
    """A file of stages with one text in place of another."""

    def written(old: str, new: str) -> Path:
        path = tmp_path / "stages.yaml"
        path.write_text(STAGES.replace(old, new))
        return path

    return written


def test_a_file_of_stages_takes_the_place_of_the_stages_alone(
    given: Callable[..., Given], of_stages: Callable[..., Path]
) -> None:
    path = str(of_stages("", ""))
    found = parse(["--reasoning", path], DEFAULT)
    assert [stage.name for stage in found.experiment.reasoning.stages] == ["think", "answer"]
    assert found.experiment.reasoning.answer_pattern == "([A-Z])"
    assert found.experiment.reasoning.batch_size == parse([], DEFAULT).experiment.reasoning.batch_size
    assert "reasoning: stages.yaml" not in found.resolved
    inside = given("reasoning: stages.yaml\n")  # beside the configuration
    assert inside.experiment.reasoning.stages == found.experiment.reasoning.stages
    assert given(found.resolved).experiment == found.experiment


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{question}",
            "{wuestion}",
            "5: stage think: the prompt uses unknown ['wuestion']; allowed here: ['options', ",
        ),
        (
            "{question}",
            "{answer}",
            "5: stage think: the prompt uses ['answer'], which come no earlier than it; allowed",
        ),
        (
            "name: answer",
            "name: think",
            "6: stage think: the name occurs twice; names must differ, got ['think', 'thin",
        ),
        ('"{question}"', "a\n  fan_out: each", "6: unknown key 'reasoning.stages.fan_out'; the nearest known ones:"),
        ('"{question}"', "a\n  cue: b", "5: stage think: the prompt uses none of {cue}, {label}, {option}, but"),
        (
            "options}",
            "options} {cue}",
            "7: stage answer: the prompt uses unknown ['cue']; allowed here: ['options', 'que",
        ),
        ("# my stages", "# my\n\n", "7: stage think: the prompt uses unknown ['x']"),
    ],
)
def test_a_bad_stage_is_named_with_file_and_line(
    given: Callable[..., Given], of_stages: Callable[..., Path], old: str, new: str, message: str
) -> None:
    path = of_stages(old, new)
    if "# my" in old:
        path.write_text(path.read_text().replace("{question}", "{x}"))
    for run in (lambda: parse([f"--reasoning={path}"], DEFAULT), lambda: given("reasoning: stages.yaml\n")):
        with pytest.raises(ValueError, match="^" + re.escape(f"{path}:{message}")):
            run()


def test_a_bad_stage_of_the_experiments_own_file_is_named_with_its_line(given: Callable[..., Given]) -> None:
    with pytest.raises(ValueError, match=r"config\.yaml:3: stage a: the prompt uses unknown \['x'\]"):
        given("reasoning:\n  stages:\n  - {name: a, prompt: '{x}'}\n")


def test_a_bad_stage_of_the_command_line_is_not_looked_for_in_a_file(given: Callable[..., Given]) -> None:
    text = "reasoning:\n  stages:\n  - {name: a, prompt: '{question}'}\n"
    with pytest.raises(ValueError, match=r"^stage a: the prompt"):
        given(text, "--reasoning.stages", "[{name: a, prompt: '{x}'}]")


def test_a_missing_file_of_stages_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"stages 'nowhere\.yaml' does not exist.*configs/stages/"):
        parse(["--reasoning", "nowhere.yaml"], DEFAULT)
