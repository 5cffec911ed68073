"""Models by hub id, `org/repo@revision` or folder; adapters attached and merged.

model, tokenizer = load_base("TinyLlama/TinyLlama-1.1B-Chat-v1.0", dtype="float32")
model = attach_lora(model, LoraSettings(rank=16))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from litestage.config import LoraSettings
from litestage.model.sublayers import check_architecture

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The linear layers of a block. Embeddings and head stay out: they may be tied."""
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""What is downloaded of a model: weights, configuration, tokenizer."""


def load_base(name: str, dtype: str = "float32") -> tuple[Any, Any]:
    """Load a model and its tokenizer.

    Args:
        name: hub id, `org/repo@revision`, or a folder in Hugging Face layout (safetensors).
        dtype: of the weights.

    Raises:
        FileNotFoundError: a folder that is not there, or a hub that cannot be reached.
        ValueError: an architecture without the sub-layers this project knows.
    """
    source, revision = _named(name)
    where: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        check_architecture(AutoConfig.from_pretrained(source, **where).model_type)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype), use_safetensors=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
    except OSError as error:
        raise FileNotFoundError(f"{name}: could not be loaded: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def fetched(name: str) -> Path:
    """The folder of a model: itself, or a download of the hub's `org/repo` or `org/repo@revision`.

    Raises:
        FileNotFoundError: a folder that is not there, or a hub that cannot be reached.
    """
    source, revision = _named(name)
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=FILES))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{name}: could not be loaded: {error}") from error


def _named(name: str) -> tuple[str, str | None]:
    """A folder that is there, or a hub id and the revision asked for."""
    repo, _, revision = name.partition("@")
    if Path(name).is_dir():
        return name, None
    if name.startswith((".", "/")) or repo.count("/") != 1 or Path(name).parts[0] == "checkpoints":
        raise FileNotFoundError(f"{name}: no such model folder (a hub id looks like org/repo or org/repo@revision)")
    return repo, revision or None


def attach_lora(model: nn.Module, settings: LoraSettings) -> PeftModel:
    """Freeze the model and add trainable low-rank adapters to every linear layer of its blocks."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=LINEAR,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def load_trained(run: Path, base: str, dtype: str) -> tuple[Any, Any]:
    """Load what `train.py` left in a run folder: `model/`, or `adapter/` merged into `base` in fp32.

    Raises:
        FileNotFoundError: nothing has been trained there.
        ValueError: both are there, so one is left over from another training.
    """
    if (run / "model").is_dir() and (run / "adapter").is_dir():
        raise ValueError(f"{run}: holds both model/ and adapter/; delete the one that an earlier training left behind")
    if (run / "model").is_dir():
        return load_base(str(run / "model"), dtype)
    if (run / "adapter").is_dir():
        model, _ = load_base(base, "float32")
        merged: Any = PeftModel.from_pretrained(model, str(run / "adapter")).merge_and_unload()
        return merged.to(getattr(torch, dtype)), AutoTokenizer.from_pretrained(str(run / "adapter"))
    raise FileNotFoundError(f"{run}: no trained model here; run train.py with the same configuration first")
