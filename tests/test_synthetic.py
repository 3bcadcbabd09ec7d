"""Drawn particles: counts, repeatability, and scalars that mean what they say."""

import random
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score

from icecore_sk.datasets import FLOWCAM_SCALARS, load_particles, make_particles, save_particles
from icecore_sk.datasets.lst import read_lst
from icecore_sk.datasets.measure import FEATURES, measure, scalars_from
from icecore_sk.datasets.shapes import KNOWN, LARGEST, NOVEL, SMALLEST
from icecore_sk.datasets.synthetic import _photograph

SHARES = dict.fromkeys(KNOWN, 1)


@pytest.fixture(scope="module")
def everything():
    """Forty particles of each family, known and novel."""
    n = 40 * len(KNOWN | NOVEL)
    fraction = 40 / n
    return make_particles(
        n, classes=8, weights=SHARES, novel=4, novel_fraction=fraction, random_state=0
    )


def pixels(particles):
    return particles["image"].array.__arrow_array__().combine_chunks().to_numpy_ndarray()


def features_of(mask, grey=None):
    """Return what is measured on a mask, by name, with a border put around it."""
    mask = np.pad(np.asarray(mask, bool), 3)
    grey = np.where(mask, 80, 170).astype(np.uint8) if grey is None else np.pad(grey, 3, "edge")
    return dict(zip(FEATURES, measure(mask, grey), strict=True))


def scalars_of(mask, micrometres=1.0):
    rows = np.array([list(features_of(mask).values())], float)
    return {name: values[0] for name, values in scalars_from(rows, micrometres).items()}


def drawn(method, *args, side=120, **kwargs):
    picture = Image.new("L", (side, side))
    getattr(ImageDraw.Draw(picture), method)(*args, fill=1, **kwargs)
    return np.asarray(picture) > 0


DISC = drawn("ellipse", (10, 10, 110, 110))
SQUARE = drawn("rectangle", (20, 20, 99, 99))
LINE = drawn("line", (5, 60, 114, 60), width=4)


def test_is_a_particle_table_like_a_run(everything):
    X, y = everything
    assert list(X) == ["image", *FLOWCAM_SCALARS]
    assert pixels(X).shape == (480, 64, 64)
    assert pixels(X).dtype == np.uint8
    assert X.index.names == ["run", "id", "width", "height"]
    assert X.index.get_level_values("id").is_unique
    assert X.attrs["dropped"] == {}
    (run,) = X.attrs["runs"]
    assert X.attrs["runs"][run] == {"read": 480, "kept": 480, "dropped": {}}
    assert X.index.get_level_values("run").unique().tolist() == [run]
    pd.testing.assert_index_equal(y.index, X.index)
    assert y.value_counts().to_dict() == dict.fromkeys(KNOWN | NOVEL, 40)
    assert not y.sort_values().index.equals(y.index), "rows are in random order"


def test_crops_are_tight_and_of_many_sizes(everything):
    X, _ = everything
    sides = X.index.to_frame()[["width", "height"]].to_numpy()
    assert sides.min() >= 10
    assert sides.max() <= 220
    assert np.median(sides.max(axis=1)) < 60 < np.percentile(sides.max(axis=1), 97)
    # The longest extent reaches from border to border, or is longer, across the corners.
    length = X["Length"].to_numpy() / 0.55
    inner = sides - 6
    assert (length >= inner.max(axis=1) - 1e-6).all()
    assert (length <= np.hypot(*inner.T) + 1).all()


