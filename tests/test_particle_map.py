"""The map: what is drawn in which colour, what is counted, and where thumbnails stand."""

import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from icecore_sk.plotting import ParticleMapDisplay
from icecore_sk.plotting._points import middle_of, spread_rows
from icecore_sk.plotting.particle_map import COLOURS, MISSING_COLOUR, NOISE_COLOUR

mpl.use("Agg")

draw = ParticleMapDisplay.from_predictions


@pytest.fixture(autouse=True)
def close_figures():
    yield
    mpl.pyplot.close("all")


def drawn_colours(ax):
    """Colour of each point, by its position."""
    colours = {}
    for points in ax.collections:
        faces = np.resize(points.get_facecolors(), (len(points.get_offsets()), 4))
        for place, face in zip(points.get_offsets(), faces, strict=True):
            colours[tuple(np.asarray(place))] = mpl.colors.to_hex(face[:3]).upper()
    return colours


def legend(holder):
    return [text.get_text() for text in holder.get_texts()]


def line(n):
    return np.column_stack([np.arange(n) * 1.0, np.zeros(n)])


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", np.nan],
        pd.Series(["a", None, "b", None], index=[7, 8, 9, 10]),
        pd.Series(["a", None, "b", None], dtype="category"),
    ],
)
def test_missing_labels_are_a_grey_category_of_their_own(labels):
    display = draw(line(4), labels)
    colours = drawn_colours(display.ax_)
    assert [colours[(x, 0.0)] for x in range(4)] == [
        COLOURS[0].upper(), MISSING_COLOUR, COLOURS[1].upper(), MISSING_COLOUR,
    ]  # fmt: skip
    assert [text.get_text() for text in display.ax_.texts] == ["a", "b", "missing: 2 of 4"]


def test_whole_numbers_with_missing_ones_can_be_categories():
    values = pd.Series([0, 0, -1, None, 5, 5], name="cluster")  # floats, with NaN
    display = draw(line(6), values, kind="category", legend=True)
    entries = display.ax_.get_legend()
    assert legend(entries) == ["0 (2)", "5 (2)", "noise (1)", "missing (1)"]
    assert entries.get_title().get_text() == "cluster"
    assert drawn_colours(display.ax_)[(2.0, 0.0)] == NOISE_COLOUR
    assert draw(line(6), values).kind == "scalar"


def test_names_stand_in_the_map_only_where_they_can_be_read():
    Z = np.repeat([[0.0, 0.0], [100.0, 50.0]], 5, axis=0)
    apart = draw(Z, ["dust"] * 5 + ["pollen"] * 5)
    assert {text.get_text() for text in apart.ax_.texts} == {"dust", "pollen"}
    assert apart.ax_.get_legend() is None
    mixed = draw(line(10), ["dust", "pollen"] * 5)
    assert not mixed.ax_.texts
    assert legend(mixed.ax_.get_legend()) == ["dust (5)", "pollen (5)"]
    assert draw(line(10), ["dust", "pollen"] * 5, legend=False).ax_.get_legend() is None


def test_beyond_forty_categories_the_smallest_are_one():
    values = np.concatenate([np.arange(45), np.arange(40)])
    entries = legend(draw(line(85), values).ax_.get_legend())
    assert entries == [*(f"{k} (2)" for k in range(40)), "5 smaller (5)"]


def test_no_category_covers_the_others():
    """Points of all categories are drawn in one random order, the same each time."""
    Z = np.random.RandomState(0).normal(size=(2000, 2))
    values = np.repeat([0, 1], 1000)
    (points,) = draw(Z, values).ax_.collections
    last = points.get_offsets()[-1000:]
    share = np.isin(last[:, 0], Z[:1000, 0]).mean()
    assert 0.4 < share < 0.6
    (again,) = draw(Z, values).ax_.collections
    np.testing.assert_array_equal(points.get_offsets(), again.get_offsets())


