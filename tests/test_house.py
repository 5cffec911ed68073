"""The house around the code: dependency lists, make targets, the README's tree, import floors, file sizes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BRANCH = re.compile(r"^((?:│ {3}| {4})*)[├└]── (\S+)")
MAX_LINES = 300


def declared() -> list[Requirement]:
    """Every dependency of pyproject.toml, the optional groups included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for group in project["optional-dependencies"].values() for line in group)]
    return [Requirement(line) for line in lines]


def pins() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def readme_tree(readme: str) -> list[str]:
    """Paths of the first code block drawn with `├──`, relative to the root, folders without the closing slash."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE):
        paths: list[str] = []
        above: list[str] = []
        for line in block.replace("\xa0", " ").splitlines():
            if branch := BRANCH.match(line):
                above = [*above[: len(branch[1]) // 4], branch[2].rstrip("/")]
                paths.append("/".join(above))
        if paths:
            return paths
    return []


def test_environment_file_lists_what_pyproject_lists() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert "-e ." in listed
    assert {str(Requirement(line)) for line in listed if line != "-e ."} == {str(need) for need in declared()}


def test_environment_file_and_pyproject_agree_on_python() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(entry for entry in dependencies if isinstance(entry, str) and entry.startswith("python="))
    range_ = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Requirement(f"python{range_}").specifier.contains(python.removeprefix("python="))


def test_pins_are_exact_and_portable() -> None:
    found = pins()
    assert found[0].name == "torch"
    assert [str(pin) for pin in found if pin.url or not re.fullmatch(r"==[^*+]+", str(pin.specifier))] == []
    assert [pin.name for pin in found if pin.name.startswith(("nvidia", "cuda", "triton"))] == []


def test_pins_satisfy_the_ranges() -> None:
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins()}
    wrong = [
        f"{need} (pinned: {pinned.get(canonicalize_name(need.name))})"
        for need in declared()
        if not need.specifier.contains(pinned.get(canonicalize_name(need.name), "0"), prereleases=True)
        or canonicalize_name(need.name) not in pinned
    ]
    assert wrong == []


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_lightning_releases_are_out_of_range(version: str) -> None:
    lightning = next(need for need in declared() if need.name == "lightning")
    assert not lightning.specifier.contains(version)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == phony[1].split()


def test_tree_reader_follows_nesting() -> None:
    readme = "```bash\nmake\n```\n```\n.\n├── src/  # code\n│   └── a/\n│       └── b.py   why\n└── c.md\n```\n"
    assert readme_tree(readme) == ["src", "src/a", "src/a/b.py", "c.md"]
    assert readme_tree("no tree here") == []


def test_readme_tree_names_real_files() -> None:
    paths = readme_tree((ROOT / "README.md").read_text())
    assert paths, "README.md has no code block with a tree drawn with ├── and └──"
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_readme_tree_shows_the_whole_top_level() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    top = {file.split("/")[0] for file in files}
    shown = {path.split("/")[0] for path in readme_tree((ROOT / "README.md").read_text())}
    assert sorted(name for name in top - shown if not name.startswith(".")) == []


def test_imports_only_go_down() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-logo"]
    result = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_no_source_file_is_too_long() -> None:
    files = [path for folder in ("src", "scripts", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
