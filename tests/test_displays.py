"""Displays draw what they are given: numbers of pictures, texts, orders; and refuse the rest."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import make_table
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from icecore_sk.plotting import (
    CategoryDisplay,
    LossCurveDisplay,
    MapAreaDisplay,
    OutlierDisplay,
    PredictionDisplay,
    ReconstructionDisplay,
)

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    mpl.pyplot.close("all")


@pytest.fixture(scope="module")
def particles():
    """40 images of 6x9, each of one grey: dark ones of class "a", bright ones of class "b"."""
    rng = np.random.RandomState(0)
    y = np.array(["a", "b"])[np.arange(40) % 4 // 3]
    grey = np.where(y == "a", 50, 200) + rng.randint(-20, 20, size=40)
    images = np.broadcast_to(grey[:, None, None], (40, 6, 9)).astype(np.uint8)
    return images, y, pd.DataFrame({"Grey": grey * 1.0, "Twice": grey * 2.0, "Noise": rng.rand(40)})


def pictures(ax):
    return [image.get_array() for image in ax.get_images()]


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def as_forms(images):
    """The forms in which images come, and what to pass with each."""
    n, height, width = images.shape
    colour = np.repeat(images[:, None], 3, axis=1)
    return {
        "grey": (images, {}),
        "float": (images / 255.0, {}),
        "colour": (colour, {}),
        "table": (make_table(images, area=np.full(n, np.nan)), {}),
        "rows": (images.reshape(n, -1), {"image_shape": (1, height, width)}),
    }


@pytest.mark.parametrize("form", ["grey", "float", "colour", "table", "rows"])
def test_every_form_of_images_is_drawn_alike_and_upright(form):
    images = np.zeros((2, 4, 6), np.uint8)
    images[:, 0] = 255  # the top row
    X, options = as_forms(images)[form]
    table = pd.DataFrame({"score": [-1.0, -2.0], "reason": ["", "x"]})
    ax = OutlierDisplay.from_predictions(table, X, **options).ax_
    for image in ax.get_images():
        drawn = np.asarray(image.get_array())
        drawn = drawn if drawn.ndim == 2 else drawn.mean(axis=2)
        np.testing.assert_allclose(drawn, images[0] / 255.0)
        left, right, bottom, top = image.get_extent()
        assert (right - left) / abs(top - bottom) == pytest.approx(6 / 4)
        # Row 0 lies at `top`, which these axes, counting downwards, draw above `bottom`.
        assert ax.transData.transform((0, top))[1] > ax.transData.transform((0, bottom))[1]


def test_images_beyond_0_to_1_are_scaled_together():
    table = pd.DataFrame({"score": [-2.0, -1.0], "reason": ["", ""]})
    images = np.stack([np.full((4, 4), -3.0), np.full((4, 4), 5.0)])
    first, second = pictures(OutlierDisplay.from_predictions(table, images).ax_)
    assert (first == 0).all()
    assert (second == 1).all()


# ---------------------------------------------------------------- loss curves


def history(**columns):
    return pd.DataFrame({"epoch": [1, 2, 3], "lr": [1e-3] * 3, "seconds": [1.0] * 3, **columns})


VAE_HISTORY = history(
    train_loss=[9.0, 8.0, 7.0],
    valid_loss=[9.5, 8.5, 8.0],
    reconstruction=[8.0, 6.0, 4.0],
    valid_reconstruction=[8.5, 6.5, 5.0],
    kl=[1.0, 2.0, 3.0],
    active_units=[0, 2, 4],
)


def test_loss_curves_of_one_model():
    display = LossCurveDisplay.from_predictions(VAE_HISTORY, title="a model")
    assert display.panels_ == ["loss", "reconstruction", "kl", "active_units"]
    assert [len(ax.lines) for ax in display.axes_] == [2, 2, 1, 1]
    assert display.ax_ is display.axes_[0]
    np.testing.assert_array_equal(display.axes_[2].lines[0].get_ydata(), [1, 2, 3])
    legend = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert legend == ["train", "valid"]
    assert display.figure_.get_suptitle() == "a model"


def test_loss_curves_of_several_models_share_panels():
    without_validation = history(train_loss=[5.0, 4.0, 3.0], valid_loss=[np.nan] * 3)
    histories = {"VAE": VAE_HISTORY, "AE": without_validation, "third": without_validation}
    display = LossCurveDisplay.from_predictions(histories)
    assert [len(ax.lines) for ax in display.axes_] == [4, 2, 1, 1]
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "VAE, train", "VAE, valid", "AE, train", "third, train",
    ]  # fmt: skip


class Trained(FunctionTransformer):
    history_ = VAE_HISTORY


def test_loss_curves_find_the_network_in_a_pipeline():
    pipeline = make_pipeline(FunctionTransformer(), Trained(), PCA(2))
    display = LossCurveDisplay.from_estimator(pipeline)
    assert list(display.histories) == ["Trained"]
    with pytest.raises(ValueError, match="PCA has no history_"):
        LossCurveDisplay.from_estimator(PCA())


def test_loss_curves_in_place_of_given_axes():
    figure, (left, right) = mpl.pyplot.subplots(1, 2)
    display = LossCurveDisplay.from_predictions(VAE_HISTORY, ax=right)
    assert display.figure_ is figure
    assert all(ax.get_position().x0 > left.get_position().x1 for ax in display.axes_)


def test_loss_curves_refuse_nonsense():
    with pytest.raises(TypeError, match="history of 'model' is a list; expected a DataFrame"):
        LossCurveDisplay.from_predictions([1, 2])
    with pytest.raises(ValueError, match="history of 'x' has 3 epochs and the columns"):
        LossCurveDisplay.from_predictions({"x": history()})
    with pytest.raises(ValueError, match="histories is empty"):
        LossCurveDisplay.from_predictions({})


# ---------------------------------------------------------------- reconstructions


class Darker:
    """Reconstructs every image darker, the bright ones the more."""

    def reconstruct(self, X):
        return X / 255.0 / 2


class Scored(Darker):
    """Its loss is the brightness, not the squared error."""

    def score_samples(self, X):
        return -X.mean(axis=(1, 2))


def test_reconstructions_stand_below_their_originals(particles):
    images, _, _ = particles
    ax = ReconstructionDisplay.from_estimator(Darker(), images, n_images=5, order="worst").ax_
    worst = np.sort(images[:, 0, 0])[::-1][:5] / 255.0
    drawn = [picture[0, 0] for picture in pictures(ax)]
    np.testing.assert_allclose(drawn[:5], worst, rtol=1e-6)
    np.testing.assert_allclose(drawn[5:], worst / 2, rtol=1e-6)
    centres = [np.mean(image.get_extent()[:2]) for image in ax.get_images()]
    np.testing.assert_allclose(centres[:5], centres[5:])
    assert {"original", "reconstruction", "squared error"} <= set(texts(ax))
    assert f"{(worst[0] / 2) ** 2:.3g}" in texts(ax)


def test_reconstructions_take_the_loss_of_the_estimator_and_the_images_it_sees(particles):
    images, _, _ = particles
    inverted = make_pipeline(FunctionTransformer(lambda X: 255 - X), Scored())
    display = ReconstructionDisplay.from_estimator(inverted, images, n_images=3, order="best")
    assert (
        display.rows.tolist()
        == np.argsort(-images[:, 0, 0].astype(int), kind="stable")[:3].tolist()
    )
    np.testing.assert_allclose(display.losses, 255.0 - images[display.rows, 0, 0])
    assert "loss" in texts(display.ax_)


def test_random_reconstructions_follow_the_seed(particles):
    images, _, _ = particles
    chosen = [
        ReconstructionDisplay.from_estimator(
            Scored(), images, n_images=4, random_state=seed
        ).rows.tolist()
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_reconstructions_refuse_nonsense(particles):
    images, _, _ = particles
    draw = ReconstructionDisplay.from_predictions
    with pytest.raises(ValueError, match="order='good' must be one of"):
        draw(images, images, order="good")
    with pytest.raises(ValueError, match="n_images=0 must be at least 1"):
        draw(images, images, n_images=0)
    with pytest.raises(ValueError, match=r"shape \(40, 1, 6, 9\), but reconstructions of"):
        draw(images, images[:, :5])
    with pytest.raises(ValueError, match="losses has 2 rows; expected 40"):
        draw(images, images, [1.0, 2.0])
    with pytest.raises(TypeError, match="PCA has no method reconstruct"):
        ReconstructionDisplay.from_estimator(PCA(), images)


# ---------------------------------------------------------------- outliers


class Scorer:
    def __init__(self, table):
        self.table = table

    def explain(self, X):
        return self.table


def test_outliers_the_most_unusual_first_with_their_reasons(particles):
    images, _, _ = particles
    index = pd.MultiIndex.from_arrays(
        [["run"] * 40, [f"p{i}" for i in range(40)]], names=["run", "id"]
    )
    reason = "circularity 0.21 where its 20 nearest have 0.93 (8.1 robust sd) and so on " * 2
    table = pd.DataFrame({"score": np.arange(40.0), "reason": [reason] * 39 + [""]}, index=index)
    X = make_table(images)
    display = OutlierDisplay.from_estimator(Scorer(table[::-1]), X, n_outliers=3)
    assert display.rows_.tolist() == [39, 38, 37]
    assert len(pictures(display.ax_)) == 3
    names, reasons = texts(display.ax_)[::3], texts(display.ax_)[2::3]
    assert names == ["1. p0", "2. p1", "3. p2"]
    assert all("\n" in words for words in reasons)
    assert reasons[0].replace("\n", " ").startswith("circularity 0.21 where its 20 nearest")
    inlier = OutlierDisplay.from_predictions(table[-1:], images[:1])
    assert "within the usual" in texts(inlier.ax_)


def test_a_reason_that_is_too_long_ends_in_dots(particles):
    table = pd.DataFrame({"score": [0.0], "reason": ["far from everything " * 60]})
    words = texts(OutlierDisplay.from_predictions(table, particles[0][:1]).ax_)[2]
    assert words.endswith(" ...")


def test_outliers_refuse_nonsense(particles):
    images, _, _ = particles
    table = pd.DataFrame({"score": [0.0], "reason": [""]})
    draw = OutlierDisplay.from_predictions
    with pytest.raises(TypeError, match="table is a list; expected a DataFrame"):
        draw([1], images)
    with pytest.raises(ValueError, match="table has no column 'reason'"):
        draw(table[["score"]], images[:1])
    with pytest.raises(ValueError, match="images has 40 rows; expected 1"):
        draw(table, images)
    with pytest.raises(ValueError, match="n_outliers=0 and n_columns=2 must be"):
        draw(table, images[:1], n_outliers=0)
    with pytest.raises(ValueError, match="X has no images; pass those"):
        OutlierDisplay.from_estimator(Scorer(table), np.zeros((1, 3)))
    with pytest.raises(
        ValueError, match=r"images has no images: it is a ndarray of shape \(1, 3\)"
    ):
        draw(table, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="images has images of 5 channels; expected 1"):
        draw(table, np.zeros((1, 5, 8, 8)), image_shape=(5, 8, 8))
    with pytest.raises(ValueError, match="to be drawn contain NaN"):
        draw(table, np.full((1, 8, 8), np.nan))


# ---------------------------------------------------------------- areas of a map


def test_areas_are_boxes_polygons_masks_or_labels(particles):
    images, y, scalars = particles
    Z = np.column_stack([np.arange(40.0), np.zeros(40)])
    areas = {
        "box": [[10.5, 1], [3.5, -1]],
        "triangle": [[19.5, -1], [25.5, -1], [22, 5]],
        "mask": y == "b",
    }
    display = MapAreaDisplay.from_predictions(Z, areas, images=images, scalars=scalars, n_images=4)
    assert np.flatnonzero(display.areas["box"]).tolist() == list(range(4, 11))
    assert np.flatnonzero(display.areas["triangle"]).tolist() == [20, 21, 22, 23, 24]
    assert (display.areas["mask"] == (y == "b")).all()
    assert texts(display.ax_) == ["box", "triangle", "mask"]
    assert display.axes_.shape == (3, 4)
    for name, row in zip(areas, display.axes_, strict=True):
        drawn = [round(255 * float(p[0, 0])) for p in pictures(row[0])]
        assert drawn == images[display.rows_[name], 0, 0].tolist()
        assert display.areas[name][display.rows_[name]].all()
        assert row[0].get_title(loc="left").startswith(f"{name}: ")
    named = MapAreaDisplay.from_predictions(Z, list(areas.values()), images=images)
    assert list(named.areas) == ["A", "B", "C"]
    by_label = MapAreaDisplay.from_predictions(Z, np.where(y == "a", 3, -1), images=images)
    assert {name: int(mask.sum()) for name, mask in by_label.areas.items()} == {3: 30}


def test_the_scalars_that_differ_most_are_drawn_once(particles):
    _, y, scalars = particles
    Z = scalars[["Grey", "Noise"]].to_numpy()
    display = MapAreaDisplay.from_predictions(Z, {"bright": y == "b"}, scalars=scalars)
    drawn, other, nothing = display.axes_[0]
    median, others = scalars["Grey"][y == "b"].median(), scalars["Grey"][y == "a"].median()
    assert drawn.get_title() == f"Grey\n{median:.3g} (others {others:.3g})"
    assert other.get_title().startswith("Noise")
    assert not nothing.axison  # "Twice" says the same as "Grey"
    shares = [patch.get_height() for patch in drawn.patches if isinstance(patch, Rectangle)]
    assert sum(shares) == pytest.approx(1)  # of the others, in grey


def test_areas_come_from_a_particle_table(particles):
    images, y, scalars = particles
    X = make_table(images, **{name: scalars[name].to_numpy() for name in scalars})
    to_map = FunctionTransformer(lambda X: X[["Grey", "Noise"]].to_numpy())
    display = MapAreaDisplay.from_estimator(to_map.fit(X), X, y)
    assert set(display.areas) == {"a", "b"}
    assert display.table_.loc["b"].index[0] == "Grey"
    assert len(pictures(display.axes_[0, 0])) == 18


def test_areas_refuse_nonsense(particles):
    images, y, scalars = particles
    Z = scalars[["Grey", "Noise"]].to_numpy()
    draw = MapAreaDisplay.from_predictions
    with pytest.raises(ValueError, match="images and scalars are both None"):
        draw(Z, y)
    with pytest.raises(ValueError, match=r"areas\['far'\] has no particle in it. The map reaches"):
        draw(Z, {"far": [[900, 900], [999, 999]]}, images=images)
    with pytest.raises(ValueError, match=r"areas\['A'\] has dtype float64 and shape \(3,\)"):
        draw(Z, [[1.5, 2.5, 3.5]], images=images)
    with pytest.raises(ValueError, match="areas is empty"):
        draw(Z, {}, images=images)
    with pytest.raises(ValueError, match="groups has 3 rows; expected 40"):
        draw(Z, [1, 2, 3], images=images)
    with pytest.raises(ValueError, match="coordinates has 3 columns; expected 2"):
        draw(np.zeros((40, 3)), y, images=images)


# ---------------------------------------------------------------- categories


def test_categories_the_largest_first_from_the_medoid_outwards(particles):
    images, y, scalars = particles
    groups = np.where(y == "a", 0, 5)
    groups[:2] = -1
    Z = scalars[["Grey"]].to_numpy()
    display = CategoryDisplay.from_predictions(
        Z, groups, images, scalars=scalars, n_images=6, title="categories"
    )
    assert display.sizes_ == {0: 28, 5: 10, "noise": 2}
    assert [len(rows) for rows in display.rows_.values()] == [7, 7]
    drawn = [round(255 * float(p[0, 0])) for p in pictures(display.ax_)]
    assert drawn == images[np.concatenate(list(display.rows_.values())), 0, 0].tolist()
    words = texts(display.ax_)
    assert words[:2] == ["0", "28 particles\n70.0%"]
    assert words[2].startswith("Grey ")
    assert words[2].splitlines()[0] == display.table_.loc[0, "words"].iloc[0]
    assert "Twice" not in words[2]
    assert words[-1] == "not shown, of 40 particles: noise: 2"
    only = CategoryDisplay.from_predictions(Z, groups, images, n_groups=1)
    assert texts(only.ax_)[-1] == "not shown, of 40 particles: 1 smaller categories: 10, noise: 2"


def test_groups_may_be_true_and_false(particles):
    images, y, scalars = particles
    Z = scalars[["Grey", "Grey"]].to_numpy()
    display = CategoryDisplay.from_predictions(Z, y == "a", images, scalars=scalars)
    assert list(display.sizes_) == [True, False]
    assert any(words.startswith("Grey ") for words in texts(display.ax_))
    areas = MapAreaDisplay.from_predictions(Z, y == "a", images=images, scalars=scalars)
    assert set(areas.areas) == {True, False}


def test_long_names_without_spaces_are_cut_not_dropped():
    y = np.repeat(["Melosira_granulata", "Quercus_robur_pollen"], 5)
    images = np.zeros((10, 4, 4), np.uint8)
    display = PredictionDisplay.from_predictions(y, y[::-1], images)
    ticks = [tick.get_text() for tick in display.axes_[0].get_xticklabels()]
    assert ticks == ["Melosira_gran...", "Quercus_robur..."]
    alike = np.repeat(["Melosira_granulata", "Melosira_granulosa"], 5)
    display = PredictionDisplay.from_predictions(alike, alike[::-1], images)
    ticks = [tick.get_text() for tick in display.axes_[0].get_xticklabels()]
    assert ticks == ["Melosira_granulata", "Melosira_granulosa"]


def test_categories_of_a_pipeline(particles):
    images, _, _ = particles
    flat = FunctionTransformer(lambda X: X.reshape(len(X), -1).astype(float))
    pipeline = make_pipeline(flat, KMeans(2, random_state=0)).fit(images)
    display = CategoryDisplay.from_estimator(pipeline, images, n_images=2)
    assert sorted(display.sizes_.values()) == [10, 30]
    assert display.Z.shape == (40, 54)
    assert display.table_ is None


def test_categories_refuse_nonsense(particles):
    images, y, scalars = particles
    Z = scalars[["Grey"]].to_numpy()
    draw = CategoryDisplay.from_predictions
    with pytest.raises(ValueError, match="groups has 3 rows; expected 40"):
        draw(Z, [1, 2, 3], images)
    with pytest.raises(ValueError, match="every label is missing or noise"):
        draw(Z, np.full(40, -1), images)
    with pytest.raises(TypeError, match="scalars is a ndarray; expected a DataFrame"):
        draw(Z, y, images, scalars=Z)
    with pytest.raises(ValueError, match="X has no images; pass those"):
        CategoryDisplay.from_estimator(KMeans(2).fit(Z), Z)


# ---------------------------------------------------------------- predictions


def test_the_surest_mistakes_come_first(particles):
    images, y, _ = particles
    guess, sure = y.copy(), np.linspace(0.99, 0.6, 40)
    guess[[4, 9, 20]] = ["b", "b", "b"]
    sure[[4, 9, 20]] = [0.7, 0.95, 0.8]
    truth = y.astype(object)
    truth[[0, 1]] = [None, np.nan]
    display = PredictionDisplay.from_predictions(
        truth, guess, images, confidence=sure, n_images=5, title="mistakes"
    )
    assert display.rows_.tolist() == [9, 20, 4, 39, 38]
    assert display.n_mistakes_ == 3
    matrix, grid = display.axes_
    assert display.ax_ is matrix
    assert [text.get_text() for text in matrix.texts] == ["25", "3", "0", "10"]
    assert matrix.get_title() == "2 without a true label left out"
    assert grid.get_title(loc="left") == "3 of 38 mistaken"
    assert texts(grid)[:2] == ["a", "b 95%"]
    frames = [patch.get_edgecolor() for patch in grid.patches]
    assert len(frames) == len(pictures(grid)) == 5
    assert frames[0] == frames[2] != frames[3] == frames[4]


def test_predictions_of_an_estimator_and_of_no_class(particles):
    images, y, _ = particles
    X = images.reshape(40, -1)
    tree = DecisionTreeClassifier(max_depth=1, random_state=0).fit(X, y)
    display = PredictionDisplay.from_estimator(tree, X, y, image_shape=(1, 6, 9), n_images=3)
    assert display.n_mistakes_ == 0
    assert texts(display.axes_[1])[1].endswith("100%")
    none = PredictionDisplay.from_predictions([0, 1, 1], [0, -1, 1], images[:3])
    labels = [text.get_text() for text in none.axes_[0].get_xticklabels()]
    assert labels == ["0", "1", "none"]


def test_predictions_refuse_nonsense(particles):
    images, y, _ = particles
    draw = PredictionDisplay.from_predictions
    with pytest.raises(ValueError, match="y_pred has 2 rows; expected 40"):
        draw(y, y[:2], images)
    with pytest.raises(ValueError, match="y_true has no label"):
        draw([None] * 40, y, images)


def test_pictures_are_images_not_axes(particles):
    """Two hundred pictures are drawn in a second, which as many axes are not."""
    images, y, _ = particles
    display = CategoryDisplay.from_predictions(np.arange(40.0)[:, None], y, images)
    assert len(display.figure_.axes) == 1
    assert all(isinstance(image, AxesImage) for image in display.ax_.get_images())
