"""Component scores in words and units."""

import pandas as pd

from icecore_sk._numbers import format_number as number


def distance(row: pd.Series, typical: dict, k: int) -> str:
    return (
        f"far from everything: mean distance {number(row['distance'])} to its {k} nearest, "
        f"where {number(typical['distance'])} is typical"
    )


def sparsity(row: pd.Series, typical: dict, k: int) -> str:
    return (
        f"apart from a dense group: its {k} nearest lie {number(row['sparsity'])} times as far "
        "from it as from their own neighbours"
    )


def reconstruction(row: pd.Series, typical: dict, k: int) -> str:
    unit = typical["loss unit"]
    return (
        f"badly reconstructed: loss {number(row['reconstruction'])} {unit} where "
        f"{number(typical['reconstruction'])} is typical"
    )


def corrected_reconstruction(row: pd.Series, typical: dict, k: int) -> str:
    return (
        f"badly reconstructed: loss {number(row['loss'])} {typical['loss unit']} where "
        f"{number(row['usual loss'])} is typical for as much ink "
        f"({number(row['corrected_reconstruction'])} robust sd)"
    )


def detail_distance(row: pd.Series, typical: dict, k: int) -> str:
    return (
        "made of unusual parts: edges and textures at a mean distance of "
        f"{number(row['detail_distance'])} from its {k} nearest, where "
        f"{number(typical['detail_distance'])} is typical"
    )


def class_distance(row: pd.Series, typical: dict, k: int) -> str:
    return (
        f"far from every known class: {number(row['class_distance'])} sd from "
        f"{row['nearest class']}, the nearest, where {number(typical['class_distance'])} is typical"
    )


def size(row: pd.Series, typical: dict, k: int) -> str:
    what = f"{typical['size name']} {number(row['size'])}"
    if row["size"] > typical["size"]:
        return f"largest: {what} where 99 % are below {number(typical['size'])}"
    return f"large: {what}, close to the {number(typical['size'])} that 99 % are below"


def disagreement(row: pd.Series, typical: dict, k: int) -> str:
    return (
        f"{row['scalar']} {number(row['own'])} where its {k} nearest have {number(row['theirs'])} "
        f"({number(row['disagreement'])} robust sd)"
    )


WORDS = {
    words.__name__: words
    for words in (
        reconstruction,
        corrected_reconstruction,
        distance,
        sparsity,
        detail_distance,
        class_distance,
        size,
        disagreement,
    )
}
COMPONENTS = tuple(WORDS)
# A second reason is told where it is nearly as surprising as the first, as a share of it.
AS_WELL = 0.7


def reason(row: pd.Series, surprise: dict[str, float], typical: dict, k: int) -> str:
    """Return the most surprising component of an outlier in words, and a second where it counts."""
    ranked = sorted(surprise, key=lambda name: -surprise[name])
    told = [name for name in ranked if surprise[name] >= AS_WELL * surprise[ranked[0]]]
    if "distance" in told and "sparsity" in told:
        told.remove("sparsity")  # what is far from everything is apart from every group
    return "; ".join(WORDS[name](row, typical, k) for name in told[:2])
