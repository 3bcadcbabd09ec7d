"""Which names the reference shows."""

import importlib
import inspect

MODULES = (
    "icecore_sk",
    "icecore_sk.datasets",
    "icecore_sk.metrics",
    "icecore_sk.plotting",
    "icecore_sk.survey",
)


def public_names() -> list[tuple[str, str]]:
    """Return (module, name) of every public name."""
    return [(name, each) for name in MODULES for each in importlib.import_module(name).__all__]


def own_methods() -> dict[str, list[str]]:
    """Return, for each public class, the methods that this library wrote; others are inherited."""
    found = {}
    for module, name in public_names():
        cls = getattr(importlib.import_module(module), name)
        if inspect.isclass(cls):
            found[f"{module}.{name}"] = [
                method
                for method, value in inspect.getmembers(cls, inspect.isroutine)
                if not method.startswith("_") and (value.__module__ or "").startswith("icecore_sk")
            ]
    return found
