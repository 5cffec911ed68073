"""Settings of fine-tuning: the model, and the questions it learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from litestage.config.checks import counts, require

BENCHMARKS = ("miniworld", "obqa", "csqa", "strategyqa")
"""What `data.benchmark` may name, besides a file."""


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
class DropoutSettings:
    """Skip-aware fine-tuning: sub-layers are left out at random where decoding will skip them.

    Only positions of a stage's own output lose sub-layers (its prompt is prefilled at full depth), each stage of each
    question its own ones.
    """

    rate: float = 0.2
    """Share of `sublayers` left out on average, once risen."""
    ramp: float = 0.3
    """Share of the training over which the rate rises from 0."""
    sublayers: list[int] | None = None
    """Which sub-layers may be left out (block `j` holds `2j`, attention, and `2j + 1`, feed-forward); null: all."""
    order: Literal["random", "nested"] = "random"
    """`random`: each for itself. `nested`: the first so many of `sublayers`, the number drawn evenly from 0 up."""

    def __post_init__(self) -> None:
        top = 0.5 if self.order == "nested" else 1.0
        require(0 <= self.rate <= top, f"model.dropout.rate is {self.rate}; from 0 to {top} when {self.order}")
        require(0 <= self.ramp <= 1, f"model.dropout.ramp is {self.ramp}; it is a share, from 0 to 1")
        require(
            self.order == "random" or bool(self.sublayers),
            "model.dropout.order 'nested' needs model.dropout.sublayers, the first to leave out first",
        )
        require(self.sublayers != [], "model.dropout.sublayers is empty; name some, or null for all")
        listed = self.sublayers or []
        require(len({*listed}) == len(listed), f"model.dropout.sublayers names some twice: {listed}")


@dataclass
class ModelSettings:
    """Which model, and how it is fine-tuned."""

    base: str = "tiny"
    """`tiny` (from scratch), a hub id, `org/repo@revision`, or a folder in Hugging Face layout."""
    tiny: TinySettings = field(default_factory=TinySettings)
    """Shape, when `base` is `tiny`."""
    lora: LoraSettings | None = None
    """Adapters; null fine-tunes all weights."""
    dropout: DropoutSettings | None = None
    """Skip-aware fine-tuning; null leaves nothing out."""
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
        require(self.base != "tiny" or not self.lora, "model.lora: adapters need a pretrained model.base, not 'tiny'")
        require(self.learning_rate > 0, f"model.learning_rate is {self.learning_rate}; it must be above 0")
        require(0 <= self.warmup < 1, f"model.warmup is {self.warmup}; it is a share, from 0 to below 1")


@dataclass
class DataSettings:
    """Which questions and rationales, and in what order they are learned."""

    benchmark: str = "miniworld"
    """`miniworld` (embedded, needs no download), `obqa` (OpenBookQA), `csqa` (CommonsenseQA), `strategyqa`
    (StrategyQA), or a `.jsonl` file with your own questions."""
    source: str | None = None
    """Hub id, `org/repo@revision`, or a folder with the benchmark's original files; null: its own place on the hub."""
    rationales: str | None = None
    """A `.jsonl` file with the reasoning of training questions, or a folder with TinyThinker's own files; null: what
    the package has for the benchmark."""
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
    held_out: Literal["pairs", "attributes"] = "pairs"
    """What training never shows of tested questions (miniworld only): `pairs` of a fact and an entity; or `attributes`
    of entities, which is harder: what things are like, a model must know from before."""
    curriculum_steps: int = 0
    """At most so many steps of warm-up exercises come first (miniworld only); they end when they are learned."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"data.batch_size is {self.batch_size}; at least 1")
        counts("data", self, "train_size", "validation_size", "test_size")
        own = self.benchmark.endswith((".jsonl", ".jsonl.gz"))
        require(
            own or self.benchmark in BENCHMARKS,
            f"data.benchmark is {self.benchmark!r}; one of {list(BENCHMARKS)}, or a .jsonl file with your questions",
        )
        require(not (own and self.source), f"data.source is {self.source!r}; your own questions have none, only a file")
        require(
            self.benchmark != "miniworld" or self.rationales is None,
            f"data.rationales is {self.rationales!r}; miniworld writes its own, set it to null",
        )
        require(
            self.benchmark == "miniworld" or self.held_out == "pairs",
            f"data.held_out is {self.held_out!r}; only miniworld can hold attributes out, set it to 'pairs'",
        )
        if self.curriculum_steps and self.benchmark != "miniworld":
            raise ValueError(f"data.curriculum_steps: {self.benchmark} has no warm-up exercises; set it to 0")

    @property
    def title(self) -> str:
        """What results call the benchmark; of a file its name alone, since results are shared."""
        return f"miniworld ({self.held_out} held out)" if self.held_out != "pairs" else Path(self.benchmark).name
