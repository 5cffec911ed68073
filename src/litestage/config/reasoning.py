"""Settings of the stages and of the pipeline that runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Formatter

from litestage.config.checks import counts, require

HEAD = "{question}\n{options}\n"
"""What every shipped prompt begins with; it is prefilled once."""
EACH = "For option {label},"
"""How the text on one option begins: the shipped cue, and texts of a rationale by option in a row."""
OPTION = frozenset({"label", "option", "cue"})
"""Template fields of a stage that fans out."""
RESERVED = frozenset({"question", "options", *OPTION})
"""Fields of prompt templates that are not stages."""


def fields_of(template: str) -> set[str]:
    """The names in braces. Raises `ValueError` when the braces do not match."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def _fields(where: str, template: str) -> set[str]:
    """The names in braces; `where` is stage and field, for the message."""
    try:
        return fields_of(template)
    except ValueError as error:
        raise ValueError(f"{where} is {template!r}: {error}; a brace that is meant as text is written twice") from error


def _check_prompt(stage: StageSettings, before: list[str], after: list[str]) -> None:
    """Raise `ValueError` unless the prompt uses fields that are there when the stage runs."""
    where = f"stage {stage.name}: the prompt"
    used = _fields(where, stage.prompt)
    allowed = {"question", "options", *before, *(OPTION if stage.fans_out else ())}
    later = [name for name in after if name in used]
    require(not later, f"{where} uses {later}, which come no earlier than it; allowed here: {sorted(allowed)}")
    hint = "; a stage with a cue also has {cue}, {label} and {option}" if OPTION & used and not stage.fans_out else ""
    unknown = sorted(used - allowed)
    require(not unknown, f"{where} uses unknown {unknown}; allowed here: {sorted(allowed)}{hint}")
    require(
        not stage.fans_out or bool(OPTION & used),
        f"{where} uses none of {{cue}}, {{label}}, {{option}}, but the stage has a cue: every option would be asked "
        "the same; use {cue}, or leave the cue out",
    )


@dataclass
class StageSettings:
    """One inference step of the pipeline.

    Templates may use `{question}`, `{options}`, the name of any earlier stage and, in a stage that fans out,
    `{label}`, `{option}` and `{cue}`. An earlier stage that fans out reads as its cues and texts in a row.
    """

    name: str
    """Name of the stage; later templates use it."""
    prompt: str
    """Template of the prompt."""
    cue: str = ""
    """Template of the words that open one option's sequence, as in `For option {label},`. Empty: no fan-out."""
    target: str = " {rationale}"
    """Template of the training target. `{rationale}` is the rationale's text for this stage, any other name its text
    under that name, as in `{recall}`; `{answer}` is the gold label."""
    max_new_tokens: int = 200
    """Cap on generated tokens."""
    sampled: bool = True
    """Whether self-consistency samples this stage; otherwise it stays greedy."""
    loss_weight: float = 1.0
    """Weight of this stage's mean token loss in fine-tuning."""

    def __post_init__(self) -> None:
        where = f"stage {self.name}:"
        require(self.name.isidentifier(), f"{where} the name is {self.name!r}; a plain word such as 'recall'")
        require(self.name not in RESERVED, f"{where} the name is taken; so are all of {sorted(RESERVED)}")
        wrong = sorted(_fields(f"{where} the cue", self.cue) - {"label", "option"})
        require(not wrong, f"{where} the cue uses unknown {wrong}; allowed here: ['label', 'option']")
        allowed = {"rationale", "answer", *(("label", "option") if self.fans_out else ())}
        used = _fields(f"{where} the target", self.target) - allowed
        wrong = sorted(name for name in used if name in RESERVED or not name.isidentifier())
        require(
            not wrong,
            f"{where} the target uses unknown {wrong}; allowed here: {sorted(allowed)} and names in the rationales",
        )
        require(self.max_new_tokens >= 1, f"{where} max_new_tokens is {self.max_new_tokens}; at least 1")
        require(self.loss_weight >= 0, f"{where} loss_weight is {self.loss_weight}; it must not be negative")

    @property
    def fans_out(self) -> bool:
        """Whether the stage runs one sequence per option."""
        return bool(self.cue)


def three_stages() -> list[StageSettings]:
    """TinyThinker's recall, analyze, summarize (arXiv 2412.08024), its text format."""
    return [
        StageSettings("recall", HEAD + "Recall:"),
        StageSettings("analyze", HEAD + "Recall: {recall}\nAnalyze: {cue}", cue=EACH),
        StageSettings(
            "summarize",
            HEAD + "Recall: {recall}\nAnalyze: {analyze}\nSummarize:",
            target=" So the answer is option {answer}.",
            sampled=False,
        ),
    ]


@dataclass
class ReasoningSettings:
    """The pipeline: which stages, and how many questions run through it at a time."""

    stages: list[StageSettings] = field(default_factory=three_stages)
    """The stages in order. The last one must name an option."""
    answer_pattern: str = r"the answer is option ([A-Z])\."
    """Regular expression whose first group is the answer's label; the first match counts."""
    batch_size: int | None = 16
    """Questions answered together; null takes as many as `memory` allows."""
    memory: float = 2.0
    """GiB that keys and values may take when `batch_size` is null; a search keeps up to as much again of prompts that
    other plans will ask for."""
    rows: int = 128
    """Sequences in one decode step at most; others wait."""
    temperature: float = 0.7
    """Sampling temperature of self-consistency."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        require(bool(names), "reasoning.stages is empty; give at least one stage")
        twice = next((name for name in names if names.count(name) > 1), "")
        require(not twice, f"stage {twice}: the name occurs twice; names must differ, got {names}")
        require(
            not self.stages[-1].fans_out,
            f"stage {names[-1]}: the cue must be empty in the last stage, which answers once for all options",
        )
        counts("reasoning", self, "batch_size", "rows")
        require(self.memory > 0, f"reasoning.memory is {self.memory} GiB; it must be above 0")
        pattern = re.compile(self.answer_pattern)
        require(pattern.groups >= 1, f"reasoning.answer_pattern {pattern.pattern!r} needs a group around the label")
        require(self.temperature > 0, f"reasoning.temperature is {self.temperature}; it must be above 0")
        require(any(stage.loss_weight for stage in self.stages), "every stage has loss_weight 0; nothing to learn")
        for index, stage in enumerate(self.stages):
            _check_prompt(stage, names[:index], names[index:])
