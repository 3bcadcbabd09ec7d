"""How training went: loss, reconstruction, KL and active units over the epochs."""

import numpy as np
import pandas as pd

from icecore_sk.plotting._pictures import find_step, split_axes
from icecore_sk.plotting.particle_map import COLOURS

# Columns of a history that are no curve.
NO_CURVES = ("epoch", "lr", "seconds")
TITLES = {"kl": "KL divergence", "active_units": "active units", "lr": "learning rate"}
STYLES = {"train": "-", "valid": "--"}
# Of train and valid where there is one model, and else of the models: dark ones first.
MODEL_COLOURS = tuple(COLOURS[k] for k in (0, 6, 3, 5, 8, 1, 4, 7, 2, 9))


class LossCurveDisplay:
    """Loss, reconstruction error, KL divergence and active units over the epochs.

    Each has its own panel, as far as a history has it. The two ways in which a VAE goes wrong show
    in the panel of the KL: it explodes, or it goes to 0 and the active units with it.

    Use `from_estimator` or, for several models, `from_predictions`.

    Parameters
    ----------
    histories : dict
        DataFrames by name of the model: a row per epoch, with the columns of the estimators'
        ``history_``. Columns named train_* and valid_*, or without and with valid_*, share a panel.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One for each of `panels_`.
    ax_ : matplotlib Axes
        The first of them.
    panels_ : list of str
        What the panels show: "loss", "reconstruction", "kl", "active_units", "accuracy", ...
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import pandas as pd
    >>> from icecore_sk.plotting import LossCurveDisplay
    >>> history = pd.DataFrame({"train_loss": [3.0, 2.0], "valid_loss": [3.1, 2.5], "kl": [0, 1]})
    >>> display = LossCurveDisplay.from_predictions(history)
    >>> display.panels_
    ['loss', 'kl']
    >>> _ = display.plot(title="two epochs")

    Of a fitted network:

    >>> from icecore_sk import AutoEncoder
    >>> from icecore_sk.datasets import load_digit_images
    >>> model = AutoEncoder(4, max_epochs=1, random_state=0).fit(load_digit_images().data[:50])
    >>> LossCurveDisplay.from_estimator(model).panels_
    ['loss', 'reconstruction']
    """

    def __init__(self, histories):
        self.histories = histories

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, title=None):
        """Draw the ``history_`` of a fitted network.

        Parameters
        ----------
        estimator : fitted estimator
            Anything with `history_`, or a Pipeline with such a step.
        name : str or None, default=None
            Name of the model; None takes its class.
        ax, title
            As in `plot`.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            Where there is no `history_`.
        """
        step, _ = find_step(estimator, None, "history_")
        if not hasattr(step, "history_"):
            raise ValueError(
                f"{type(estimator).__name__} has no history_. Fit it first, or pass a network or a "
                "Pipeline with one."
            )
        name = type(step).__name__ if name is None else name
        return cls.from_predictions({name: step.history_}, ax=ax, title=title)

    @classmethod
    def from_predictions(cls, histories, *, ax=None, title=None):
        """Draw one history, or several models to compare.

        Parameters
        ----------
        histories : DataFrame, or dict of DataFrames by name
            What the estimators have as ``history_``.
        ax, title
            As in `plot`.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        TypeError
            Where a history is no DataFrame.
        ValueError
            Where one has no epoch or no curve, or there is none.
        """
        if not hasattr(histories, "items") or isinstance(histories, pd.DataFrame):
            histories = {"model": histories}
        if not histories:
            raise ValueError("histories is empty; pass at least one history_ of a fitted network.")
        for name, history in histories.items():
            if not isinstance(history, pd.DataFrame):
                raise TypeError(
                    f"The history of {name!r} is a {type(history).__name__}; expected a DataFrame "
                    "with a row per epoch, such as history_ of a fitted network."
                )
            if not len(history) or not curves_of(history):
                raise ValueError(
                    f"The history of {name!r} has {len(history)} epochs and the columns "
                    f"{list(history.columns)}; expected at least one epoch of a loss."
                )
        return cls(dict(histories)).plot(ax=ax, title=title)

    def plot(self, *, ax=None, title=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes in whose place the panels are drawn; None makes a figure.
        title : str or None, default=None

        Returns
        -------
        self : LossCurveDisplay
        """
        curves = {name: curves_of(history) for name, history in self.histories.items()}
        self.panels_ = list(dict.fromkeys(panel for one in curves.values() for panel in one))
        n_columns = min(len(self.panels_), 3 if len(self.panels_) != 4 else 2)
        n_rows = -(-len(self.panels_) // n_columns)
        size = (3.4 * n_columns + 0.4, 2.7 * n_rows + 0.3)
        self.figure_, grid = split_axes(ax, (n_rows, n_columns), size)
        self.axes_ = np.array(
            [
                self.figure_.add_subplot(grid[k // n_columns, k % n_columns])
                for k in range(len(self.panels_))
            ],
            dtype=object,
        )
        self.ax_ = self.axes_[0]
        for panel, axes in zip(self.panels_, self.axes_, strict=True):
            self._plot_panel(
                axes, panel, {name: one.get(panel, {}) for name, one in curves.items()}
            )
        self._plot_legend()
        if title is not None:
            self.figure_.suptitle(title) if ax is None else ax.set_title(title)
        return self

    def _plot_panel(self, axes, panel: str, curves: dict) -> None:
        for k, (name, parts) in enumerate(curves.items()):
            for part, column in parts.items():
                history = self.histories[name]
                epochs = history.get("epoch", pd.Series(np.arange(1, len(history) + 1)))
                colour = k % len(MODEL_COLOURS) if len(curves) > 1 else int(part == "valid")
                axes.plot(
                    epochs.to_numpy(),
                    history[column].to_numpy(dtype=float),
                    ls=STYLES[part],
                    color=MODEL_COLOURS[colour],
                    marker="o" if len(history) < 15 else None,
                    ms=3,
                    label=part if len(curves) == 1 else f"{name}, {part}",
                )
        axes.set_title(TITLES.get(panel, panel.replace("_", " ")), fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=panel == "active_units")
        axes.grid(alpha=0.3, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)

    def _plot_legend(self) -> None:
        """Explain the lines once: in the first panel that has all of them."""
        handles: dict = {}
        for axes in self.axes_:
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, line)
        if len(self.histories) > 2:
            labels, lines = zip(*handles.items(), strict=True)
            place = {"loc": "outside lower center", "ncols": min(4, len(lines))}
            self.figure_.legend(lines, labels, frameon=False, fontsize=8, **place)
        else:
            self.axes_[0].legend(handles.values(), handles, fontsize=8)


def curves_of(history: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the columns that are drawn: by panel, and in it as "train" or "valid"."""
    curves: dict[str, dict[str, str]] = {}
    for column in history.columns:
        numeric = pd.api.types.is_numeric_dtype(history[column].dtype)
        if column in NO_CURVES or not numeric or history[column].isna().all():
            continue
        part = "valid" if str(column).startswith("valid_") else "train"
        curves.setdefault(str(column).removeprefix(f"{part}_"), {})[part] = column
    return curves
