"""The product of a search: which sub-layers each stage skips, and when it stops early.

Block `j` of a decoder holds sub-layers `2j` (attention) and `2j + 1` (feed-forward).

    plan = Plan.from_pretrained("checkpoints/miniworld/plan")
    plan.stages["analyze"].skip        # (4, 9, 12)
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from litestage.card import card

FORMAT = "litestage-plan"
VERSION = 1
HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class ExitRule:
    """Stop a row when the mean confidence of its last `window` tokens falls below `threshold`.

    Confidence is the maximum softmax probability of the step that produced the token (LiteStage, step 3).
    """

    window: int = 5
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"exit window is {self.window}; it must be at least 1 token")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"exit threshold is {self.threshold}; it is a probability, from 0 to 1")


@dataclass(frozen=True)
class StagePlan:
    """The skipped sub-layers of one stage (sorted) and its exit rule (`None`: run to the end).

    With `prefill` the stage's own part of the prompt is read without them too: what lies behind the beginning that it
    shares with the prompts of the last stage before it that reads at full depth. (The paper skips in decoding only.)

    Decode steps are counted from 0: prefill gives an output's token 0, step c reads token c and gives token c + 1.

    Raises:
        ValueError: a later skip set does not come later or lacks something of the one before, or a factor is not a
            positive number, belongs to nothing that is skipped, or would have to be applied in prefill.
    """

    skip: tuple[int, ...] = ()
    exit: ExitRule | None = None
    prefill: bool = False
    later: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Pairs of a decode step and the skip set from that step on: it only grows (SkipDecode)."""
    scale: tuple[tuple[int, float], ...] = ()
    """Pairs of a sub-layer and the factor its input is multiplied by where it is skipped (AdaSkip's code); without one
    the input passes on unchanged."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "skip", tuple(sorted(set(self.skip))))
        object.__setattr__(self, "later", tuple((step, tuple(sorted(set(skip)))) for step, skip in self.later))
        object.__setattr__(self, "scale", tuple(sorted(self.scale)))
        last, known = 0, set(self.skip)
        for step, skip in self.later:
            if step <= last:
                raise ValueError(f"a later skip set begins at decode step {step}; the steps rise, from 1")
            if missing := sorted(known - {*skip}):
                raise ValueError(f"the skip set from decode step {step} on lacks {missing}; skip sets only grow")
            last, known = step, {*skip}
        for sublayer, factor in self.scale:
            if not (isfinite(factor) and factor > 0 and sublayer in known):
                raise ValueError(f"sub-layer {sublayer} has factor {factor}; a positive one, of a skipped sub-layer")
        if self.scale and self.prefill:
            raise ValueError("a stage that skips in prefill too cannot scale; factors are for decoding")

    def at(self, step: int) -> tuple[int, ...]:
        """What decode step `step` skips."""
        return next((skip for start, skip in reversed(self.later) if start <= step), self.skip)

    @property
    def most(self) -> tuple[int, ...]:
        """What is skipped in the end."""
        return self.later[-1][1] if self.later else self.skip


@dataclass(frozen=True)
class Plan:
    """Per stage the skipped sub-layers and the exit rule, and where the plan comes from."""

    model: str
    num_sublayers: int
    stages: Mapping[str, StagePlan]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, stage in self.stages.items():
            wrong = [j for j in stage.most if j not in range(self.num_sublayers)]
            if wrong:
                raise ValueError(
                    f"stage {name!r} skips sub-layers {wrong}; {self.model} has 0 to {self.num_sublayers - 1}"
                )

    @classmethod
    def full_depth(cls, model: str, num_sublayers: int, stages: Iterable[str]) -> Plan:
        """The plan that skips nothing and never exits early."""
        return cls(model, num_sublayers, {name: StagePlan() for name in stages})

    @property
    def budgets(self) -> dict[str, int]:
        """Stage -> number of skipped sub-layers; in the end, where a skip set grows."""
        return {name: len(stage.most) for name, stage in self.stages.items()}

    @property
    def mean_full_layers(self) -> float:
        """The papers' "# Skip": the mean over the stages, in full layers of two sub-layers."""
        return sum(self.budgets.values()) / (2 * len(self.stages)) if self.stages else 0.0

    def without_exit(self) -> Plan:
        """The same skip sets with early exit switched off."""
        return replace(self, stages={name: replace(stage, exit=None) for name, stage in self.stages.items()})

    def apply(self, model: Any, stage: str) -> AbstractContextManager[Any]:
        """Let `model.generate` of transformers follow one stage of the plan inside a `with` block.

        Raises:
            ValueError: no such stage, another number of sub-layers, or more than a fixed skip set while decoding.
        """
        # By name: this module is plain data, and knows nothing of torch until a model is there.
        applied = importlib.import_module("litestage.model.apply").applied
        return applied(model, self, stage)

    def check(self, model: str, num_sublayers: int, stages: Iterable[str]) -> None:
        """Raise `ValueError` unless the plan was made for this model and these stages."""
        if (self.model, self.num_sublayers) != (model, num_sublayers):
            raise ValueError(
                f"the plan was made for {self.model} ({self.num_sublayers} sub-layers) "
                f"but the model is {model} ({num_sublayers} sub-layers); run search.py for this model"
            )
        if set(self.stages) != set(stages):
            raise ValueError(f"the plan has stages {sorted(self.stages)}, the pipeline has {sorted(stages)}")

    def to_json(self) -> dict[str, Any]:
        """The content of `plan.json`."""
        stages: dict[str, dict[str, Any]] = {}
        for name, stage in self.stages.items():
            rule = stage.exit
            exit_ = None if rule is None else {"window": rule.window, "threshold": rule.threshold}
            stages[name] = {"skip": list(stage.skip), "exit": exit_, "prefill": stage.prefill}
            if stage.later:
                stages[name]["later"] = [{"step": step, "skip": list(skip)} for step, skip in stage.later]
            if stage.scale:
                stages[name]["scale"] = {str(sublayer): factor for sublayer, factor in stage.scale}
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "num_sublayers": self.num_sublayers,
            "stages": stages,
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "plan.json") -> Plan:
        """Read what `to_json` wrote. Raises `ValueError` naming `source` and what is wrong."""
        try:
            if data.get("format") != FORMAT or data.get("version") != VERSION:
                found = f"{data.get('format')!r} version {data.get('version')!r}"
                raise ValueError(f"{source}: found format {found}; this reads {FORMAT!r} version {VERSION}")
            stages = {
                name: StagePlan(
                    tuple(stage["skip"]),
                    ExitRule(**stage["exit"]) if stage["exit"] else None,
                    bool(stage.get("prefill", False)),
                    tuple((part["step"], tuple(part["skip"])) for part in stage.get("later", ())),
                    tuple((int(sublayer), factor) for sublayer, factor in stage.get("scale", {}).items()),
                )
                for name, stage in data["stages"].items()
            }
            return cls(data["model"], data["num_sublayers"], stages, data.get("provenance", {}))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{source}: not a plan: {error!r}") from error

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `plan.json` and its card `README.md` into `folder`; return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(self.to_json(), indent=2) + "\n")
        (folder / "README.md").write_text(card(self))
        return folder

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Plan:
        """Read a plan from a folder, or from the hub: `org/repo` or `org/repo@revision`.

        Raises:
            FileNotFoundError: there is no plan of that name.
            ValueError: the file is no plan.
        """
        path = _file(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no plan here; run search.py to make one")
        try:
            data = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
        return cls.from_json(data, str(path))


def _file(source: str | Path) -> Path:
    """The `plan.json` of a folder or of a hub id."""
    path = Path(source).expanduser() / "plan.json"
    named = HUB_ID.fullmatch(source) if isinstance(source, str) else None
    if path.is_file() or path.parent.is_dir() or path.parent.parent.is_dir() or named is None:
        return path
    hub = importlib.import_module("huggingface_hub")  # by name, as torch: reading a folder needs no more than this
    try:
        return Path(hub.hf_hub_download(named["repo"], "plan.json", revision=named["revision"]))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source}: no such folder here, and the hub did not give a plan.json of that name ({error})"
        ) from error
