"""What a survey found, and the folder it is written to."""

import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from icecore_sk._images import read_table
from icecore_sk._numbers import count_of
from icecore_sk._writing import rewriting, tidy
from icecore_sk.datasets import load_particles, save_particles
from icecore_sk.survey._figures import write_figures
from icecore_sk.survey.report import write_report

PACKAGES = (
    "icecore_sk", "numpy", "pandas", "scikit-learn", "scipy", "skorch", "torch", "torchvision",
    "umap-learn",
)  # fmt: skip
TABLE, IMAGES, MODELS, FOUND = "particles.parquet", "images.arrow", "pipeline.joblib", "survey.json"


@dataclass
class Survey:
    """Everything that `survey` found.

    Parameters
    ----------
    table : DataFrame of n rows
        By the particles' index: their scalars; label, predicted, probability (of the predicted
        class) and familiarity (`score_samples` of the classifier) where there were labels; kept,
        and filter_reason where a class was removed; for each map "<map> x", "<map> y" and "<map>
        cluster" (negative: noise); outlier_score (the higher, the more normal), outlier, the
        components of the score and reason; neighbour_overlap, the share of a particle's neighbours
        that the first two maps agree on. Missing where a particle was removed.
    particles : DataFrame
        The particle table that was surveyed.
    maps : dict of str to (str, str)
        Columns of each map's coordinates.
    histories : dict of str to DataFrame
        ``history_`` of each network.
    record : dict
        Versions, parameters, seed; counts and seconds of each step; agreement of the maps and
        stability of the clusters in figures.
    model : Pipeline
        The fitted autoencoder, UMAP and clusters: ``model.predict(new)`` names clusters,
        ``model[:-1].transform(new)`` places new particles on the map.
    models : dict
        "embedding" (Pipeline to the latent space), "outliers" (`OutlierScorer`), and with labels
        "classifier" and perhaps "filter" (`ClassFilter`).
    consistency : dict of (str, str) to Bunch
        `map_consistency` of each two maps.
    stability : Bunch
        `cluster_stability` of the clusters on the first map.

    Notes
    -----
    Parameters are attributes of the same name. `survey` makes one; `write_report` writes it to a
    folder, whose files are open formats and can be read without this library.

    Examples
    --------
    >>> from icecore_sk.datasets import make_particles
    >>> from icecore_sk.survey import survey
    >>> X, y = make_particles(500, image_size=32, random_state=0)
    >>> result = survey(X, y)  # doctest: +SKIP
    >>> print(result.summary(n_outliers=3))  # doctest: +SKIP
    >>> result.write_report("found")  # doctest: +SKIP
    """

    table: pd.DataFrame
    particles: pd.DataFrame
    maps: dict = field(default_factory=dict)
    histories: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)
    model: Any = None
    models: dict = field(default_factory=dict)
    consistency: dict = field(default_factory=dict)
    stability: Any = None

    def summary(self, n_outliers=5) -> str:
        """Return what was found in a few lines.

        Parameters
        ----------
        n_outliers : int, default=5
            The most unusual particles to name with their reasons.

        Returns
        -------
        text : str
            Counts of particles, clusters and outliers, and how far the maps agree.
        """
        kept = self.table[self.table["kept"].astype(bool)]
        n = len(self.table)
        lines = [f"{count_of(n, 'particle')}, {n - len(kept):,} removed."]
        for step in self.record.get("steps", []):
            if step["name"] == "read" and step["dropped"]:
                lines[0] += f" {step['dropped']:,} more left out in reading: {step['why']}."
        for name in self.maps:
            clusters = kept[f"{name} cluster"].astype(int)
            found = count_of(clusters[clusters >= 0].nunique(), "cluster")
            noise = count_of(int((clusters < 0).sum()), "particle")
            lines.append(f"Map of {name}: {found}, {noise} in none.")
        for pair, figures in self.record.get("consistency", {}).items():
            lines.append(
                f"Maps of {pair} agree on {figures['overlap']:.0%} of the neighbours "
                f"({figures['chance']:.1%} by chance)."
            )
        unusual = kept[kept["outlier"].astype(bool)].sort_values("outlier_score")
        lines.append(f"{count_of(len(unusual), 'outlier')}; the most unusual:")
        for index, row in unusual.head(n_outliers).iterrows():
            lines.append(f"  {particle_id(index)}: {row['reason']}")
        return "\n".join(lines)

    def write_report(self, folder):
        """Write everything to a folder.

        Parameters
        ----------
        folder : str or path
            Gets ``report.html`` (opens in any browser, without network), ``particles.parquet``
            (`table`), ``images.arrow`` (the particle table), ``pipeline.joblib`` (`model` and
            `models`), ``survey.json`` (`record`, `maps` and `histories`), and pictures in
            ``figures``.

        Returns
        -------
        path : Path
            Of ``report.html``.

        Raises
        ------
        ImportError
            Where bokeh is not installed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # The last to be written: without it nothing here counts as finished, so files of an
        # earlier survey are never shown together with those of this one.
        (folder / FOUND).unlink(missing_ok=True)
        tidy(folder / IMAGES)
        save_particles(self.particles, folder / IMAGES)
        with rewriting(folder / TABLE) as part:
            plain_columns(self.table).to_parquet(part)
        with rewriting(folder / MODELS) as part:
            joblib.dump({"model": self.model, **self.models}, part)
        found = {
            "maps": self.maps,
            "record": self.record,
            "histories": {k: h.to_dict(orient="list") for k, h in self.histories.items()},
        }
        with rewriting(folder / FOUND) as part:
            Path(part).write_text(json.dumps(found, indent=1, default=_jsonable))
        return write_pages(folder)


def write_pages(folder):
    """Write report and pictures of a survey's folder anew from the files in it.

    Parameters
    ----------
    folder : str or path
        As `Survey.write_report` left it.

    Returns
    -------
    path : Path
        Of ``report.html``.
    """
    folder = Path(folder)
    missing = [name for name in (TABLE, IMAGES, FOUND) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no finished survey: {', '.join(missing)} is missing. Name the "
            "folder given to --out, or run the survey again: it goes on where it was stopped."
        )
    table = _read(folder / TABLE, pd.read_parquet)
    particles = load_particles(folder / IMAGES)
    found = _read(folder / FOUND, lambda path: _record(json.loads(path.read_text())))
    if table.index.tolist() != particles.index.tolist():
        raise ValueError(
            f"{TABLE} and {IMAGES} in {str(folder)!r} are of different particles. Run the survey "
            "again: it goes on from what it kept."
        )
    histories = found["histories"]
    kept = np.flatnonzero(table["kept"].to_numpy(dtype=bool))
    images = read_table(particles).gather(kept)
    shown = table.iloc[kept]
    maps = {name: tuple(columns) for name, columns in found["maps"].items()}
    scalars = [name for name in particles if name in shown]
    write_figures(folder / "figures", shown, images, maps, histories, scalars)
    return write_report(
        folder, shown, images, maps=maps, histories=histories, record=found["record"]
    )


def _read(path: Path, function):
    """Return what `function` reads, or raise an error that names the file."""
    try:
        return function(path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or was not written by a survey ({type(error).__name__}: "
            f"{str(error)[:200]}). Run the survey again: it goes on from what it kept."
        ) from error


def _record(found: dict) -> dict:
    histories = {name: pd.DataFrame(rows) for name, rows in found["histories"].items()}
    return {"maps": dict(found["maps"]), "record": dict(found["record"]), "histories": histories}


def particle_id(index) -> str:
    """Return run and id of a row of a particle table, or what its index holds."""
    return " ".join(map(str, index[:2])) if isinstance(index, tuple) else str(index)


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {name: version(name) for name in PACKAGES}


def plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Turn columns of objects of several types, which Parquet cannot hold, into text."""
    mixed = {
        name: column.map(str, na_action="ignore")
        for name, column in table.items()
        if column.dtype == object and column.dropna().map(type).nunique() > 1
    }
    return table.assign(**mixed)


def _jsonable(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
