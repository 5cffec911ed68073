"""The pipeline as data: prompts and training targets of a list of stages.

render(question, stages, 1, {"recall": {"": "Metal conducts heat."}})  # {"A": "...For option A,", "B": ...}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from litestage.config import EACH, StageSettings, fields_of
from litestage.records import Question, Rationale, StageTexts


@dataclass(frozen=True)
class Example:
    """One training sequence: the loss is on `target` (and the end token) only."""

    stage: str
    prompt: str
    target: str


def finish(text: str) -> str:
    """Strip a stage's output and append a full stop unless it ends in one or in a quotation mark."""
    text = text.strip()
    return text if text.endswith((".", '"', "'")) else text + "."


def render(question: Question, stages: Sequence[StageSettings], index: int, earlier: StageTexts) -> dict[str, str]:
    """Prompts of stage `index` for one question: option label -> prompt, or `{"": prompt}` without fan-out.

    Args:
        question: the question.
        stages: the whole pipeline.
        index: which of its stages.
        earlier: the outputs of every stage before it.
    """
    stage = stages[index]
    fields = {"question": question.text, "options": " ".join(f"({k}) {v}" for k, v in question.options.items())}
    for before in stages[:index]:
        fields[before.name] = _join(question, before, earlier[before.name])
    if not stage.fans_out:
        return {"": stage.prompt.format(**fields)}
    return {
        label: stage.prompt.format(**fields, label=label, option=option, cue=_cue(stage, label, option))
        for label, option in question.options.items()
    }


def examples(question: Question, rationale: Rationale, stages: Sequence[StageSettings]) -> Iterator[Example]:
    """The training sequences of one question, stage by stage. Raises `ValueError` when the rationale lacks one."""
    made = targets(question, rationale, stages)
    for index, stage in enumerate(stages):
        for label, prompt in render(question, stages, index, made).items():
            yield Example(stage.name, prompt, made[stage.name][label])


def targets(question: Question, rationale: Rationale, stages: Sequence[StageSettings]) -> dict[str, dict[str, str]]:
    """Stage -> option label (`""` without fan-out) -> what fine-tuning teaches it to write.

    Raises:
        ValueError: the rationale lacks a text that a target is made of.
    """
    made: dict[str, dict[str, str]] = {}
    for stage in stages:
        labels = list(question.options) if stage.fans_out else [""]
        made[stage.name] = {label: _target(question, rationale, stage, label) for label in labels}
    return made


def _target(question: Question, rationale: Rationale, stage: StageSettings, label: str) -> str:
    fields = {"answer": str(question.answer), "label": label, "option": question.options.get(label, "")}
    for name in sorted(fields_of(stage.target) - {*fields}):
        key = stage.name if name == "rationale" else name
        texts = rationale.texts.get(key, {})
        if label in texts:
            fields[name] = finish(texts[label])
        elif name != "rationale" and "" in texts:  # one text, used for every option
            fields[name] = finish(texts[""])
        elif name != "rationale" and not stage.fans_out and texts.keys() == question.options.keys():
            fields[name] = " ".join(f"{EACH.format(label=k)} {finish(texts[k])}" for k in question.options)
        else:
            raise _missing(question, rationale, stage, key, label)
    return stage.target.format(**fields)


def _missing(question: Question, rationale: Rationale, stage: StageSettings, key: str, label: str) -> ValueError:
    where = f"{rationale.where}: " if rationale.where else ""
    what = f"question {question.id}: no rationale for stage {stage.name!r} {label}".rstrip()
    if key != stage.name:
        what += f", whose target uses {{{key}}}"
    either = "a text, or an object: option label -> text"
    expected = either if key != stage.name else "an object: option label -> text" if stage.fans_out else "a text"
    has = f"it has {list(rationale.texts)}" if rationale.texts else "it has none, data.rationales names a file of them"
    return ValueError(f"{where}{what}; expected {expected}, {has}")


def _cue(stage: StageSettings, label: str, option: str) -> str:
    return stage.cue.format(label=label, option=option)


def _join(question: Question, stage: StageSettings, texts: Mapping[str, str]) -> str:
    """One stage's outputs as a later prompt reads them."""
    if not stage.fans_out:
        return finish(texts[""])
    return " ".join(f"{_cue(stage, k, v)} {finish(texts[k])}" for k, v in question.options.items())
