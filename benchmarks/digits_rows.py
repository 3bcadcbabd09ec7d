"""Rows of `leave_digits_out.py`, grouped for its page, and cells of Markdown."""

from collections.abc import Callable, Iterable

import numpy as np

# Rows of a model by seed: one row for one split, five for the five splits.
Group = dict[int, list[dict]]
Read = Callable[[dict], float | None]


def grouped(rows: Iterable[dict], splits: list[tuple[int, ...]], order: list[str]) -> dict:
    """Return a Group for each model; seeds that lack one of the splits are left out."""
    groups: dict[str, Group] = {name: {} for name in order}
    for row in rows:
        if tuple(row.get("held_out", ())) in splits and row["model"] in groups:
            groups[row["model"]].setdefault(row["seed"], []).append(row)
    whole = {
        name: {seed: found for seed, found in group.items() if len(found) == len(splits)}
        for name, group in groups.items()
    }
    return {name: group for name, group in whole.items() if group}


def over_seeds(group: Group, read: Read) -> list[float]:
    """Return one value for each seed, the mean over its splits; none where a row lacks it."""
    values = []
    for found in group.values():
        each = [read(row) for row in found]
        if all(value is not None for value in each):
            values.append(float(np.mean(each)))
    return values


def cell(values: list[float], places: int = 3) -> str:
    if not values:
        return "-"
    mean = f"{np.mean(values):.{places}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{places}f} to {max(values):.{places}f})"


def at(*path: str) -> Read:
    """Return what reads a value from within a row."""

    def read(row: dict) -> float | None:
        value = row
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    return read


def of_main(figure: str) -> Read:
    return lambda row: at("novelty", row.get("main_score", ""), figure)(row)


def scores_of(group: Group) -> list[str]:
    return list(next(iter(group.values()))[0]["novelty"])


def best_score(group: Group) -> tuple[str, list[float]]:
    """Return the score of the highest mean AUROC, and its values."""
    values = {name: over_seeds(group, at("novelty", name, "auroc")) for name in scores_of(group)}
    name = max(values, key=lambda n: np.mean(values[n]) if values[n] else -1)
    return name, values[name]


def table(header: list[str], lines: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
