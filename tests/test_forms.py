"""X in three forms means the same."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import NETWORKS, SMALL, assert_same, make_network, make_table, outputs
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from icecore_sk import AutoEncoder, ImageMinMaxScaler, MeanCorrection, ResNet18Classifier
from icecore_sk._images import read_rows, read_table


def flat(outputs):
    """Reconstructions come in the form of X in fit; compare their numbers."""
    return {
        name: values.reshape(len(values), -1) if name == "reconstruct" else values
        for name, values in outputs.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_fit_on_any_form_predict_on_any_other(name, digits):
    X, y = digits[0][:120], digits[1][:120]
    forms = {
        "grey": X,
        "channels": X[:, None],
        "rows": X.reshape(len(X), -1),
        "table": make_table(X),
        "frame of pixels": pd.DataFrame(X.reshape(len(X), -1)).add_prefix("pixel"),
    }
    reference = None
    for form, data in forms.items():
        shape = (1, 8, 8) if data.ndim == 2 and form != "table" else None
        model = make_network(name, max_epochs=1, image_shape=shape).fit(data, y)
        results = [flat(outputs(model, data))]
        if form == "table":
            results += [flat(outputs(model, forms["grey"])), flat(outputs(model, forms["rows"]))]
        if form == "grey":
            results += [flat(outputs(model, forms[f])) for f in ("table", "rows", "channels")]
        reference = reference or results[0]
        for result in results:
            assert_same(result, reference)


def test_uint8_is_divided_by_255_and_floats_are_taken_as_they_are(fitted, digits):
    X = digits[0][:40]
    assert_same(outputs(fitted, X), outputs(fitted, X.astype(np.float32) / np.float32(255)))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int16, np.bool_, ">f4"])
def test_other_dtypes_mean_what_float32_means(dtype, digits):
    X = (digits[0][:60] > 100).astype(dtype)
    a = AutoEncoder(2, max_epochs=1, random_state=0).fit(X)
    b = AutoEncoder(2, max_epochs=1, random_state=0).fit(X.astype(np.float32))
    np.testing.assert_allclose(a.transform(X), b.transform(X), rtol=1e-4, atol=1e-5)


def test_table_is_read_as_a_view_and_stays_uint8(digits):
    table = make_table(digits[0], area=np.arange(300.0), round=np.ones(300, bool))
    rows = read_table(table)
    pixels = table["image"].array.__arrow_array__().chunk(0).storage.flatten().to_numpy()
    assert np.shares_memory(rows.chunks[0], pixels)
    assert rows.dtype == np.uint8
    assert rows.scalar_names == ["area", "round"]
    np.testing.assert_array_equal(rows.scalars[:, 0], np.arange(300.0))


def test_table_of_several_chunks_gathers_the_right_rows(digits):
    X = digits[0]
    table = pd.concat([make_table(X[:7]), make_table(X[7:100]), make_table(X[100:])])
    rows = read_table(table)
    assert len(rows.chunks) == 3
    index = np.array([299, 0, 6, 7, 99, 100, 7])
    np.testing.assert_array_equal(rows.gather(index)[:, 0], X[index])


def test_sliced_and_sampled_tables_keep_rows_and_images_together(digits):
    X, y = digits
    table = make_table(X, digit=y)
    train, test, y_train, y_test = train_test_split(table, y, random_state=0)
    for part, labels in ((train, y_train), (test, y_test), (table.iloc[10:20], y[10:20])):
        rows = read_table(part)
        np.testing.assert_array_equal(rows.scalars[:, 0], labels)
        np.testing.assert_array_equal(
            rows.gather(np.arange(len(rows)))[:, 0], X[table.index.get_indexer(part.index)]
        )


def test_rows_are_split_without_a_copy(digits):
    X = np.asfortranarray(digits[0].reshape(300, -1))
    rows = read_rows(X, (1, 6, 10))
    assert np.shares_memory(rows.chunks[0], X)
    assert rows.scalars.shape == (300, 4)
    np.testing.assert_array_equal(rows.chunks[0].reshape(300, -1), X[:, :60])


def test_colour_images_of_odd_size():
    X = np.random.RandomState(0).randint(0, 256, (40, 3, 11, 9), dtype=np.uint8)
    model = AutoEncoder(3, max_epochs=1, random_state=0).fit(X)
    assert model.image_shape_ == (3, 11, 9)
    assert model.n_features_in_ == 297
    assert model.reconstruct(X).shape == X.shape
    table = AutoEncoder(3, max_epochs=1, random_state=0).fit(make_table(X))
    np.testing.assert_array_equal(table.transform(X), model.transform(X))


def test_classifier_reads_scalars_and_autoencoders_do_not(digits):
    X, y = digits
    scalars = {"area": 100.0 * y, "noise": np.random.RandomState(0).normal(size=len(y))}
    table = make_table(X, **scalars)
    shuffled = table.assign(area=np.roll(table["area"], 1))
    classifier = ResNet18Classifier(max_epochs=2, random_state=0).fit(table, y)
    assert classifier.transform(table).shape == (300, 576)
    assert not np.array_equal(classifier.predict_proba(table), classifier.predict_proba(shuffled))
    encoder = AutoEncoder(4, max_epochs=1, random_state=0).fit(table)
    np.testing.assert_array_equal(encoder.transform(table), encoder.transform(shuffled))
    # Rows with scalars behind the pixels are the same particles.
    rows = np.hstack([X.reshape(300, -1) / 255, np.column_stack(list(scalars.values()))])
    same = ResNet18Classifier(max_epochs=2, random_state=0, image_shape=(1, 8, 8)).fit(rows, y)
    np.testing.assert_allclose(
        same.predict_proba(rows), classifier.predict_proba(table), rtol=1e-4, atol=1e-5
    )


def test_decoded_scalars_shape_the_latent_space(digits):
    X, y = digits
    area = (y - y.mean()) / y.std()
    table = make_table(X, area=area)
    model = AutoEncoder(4, scalar_weight=50.0, max_epochs=15, random_state=0, **SMALL).fit(table)
    assert model.history_["scalar_loss"].iloc[-1] < 0.5 * model.history_["scalar_loss"].iloc[0]
    decoded = model.reconstruct(table)
    assert decoded.columns.tolist() == ["image", "area"]
    assert np.corrcoef(decoded["area"], area)[0, 1] > 0.8
    rows = np.hstack([X.reshape(300, -1) / 255, area[:, None]])
    same = clone(model).set_params(image_shape=(1, 8, 8)).fit(rows)
    assert same.reconstruct(rows).shape == rows.shape
    images = decoded["image"].array._pa_array.combine_chunks().to_numpy_ndarray()
    np.testing.assert_allclose(same.reconstruct(rows)[:, :64], images.reshape(300, -1), atol=1e-4)
    with pytest.raises(ValueError, match=r"scalar_weight=1.0 asks for decoded scalars"):
        AutoEncoder(4, scalar_weight=1.0, max_epochs=1).fit(X)


def test_feature_names_are_kept_and_checked(digits):
    X, y = digits
    table = make_table(X, area=1.0 * y, width=2.0 * y)
    model = ResNet18Classifier(max_epochs=1, random_state=0).fit(table, y)
    assert model.feature_names_in_.tolist() == ["image", "area", "width"]
    assert model.n_features_in_ == 3
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table.rename(columns={"area": "perimeter"}))


@pytest.mark.parametrize("form", ["grey", "rows", "table"])
def test_image_min_max_scaler_uses_one_scale_and_keeps_the_form(form, digits):
    X, y = digits
    X = X.astype(np.float32) + 7.0
    scalars = y[:, None].astype(np.float32)
    data = {
        "grey": X,
        "rows": np.hstack([X.reshape(300, -1), scalars]),
        "table": make_table(X, digit=scalars[:, 0]),
    }[form]
    scaler = ImageMinMaxScaler(image_shape=(1, 8, 8)).fit(data[:200])
    result = scaler.transform(data)
    assert type(result) is type(data)
    assert result.shape == data.shape
    assert (scaler.data_min_, scaler.data_max_) == (7.0, 262.0)
    if form == "table":
        assert result.index.equals(data.index)
        assert isinstance(result["image"].dtype.pyarrow_dtype, pa.FixedShapeTensorType)
        np.testing.assert_array_equal(result["digit"], data["digit"])
        images = read_table(result).chunks[0][:, 0]
    elif form == "rows":
        np.testing.assert_array_equal(result[:, 64:], scalars)
        images = result[:, :64].reshape(-1, 8, 8)
    else:
        images = result
    np.testing.assert_allclose(images, (X - 7) / 255, rtol=1e-5, atol=1e-6)


def test_image_min_max_scaler_refuses_an_empty_range():
    with pytest.raises(ValueError, match=r"feature_range=\(1, 1\) must be"):
        ImageMinMaxScaler((1, 1)).fit(np.zeros((3, 8, 8)))


def test_images_in_half_precision_are_finite_where_their_sum_is_not():
    X = np.full((20, 8, 8), 200, np.float16)
    assert MeanCorrection().fit(make_table(X)).mean_ == 200.0
    X[3, 2, 1] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity in the image column 'image'"):
        MeanCorrection().fit(make_table(X))


def test_a_fitted_network_keeps_its_latent_dimensions(digits):
    X = digits[0][:40]
    model = make_network("VAE", max_epochs=1).fit(X)
    scores, Z = model.score_samples(X), model.transform(X)
    model.set_params(latent_dim=9)
    np.testing.assert_array_equal(model.score_samples(X), scores)
    assert len(model.get_feature_names_out()) == 4
    assert model.inverse_transform(Z).shape == X.shape
    assert model.sample(3, random_state=0).shape == (3, 8, 8)
    with pytest.raises(ValueError, match="Z has 9 columns, but VAE has latent_dim=4"):
        model.inverse_transform(np.zeros((1, 9)))
