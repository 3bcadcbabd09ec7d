"""What stands on top of the report: how many, from where, and what became of the others."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from icecore_sk.survey._report.columns import are_outliers, is_cluster

# Keys of a record that have a place of their own on the page.
PLACED = ("steps", "consistency")
# Keys of a step that have a column of their own, or none; all others are what it found.
OF_STEP = ("name", "does", "kept", "dropped", "why", "seconds", "resumed")
# What the figures of `icecore_sk.metrics.map_consistency` are called on the page.
CONSISTENCY = {
    "overlap": "Shared neighbours",
    "chance": "by chance",
    "trustworthiness_ab": "Trustworthiness, 1st to 2nd",
    "trustworthiness_ba": "2nd to 1st",
    "procrustes": "Procrustes residual",
    "cluster_agreement": "Agreement of clusters",
}


def make_tiles(table: pd.DataFrame, n_maps: int) -> list[dict]:
    """Return the few numbers to see first: ``value``, ``name`` and ``note`` of each."""
    tiles = [{"value": say(len(table)), "name": "particles", "note": _runs(table.index)}]
    if "label" in table:
        known = table["label"].dropna()
        note = f"in {known.nunique():,} classes"
        tiles.append({"value": say(len(known)), "name": "labelled", "note": note})
    clusters = next((str(name) for name in table if is_cluster(str(name))), None)
    if clusters is not None:
        values = table[clusters].dropna()
        noise = values < 0 if pd.api.types.is_numeric_dtype(values) else np.zeros(len(values), bool)
        note = f"{int(noise.sum()):,} particles in none (noise)"
        tiles.append({"value": say(values[~noise].nunique()), "name": "clusters", "note": note})
    if "outlier" in table:
        n_outliers = int(are_outliers(table["outlier"]).sum())
        note = f"{n_outliers / len(table):.1%} of all, each with a reason"
        tiles.append({"value": say(n_outliers), "name": "outliers", "note": note})
    note = "side by side, selections shared"
    tiles.append({"value": say(n_maps), "name": "map" if n_maps == 1 else "maps", "note": note})
    return tiles


def _runs(index: pd.Index) -> str:
    if "run" not in index.names:
        return ""
    n_runs = index.get_level_values("run").nunique()
    return f"from {n_runs:,} run" + ("s" if n_runs != 1 else "")


def make_steps(record: Mapping) -> list[dict]:
    """Return the steps as texts, and as ``found`` what a step counted.

    A step that says what it does is shown by that instead of its short name.
    """
    steps = []
    for step in record.get("steps") or []:
        texts = {key: say(_of_step(step, key)) for key in OF_STEP if key in step and key != "does"}
        found = {key: value for key, value in step.items() if key not in OF_STEP}
        steps.append(texts | ({"found": say(found)} if found else {}))
    return steps


def _of_step(step: Mapping, key: str):
    value = step[key]
    if key == "name":
        return step.get("does", value)
    # Whole seconds, where they are a number at all: a record may come from anywhere.
    if key == "seconds" and isinstance(value, int | float) and np.isfinite(value):
        return "<1" if value < 1 else round(value)
    return value


def make_consistency(record: Mapping) -> dict:
    """Return the agreement of maps as ``columns`` and ``rows`` of texts."""
    agreements = record.get("consistency") or {}
    columns = [
        key
        for key in CONSISTENCY
        if any(np.isscalar(found.get(key)) for found in agreements.values())
    ]
    rows = [
        [name, *(say(found.get(key, np.nan)) for key in columns)]
        for name, found in agreements.items()
    ]
    return {"columns": ["Maps", *(CONSISTENCY[key] for key in columns)], "rows": rows}


def make_details(record: Mapping) -> list[dict]:
    """Return everything else that the record holds, as ``name`` and ``rows`` of texts."""
    details, single = [], []
    for key, value in record.items():
        if key in PLACED:
            continue
        if isinstance(value, Mapping):
            rows = [(str(name), say(item)) for name, item in value.items()]
            details.append({"name": _heading(key), "rows": rows})
        else:
            single.append((_heading(key), say(value)))
    return ([{"name": "Run", "rows": single}] if single else []) + details


def _heading(key) -> str:
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]


def say(value) -> str:
    """Return a value as a reader wants to see it.

    >>> say(12345), say(0.123456), say({"too small": 7}), say(None), say(True)
    ('12,345', '0.1235', 'too small: 7', '-', 'yes')
    """
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {say(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple | set | np.ndarray):
        return ", ".join(say(item) for item in value) or "-"
    return str(value)