def test_colours_of_a_scalar_survive_heavy_tails_and_missing_values():
    values = np.concatenate([np.linspace(1, 2, 198), [1e6, np.inf], [np.nan]])
    display = draw(line(201), pd.Series(values, name="loss"))
    missing, points = display.ax_.collections
    assert points.norm.vmin == pytest.approx(1, abs=0.02)
    assert points.norm.vmax == pytest.approx(2, abs=0.02)
    assert len(missing.get_offsets()) == 1
    assert [text.get_text() for text in display.ax_.texts] == ["missing: 1 of 201"]
    bar = display.colorbar_
    assert bar.extend == "both"
    assert bar.ax.get_ylabel() == "loss"
    bar = draw(line(300), np.r_[np.zeros(299), 5.0]).colorbar_
    assert (bar.vmin, bar.vmax, bar.extend) == (0, 5, "neither")
    bar = draw(line(1000), np.r_[np.zeros(990), np.arange(1, 11)]).colorbar_
    assert (bar.vmin, bar.vmax, bar.extend) == (0, 10, "neither")


def test_logarithmic_colours():
    points = draw(line(50), np.logspace(0, 6, 50), log=True).ax_.collections[0]
    assert isinstance(points.norm, mpl.colors.LogNorm)
    with pytest.raises(ValueError, match="log=True needs positive values, but 2 are 0 or below"):
        draw(line(3), [0.0, -1.0, 2.0], log=True)


# ---------------------------------------------------------------- thumbnails


def thumbnail_boxes(ax):
    boxes = [image.get_window_extent() for image in ax.get_images()]
    return np.array([[b.x0, b.x1, b.y0, b.y1] for b in boxes])


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (3, 10, 6)])
def test_thumbnails_stand_at_their_particles_and_never_overlap(shape):
    Z = np.random.RandomState(0).normal(size=(500, 2)) * [5, 1]
    images = np.random.RandomState(1).randint(256, size=(500, *shape)).astype(np.uint8)
    display = draw(Z, np.arange(500) % 3, images=images)
    display.figure_.canvas.draw()
    boxes = thumbnail_boxes(display.ax_)
    assert 20 <= len(boxes) == len(display.thumbnails_) <= 60
    centres = np.column_stack([boxes[:, :2].mean(axis=1), boxes[:, 2:].mean(axis=1)])
    expected = display.ax_.transData.transform(Z[display.thumbnails_])
    np.testing.assert_allclose(centres, expected, atol=0.01)
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
    # All of each lies within the axes.
    area = display.ax_.get_window_extent()
    assert boxes[:, 0].min() >= area.x0
    assert boxes[:, 3].max() <= area.y1
    heights, widths = boxes[:, 3] - boxes[:, 2], boxes[:, 1] - boxes[:, 0]
    np.testing.assert_allclose(heights / widths, shape[-2] / shape[-1], rtol=1e-6)
    # With pictures in the map, names stand beside it.
    assert len(legend(display.ax_.get_legend())) == 3


def test_thumbnails_are_framed_in_the_colour_of_their_particle():
    images = np.zeros((3, 5, 5))
    display = draw(line(3) * 100, ["a", None, "b"], images=images)
    frames = [mpl.colors.to_hex(p.get_edgecolor()).upper() for p in display.ax_.patches]
    by_row = dict(zip(display.thumbnails_.tolist(), frames, strict=True))
    assert by_row == {0: COLOURS[0].upper(), 1: MISSING_COLOUR, 2: COLOURS[1].upper()}


def test_thumbnails_spread_over_the_whole_map():
    """Of a dense heap and a few particles far off, all of the far ones are shown."""
    rng = np.random.RandomState(0)
    Z = np.vstack([rng.normal(size=(5000, 2)), [[50, 50], [-50, 50], [50, -50], [-50, -50]]])
    rows = spread_rows(Z, 3.0, 20)
    assert {5000, 5001, 5002, 5003} <= set(rows.tolist())
    gaps = np.abs(Z[rows][:, None] - Z[rows]).max(axis=2) + 1e9 * np.eye(len(rows))
    assert gaps.min() >= 3.0
    assert len(spread_rows(Z, 0.01, 7)) == 7


