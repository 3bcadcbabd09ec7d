"""Bad input: one clear error that names the parameter, the value and the way out."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_network, make_table

from icecore_sk import VAE, AutoEncoder, FlowVAE, OutlierScorer, ResNet18Classifier


@pytest.fixture
def images():
    return np.random.RandomState(0).random((12, 8, 8)).astype(np.float32)


@pytest.fixture
def labels():
    return np.arange(12) % 3


@pytest.fixture(scope="module")
def classifier(digits):
    return make_network("ResNet18Classifier", max_epochs=1).fit(*digits)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["grey", "rows", "table"])
def test_bad_pixels(bad, form, images, classifier):
    images[3, 2, 1] = bad
    X = {"grey": images, "rows": images.reshape(12, -1), "table": make_table(images)}[form]
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        AutoEncoder(2, image_shape=(1, 8, 8)).fit(X)
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        classifier.predict(X)


def test_bad_scalars_are_named_and_counted(images, labels):
    area = np.ones(12)
    area[[2, 5]] = np.nan
    table = make_table(images, width=np.ones(12), area=area)
    with pytest.raises(ValueError, match=r"scalar columns 'area' \(2 rows\). Impute"):
        ResNet18Classifier().fit(table, labels)
    rows = np.hstack([images.reshape(12, -1), area[:, None]])
    with pytest.raises(ValueError, match="contains NaN"):
        ResNet18Classifier(image_shape=(1, 8, 8)).fit(rows, labels)


def test_text_columns_and_two_image_columns(images, labels):
    table = make_table(images, run=["a"] * 12)
    with pytest.raises(ValueError, match=r"Column 'run' of X has dtype str.*set_index"):
        ResNet18Classifier().fit(table, labels)
    twice = make_table(images)
    twice["mask"] = twice["image"]
    with pytest.raises(ValueError, match="2 image columns"):
        AutoEncoder(2).fit(twice)


def test_one_column_is_no_table(images):
    with pytest.raises(ValueError, match=r"one image column \('image'\).*to_frame"):
        AutoEncoder(2).fit(make_table(images)["image"])


def test_missing_images_in_a_table(images):
    type_ = pa.fixed_shape_tensor(pa.float32(), [8, 8])
    storage = pa.array([row.ravel().tolist() for row in images[:3]] + [None], type_.storage_type)
    column = pa.ExtensionArray.from_storage(type_, storage)
    table = pd.DataFrame({"image": pd.Series(column, dtype=pd.ArrowDtype(type_))})
    with pytest.raises(ValueError, match="has 1 missing image"):
        AutoEncoder(2).fit(table)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.empty((0, 8, 8)), r"0 sample\(s\)"),
        (np.empty((0, 64)), r"0 sample\(s\)"),
        (np.zeros((1, 8, 8)), r"1 sample\(s\).*minimum of 2"),
        ([np.zeros((8, 8))], r"1 sample\(s\) \(shape=\(1, 8, 8\)\).*minimum of 2"),
        (np.zeros((1, 64)), r"1 sample\(s\).*minimum of 2"),
        (np.zeros((5, 0, 8)), "images without pixels"),
        (np.zeros((5, 2, 2, 8, 8)), "Found array with dim 5"),
        (np.zeros(5), "Expected 2D array, got 1D array"),
    ],
)
@pytest.mark.filterwarnings("ignore:X has 64")
def test_too_little_data(X, match):
    with pytest.raises(ValueError, match=match):
        AutoEncoder(2).fit(X)


def test_empty_at_predict(classifier):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        classifier.predict(np.empty((0, 8, 8)))


def test_one_row_and_one_image_at_predict(classifier, digits):
    assert classifier.predict(digits[0][:1]).shape == (1,)
    with pytest.raises(ValueError, match=r"is one image.*Pass X\[None\]"):
        classifier.predict(digits[0][0])


def test_one_class(images):
    with pytest.raises(ValueError, match="at least 2 classes, but y holds 1 class: 7"):
        ResNet18Classifier().fit(images, np.full(12, 7))


def test_channels_last_suggests_the_transpose(images, labels):
    X = np.stack([images] * 3, axis=-1)
    with pytest.raises(ValueError, match=r"X\.transpose\(0, 3, 1, 2\).*\(12, 3, 8, 8\)"):
        ResNet18Classifier().fit(X, labels)
    with pytest.raises(ValueError, match=r"X\.transpose\(0, 3, 1, 2\)"):
        ResNet18Classifier(image_shape=(3, 8, 8)).fit(X, labels)
    model = ResNet18Classifier(max_epochs=1, random_state=0).fit(X.transpose(0, 3, 1, 2), labels)
    with pytest.raises(ValueError, match=r"X\.transpose\(0, 3, 1, 2\)"):
        model.predict(X)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((1, 28, 28), r"image_shape=\(1, 28, 28\) needs at least 784 columns, but X has 700"),
        ((28, 28), r"image_shape=\(28, 28\) must be three.*pass image_shape=\(1, 28, 28\)"),
        ((1, 0, 28), r"must be three positive integers"),
        ((1, 28.5, 28), r"must be three positive integers"),
        ("28", r"image_shape"),
        (28, r"image_shape"),
    ],
)
def test_image_shape_that_does_not_fit(shape, match):
    with pytest.raises(ValueError, match=match):
        AutoEncoder(2, image_shape=shape).fit(np.zeros((5, 700)))


def test_flattened_squares_without_image_shape_warn(digits):
    X = digits[0][:20].reshape(20, -1) / 255
    with pytest.warns(UserWarning, match=r"pass image_shape=\(1, 8, 8\); if not, silence"):
        model = AutoEncoder(2, max_epochs=1).fit(X)
    assert model.image_shape_ == (1, 1, 64)


@pytest.mark.parametrize("form", ["grey", "rows", "table"])
def test_another_image_size_at_predict(form, classifier):
    X = np.zeros((4, 9, 9), np.uint8)
    X = {"grey": X, "rows": X.reshape(4, -1), "table": make_table(X)}[form]
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)|expecting 64 features"):
        classifier.predict(X)


def test_more_scalars_at_predict_than_in_fit(classifier, digits):
    with pytest.raises(ValueError, match=r"X has 1 scalar.*fitted with 0"):
        classifier.predict(make_table(digits[0], area=np.ones(300)))


def test_object_arrays(images, labels):
    ragged = np.empty(2, object)
    ragged[0], ragged[1] = np.zeros((8, 8)), np.zeros((8, 9))
    for X in (ragged, list(ragged)):
        with pytest.raises(ValueError, match=r"different shapes.*Resize or pad"):
            AutoEncoder(2).fit(X)
    boxed = np.empty(12, object)
    boxed[:] = list(images)
    with pytest.raises(ValueError, match=r"Pass np.stack\(X\)"):
        AutoEncoder(2).fit(boxed)
    words = images.astype(object)
    words[0, 0, 0] = "dust"
    with pytest.raises(ValueError, match="could not convert string to float"):
        ResNet18Classifier().fit(words, labels)


@pytest.mark.parametrize(
    "y",
    [
        np.array(["pollen", "dust", "ash"] * 4),
        pd.Series(["pollen", "dust", "ash"] * 4),
        pd.Categorical(["pollen", "dust", "ash"] * 4),
        np.array(["pollen", "dust", "ash"] * 4, dtype=object),
        np.array([2, 5, 9] * 4),
        np.array([True, False, True] * 4),
        [2.0, 5.0, 9.0] * 4,
    ],
)
def test_labels_of_any_type(y, images):
    model = ResNet18Classifier(max_epochs=1, random_state=0).fit(images, y)
    expected = np.unique(np.asarray(y))
    np.testing.assert_array_equal(model.classes_, expected)
    assert set(model.predict(images)) <= set(expected)
    assert model.predict(images).dtype == model.classes_.dtype


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("container", [list, pd.Series, lambda y: np.array(y, dtype=object)])
def test_missing_labels(missing, container, images):
    y = container([missing] + ["dust", "ash"] * 5 + ["ash"])
    with pytest.raises(ValueError, match=r"y contains NaN or None in 1 row"):
        ResNet18Classifier().fit(images, y)


def test_y_of_another_length(images, labels):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[12, 11\]"):
        ResNet18Classifier().fit(images, labels[:-1])


def test_no_y(images):
    with pytest.raises(ValueError, match="requires y to be passed"):
        ResNet18Classifier().fit(images, None)


def test_read_only_memory_map(tmp_path, digits, classifier):
    np.save(tmp_path / "images.npy", digits[0])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    model = make_network("ResNet18Classifier", max_epochs=1).fit(mapped, digits[1])
    np.testing.assert_array_equal(model.predict_proba(mapped), classifier.predict_proba(digits[0]))


def test_views_that_are_not_contiguous(digits, classifier):
    X, y = digits
    view = np.repeat(np.repeat(X, 2, axis=1), 2, axis=2)[:, ::2, ::2]
    backwards = X[::-1][::-1]
    fortran = np.asfortranarray(X)
    expected = classifier.decision_function(X)
    for data in (view, backwards, fortran):
        np.testing.assert_array_equal(classifier.decision_function(data), expected)
    model = make_network("ResNet18Classifier", max_epochs=1).fit(view, y)
    np.testing.assert_array_equal(model.decision_function(X), expected)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (AutoEncoder, {"latent_dim": 0}),
        (AutoEncoder, {"latent_dim": -3}),
        (AutoEncoder, {"latent_dim": 2.5}),
        (AutoEncoder, {"max_epochs": 0}),
        (AutoEncoder, {"batch_size": 1}),
        (AutoEncoder, {"batch_size": -1}),
        (AutoEncoder, {"lr": 0}),
        (AutoEncoder, {"lr": -1e-3}),
        (AutoEncoder, {"weight_decay": -1}),
        (AutoEncoder, {"validation_fraction": 0}),
        (AutoEncoder, {"validation_fraction": 1.5}),
        (AutoEncoder, {"n_iter_no_change": 0}),
        (AutoEncoder, {"likelihood": "poisson"}),
        (AutoEncoder, {"precision": "float8"}),
        (AutoEncoder, {"scalar_weight": -1}),
        (VAE, {"beta": -1}),
        (VAE, {"kl_warmup": -1}),
        (VAE, {"free_bits": -0.1}),
        (FlowVAE, {"n_flows": -1}),
        (ResNet18Classifier, {"class_weight": "heavy"}),
    ],
)
def test_parameters_out_of_range(model, params, images, labels):
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {model.__name__} must be"):
        model(**params).fit(images, labels)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"device": "cuda"}, r"device='cuda'.*0 usable CUDA.*device='auto'"),
        ({"device": "abacus"}, r"device='abacus' is no device name"),
        ({"device": "mps"}, r"device='mps' is not supported"),
        ({"net_params": {"depth": 3}}, r"unknown entries \['depth'\]"),
        ({"net_params": {"stem": "large"}}, r"net_params\['stem'\]='large' must be one of"),
        ({"net_params": {"scalar_width": 0}}, r"net_params\['scalar_width'\]=0 must be a positive"),
        ({"augmentation": {"mirror": True}}, r"unknown entry 'mirror'"),
        ({"augmentation": {"shift": 3}}, r"augmentation\['shift'\]=3 must be between 0 and 0.5"),
    ],
)
def test_parameters_that_make_no_sense_here(params, match, images, labels):
    import torch

    if params == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match=match):
        ResNet18Classifier(**params).fit(images, labels)


@pytest.mark.parametrize("model", [AutoEncoder, VAE, FlowVAE])
def test_views_that_do_not_exist(model, images):
    with pytest.raises(ValueError, match=r"unknown entry 'mirror'; expected some of \['rotate'"):
        model(2, augmentation={"mirror": True}).fit(images)
    with pytest.raises(ValueError, match=r"augmentation\['rotate'\]=-5 must be between 0 and 180"):
        model(2, augmentation={"rotate": -5}).fit(images)
    for flip in (True, np.True_, np.False_):
        model(2, augmentation={"flip": flip}, max_epochs=1).fit(images)


def test_batch_size_larger_than_n_is_one_batch(images, labels):
    big = AutoEncoder(2, batch_size=10_000, max_epochs=1, random_state=0).fit(images)
    fits = AutoEncoder(2, batch_size=12, max_epochs=1, random_state=0).fit(images)
    np.testing.assert_array_equal(big.transform(images), fits.transform(images))


def test_bernoulli_needs_pixels_between_0_and_1(images):
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs pixels in \[0, 1\].*scale"):
        AutoEncoder(2, likelihood="bernoulli").fit(images * 16)


def test_early_stopping_needs_rows_of_every_class(images, labels):
    labels[labels == 2] = 1
    labels[0] = 2
    with pytest.raises(ValueError, match=r"class 2 has only 1"):
        ResNet18Classifier(early_stopping=True).fit(images, labels)
    with pytest.raises(ValueError, match=r"validation_fraction=0.9 of 12 samples leaves"):
        AutoEncoder(2, early_stopping=True, validation_fraction=0.9).fit(images)


def test_latent_vectors_of_another_width(digits):
    model = AutoEncoder(3, max_epochs=1, random_state=0).fit(digits[0][:20])
    with pytest.raises(ValueError, match=r"Z has 2 columns, but AutoEncoder has latent_dim=3"):
        model.inverse_transform(np.zeros((4, 2)))


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_number_of_samples(n, digits):
    model = VAE(2, max_epochs=1, random_state=0).fit(digits[0][:20])
    for method in (lambda: model.sample(n), lambda: model.log_likelihood(digits[0][:2], n)):
        with pytest.raises(ValueError, match=r"n_samples=.* must be an integer of at least 1"):
            method()


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(digits):
    model = make_network("AutoEncoder", max_epochs=1).fit(digits[0])
    before = model.transform(digits[0])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((5, 9, 9), np.nan))
    np.testing.assert_array_equal(model.transform(digits[0]), before)


def test_outlier_scorer_parameters():
    X = np.random.RandomState(0).normal(size=(30, 2))
    for params in ({"contamination": 0}, {"contamination": 0.7}, {"n_neighbors": 0}):
        with pytest.raises(ValueError, match="parameter of OutlierScorer must be"):
            OutlierScorer(**params).fit(X)
