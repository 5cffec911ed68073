"""The page: what it says, that nothing breaks out of it, that it stays small and loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from litestage.report import page
from litestage.report.page import write_report

Document = dict[str, Any]
EVIL = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)> & \u2028 ]]>"
HEADINGS = ("h1", "h2", "h3", "h4")


class Reader(HTMLParser):
    """Collects tags with their attributes, headings, and the text of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.open: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.open = dict(attrs).get("id") or "code"

    def handle_endtag(self, tag: str) -> None:
        self.open = None if tag == "script" else self.open

    def handle_data(self, data: str) -> None:
        if self.open:
            self.scripts[self.open] = self.scripts.get(self.open, "") + data


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave plotly.js out where its size is not the point: packing it takes a second."""
    if request.node.name != "test_the_page_stays_below_five_megabytes":
        monkeypatch.setattr(page, "_plotly", lambda: "packed")


def _read(path: Path) -> tuple[str, Reader]:
    text = path.read_text(encoding="utf-8")
    return text, Reader(text)


def _change(folder: Path, file: str, change: Callable[[Document], None]) -> None:
    document = json.loads((folder / file).read_text())
    change(document)
    (folder / file).write_text(json.dumps(document))


def _plain(text: str) -> str:
    """The text between the tags, without those of scripts."""
    text = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\xa0", " ").split())


def test_the_page_says_what_the_run_found(folder: Path) -> None:
    assert write_report(folder) == folder / "report.html"
    text, _ = _read(folder / "report.html")
    said = _plain(text)
    for words in (
        "the plan answers 65.2 ± 2.1 % right and full depth 66.0 ± 2.1 %",
        "control: full depth against itself 1.00 [0.97, 1.03]",
        "recall 4 2 2, 5, 9, 15 prefill and decode mean of 5 tokens below 0.5",
        "adaskip 58.0 ± 2.2 500 54.9 1.2 1.08 [1.02, 1.14]",
        "given up: it could not reach the target any more",
        "8 of 8 questions are on this page. In 2 of 8 the answers differ.",
        "evaluate.py --config configs/miniworld.yaml",
        "2026-01-31T12:00:00+00:00",
        "lightning not known",
    ):
        assert words in said
    sections = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert sections == ["The answer", "Figures", "Experiments", "Questions", "Journal of the search", "Environment"]


def test_the_page_embeds_figures_and_answers_as_json(folder: Path) -> None:
    _, reader = _read(write_report(folder))
    data = json.loads(reader.scripts["data"])
    assert list(data["charts"]) == [
        "accuracy", "search-1", "search-2", "search-3", "importance", "skips", "budgets", "tokens",
    ]  # fmt: skip
    assert [q["id"] for q in data["answers"]["questions"]] == [f"q{i}" for i in range(8)]
    places = {attrs["data-chart"] for _, attrs in reader.tags if "data-chart" in attrs}
    assert places == set(data["charts"])


def test_no_text_breaks_out(folder: Path, write_questions: Callable[..., Path]) -> None:
    def rename(results: Document) -> None:
        results.update(run=EVIL, model=EVIL, benchmark=EVIL)
        results["methods"][4]["name"] = EVIL
        results["timing"]["note"] = EVIL
        results["environment"]["command"] = EVIL

    clean = _read(write_report(folder))[1]
    _change(folder, "results.json", rename)
    write_questions(folder, text=EVIL)
    text, reader = _read(write_report(folder))
    assert [tag for tag, _ in reader.tags] == [tag for tag, _ in clean.tags]
    assert not [attrs for _, attrs in reader.tags if "onerror" in attrs]
    assert "<script>document.title" not in text
    data = json.loads(reader.scripts["data"])
    assert data["answers"]["questions"][0]["text"] == f"{EVIL} (0)"


def test_the_page_loads_nothing(folder: Path) -> None:
    text, reader = _read(write_report(folder))
    links = [attrs[name] for _, attrs in reader.tags for name in ("src", "href", "action", "data") if name in attrs]
    assert links
    assert [link for link in links if not (link or "").startswith(("#", "data:"))] == []
    assert not re.search(r"@import|url\(", text)
    policy = next(attrs["content"] for _, attrs in reader.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert (policy or "").startswith("default-src 'none'")
    assert "http" not in (policy or "")


def test_readers_and_phones_find_their_way(folder: Path) -> None:
    _, reader = _read(write_report(folder))
    names = [tag for tag, _ in reader.tags]
    levels = [HEADINGS.index(tag) for tag in names if tag in HEADINGS]
    assert levels[0] == 0
    assert levels.count(0) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert ("html", {"lang": "en"}) in reader.tags
    assert any(attrs.get("name") == "viewport" for _, attrs in reader.tags)
    assert names.count("figure") == names.count("figcaption") == 8
    assert names.count("table") == names.count("caption") == 4
    assert all(attrs.get("scope") for tag, attrs in reader.tags if tag == "th")
    assert all(attrs.get("aria-label") for tag, attrs in reader.tags if "data-chart" in attrs)
    assert all(attrs.get("aria-label") for _, attrs in reader.tags if attrs.get("role") == "region")
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("plan/plan.json", "plan/plan.json is not there; python search.py"),
        ("importance.json", "importance.json is not there; python train.py"),
        ("search.json", "search.json is not there; python search.py"),
        ("answers.jsonl", "answers.jsonl is not there; python evaluate.py"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_makes_it(folder: Path, file: str, words: str) -> None:
    (folder / file).unlink()
    assert f"{words} with this run&#39;s configuration makes it." in write_report(folder).read_text()


def test_a_file_that_cannot_be_read_costs_its_section_only(folder: Path) -> None:
    _change(folder, "search.json", lambda search: search.update(version=1, trials=None))
    (folder / "answers.jsonl").write_text("{}\n")
    said = _plain(write_report(folder).read_text())
    assert "search.json cannot be read: search: $.version: is 1; allowed: 2" in said
    assert "answers.jsonl cannot be read: answers.jsonl:1: field &#39;id&#39;" in said
    assert str(folder) not in said
    assert "The plan against full depth" in said


def test_a_search_without_trials_says_so(folder: Path) -> None:
    _change(folder, "search.json", lambda search: search.update(trials=[]))
    assert "search.json has no trials; run python search.py to the end." in write_report(folder).read_text()


def test_a_plan_of_another_search_is_noticed(folder: Path) -> None:
    assert "run python evaluate.py again" in write_report(folder).read_text()  # the fixtures differ
    budgets = {"recall": 4, "analyze": 2, "summarize": 0}
    _change(folder, "results.json", lambda results: results["methods"][2].update(budgets=budgets))
    assert "run python evaluate.py again" not in write_report(folder).read_text()


def test_two_runs_stand_side_by_side(folder: Path, tmp_path: Path, results: Document) -> None:
    other = tmp_path / "other"
    other.mkdir()
    results["methods"][2]["accuracy"] = 0.5
    (other / "results.json").write_text(json.dumps(results))
    text, reader = _read(write_report(folder, other))
    assert not (other / "report.html").exists()
    said = _plain(text)
    assert "miniworld (other)" in said
    assert "65.2 ± 2.1" in said
    assert "50.0 ± 2.1" in said
    assert said.count("litestage without exit") >= 2
    traces = json.loads(reader.scripts["data"])["charts"]["accuracy"]["data"]
    assert len(traces) == 10


def test_only_a_few_hundred_questions_are_embedded(folder: Path, write_questions: Callable[..., Path]) -> None:
    write_questions(folder, 450)
    text, reader = _read(write_report(folder))
    assert len(json.loads(reader.scripts["data"])["answers"]["questions"]) == 300
    assert "300 of 450 questions are on this page: those with differing answers" in _plain(text)


def test_the_page_stays_below_five_megabytes(folder: Path, write_questions: Callable[..., Path]) -> None:
    write_questions(folder, 1221, text="<&'é" * 2000)
    assert 1_500_000 < write_report(folder).stat().st_size < 5_000_000


def test_a_run_without_results_is_refused_with_the_command(folder: Path) -> None:
    (folder / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"results\.json is not there; run `python evaluate\.py`"):
        write_report(folder)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        write_report(folder / "nowhere")


def test_results_of_another_version_are_refused(folder: Path) -> None:
    _change(folder, "results.json", lambda results: results.update(version=7, methods="other"))
    with pytest.raises(ValueError, match=r"results\.json: .*version: is 7; allowed: 1.*evaluate\.py.* again"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_experiments_join_the_page_with_figures_texts_and_numbers(folder: Path, experiment: Document) -> None:
    assert "python evaluate.py --evaluate.experiment all makes them" in _read(write_report(folder))[0]
    (folder / "experiments").mkdir()
    (folder / "experiments" / "motivation.json").write_text(json.dumps(experiment))
    (folder / "experiments" / "proxy.json").write_text(json.dumps({**experiment, "version": 9}))
    text, reader = _read(write_report(folder))
    data = json.loads(reader.scripts["data"])
    assert {f"experiment-motivation-{i}" for i in (1, 2, 3)} < data["charts"].keys()
    assert "<h3>A title &amp; more</h3>" in text
    assert "What &lt;happens&gt;?" in text
    assert "Wood floats <del>on $5 of water.</del>" in text
    assert "The numbers (7 rows" in text
    assert "experiments/proxy.json cannot be read: experiment: $.version: is 9" in text
    assert "python evaluate.py --evaluate.experiment proxy" in text
