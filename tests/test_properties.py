"""What must hold for every X, text and number, tried on many that nobody would think of."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_network, make_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.preprocessing import StandardScaler

from icecore_sk import ImageMinMaxScaler, MeanCorrection, load, save
from icecore_sk._images import check_image_shape, image_columns
from icecore_sk.datasets import load_particles, save_particles
from icecore_sk.datasets.flowcam_export import read_csv
from icecore_sk.datasets.labels import join_labels, read_labels

# The same examples in every run, and no database of earlier ones.
often = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SIDES = st.integers(1, 9)
FINITE = st.floats(-1e6, 1e6, width=32)
DTYPES = st.sampled_from([np.uint8, np.int16, np.float16, np.float32, np.float64])


@st.composite
def images(draw, dtypes=DTYPES):
    """Images (n, C, H, W) of any shape and dtype, in any memory order."""
    shape = (draw(st.integers(2, 5)), draw(st.sampled_from([1, 2, 3])), draw(SIDES), draw(SIDES))
    dtype = np.dtype(draw(dtypes))
    elements = st.integers(0, 255) if dtype.kind in "iu" else st.floats(0, 255, width=16)
    X = draw(npst.arrays(dtype, shape, elements=elements))
    order = draw(st.sampled_from(["C", "F", "reversed", "strided"]))
    if order == "F":
        return np.asfortranarray(X)
    if order == "reversed":
        return X[::-1, :, ::-1]
    if order == "strided":
        return np.repeat(X, 2, axis=3)[..., ::2]
    return X


def pixels_of(X, shape):
    """Return the pixels of what a transformer gave, whatever its form, as (n, C, H, W)."""
    if isinstance(X, pd.DataFrame):
        column = X[image_columns(X)[0]].array.__arrow_array__()
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        X = np.concatenate([chunk.to_numpy_ndarray() for chunk in chunks])
    return np.asarray(X).reshape(shape)


@often
@given(images(), st.sampled_from([MeanCorrection, ImageMinMaxScaler]))
def test_three_forms_of_the_same_images_give_the_same(X, transformer):
    shape = X.shape[1:]
    rows = np.ascontiguousarray(X).reshape(len(X), -1)
    as_images = transformer().fit_transform(X)
    as_rows = transformer(image_shape=shape).fit_transform(rows)
    as_table = transformer().fit_transform(make_table(X, area=np.arange(len(X))))
    np.testing.assert_array_equal(pixels_of(as_rows, X.shape), pixels_of(as_images, X.shape))
    np.testing.assert_array_equal(pixels_of(as_table, X.shape), pixels_of(as_images, X.shape))
    assert as_table["area"].tolist() == list(range(len(X)))


@often
@given(images(st.sampled_from([np.uint8, np.float32, np.float64])))
def test_mean_correction_brings_every_image_to_one_brightness_and_keeps_the_dtype(X):
    corrected = MeanCorrection().fit(X).transform(X)
    assert corrected.dtype == X.dtype
    assert corrected.shape == X.shape
    within = 0.5 if X.dtype == np.uint8 else 1e-2
    means = corrected.mean(axis=(1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(means, X.mean(dtype=np.float64), atol=within + 1e-9)


@pytest.fixture(scope="module")
def vae(digits):
    return make_network("VAE", max_epochs=1).fit(digits[0])


@often
@given(chosen=st.lists(st.integers(0, 299), min_size=1, max_size=40))
def test_a_row_is_mapped_to_the_same_place_in_any_company(vae, digits, chosen):
    X = digits[0]
    np.testing.assert_array_equal(vae.transform(X[chosen]), vae.transform(X[:300])[chosen])


@often
@given(st.one_of(st.none(), st.text(), st.floats(), st.lists(st.one_of(st.integers(), FINITE))))
def test_image_shape_is_three_positive_integers_or_an_error_that_says_so(value):
    good = isinstance(value, list) and len(value) == 3 and all(v >= 1 and v % 1 == 0 for v in value)
    if good:
        assert check_image_shape(value) == tuple(value)
    else:
        with pytest.raises(ValueError, match="must be three positive integers"):
            check_image_shape(value)


# ---------------------------------------------------------------- files

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    npst.arrays(
        st.sampled_from(["u1", "i8", "f2", "f4", "f8", "c16", "?", "<U3", "S2", "M8[s]"]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
)
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.text(), st.booleans()))
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, strict=True)
    else:
        assert a == b


@often
@given(value=NESTED)
def test_every_plain_value_comes_back_from_a_model_file(value, tmp_path):
    model = StandardScaler()
    model.value_ = value
    assert_equal(load(save(model, tmp_path / "model.safetensors")).value_, value)


@often
@given(
    ids=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=6),
    notes=st.dictionaries(
        st.text(), st.one_of(st.integers(), st.text(), st.lists(FINITE)), max_size=3
    ),
    data=st.data(),
)
def test_every_index_scalar_and_note_comes_back_from_a_particle_file(ids, notes, data, tmp_path):
    n = len(ids)
    dtype = data.draw(st.sampled_from(["i8", "u1", "f4", "f8", "?"]))
    name = data.draw(st.text().filter(lambda text: text != "image"))
    table = make_table(np.zeros((n, 2, 3), np.uint8))
    table[name] = data.draw(npst.arrays(dtype, n))
    table.index = pd.MultiIndex.from_tuples(ids, names=["run", "id"])
    table.attrs["notes"] = notes
    again = load_particles(save_particles(table, tmp_path / "x.arrow"))
    assert again.index.tolist() == ids
    assert again.attrs == table.attrs
    np.testing.assert_array_equal(again[name].to_numpy(), table[name].to_numpy(), strict=True)


# ---------------------------------------------------------------- tables

CELLS = st.text(st.characters(exclude_characters='\r\n"', exclude_categories=["Cs"]))


@often
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=8))
def test_every_line_of_a_csv_is_read_or_counted(rows, tmp_path):
    path = tmp_path / "x.csv"
    lines = ["a,b,c", *(",".join(row) for row in rows)]
    path.write_bytes("\n".join(lines).encode())
    table, n_damaged = read_csv(path)
    n = sum(any(map(str.strip, line.split(","))) for line in lines[1:])
    assert len(table) + n_damaged == n


LABELS = st.one_of(
    st.lists(st.text(min_size=1), min_size=4, max_size=4),
    st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4),
    st.lists(st.one_of(st.text(min_size=1), st.integers(), st.none()), min_size=4, max_size=4),
)


@often
@given(st.permutations(range(4)), LABELS, st.integers(0, 4))
def test_labels_find_their_particles_in_any_order(order, labels, n_labelled):
    ids = [f"p{k}" for k in range(4)]
    known = pd.DataFrame({"Original Reference ID": ids, "label": pd.Series(labels, dtype=object)})
    known = known.iloc[order[:n_labelled]]
    if not n_labelled:
        with pytest.raises(ValueError, match="has no rows"):
            read_labels(known)
        return
    index = pd.MultiIndex.from_arrays([["run"] * 4, ids], names=["run", "id"])
    y, counts = join_labels(read_labels(known), index)
    expected = [labels[k] if k in order[:n_labelled] else None for k in range(4)]
    assert y.tolist() == expected
    assert counts["matched"] + counts["unlabelled"] == 4
    assert counts["unknown"] == 0
