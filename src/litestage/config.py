"""Typed settings of one experiment: one dataclass a YAML group; the text under a field is its `--help`.

All three scripts read the same file; the group `trainer` holds the arguments of `lightning.Trainer` itself:
python train.py --config configs/miniworld.yaml --model.learning_rate 1e-3
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

from litestage.plan import ExitRule

HEAD = "{question}\n{options}\n"
"""What every shipped prompt begins with; it is prefilled once."""
RESERVED = frozenset({"question", "options", "label", "option", "cue"})
"""Fields of prompt templates that are not stages."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _counts(group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _require(value is None or value >= 1, f"{group}.{name} is {value}; at least 1 (null where it may be left out)")


def _check_template(where: str, template: str, allowed: set[str]) -> None:
    """Raise `ValueError` unless every `{field}` of a template is one of `allowed`."""
    try:
        wrong = sorted({name for _, name, _, _ in Formatter().parse(template) if name is not None} - allowed)
    except ValueError as error:
        raise ValueError(f"{where} is {template!r}: {error}; a brace that is meant as text is written twice") from error
    _require(not wrong, f"{where} uses unknown {wrong}; allowed here: {sorted(allowed)}")


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
        _require(self.name.isidentifier(), f"stage name {self.name!r} must be a plain word such as 'recall'")
        _require(self.name not in RESERVED, f"stage name {self.name!r} is taken; so are all of {sorted(RESERVED)}")
        _check_template(f"stage {self.name}: the cue", self.cue, {"label", "option"})
        _check_template(f"stage {self.name}: the target", self.target, {"rationale", "answer", "label", "option"})
        _require(self.max_new_tokens >= 1, f"stage {self.name}: max_new_tokens must be at least 1")
        _require(self.loss_weight >= 0, f"stage {self.name}: loss_weight must not be negative")

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
        _require(bool(names), "reasoning.stages is empty; give at least one stage")
        _require(len(set(names)) == len(names), f"reasoning.stages: names must differ, got {names}")
        _require(not self.stages[-1].fans_out, f"stage {names[-1]} is the last one: it must not have a cue")
        _counts("reasoning", self, "batch_size", "rows")
        _require(self.memory > 0, f"reasoning.memory is {self.memory} GiB; it must be above 0")
        pattern = re.compile(self.answer_pattern)
        _require(pattern.groups >= 1, f"reasoning.answer_pattern {pattern.pattern!r} needs a group around the label")
        _require(self.temperature > 0, f"reasoning.temperature is {self.temperature}; it must be above 0")
        _require(any(stage.loss_weight for stage in self.stages), "every stage has loss_weight 0; nothing to learn")
        known = {"question", "options"}
        for stage in self.stages:
            allowed = known | {"label", "option", "cue"} if stage.fans_out else known
            _check_template(f"stage {stage.name}: the prompt", stage.prompt, allowed)
            known.add(stage.name)


@dataclass
class TinySettings:
    """Shape of the small Llama that is made from scratch when `model.base` is `tiny`."""

    blocks: int = 8
    """Decoder blocks; each holds two sub-layers."""
    hidden: int = 128
    """Width of the residual stream."""
    heads: int = 4
    """Attention heads (and key-value heads)."""
    ffn: int = 344
    """Width of the feed-forward."""
    vocabulary: int = 1200
    """Size of the BPE vocabulary, trained on the training questions."""
    embedding_std: float = 0.09
    """Spread of the tied embeddings at the start, near 1/sqrt(hidden); 0.02 never learns to look an option up."""


@dataclass
class LoraSettings:
    """Low-rank adapters on all linear layers of the blocks (peft)."""

    rank: int = 16
    """Rank."""
    alpha: int = 32
    """Scale."""
    dropout: float = 0.0
    """Dropout before the adapter."""


@dataclass
class ModelSettings:
    """Which model, and how it is fine-tuned."""

    base: str = "tiny"
    """`tiny` (from scratch), a hub id, `org/repo@revision`, or a folder in Hugging Face layout."""
    tiny: TinySettings = field(default_factory=TinySettings)
    """Shape, when `base` is `tiny`."""
    lora: LoraSettings | None = None
    """Adapters; null fine-tunes all weights."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Weights' dtype for search and evaluation. Training keeps fp32 weights; see `trainer.precision`."""
    packed: bool = True
    """In fp32 on a CPU: keep weights a second time, arranged for few rows. Faster, for twice the memory."""
    compile: bool = False
    """Whether search and evaluation compile the work between the matrix products; slower on the CPUs we tried."""
    learning_rate: float = 5e-5
    """Peak learning rate of AdamW; cosine decay."""
    warmup: float = 0.1
    """Share of the steps spent warming up."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    beta2: float = 0.999
    """Decay of AdamW's squared gradients; 0.98 lets a model from scratch learn in fewer steps."""

    def __post_init__(self) -> None:
        _require(self.base != "tiny" or not self.lora, "model.lora: adapters need a pretrained model.base, not 'tiny'")
        _require(self.learning_rate > 0, f"model.learning_rate is {self.learning_rate}; it must be above 0")
        _require(0 <= self.warmup < 1, f"model.warmup is {self.warmup}; it is a share, from 0 to below 1")


