"""Every public name says what it does and what it takes, and shows it; none is left out."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from api_names import public_names

DOCS = Path(__file__).resolve().parents[1] / "docs"
NAMES = public_names()
OBJECTS = {
    f"{module}.{name}": getattr(importlib.import_module(module), name) for module, name in NAMES
}
CALLABLE = {name: value for name, value in OBJECTS.items() if callable(value)}


def own_methods():
    """Public methods that a public class defines itself, as (class's docstring, name, method)."""
    for name, cls in CALLABLE.items():
        if inspect.isclass(cls):
            for method, value in vars(cls).items():
                value = getattr(value, "__func__", value)
                if not method.startswith("_") and inspect.isfunction(value):
                    yield pytest.param(cls, value, id=f"{name}.{method}")


def sections(thing) -> dict[str, str]:
    """Return the parts of a numpydoc docstring by heading; "" is what stands before the first."""
    parts = re.split(r"^(\w[\w ]*)\n-+$", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(text: str) -> list[str]:
    """Return the names that a section lists, also those that share a line."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    names = ",".join(line.split(" : ")[0] for line in lines)
    return [name.strip().lstrip("*") for name in names.split(",") if name.strip()]


def taken(thing) -> list[str]:
    names = list(inspect.signature(thing).parameters)
    return [name for name in names if name not in ("self", "cls")]


def check_summary(doc):
    summary = doc[""].split("\n\n")[0]
    assert summary, "there is no summary"
    assert "\n" not in summary, "the summary is longer than one line"
    assert summary.endswith("."), "the summary is no sentence"


def check_parameters(doc, thing):
    found = documented(doc.get("Parameters", ""))
    assert sorted(found) == sorted(taken(thing)), "Parameters and signature differ"


@pytest.mark.parametrize("name", CALLABLE)
def test_public_name(name):
    thing = CALLABLE[name]
    doc = sections(thing)
    check_summary(doc)
    check_parameters(doc, thing)
    assert ">>> " in doc.get("Examples", ""), "there is no example"
    if not inspect.isclass(thing):
        assert "Returns" in doc


@pytest.mark.parametrize(("cls", "method"), list(own_methods()))
def test_public_method(cls, method):
    doc = sections(method)
    check_summary(doc)
    check_parameters(doc, method)
    assert "Returns" in doc
    # Shown where it is most useful: in the class's example, after fit, or in its own.
    examples = sections(cls)["Examples"] + doc.get("Examples", "")
    assert f".{method.__name__}(" in examples, "no example calls it"


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_reference_lists_it(module, name):
    page = (DOCS / "api" / f"{module.partition('.')[2] or 'estimators'}.rst").read_text()
    assert re.search(rf"^(   |\.\. data:: ){re.escape(name)}$", page, re.MULTILINE)


def test_examples_number_their_references():
    for name, thing in CALLABLE.items():
        doc = inspect.getdoc(thing)
        cited = set(re.findall(r"\[(\d+)\]_", doc))
        listed = set(re.findall(r"^ *\.\. \[(\d+)\] ", doc, re.MULTILINE))
        assert cited <= listed, f"{name} cites {cited - listed}, which it does not list"
