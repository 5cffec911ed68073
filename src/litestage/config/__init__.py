"""Typed settings of one experiment: one dataclass a YAML group; the text under a field is its `--help`.

All three scripts read the same file; the group `trainer` holds the arguments of `lightning.Trainer` itself:
python train.py --config configs/miniworld.yaml --model.learning_rate 1e-3
"""

from __future__ import annotations

from dataclasses import dataclass, field

from litestage.config.checks import require
from litestage.config.judging import EvaluateSettings, SearchSettings, TrackingSettings
from litestage.config.learning import DataSettings, DropoutSettings, LoraSettings, ModelSettings, TinySettings
from litestage.config.reasoning import EACH, HEAD, ReasoningSettings, StageSettings, fields_of, three_stages

__all__ = [
    "EACH",
    "HEAD",
    "DataSettings",
    "DropoutSettings",
    "EvaluateSettings",
    "Experiment",
    "LoraSettings",
    "ModelSettings",
    "ReasoningSettings",
    "SearchSettings",
    "StageSettings",
    "TinySettings",
    "TrackingSettings",
    "fields_of",
    "three_stages",
]


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
        require(not wrong, f"search.exit_stages names unknown stages {wrong}; the stages are {names}")
