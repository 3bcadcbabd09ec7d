"""The bokeh figures of the report: two maps, and curves of training."""

import numpy as np
import pandas as pd

from icecore_sk.plotting.particle_map import COLOURS

# Above this many particles the graphics processor draws a map. Below, a canvas is as fast, and
# faster where there is none.
WEBGL_ABOVE = 20_000
# Curves that belong into one figure: heading, columns of a history, what they tell.
CURVES = (
    (
        "Loss",
        ("train_loss", "valid_loss"),
        "What training minimises, by epoch. A validation curve that rises while the training curve "
        "falls means overfitting.",
    ),
    (
        "KL divergence (nats)",
        ("kl", "valid_kl"),
        "How much the latent space tells of an image. Near zero the model ignores its latent space "
        "(collapse); a sudden rise to many times its level means that training broke loose.",
    ),
)
CURVE_NAMES = {
    "train_loss": "training",
    "valid_loss": "validation",
    "kl": "training",
    "valid_kl": "validation",
}


def map_figure(panel: int, n: int):
    """Return an empty map; the page's script fills it and wires it to the other one.

    Parameters
    ----------
    panel : int
        0 or 1; models are named by it.
    n : int
        Number of particles, on which the way of drawing depends.
    """
    from bokeh.models import ColumnDataSource, CustomJS, Range1d
    from bokeh.plotting import figure

    plot = figure(
        name=f"plot-{panel}",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        tools=[],
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_border=0,
        output_backend="webgl" if n > WEBGL_ABOVE else "canvas",
        outline_line_color=None,
        background_fill_color="#ffffff",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    empty: dict[str, list] = {"x": [], "y": [], "colour": [], "marker": []}
    points = ColumnDataSource(empty, name=f"points-{panel}")
    # As in ParticleMapDisplay: smaller and lighter as they grow more.
    alpha = float(np.clip(2_000 / n, 0.45, 0.85))
    renderer = plot.scatter(
        "x",
        "y",
        source=points,
        size=float(np.clip(420 / np.sqrt(n), 3, 8)),
        marker="marker",
        fill_color="colour",
        line_color=None,
        alpha=alpha,
        nonselection_alpha=0.14,
        selection_alpha=0.95,
        name=f"renderer-{panel}",
    )
    _add_ring(plot, panel)
    _add_tools(plot, panel, renderer)
    points.selected.js_on_change(
        "indices", CustomJS(code=f"icecore.selectedOnMap({panel}, cb_obj.indices)")
    )
    for side in ("inner_width", "inner_height"):
        plot.js_on_change(side, CustomJS(code=f"icecore.resized({panel})"))
    return plot


def _add_ring(plot, panel: int) -> None:
    """Add the ring that shows where one particle is: dark on light, seen on any colour."""
    from bokeh.models import ColumnDataSource

    empty: dict[str, list] = {"x": [], "y": []}
    ring = ColumnDataSource(empty, name=f"ring-{panel}")
    for colour, width in (("white", 6), ("black", 2.5)):
        plot.scatter(
            "x", "y", source=ring, size=20, fill_color=None, line_color=colour, line_width=width
        )


def _add_tools(plot, panel: int, renderer) -> None:
    from bokeh.models import (
        BoxSelectTool,
        CustomJS,
        HoverTool,
        LassoSelectTool,
        PanTool,
        TapTool,
        WheelZoomTool,
    )

    only = [renderer]
    tools = {
        # Not while the mouse moves: grid and histograms would be made anew at each step.
        "lasso": LassoSelectTool(renderers=only, continuous=False),
        "box": BoxSelectTool(renderers=only, continuous=False),
        "move": PanTool(),
        "wheel": WheelZoomTool(),
        "tap": TapTool(renderers=only),
        "hover": HoverTool(
            renderers=only,
            tooltips=None,
            callback=CustomJS(code=f"icecore.hovered({panel}, cb_data)"),
        ),
    }
    for name, tool in tools.items():
        tool.name = f"{name}-{panel}"
        plot.add_tools(tool)
    plot.toolbar.active_drag = tools["lasso"]
    plot.toolbar.active_scroll = None


def training_figures(history: pd.DataFrame) -> list[dict]:
    """Return a figure for each kind of curve that a `history_` has, with what it tells."""
    made = []
    for heading, columns, meaning in CURVES:
        present = [name for name in columns if name in history and history[name].notna().any()]
        if present:
            plot = _curve_figure(history, present)
            made.append({"heading": heading, "meaning": meaning, "figure": plot})
    return made


def _curve_figure(history: pd.DataFrame, columns: list[str]):
    from bokeh.models import BasicTicker, HoverTool
    from bokeh.plotting import figure

    plot = figure(
        height=240,
        sizing_mode="stretch_width",
        tools=[],
        toolbar_location=None,
        x_axis_label="epoch",
        min_border=4,
    )
    for number, name in enumerate(columns):
        colour, dash = ((COLOURS[0], "solid"), (COLOURS[6], "dashed"))[number]
        values = history[name].to_numpy(float)
        label = CURVE_NAMES[name]
        plot.line(
            history["epoch"],
            values,
            line_width=2,
            line_dash=dash,
            color=colour,
            legend_label=label,
        )
        dots = plot.scatter(history["epoch"], values, size=5, color=colour, legend_label=label)
        tips = [("epoch", "@x"), (label, "@y{0.[000]}")]
        plot.add_tools(HoverTool(renderers=[dots], tooltips=tips))
    plot.legend.background_fill_alpha = 0.7
    plot.legend.border_line_color = None
    # There are no halves of an epoch.
    plot.xaxis.ticker = BasicTicker(desired_num_ticks=6, min_interval=1)
    return plot
