"""Models by folder and by name, adapters, and what is refused. Nothing here touches the network."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from litestage.config import LoraSettings
from litestage.model import load
from litestage.model.load import LINEAR, attach_lora, load_base, load_trained
from litestage.model.tiny import tiny_tokenizer

IDS = torch.tensor([[5, 9, 200, 77, 31, 8]])


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(["Which of these floats?"], 300)


@pytest.fixture
def base(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A folder with a model and its tokenizer."""
    folder = tmp_path / "base@home"  # a sign that hub ids use does not matter in a folder
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS).logits


def test_a_folder_reads_back(base: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, its_tokenizer = load_base(str(base))
    assert torch.equal(logits(loaded), logits(model))
    assert its_tokenizer("It floats.")["input_ids"] == tokenizer("It floats.")["input_ids"]
    assert not loaded.training


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_the_asked_one(base: Path, dtype: str) -> None:
    loaded, _ = load_base(str(base), dtype)
    assert {weight.dtype for weight in loaded.parameters()} == {getattr(torch, dtype)}


def test_a_tokenizer_without_padding_pads_with_its_end(base: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.pad_token = None
    tokenizer.save_pretrained(base)
    _, loaded = load_base(str(base))
    assert loaded.pad_token_id == loaded.eos_token_id


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "nowhere", "checkpoints/nowhere", "a/b/c"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name}: no such model folder"):
        load_base(name)


def test_a_hub_that_cannot_be_reached_is_no_crash() -> None:
    with pytest.raises(FileNotFoundError, match="nobody/nothing@main: could not be loaded"):
        load_base("nobody/nothing@main")


def test_a_folder_without_weights_is_named(base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=f"{base}: could not be loaded"):
        load_base(str(base))


def test_pickled_weights_are_refused(base: Path, model: torch.nn.Module) -> None:
    (base / "model.safetensors").unlink()
    torch.save(model.state_dict(), base / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=f"{base}: could not be loaded"):
        load_base(str(base))


def test_another_architecture_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="architecture 'gpt2' is not supported"):
        load_base(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "revision"),
    [("org/repo", None), ("org/repo@", None), ("org/repo@v1.2", "v1.2"), ("org/repo@refs/pr/1", "refs/pr/1")],
)
def test_the_revision_goes_to_model_and_tokenizer(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    revision: str | None,
) -> None:
    calls: list[tuple[str, str | None]] = []

    def fake(result: object) -> Any:
        def from_pretrained(source: str, **options: Any) -> object:
            calls.append((source, options.get("revision")))
            return result

        return from_pretrained

    monkeypatch.setattr(load.AutoConfig, "from_pretrained", fake(model.config))
    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", fake(model))
    monkeypatch.setattr(load.AutoTokenizer, "from_pretrained", fake(tokenizer))
    assert load_base(name) == (model, tokenizer)
    assert calls == [("org/repo", revision)] * 3


def trained_adapter(base: Path) -> Any:
    """The base model with adapters that do something."""
    wrapped = attach_lora(load_base(str(base))[0], LoraSettings(rank=4, alpha=8)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.1, generator=generator)
    return wrapped


def test_adapters_sit_on_every_linear_layer_of_the_blocks_and_nothing_else_trains(base: Path) -> None:
    wrapped = trained_adapter(base)
    trained = [name for name, weight in wrapped.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * len(LINEAR) * 3  # A and B, seven layers, three blocks
    assert all("lora_" in name and any(f".{layer}." in name for layer in LINEAR) for name in trained)


def test_a_new_adapter_changes_nothing_yet(base: Path, model: torch.nn.Module) -> None:
    wrapped = attach_lora(load_base(str(base))[0], LoraSettings()).eval()
    assert torch.equal(logits(wrapped), logits(model))


def test_a_saved_adapter_is_merged_to_the_same_logits(
    base: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    run, wrapped = tmp_path / "run", trained_adapter(base)
    wrapped.save_pretrained(run / "adapter")
    tokenizer.save_pretrained(run / "adapter")
    merged, its_tokenizer = load_trained(run, str(base), "float32")
    torch.testing.assert_close(logits(merged), logits(wrapped), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(merged), logits(model), atol=0.1)
    assert not any("lora" in name for name, _ in merged.named_modules())
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    half, _ = load_trained(run, str(base), "bfloat16")
    for name, weight in half.state_dict().items():  # merged before it was rounded
        assert torch.equal(weight, merged.state_dict()[name].bfloat16())


def test_a_fully_trained_model_needs_no_base(base: Path, model: torch.nn.Module, tmp_path: Path) -> None:
    run = tmp_path / "run"
    base.rename(tmp_path / "model")
    run.mkdir()
    (tmp_path / "model").rename(run / "model")
    loaded, _ = load_trained(run, "not/there", "float32")
    assert torch.equal(logits(loaded), logits(model))


def test_a_run_without_a_model_names_the_script(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no trained model here; run train\.py"):
        load_trained(tmp_path, "tiny", "float32")


def test_a_run_with_a_left_over_model_is_refused(tmp_path: Path) -> None:
    for name in ("model", "adapter"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="holds both model/ and adapter/"):
        load_trained(tmp_path, "tiny", "float32")


def test_a_folder_is_fetched_as_it_is_and_a_hub_id_with_its_revision(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        assert [p for p in allow_patterns if fnmatch("pytorch_model.bin", p)] == []  # a pickle
        files = [path.name for path in base.iterdir()]
        assert [name for name in files if not any(fnmatch(name, p) for p in allow_patterns)] == []
        return str(base)

    monkeypatch.setattr(load, "snapshot_download", download)
    assert load.fetched(str(base)) == base
    assert asked == []
    assert [load.fetched(name) for name in ("org/repo", "org/repo@v1")] == [base, base]
    assert asked == [("org/repo", None), ("org/repo", "v1")]


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nowhere", "no such model folder"), ("nowhere", "no such model folder"), ("org/repo", "could not be loaded")],
)
def test_a_model_that_cannot_be_fetched_is_named(name: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^{name}: {message}"):  # the tests are offline
        load.fetched(name)
