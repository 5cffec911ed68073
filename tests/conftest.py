"""Seeded tiny models of every supported architecture, made in code: random weights, no download. And a tiny run that
is trained, searched and evaluated once, with copies of it that a test may spoil."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", TOKENIZERS_PARALLELISM="false")

import pytest
import torch
import wandb
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from wandb.proto.wandb_internal_pb2 import Record

from litestage import cli
from litestage.config import ReasoningSettings, TinySettings, three_stages
from litestage.engine import Engine
from litestage.model import cache
from litestage.model.sublayers import Decoder
from litestage.model.tiny import tiny_tokenizer
from litestage.plan import ExitRule
from litestage.records import Question, Rationale

torch.set_num_threads(1)  # these models are too small for more, and threads that wait spin

ARCHITECTURES = ("llama", "qwen2", "qwen3", "mistral")
VOCABULARY = 300
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "dtype": "float32",
}


def make_model(architecture: str, seed: int = 0, **changes: object) -> torch.nn.Module:
    """A random model whose logits are spread widely enough that greedy decoding has no near-ties."""
    shape = {**SHAPE, **changes}
    torch.manual_seed(seed)
    match architecture:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**shape)).eval()
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**shape)).eval()
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(head_dim=16, **shape)).eval()
        case "mistral":
            # A window shorter than the test prompts, so that it matters.
            return MistralForCausalLM(MistralConfig(sliding_window=6, **shape)).eval()
    raise ValueError(architecture)


@pytest.fixture(autouse=True)
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginnings are shared however short: those of tiny models are so cheap to hold twice that none would be."""
    monkeypatch.setattr(cache, "SPARE", 0)


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return make_model(request.param)