def test_no_thumbnails():
    display = draw(line(9), images=np.zeros((9, 4, 4)), n_thumbnails=0)
    assert len(display.thumbnails_) == len(display.ax_.get_images()) == 0


# ---------------------------------------------------------------- several maps


def test_compare_draws_maps_side_by_side_with_one_legend():
    rng = np.random.RandomState(0)
    maps = {"t-SNE": rng.normal(size=(60, 2)), "UMAP": rng.normal(size=(60, 2))}
    displays = ParticleMapDisplay.compare(maps, ["a", "b", "c"] * 20)
    assert [display.ax_.get_title() for display in displays.values()] == ["t-SNE", "UMAP"]
    figure = displays["UMAP"].figure_
    assert figure is displays["t-SNE"].figure_
    assert len(figure.legends) == 1
    assert legend(figure.legends[0]) == ["a (20)", "b (20)", "c (20)"]
    assert all(display.ax_.get_legend() is None for display in displays.values())
    colours = [drawn_colours(displays[name].ax_)[tuple(maps[name][1])] for name in maps]
    assert colours == [COLOURS[1].upper()] * 2


def test_compare_draws_one_colour_bar():
    maps = {name: line(60) for name in "abcd"}
    displays = ParticleMapDisplay.compare(maps, np.linspace(0, 1, 60), name="loss", n_columns=2)
    figure = displays["a"].figure_
    assert len(figure.axes) == 5
    assert figure.axes[-1].get_ylabel() == "loss"


def test_map_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="maps=list must be a dict of at least one map"):
        ParticleMapDisplay.compare([line(3)])
    with pytest.raises(ValueError, match="maps have different numbers of rows"):
        ParticleMapDisplay.compare({"a": line(3), "b": line(4)})
    with pytest.raises(ValueError, match="UMAP has 3 columns; expected 2"):
        ParticleMapDisplay.compare({"UMAP": np.zeros((4, 3))})
    with pytest.raises(ValueError, match="images has 2 rows; expected 3"):
        draw(line(3), images=np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="needs numbers, but values has text"):
        draw(line(3), ["a", "b", "c"], kind="scalar")
    with pytest.raises(ValueError, match="legend='no' must be 'auto', True or False"):
        draw(line(3), legend="no")
    with pytest.raises(ValueError, match="thumbnail_size=0 must be a share of the map"):
        draw(line(3), thumbnail_size=0)
    with pytest.raises(ValueError, match="values has no finite number"):
        draw(line(3), [np.nan] * 3)


def test_a_hundred_thousand_points_take_little_time():
    """CPU time, so that a busy machine does not fail it; the goal is 5 s of anyone's time."""
    Z = np.random.RandomState(0).normal(size=(100_000, 2))
    started = time.process_time()
    draw(Z, np.arange(100_000) % 12 - 1).figure_.canvas.draw()
    assert time.process_time() - started < 5


def test_the_middle_of_a_group_in_two_places_is_in_the_larger():
    rng = np.random.RandomState(0)
    large, small = rng.normal(0, 1, size=(60, 2)), rng.normal([30, 0], 1, size=(40, 2))
    middle = middle_of(np.vstack([small, large]))
    assert np.linalg.norm(middle - large.mean(axis=0)) < 0.5


def test_names_with_dollars_are_no_formulas():
    Z = np.random.RandomState(0).normal(size=(60, 2))
    for legend in (True, False):
        names = ["a$_$b", "d$^$", "e"]
        display = ParticleMapDisplay.from_predictions(Z, names * 20, legend=legend)
        display.figure_.canvas.draw()
    shown = {text.get_text() for text in figure_legend(Z, names)}
    assert r"a\$_\$b (20)" in shown


def figure_legend(Z, names):
    return ParticleMapDisplay.from_predictions(Z, names * 20).ax_.get_legend().get_texts()
