"""The examples have the form of a gallery. Building the gallery runs them; nothing is run here."""

import ast
import importlib
import re
from itertools import takewhile
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("plot_*.py"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def source(request):
    return request.param.read_text(encoding="utf-8")


def test_there_are_examples_and_a_header():
    assert len(EXAMPLES) > 1
    assert (FOLDER / "GALLERY_HEADER.rst").is_file()


def test_title_and_summary(source):
    docstring = ast.get_docstring(ast.parse(source))
    title, underline, blank, *summary = docstring.splitlines()
    assert title[0].isupper()
    assert underline == "=" * len(title)
    assert not blank
    sentences = re.findall(r"[.?!](?=\s|$)", " ".join(summary))
    assert 1 <= len(sentences) <= 5


def is_comment(line):
    return line.startswith("# ")


def test_cells_begin_with_prose(source):
    cells = source.split("\n# %%\n")[1:]
    assert len(cells) >= 2
    for cell in cells:
        prose = " ".join(
            line.removeprefix("# ") for line in takewhile(is_comment, cell.split("\n"))
        )
        assert re.fullmatch(r"[A-Z`].*[.:?]", prose), cell[:80]


def test_it_ends_with_a_figure(source):
    body = ast.parse(source).body
    assert ast.unparse(body[-1]) == "plt.show()"
    assert source.count("plt.show()") == 1
    assert re.search(r"plt\.subplots|Display\.", source.split("\n# %%\n")[-1])


def test_it_imports_public_names_only(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            # By their names, as a user would.
            assert not any(alias.name.startswith("icecore_sk") for alias in node.names)
        if not isinstance(node, ast.ImportFrom) or not node.module.startswith("icecore_sk"):
            continue
        module = importlib.import_module(node.module)
        assert not any(part.startswith("_") for part in node.module.split("."))
        assert {alias.name for alias in node.names} <= set(module.__all__)