def naive_generate(
    model: torch.nn.Module,
    prompt: list[int],
    skip: Collection[int],
    cap: int,
    rule: ExitRule | None = None,
    scale: Mapping[int, float] | None = None,
) -> list[int]:
    """Greedy decoding of the transformers model itself, which recomputes everything at every step. Hooks replace the
    outputs of the skipped sub-layers at decoded positions, so the residual stream passes on unchanged, or multiplied
    by the factor in `scale`. `skip` may map sub-layers to the decode steps from which on they are skipped."""
    ids, confidences = list(prompt), []
    since = skip if isinstance(skip, Mapping) else dict.fromkeys(skip, 0)
    factors, entering = scale or {}, {}

    def mute(sublayer: int) -> list[torch.utils.hooks.RemovableHandle]:
        start = len(prompt) + since[sublayer]

        def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            entering[sublayer] = inputs[0]

        def hook(module: torch.nn.Module, inputs: object, output: object) -> object:
            attended = isinstance(output, tuple)
            out = (output[0] if attended else output).clone()
            out[:, start:] = (factors.get(sublayer, 1.0) - 1.0) * entering[sublayer][:, start:]
            return (out, *output[1:]) if attended else out

        block = model.model.layers[sublayer // 2]
        attention = (block.input_layernorm, block.self_attn)
        norm, layer = (block.post_attention_layernorm, block.mlp) if sublayer % 2 else attention
        return [norm.register_forward_pre_hook(look), layer.register_forward_hook(hook)]

    handles = [handle for sublayer in skip for handle in mute(sublayer)]
    with torch.inference_mode():
        while len(ids) - len(prompt) < cap:
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
            confidences.append(float(logits.softmax(-1).max()))
            last = confidences[-rule.window :] if rule else []
            if ids[-1] == 0 or (rule and len(last) == rule.window and sum(last) / len(last) < rule.threshold):
                break
    for handle in handles:
        handle.remove()
    return ids[len(prompt) :]


@pytest.fixture
def naive() -> Callable[..., list[int]]:
    return naive_generate


@pytest.fixture
def questions() -> list[Question]:
    things = ["a nail", "a wool sock", "a log", "a mirror", "a paper map", "a rubber boot"]
    out = []
    for i in range(5):
        options = {label: things[(i + j) % len(things)] for j, label in enumerate("ABCD"[: 2 + i % 3])}
        out.append(Question(f"q{i}", "Which of these floats?" + " Look well." * i, options, "A"))
    return out


@pytest.fixture
def rationales(questions: list[Question]) -> list[Rationale]:
    return [
        Rationale(
            q.id, {"recall": {"": "Wood floats."}, "analyze": {k: f"{v} is a thing." for k, v in q.options.items()}}
        )
        for q in questions
    ]


@pytest.fixture
def engine(model: torch.nn.Module, questions: list[Question]) -> Engine:
    """The three stages, short, on a random model: its outputs are noise, but always the same noise."""
    texts = [q.text + " ".join(q.options.values()) for q in questions]
    tokenizer = tiny_tokenizer(texts, VOCABULARY)
    stages = three_stages()
    for stage in stages:
        stage.max_new_tokens = 8
    return Engine(Decoder(model), tokenizer, ReasoningSettings(stages=stages, batch_size=3), "random")


@pytest.fixture
def tiny() -> TinySettings:
    return TinySettings(blocks=2, hidden=32, heads=2, ffn=48, vocabulary=VOCABULARY)


@pytest.fixture
def make() -> Callable[..., torch.nn.Module]:
    """`make_model`, for tests of one architecture."""
    return make_model


@pytest.fixture
def stored() -> Callable[[Path], list[Any]]:
    """`stored(folder)`: the records that W&B's client wrote below a folder, one file after the other in any order."""

    def read(folder: Path) -> list[Any]:
        wandb.teardown()  # its service may still be writing
        return [r for path in folder.rglob("*.wandb") for r in _records(path.read_bytes())]

    return read


def _records(content: bytes, block: int = 32768) -> Iterator[Any]:
    """W&B's file: 7 bytes of its own, then LevelDB's log format around protocol buffers."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:  # too little for another head
            at += block - at % block
            continue
        _, length, part = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


DEFAULT = Path(__file__).resolve().parents[1] / "configs" / "miniworld.yaml"
CONFIG = """
run: mini
seed: 1
model: {tiny: {blocks: 2, hidden: 32, heads: 2, ffn: 48, vocabulary: 300}, learning_rate: 1.0e-2}
data: {train_size: 32, validation_size: 16, test_size: 6, batch_size: 4, curriculum_steps: 1}
reasoning:
  batch_size: 5
  answer_pattern: "([A-Z])\\\\."
  stages:
  - {name: recall, prompt: "{question}\\n{options}\\nRecall:", max_new_tokens: 6}
  - {name: analyze, prompt: "{question}\\nRecall: {recall}\\nAnalyze: {cue}", cue: "For {label},", max_new_tokens: 6}
  - {name: summarize, prompt: "{question}\\n{analyze}\\nSummarize:", target: " A.", max_new_tokens: 6, loss_weight: 3.0}
search: {importance_questions: 3, step: 2}
evaluate: {attempts: 2, repeats: 2, timed_questions: 4}
tracking: {wandb: disabled}
trainer:
  {max_epochs: 2, log_every_n_steps: 4, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""
"""The model learns to answer A, which is right once in four: a search has something to lose."""


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run: where it lies; what each script printed, returned and warned of."""
    root = tmp_path_factory.mktemp("runs")
    config = root / "mini.yaml"
    config.write_text(CONFIG)
    made = SimpleNamespace(config=config, folder=root / "mini", stdout={}, stderr={}, returned={}, warned={})
    for step in (cli.train, cli.search, cli.evaluate):
        name, out, err = step.__name__, io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            made.returned[name] = step(["--config", str(config), "--root", str(root)], default=DEFAULT)
        made.stdout[name], made.stderr[name] = out.getvalue(), err.getvalue()
        made.warned[name] = [str(warning.message) for warning in warned]
    made.summary = {name: json.loads(text.splitlines()[-1]) for name, text in made.stdout.items()}
    return made


@pytest.fixture
def copied(done: SimpleNamespace, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(done.folder, tmp_path / "mini")
    return tmp_path / "mini"


@pytest.fixture
def old_importance(copied: Path) -> Path:
    """A copy of the finished run whose `importance.json` has neither norm ratios nor block influences."""
    path = copied / "importance.json"
    old = json.loads(path.read_text())
    for stage in old["stages"].values():
        del stage["ratios"], stage["blocks"]
    path.write_text(json.dumps(old))
    return copied
