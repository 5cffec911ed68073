"""Settings of the stages and of the pipeline that runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Formatter

from litestage.config.checks import counts, require

HEAD = "{question}\n{options}\n"
"""What every shipped prompt begins with; it is prefilled once."""
RESERVED = frozenset({"question", "options", "label", "option", "cue"})
"""Fields of prompt templates that are not stages."""


def _check_template(where: str, template: str, allowed: set[str]) -> None:
    """Raise `ValueError` unless every `{field}` of a template is one of `allowed`."""
    try:
        wrong = sorted({name for _, name, _, _ in Formatter().parse(template) if name is not None} - allowed)
    except ValueError as error:
        raise ValueError(f"{where} is {template!r}: {error}; a brace that is meant as text is written twice") from error
    require(not wrong, f"{where} uses unknown {wrong}; allowed here: {sorted(allowed)}")


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
    """Template of the training target. `{rationale}` is the written text, `{answer}` the gold label."""
    max_new_tokens: int = 200
    """Cap on generated tokens."""
    sampled: bool = True
    """Whether self-consistency samples this stage; otherwise it stays greedy."""
    loss_weight: float = 1.0
    """Weight of this stage's mean token loss in fine-tuning."""

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), f"stage name {self.name!r} must be a plain word such as 'recall'")
        require(self.name not in RESERVED, f"stage name {self.name!r} is taken; so are all of {sorted(RESERVED)}")
        _check_template(f"stage {self.name}: the cue", self.cue, {"label", "option"})
        _check_template(f"stage {self.name}: the target", self.target, {"rationale", "answer", "label", "option"})
        require(self.max_new_tokens >= 1, f"stage {self.name}: max_new_tokens must be at least 1")
        require(self.loss_weight >= 0, f"stage {self.name}: loss_weight must not be negative")

    @property
    def fans_out(self) -> bool:
        """Whether the stage runs one sequence per option."""
        return bool(self.cue)


def three_stages() -> list[StageSettings]:
    """TinyThinker's recall, analyze, summarize (arXiv 2412.08024), its text format."""
    return [
        StageSettings("recall", HEAD + "Recall:"),
        StageSettings("analyze", HEAD + "Recall: {recall}\nAnalyze: {cue}", cue="For option {label},"),
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
    """GiB that keys and values may take when `batch_size` is null."""
    rows: int = 128
    """Sequences in one decode step at most; others wait."""
    temperature: float = 0.7
    """Sampling temperature of self-consistency."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        require(bool(names), "reasoning.stages is empty; give at least one stage")
        require(len(set(names)) == len(names), f"reasoning.stages: names must differ, got {names}")
        require(not self.stages[-1].fans_out, f"stage {names[-1]} is the last one: it must not have a cue")
        counts("reasoning", self, "batch_size", "rows")
        require(self.memory > 0, f"reasoning.memory is {self.memory} GiB; it must be above 0")
        pattern = re.compile(self.answer_pattern)
        require(pattern.groups >= 1, f"reasoning.answer_pattern {pattern.pattern!r} needs a group around the label")
        require(self.temperature > 0, f"reasoning.temperature is {self.temperature}; it must be above 0")
        require(any(stage.loss_weight for stage in self.stages), "every stage has loss_weight 0; nothing to learn")
        known = {"question", "options"}
        for stage in self.stages:
            allowed = known | {"label", "option", "cue"} if stage.fans_out else known
            _check_template(f"stage {stage.name}: the prompt", stage.prompt, allowed)
            known.add(stage.name)
