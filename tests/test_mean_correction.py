"""MeanCorrection: every image at the brightness of the training set."""

import tracemalloc

import numpy as np
import pytest
from conftest import make_table

from icecore_sk import MeanCorrection
from icecore_sk._images import read_table

FORMS = ("grey", "images", "rows", "table")


def in_form(form, images, scalar):
    """Return images (n, H, W), with a scalar of each where the form has room for it."""
    return {
        "grey": lambda: images,
        "images": lambda: images[:, None],
        "rows": lambda: np.hstack([images.reshape(len(images), -1), scalar[:, None]]),
        "table": lambda: make_table(images, digit=scalar),
    }[form]()


def images_of(form, X):
    if form == "table":
        rows = read_table(X)
        return rows.gather(np.arange(len(rows)))[:, 0]
    return X[:, :64].reshape(-1, 8, 8) if form == "rows" else X.reshape(-1, 8, 8)


def means(images):
    return images.mean(axis=(1, 2), dtype=np.float64)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_image_gets_the_mean_and_X_keeps_form_and_dtype(form, dtype, digits):
    images, y = digits[0].astype(dtype), digits[1].astype(dtype)
    X = in_form(form, images, y)
    before = images.copy()
    model = MeanCorrection(image_shape=(1, 8, 8)).fit(X[:200])
    result = model.transform(X)
    assert type(result) is type(X)
    assert result.shape == X.shape
    assert model.mean_ == pytest.approx(images[:200].mean(dtype=np.float64))
    corrected = images_of(form, result)
    assert corrected.dtype == dtype
    within = 0.5 if dtype == np.uint8 else 1e-4
    assert abs(means(corrected) - model.mean_).max() <= within
    np.testing.assert_array_equal(images, before)
    if form == "rows":
        np.testing.assert_array_equal(result[:, 64], y)
    if form == "table":
        np.testing.assert_array_equal(result["digit"], y)
        assert result.index.equals(X.index)
        assert result["image"].dtype == X["image"].dtype


def test_pixels_that_are_not_clipped_are_shifted_alike(digits):
    X = digits[0]
    shift = MeanCorrection().fit_transform(X).astype(int) - X
    for image, change in zip(X, shift, strict=True):
        most = change.flat[abs(change).argmax()]
        free = (image + most >= 0) & (image + most <= 255)
        assert (change[free] == most).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_clipping_is_made_up_for(share):
    image = np.full((10, 10), 100, np.uint8)
    image.flat[: int(100 * share)] = 255
    image.flat[99] = 0
    model = MeanCorrection().fit(np.full((1, 10, 10), 230, np.uint8))
    (bright,) = model.transform(image[None])
    assert abs(bright.mean() - 230) <= 0.5
    # What was ordered stays ordered, ties apart.
    assert (np.diff(bright.ravel()[image.ravel().argsort(kind="stable")].astype(int)) >= 0).all()


def test_black_and_white_images_reach_any_mean():
    X = np.zeros((2, 8, 8), np.uint8)
    X[1] = 255
    for target in (0, 3, 128, 255):
        model = MeanCorrection().fit(np.full((1, 8, 8), target, np.uint8))
        assert (model.transform(X) == target).all()


def test_twice_is_once(digits):
    X = digits[0]
    model = MeanCorrection().fit(X)
    once = model.transform(X)
    np.testing.assert_array_equal(model.transform(once), once)
    once = MeanCorrection().fit_transform(X / 255)
    np.testing.assert_allclose(MeanCorrection().fit_transform(once), once, atol=1e-12)


def test_uint8_and_floats_of_the_same_images_mean_the_same(digits):
    X = digits[0]
    grey, unit = MeanCorrection().fit(X), MeanCorrection().fit(X / 255)
    assert grey.mean_ == pytest.approx(255 * unit.mean_)
    np.testing.assert_allclose(grey.transform(X / 255), unit.transform(X / 255), atol=1e-12)
    np.testing.assert_array_equal(grey.transform(X), unit.transform(X))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int16, np.int64, ">i2", ">f4"])
def test_other_dtypes_are_kept(dtype, digits):
    X = digits[0].astype(dtype)
    model = MeanCorrection().fit(X)
    result = model.transform(X)
    assert result.dtype == X.dtype
    assert abs(means(result) - model.mean_).max() <= 0.5
    if np.dtype(dtype).kind == "i":
        assert result.min() < 0  # int16 has room below black, so nothing is clipped


def test_channels_are_shifted_together():
    X = np.random.RandomState(0).randint(60, 190, (20, 3, 9, 7), dtype=np.uint8)
    result = MeanCorrection().fit_transform(X)
    shift = result.astype(int) - X
    assert (shift == shift[:, :1, :1, :1]).all()


def test_names_and_pandas_output(digits):
    X, y = digits
    model = MeanCorrection().fit(make_table(X, digit=y))
    assert model.get_feature_names_out().tolist() == ["image", "digit"]
    assert (model.n_features_in_, model.image_shape_) == (2, (1, 8, 8))
    model = MeanCorrection(image_shape=(1, 8, 8)).set_output(transform="pandas")
    assert model.fit_transform(X.reshape(300, -1)).columns[0] == "x0"


def test_no_copy_of_all_images_in_a_wider_type():
    X = np.random.RandomState(0).randint(0, 256, (1000, 256, 256), dtype=np.uint8)
    model = MeanCorrection().fit(X)
    tracemalloc.start()
    model.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * X.nbytes


def test_what_cannot_be_shifted_is_refused(digits):
    X = digits[0]
    with pytest.raises(ValueError, match="X is boolean: black and white leaves no room"):
        MeanCorrection().fit(X > 100)
    with pytest.raises(ValueError, match=r"X is uint8.* 0 and 255; the brightness .* is [\d.]+ on"):
        MeanCorrection().fit(X.astype(np.float32)).transform(X)
    with pytest.raises(ValueError, match=r"MeanCorrection was fitted with images of \(1, 8, 8\)"):
        MeanCorrection().fit(X).transform(make_table(X[:, :4]))
    with pytest.raises(ValueError, match=r"image_shape=\(8, 8\) must be three"):
        MeanCorrection(image_shape=(8, 8)).fit(X)