@dataclass
class DataSettings:
    """Which questions and rationales, and in what order they are learned."""

    benchmark: Literal["miniworld", "obqa"] = "miniworld"
    """`miniworld` (embedded, needs no download) or `obqa` (OpenBookQA)."""
    source: str = "allenai/openbookqa"
    """Hub id, `org/repo@revision`, or a folder with the original `train.jsonl`, `dev.jsonl`, `test.jsonl`."""
    train_size: int | None = None
    """Training questions used; null takes all."""
    validation_size: int | None = None
    """Validation questions used; null takes all."""
    test_size: int | None = None
    """Test questions used; null takes all."""
    keep_questionable: bool = False
    """Whether rationales whose gold label is known to be wrong are trained on."""
    stream: Literal["packed", "mixed", "interleaved"] = "packed"
    """`packed`: a question's stages in one sequence; `mixed`: single stages; `interleaved`: TinyThinker's cycle."""
    interleave_steps: int = 100
    """Batches of a single-sequence stage in one interleaved cycle (times the options for a stage that fans out)."""
    batch_size: int = 16
    """Questions a step (`packed`) or stage examples a step (otherwise)."""
    curriculum_steps: int = 0
    """At most so many steps of warm-up exercises come first (miniworld only); they end when they are learned."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, f"data.batch_size is {self.batch_size}; at least 1")
        _counts("data", self, "train_size", "validation_size", "test_size")
        if self.curriculum_steps and self.benchmark != "miniworld":
            raise ValueError(f"data.curriculum_steps: {self.benchmark} has no warm-up exercises; set it to 0")


@dataclass
class SearchSettings:
    """How sub-layers are ranked and skip budgets are searched (LiteStage, steps 1 to 3)."""

    questions: int | None = None
    """Validation questions the search scores every budget on; null takes all."""
    importance_questions: int = 50
    """Validation questions the importance is averaged over."""
    eps: float = 0.01
    """Accuracy that may be lost against full depth, as a share (0.01 is one point)."""
    step: int = 2
    """Distance between tried budgets, in sub-layers."""
    max_budget: int | None = None
    """Largest tried budget, in sub-layers; null tries up to all."""
    latency: Literal["cost", "seconds"] = "cost"
    """What is minimised: seconds of the calibrated cost model, or measured ones."""
    exit_window: int = 5
    """Tokens whose mean confidence decides on early exit."""
    exit_threshold: float | None = 0.5
    """Mean confidence below which a row stops; null switches early exit off."""
    exit_stages: list[str] | None = None
    """Stages that may exit early; null means all but the last."""

    def __post_init__(self) -> None:
        _require(0 <= self.eps < 1, f"search.eps is {self.eps}; it is a share of accuracy, from 0 to below 1")
        _counts("search", self, "step", "importance_questions", "questions")
        _require((self.max_budget or 0) >= 0, f"search.max_budget is {self.max_budget}; at least 0, or null for all")
        if self.exit_threshold is not None:
            ExitRule(self.exit_window, self.exit_threshold)  # says what is wrong with them


@dataclass
class EvaluateSettings:
    """How plans are compared on the test questions."""

    attempts: int = 10
    """Sampled passes per question that vote (self-consistency); 1 reports the greedy pass alone."""
    timed_questions: int | None = None
    """Test questions that are timed; null times all."""
    repeats: int = 3
    """Paired timing repeats; the methods take turns."""

    def __post_init__(self) -> None:
        _counts("evaluate", self, "attempts", "repeats", "timed_questions")


@dataclass
class TrackingSettings:
    """Where results are shown."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    """W&B mode. Offline runs lie under the run's folder; `wandb sync` uploads them."""
    project: str = "litestage"
    """W&B project."""
    samples: int = 8
    """Generated examples shown per table."""


@dataclass
class Experiment:
    """One experiment: one file, one folder `<root>/<run>`."""

    run: str = "miniworld"
    """Name of the run; everything it writes lies in `<root>/<run>`."""
    root: str = "checkpoints"
    """Folder of all runs."""
    seed: int = 0
    """Seed of weights, data order, splits and sampling."""
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    reasoning: ReasoningSettings = field(default_factory=ReasoningSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.reasoning.stages]
        wrong = sorted({*(self.search.exit_stages or [])} - {*names})
        _require(not wrong, f"search.exit_stages names unknown stages {wrong}; the stages are {names}")
