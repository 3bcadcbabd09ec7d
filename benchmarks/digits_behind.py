"""Where a baseline is ahead of a model of the library, figure by figure."""

import numpy as np
from digits_rows import Group, at, cell, of_main, over_seeds, scores_of, table

FIGURES = {"auroc": "AUROC", "aupr": "AUPR", "fpr95": "FPR95"}
KEYS = {title: key for key, title in FIGURES.items()}
LESS_IS_BETTER = {"FPR95", "fit s", "fit peak MB"}
OTHERS = {
    "closed-set accuracy": at("closed_set_accuracy"),
    **{
        f"{how} {what}": at(key, what)
        for key, how in (("kmeans10", "KMeans(10)"), ("hdbscan", "HDBSCAN"))
        for what in ("ACC", "NMI", "ARI")
    },
    "trustworthiness of the pixels": at("pixel_trustworthiness"),
    "15-NN accuracy of the map": at("knn15_accuracy"),
    "fit s": at("fit_seconds"),
    "fit peak MB": at("fit_peak_memory_mb"),
}


def behind(groups: dict[str, Group], ours: list[str], quality_only: bool = False) -> str:
    """List each figure of ours that a baseline passes.

    A baseline is judged by the best of its scores, chosen on test images; ours by the fixed one.
    Models without labels are compared with baselines without; those with labels with all.

    Parameters
    ----------
    groups : dict of Group
    ours : list of str
        Names of the library's models; all others are baselines.
    quality_only : bool
        Leave seconds and memory out.
    """
    lines, compared = [], 0
    for name in [name for name in groups if name in ours]:
        others = [other for other in groups if other not in ours and fits(groups, name, other)]
        for figure in [*KEYS, *OTHERS]:
            if quality_only and figure.startswith("fit "):
                continue
            read = of_main(KEYS[figure]) if figure in KEYS else OTHERS[figure]
            mine = over_seeds(groups[name], read)
            found = {
                label: values
                for other in others
                for label, values in candidates(other, groups[other], figure).items()
                if values
            }
            if not (mine and found):
                continue
            compared += 1
            sign = -1 if figure in LESS_IS_BETTER else 1
            best = max(found, key=lambda label: sign * np.mean(found[label]))
            if sign * np.mean(found[best]) > sign * np.mean(mine):
                places = 0 if figure.startswith("fit ") else 4
                cells = [cell(values, places) for values in (mine, found[best])]
                lines.append([name, figure, cells[0], best, cells[1]])
    if not compared:
        return ""
    words = (
        f"A baseline is ahead in {len(lines)} of {compared} comparisons (it by any of its scores, "
        "ours by the fixed one; without labels against baselines without)."
    )
    if not lines:
        return words
    return f"{words}\n\n" + table(["model", "figure", "ours", "baseline", "its"], lines)


def fits(groups: dict[str, Group], name: str, other: str) -> bool:
    mine, its = (next(iter(groups[n].values()))[0].get("supervised") for n in (name, other))
    return bool(mine) or not its


def candidates(name: str, group: Group, figure: str) -> dict[str, list[float]]:
    """Return a baseline's values of a figure, of each score where scores have it."""
    if figure not in KEYS:
        return {name: over_seeds(group, OTHERS[figure])}
    key = KEYS[figure]
    return {f"{name}, {s}": over_seeds(group, at("novelty", s, key)) for s in scores_of(group)}