@pytest.mark.parametrize("name", KNOWN | NOVEL)
@pytest.mark.parametrize("size", [SMALLEST, 10 * LARGEST])
def test_a_border_fits_around_particles_of_any_size(name, size):
    family = (KNOWN | NOVEL)[name]._replace(size=size, spread=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        crop, mask = _photograph(family, rng)
        assert crop.shape == mask.shape
        assert mask[3:-3, 3:-3].sum() == mask.sum() > 0
        for border in (mask[3], mask[-4], mask[:, 3], mask[:, -4]):
            assert border.any(), "the crop is tight"


def test_particles_are_darker_than_their_background(everything):
    images = pixels(everything[0]).astype(float)
    edge = np.median(np.concatenate([images[:, 0], images[:, -1]], axis=1), axis=1)
    assert edge.min() > 130
    assert edge.max() < 210
    assert (images.reshape(len(images), -1).min(axis=1) < 0.9 * edge).all()
    assert (everything[0]["Intensity"].to_numpy() < edge).all()


def test_the_same_seed_draws_the_same_particles():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    X, y = make_particles(40, novel=1, random_state=3)
    again, y_again = make_particles(40, novel=1, random_state=3)
    pd.testing.assert_frame_equal(X.drop(columns="image"), again.drop(columns="image"), atol=0)
    np.testing.assert_array_equal(pixels(X), pixels(again))
    assert y.equals(y_again)
    other, _ = make_particles(40, novel=1, random_state=4)
    assert not np.array_equal(pixels(X), pixels(other))
    assert not set(X.index) & set(other.index), "calls of other seeds can be put together"
    make_particles(10)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


def test_counts_are_exact_and_no_class_is_left_empty():
    _, y = make_particles(200, classes=["dust", "fibre"], weights=[3, 2], novel=2)
    assert y.value_counts().to_dict() == {"dust": 119, "fibre": 79, "star": 1, "spring": 1}
    _, y = make_particles(100, classes=["dust", "fibre"], weights={"fibre": 0.999, "dust": 0.001})
    assert y.value_counts().to_dict() == {"fibre": 99, "dust": 1}
    _, y = make_particles(100, classes=1, novel=["chain"], novel_fraction=0.25)
    assert y.value_counts().to_dict() == {"dust": 75, "chain": 25}
    _, y = make_particles(100)
    assert set(y) == set(list(KNOWN)[:7])
    assert y.value_counts().idxmax() == "dust"


def test_novel_families_are_never_among_the_known():
    assert not KNOWN.keys() & NOVEL.keys()
    assert len(KNOWN) >= 7
    assert len(NOVEL) >= 3
    _, y = make_particles(60, classes=8, weights=SHARES)
    assert set(y) == set(KNOWN)


def test_neither_size_nor_shade_gives_the_novel_ones_away():
    X, y = make_particles(600, novel=2, novel_fraction=0.1, random_state=0)
    values = X[["Area (ABD)", "Diameter (ESD)", "Intensity", "Sum Intensity"]].astype(float)
    values["mean grey"] = pixels(X).mean(axis=(1, 2))
    for name in values:
        assert 0.2 < roc_auc_score(y.isin(["star", "spring"]), values[name]) < 0.8, name


def test_scalars_are_finite_and_agree_with_each_other(everything):
    X = everything[0].drop(columns="image").astype(float)
    assert np.isfinite(X.to_numpy()).all()
    ones = X["Circularity"] * X["Compactness"], X["Elongation"] * X["Geodesic Aspect Ratio"]
    np.testing.assert_allclose(ones, 1)
    for kind in ("ABD", "ESD"):
        np.testing.assert_allclose(X[f"Volume ({kind})"], np.pi / 6 * X[f"Diameter ({kind})"] ** 3)
    np.testing.assert_allclose(X["Area (ABD)"], np.pi / 4 * X["Diameter (ABD)"] ** 2)
    np.testing.assert_allclose(X["Roughness"], X["Perimeter"] / X["Convex Perimeter"])
    np.testing.assert_allclose(
        X["Sum Intensity"], X["Intensity"] * X["Area (ABD)"] / 0.55**2, rtol=1e-12
    )
    np.testing.assert_allclose(X["Perimeter"], 2 * (X["Geodesic Length"] + X["Geodesic Thickness"]))
    np.testing.assert_allclose(1.5 * X["Biovolume (P. Spheroid)"], X["Biovolume (Cylinder)"])
    assert (X["Width"] <= X["Diameter (ESD)"]).all()
    assert (X["Diameter (ESD)"] <= X["Length"]).all()
    assert (X["Area (ABD)"] <= X["Area (Filled)"]).all()
    assert X[["Feret Angle Min", "Feret Angle Max"]].isin(range(-90, 90, 5)).all(axis=None)
    assert (X["Particles Per Chain"] >= 1).all()
    shares = ["Aspect Ratio", "Circle Fit", "Circularity", "Circularity (Hu)", "Convexity"]
    shares += ["Symmetry", "Transparency", "Geodesic Aspect Ratio"]
    assert X[shares].min().min() >= 0
    assert X[shares].max().max() <= 1


def test_scalars_tell_the_families_apart(everything):
    X, y = everything
    median = X.drop(columns="image").astype(float).groupby(y.to_numpy()).median()
    assert median["Circularity"].idxmin() in ("fibre", "spring")
    assert (
        median["Circle Fit"].nlargest(3).index.isin(["pollen", "bubble", "blurred", "dust"]).all()
    )
    assert median["Edge Gradient"].idxmin() == "blurred"
    assert median["Aspect Ratio"]["pollen"] > 0.8 > 0.5 > median["Aspect Ratio"]["diatom"]


def test_a_disc_is_round():
    s = scalars_of(DISC)
    diameter = 101
    for name in ("Diameter (ABD)", "Diameter (ESD)", "Length", "Width"):
        assert s[name] == pytest.approx(diameter, rel=0.01), name
    for name in ("Perimeter", "Convex Perimeter"):
        assert s[name] == pytest.approx(np.pi * diameter, rel=0.02), name
    for name in ("Circularity", "Circularity (Hu)", "Circle Fit", "Convexity", "Symmetry"):
        assert s[name] == pytest.approx(1, abs=0.02), name
    for name in ("Aspect Ratio", "Elongation", "Roughness", "Particles Per Chain"):
        assert s[name] == pytest.approx(1, abs=0.02), name
    assert s["Transparency"] == pytest.approx(0, abs=0.02)
    assert s["Intensity"] == 80
    assert s["Sigma Intensity"] == 0


def test_lengths_scale_with_the_calibration():
    one, half = scalars_of(SQUARE), scalars_of(SQUARE, 0.5)
    for name, power in [("Length", 1), ("Perimeter", 1), ("Area (Filled)", 2), ("Volume (ESD)", 3)]:
        assert half[name] == pytest.approx(one[name] * 0.5**power), name
    for name in ("Elongation", "Convexity", "Fiber Curl", "Feret Angle Max", "Sum Intensity"):
        assert half[name] == one[name], name


def test_a_square_and_a_line():
    square, line = scalars_of(SQUARE), scalars_of(LINE)
    assert square["Area (ABD)"] == 80**2
    assert square["Width"] == 80
    assert square["Length"] == pytest.approx(80 * np.sqrt(2), rel=0.01)
    assert abs(square["Feret Angle Max"]) == 45
    assert square["Convexity"] == 1
    assert line["Feret Angle Max"] == 0
    assert line["Feret Angle Min"] == -90
    assert line["Length"] == 110
    assert line["Geodesic Length"] == pytest.approx(110, rel=0.07)
    assert line["Aspect Ratio"] < 0.05
    assert line["Circularity"] < 0.15 < 0.6 < square["Circularity"]
    assert line["Circle Fit"] < square["Circle Fit"] < 1
    assert line["Symmetry"] > 0.95
    assert line["Fiber Straightness"] == pytest.approx(1, abs=0.1)


def test_angles_are_counterclockwise():
    rising = drawn("line", (20, 100, 100, 20), width=3)
    assert features_of(rising)["feret_max_angle"] == 45
    assert features_of(rising[::-1])["feret_max_angle"] == -45


def test_holes_parts_and_halves():
    ring = DISC & ~drawn("ellipse", (35, 35, 85, 85))
    s, disc = scalars_of(ring), scalars_of(DISC)
    assert s["Area (Filled)"] == disc["Area (Filled)"] > s["Area (ABD)"]
    assert s["Perimeter"] == pytest.approx(1.5 * disc["Perimeter"], rel=0.02)
    assert s["Transparency"] > 0.1
    two = np.hstack([DISC, np.zeros((120, 5), bool), DISC])
    assert scalars_of(two)["Particles Per Chain"] == 2
    assert scalars_of(two)["Convexity"] < 0.9
    half = DISC.copy()
    half[:, :60] = False
    assert scalars_of(half)["Symmetry"] < 0.9
    assert scalars_of(half)["Circularity"] < 0.8


def test_a_single_pixel_has_scalars_too():
    assert all(np.isfinite(value) for value in scalars_of([[1]]).values())


def test_edge_gradient_is_sobels():
    step = np.zeros((30, 30), bool)
    step[5:25, 5:25] = True
    grey = np.where(step, 100, 120).astype(np.uint8)
    # 4 x 20 along straight sides; only the four corners differ.
    assert features_of(step, grey)["edge_gradient"] == pytest.approx(80, abs=2)
    assert features_of(step)["edge_gradient"] == 255


def test_measures_what_visual_spreadsheet_measures(shared_data):
    """From its own masks of a real run."""
    path = next((shared_data / "flowcam" / "unlabelled").glob("*/*.lst"))
    lines = path.read_text(encoding="latin-1").splitlines()
    n_fields = int(lines[1].split("|")[1])
    names = [line.split("|")[0] for line in lines[2 : 2 + n_fields]]
    fields = pd.DataFrame(
        [line.split("|") for line in lines[2 + n_fields :] if line], columns=names
    )
    table, _ = read_lst(path, "\n".join(lines))
    ours, theirs = [], []
    masks = {}
    for row, file in list(fields["collage_file"].items())[:200]:
        if file not in masks:
            masks[file] = np.asarray(Image.open(path.parent / file.replace(".tif", "_bin.tif"))) > 0
        x, y, w, h = fields.loc[row, ["image_x", "image_y", "image_w", "image_h"]].astype(int)
        got = features_of(masks[file][y : y + h, x : x + w])
        ours.append([got[k] for k in ("area", "filled_area", "feret_mean", "circularity_hu")])
        ours[-1] += [got["minor"] / got["major"], got["ppc"], got["perimeter"]]
        raw = ["raw_area", "raw_filled_area", "raw_feret_mean", "circularity_hu"]
        theirs.append([*fields.loc[row, raw].astype(float), float(table.loc[row, "Aspect Ratio"])])
        theirs[-1] += fields.loc[row, ["ppc", "raw_perimeter"]].astype(float).tolist()
    ours, theirs = np.array(ours, float), np.array(theirs, float)
    np.testing.assert_array_equal(ours[:, :2], theirs[:, :2])
    np.testing.assert_allclose(ours[:, 2], theirs[:, 2], rtol=0.03)
    assert np.median(np.abs(ours[:, 3:6] - theirs[:, 3:6]), axis=0).max() < 1e-3
    assert np.corrcoef(ours[:, 6], theirs[:, 6])[0, 1] > 0.9


def test_resize_and_image_size():
    X, _ = make_particles(30, image_size=(20, 30), random_state=0)
    assert pixels(X).shape == (30, 20, 30)
    assert X.attrs["image_size"] == [20, 30]
    with pytest.warns(UserWarning, match=r"\d+ of 30 crops are larger than image_size and were"):
        padded, _ = make_particles(30, image_size=32, resize="pad", random_state=0)
    assert padded.attrs["shrunk"] > 0
    # What is drawn and measured does not depend on how it is resized.
    np.testing.assert_array_equal(padded["Perimeter"], X["Perimeter"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_samples": 5}, "n_samples=5 must be an integer of at least 7"),
        ({"n_samples": 100.0}, "n_samples=100.0 must be an integer"),
        ({"classes": 0}, "classes=0 must be an integer from 1 to 8, or a list of names among"),
        ({"classes": 9}, "classes=9 must be an integer from 1 to 8"),
        ({"classes": True}, "classes=True must be"),
        ({"classes": []}, r"classes=\[\] must be"),
        ({"classes": ["dust", "gold"]}, "classes has 'gold'; expected names among"),
        ({"classes": ["dust", "star"]}, "classes has 'star'; expected names among"),
        ({"classes": ["dust", "dust"]}, "names a family twice"),
        ({"novel": 5}, "novel=5 must be an integer from 0 to 4"),
        ({"novel": ["dust"]}, "novel has 'dust'; expected names among"),
        ({"novel": 2, "novel_fraction": 0.5}, "novel_fraction=0.5 must be a number above 0 and be"),
        ({"novel_fraction": 0}, "novel_fraction=0 must be"),
        ({"weights": [1, 2]}, "weights has 2 shares; expected 7, one for each of"),
        ({"weights": {"dust": 1}}, r"weights has the classes \['dust'\]; expected one share"),
        ({"weights": [1] * 6 + [0]}, "weights gives 'diatom' the share 0; expected a positive"),
        ({"weights": [1] * 6 + [np.nan]}, "weights gives 'diatom' the share nan"),
        ({"weights": "balanced"}, "weights='balanced' must be"),
        ({"image_size": 0}, "image_size=0 must be a positive integer"),
        ({"resize": "crop"}, "resize='crop' must be one of"),
    ],
)
def test_what_cannot_be_drawn_is_said(params, message):
    with pytest.raises(ValueError, match=message):
        make_particles(**{"n_samples": 100, **params})


def test_a_file_keeps_them(tmp_path):
    X, _ = make_particles(48, image_size=16, random_state=0)
    again = load_particles(save_particles(X, tmp_path / "drawn.arrow"))
    np.testing.assert_array_equal(pixels(again), pixels(X))
    pd.testing.assert_frame_equal(again.drop(columns="image"), X.drop(columns="image"))
    assert again.attrs == X.attrs
    assert re.fullmatch(r"synthetic-\d+-000047", again.index.get_level_values("id")[-1])
