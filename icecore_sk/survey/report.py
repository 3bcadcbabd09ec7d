"""The report of a survey: a page to open from disk and to mail to a colleague."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from icecore_sk._writing import rewriting
from icecore_sk.survey._report import checks
from icecore_sk.survey._report.columns import are_outliers, describe_columns, encode, is_cluster
from icecore_sk.survey._report.figures import WEBGL_ABOVE, map_figure, training_figures
from icecore_sk.survey._report.ids import describe_index, id_level, order_by_place
from icecore_sk.survey._report.page import render_page
from icecore_sk.survey._report.sprites import SIDES, SpriteLayout, fit_sprites, make_sheets
from icecore_sk.survey._report.summary import (
    make_consistency,
    make_details,
    make_steps,
    make_tiles,
)

# Above this many particles the thumbnails lie in a folder beside the page.
MAX_IN_ONE_FILE = 20_000
# Of thumbnails in the page. Base64 adds a third; 60 MB is what mail still carries.
MAX_SPRITE_BYTES = 36 * 2**20
SHEET_FOLDER = "report_files"


def write_report(
    folder, table, images, *, maps, histories=None, record=None, title="Particle survey"
):
    """Write ``report.html``: maps, clusters and explained outliers to look at in a browser.

    The page opens from disk and needs neither network nor server. Particles are looked at by
    hovering, selected with a lasso, by search or by class, compared in their scalars, and their ids
    saved as CSV; two maps stand side by side with one selection. Up to 20,000 particles are in one
    file of at most 60 MB; with more, the thumbnails lie in the folder ``report_files`` beside it.

    Parameters
    ----------
    folder : str or path
        Where ``report.html`` goes; made where it does not exist. An older report is replaced.
    table : DataFrame of n rows
        A row per particle, with its scalars and results. The index holds the ids, by the names of
        its levels: "id" is searched for, "run" is offered as a colour, and "width" and "height"
        restore the true proportions where ``table.attrs["resize"]`` is "stretch". These result
        columns are known: ``label``, ``predicted``, ``cluster`` or ``<map> cluster`` (negative
        numbers are noise), ``outlier_score`` (high = normal), ``outlier`` (bool), ``reason`` and
        ``neighbour_overlap``. Every other column is a scalar or a category; image columns are
        left out.
    images : array of uint8 of shape (n, H, W) or (n, C, H, W)
        Grey (C = 1) or red, green, blue (C = 3), in the order of `table`; may be memory-mapped.
    maps : dict
        Name of each map to its two columns in `table`. A particle without coordinates (NaN) is
        counted below the map.
    histories : dict or None, default=None
        Name of each trained model to its ``history_``.
    record : dict or None, default=None
        What was done: ``steps`` (a list of dicts with name, kept, dropped, why and seconds) and
        ``consistency`` (a dict: which maps -> what `icecore_sk.metrics.map_consistency` found)
        become tables; anything else, such as versions, parameters and seed, is listed.
    title : str, default="Particle survey"

    Returns
    -------
    path : Path
        Of ``report.html``.

    Raises
    ------
    ImportError
        Where bokeh is not installed.
    TypeError
        Where `table` is no DataFrame, or `histories` or `record` no dict.
    ValueError
        Where `table` is empty, names a column twice or has an ``outlier`` that is neither True nor
        False (nor missing), `images` are no uint8 images of its rows, or a map's columns are not
        there or not numeric.

    Examples
    --------
    >>> import tempfile
    >>> from icecore_sk.datasets import make_particles
    >>> from icecore_sk.survey.report import write_report
    >>> table, labels = make_particles(20, image_size=16, random_state=0)
    >>> images = table.pop("image").array.__arrow_array__().combine_chunks().to_numpy_ndarray()
    >>> maps = {"sizes": ("Length", "Width")}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(folder, table.assign(label=labels), images, maps=maps).name
    'report.html'
    """
    need_bokeh()
    checks.check_table(table)
    images = checks.check_images(images, len(table))
    checks.check_maps(maps, table)
    histories = checks.check_histories(histories)
    record = checks.check_record(record)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    x, y = _coordinates(table, next(iter(maps.values())))
    order = order_by_place(x, y)
    layout, sheets = _write_thumbnails(folder, images, order)
    data = {
        **_describe(table.iloc[order], maps),
        "row": encode(order, "<u4"),
        "sprites": layout.describe() | {"folder": None if sheets else SHEET_FOLDER},
    }
    curves = _curves(histories)
    figures = {f"map-{panel}": map_figure(panel, len(table)) for panel in range(2)}
    figures |= {curve["id"]: curve.pop("figure") for model in curves for curve in model["curves"]}
    page = render_page(
        title=str(title),
        content={
            "tiles": make_tiles(table, len(maps)),
            "steps": make_steps(record),
            "details": make_details(record),
            "consistency": make_consistency(record),
            "models": curves,
            "has_outliers": "outlier_score" in table or "outlier" in table,
            "n_outliers": len(_outliers(table)),
            "has_overlap": "neighbour_overlap" in table,
        },
        data=data,
        figures=figures,
        sheets=sheets,
        webgl=len(table) > WEBGL_ABOVE,
    )
    path = folder / "report.html"
    with rewriting(path) as temporary:
        Path(temporary).write_text(page, "utf-8", errors="xmlcharrefreplace")
    return path


def need_bokeh() -> None:
    """Say how to install bokeh where it is missing."""
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The report draws its maps with bokeh, which is not installed. Install it with: "
            'pip install "icecore_sk[report]"'
        ) from error


def _coordinates(table: pd.DataFrame, columns) -> tuple[np.ndarray, np.ndarray]:
    x, y = (table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns)
    return x, y


def _write_thumbnails(folder: Path, images, order: np.ndarray) -> tuple[SpriteLayout, list[bytes]]:
    """Return the sheets for the page; of a large survey, write them beside it and return none."""
    beside = folder / SHEET_FOLDER
    for old in beside.glob("sheet-*.jpg"):
        old.unlink()
    if len(order) <= MAX_IN_ONE_FILE:
        return fit_sprites(images, order, MAX_SPRITE_BYTES)
    beside.mkdir(exist_ok=True)
    layout = SpriteLayout.of(images.shape[-2:], SIDES[0])
    for number, sheet in enumerate(make_sheets(images, order, layout)):
        (beside / f"sheet-{number:04d}.jpg").write_bytes(sheet)
    return layout, []


def _describe(table: pd.DataFrame, maps: Mapping) -> dict:
    """Return what the scripts know of the particles; `table` is in the order of the page."""
    coordinates = {str(name) for columns in maps.values() for name in columns}
    described = []
    for name, columns in maps.items():
        x, y = _coordinates(table, columns)
        missing = ~(np.isfinite(x) & np.isfinite(y))
        x, y = np.where(missing, np.nan, x), np.where(missing, np.nan, y)
        described.append(
            {
                "name": str(name),
                "x": encode(x, "<f4"),
                "y": encode(y, "<f4"),
                "missing": int(missing.sum()),
            }
        )
    columns = describe_columns(table, coordinates)
    return {
        "n": len(table),
        "levels": describe_index(table.index),
        "idLevel": id_level(table.index),
        "columns": columns,
        "firstColour": _first_colour([column["name"] for column in columns]),
        "maps": described,
        "outliers": encode(_outliers(table), "<u4"),
        "reasons": _reasons(table),
        "aspect": _aspect(table),
    }


def _first_colour(names: list[str]) -> str:
    wanted = ["label", "predicted", *filter(is_cluster, names), "outlier_score", *names]
    return next((name for name in wanted if name in names), "")


def _outliers(table: pd.DataFrame) -> np.ndarray:
    """Return the outliers, the most unusual first."""
    if "outlier" in table:
        found = np.flatnonzero(are_outliers(table["outlier"]))
    elif "outlier_score" in table:
        found = np.arange(len(table))
    else:
        found = np.arange(0)
    if "outlier_score" in table:
        scores = table["outlier_score"].to_numpy(dtype=np.float64, na_value=np.nan)
        found = found[np.argsort(scores[found], kind="stable")]
    return found


def _reasons(table: pd.DataFrame) -> dict[int, str]:
    """Return the reasons that are not empty, by row of the page."""
    if "reason" not in table:
        return {}
    reasons = table["reason"].fillna("").astype(str)
    return {row: reason for row, reason in enumerate(reasons) if reason}


def _aspect(table: pd.DataFrame) -> str | None:
    """Return width / height of the crops where their images were stretched to one shape."""
    names = table.index.names
    if table.attrs.get("resize") != "stretch" or not {"width", "height"} <= set(names):
        return None
    width, height = (table.index.get_level_values(side) for side in ("width", "height"))
    return encode(width.to_numpy(float) / height.to_numpy(float), "<f4")


def _curves(histories: Mapping) -> list[dict]:
    """Return the training curves of each model, numbered for the page."""
    models: list[dict] = []
    for name, history in histories.items():
        curves = training_figures(history)
        for curve in curves:
            curve["id"] = f"curve-{len(models)}-{curves.index(curve)}"
        models.append({"name": str(name), "curves": curves})
    return models
