"""The Python of the README and of the documentation's pages runs as it stands."""

import re
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("docs/*.rst"), *ROOT.glob("docs/guide/*.rst")])
BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n(?P<body>(?:   .*\n|\n)+)",
    re.MULTILINE,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:n_jobs value"),
    pytest.mark.filterwarnings("ignore:More than 20 figures"),
]


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Shrink images in the first stage: a third of the time of what "auto" takes for digits."""
    monkeypatch.setattr("icecore_sk.nn.encoder.choose_stem", lambda height, width: "pooled")


def blocks_of(page: Path) -> list[tuple[str, str, str]]:
    """Return (language, options, code) of each code block of a reST page."""
    found = BLOCK.finditer(page.read_text() + "\n")
    dedent = re.compile(r"^   ", re.MULTILINE)
    return [(m["language"], m["options"], dedent.sub("", m["body"]).rstrip() + "\n") for m in found]


WITH_PYTHON = [page for page in PAGES if any(block[0] == "python" for block in blocks_of(page))]


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README.read_text(), re.S))
def test_python_block(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    assert re.search(r"\d+ clusters; \d+ outliers", capsys.readouterr().out)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_page(page, capsys, tmp_path, monkeypatch):
    """Run a page from top to end; what a block prints is what the page says that it prints."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    printed = ""
    for language, options, body in blocks_of(page):
        if language == "python" and "not-run" not in options:
            capsys.readouterr()
            exec(compile(body, page.name, "exec"), namespace)
            printed = capsys.readouterr().out
        elif "output" in options:
            same = OutputChecker().check_output(body, printed, ELLIPSIS | NORMALIZE_WHITESPACE)
            assert same, f"{page.name} says {body!r}, but its code prints {printed!r}"
    plt.close("all")


def test_pages_are_found():
    assert {"start", "images", "training"} <= {page.stem for page in WITH_PYTHON}


def cells_of(text: str) -> dict[tuple[str, str], str]:
    """Return what tables in Markdown say of each (first cell of a row, name of a column)."""
    found: dict[tuple[str, str], str] = {}
    names: list[str] = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if row and names and set(row[0]) != {"-"}:
            for name, cell in zip(names[1:], row[1:], strict=True):
                found.setdefault((row[0], name), cell)
        names = names or row if row else []
    return found


def test_readme_shows_the_figures_that_were_measured():
    page = ROOT / "benchmarks" / "results" / "leave_digits_out" / "README.md"
    part = page.read_text().partition("\n## 2, 6 left out\n")[2].partition("\n## ")[0]
    shown = cells_of(README.read_text().partition("<!-- figures")[2])
    assert len(shown) > 20
    assert shown.items() <= cells_of(part).items()
