"""What a group has in common, and the rows that stand for it: checked against plain numpy."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_table

from icecore_sk.metrics import describe_groups, typical_rows
from icecore_sk.metrics._labels import MISSING, NOISE, encode_labels


@pytest.fixture
def scalars():
    rng = np.random.RandomState(0)
    area = np.r_[rng.normal(50, 5, 60), rng.normal(340, 20, 20)]
    return pd.DataFrame({"Noise": rng.rand(80), "Area": area, "Diameter": np.sqrt(area)})


def test_medians_and_effects_are_those_of_numpy(scalars):
    groups = np.repeat(["dust", "pollen"], [60, 20])
    table = describe_groups(scalars, groups)
    row = table.loc[("pollen", "Area")]
    area = scalars["Area"].to_numpy()
    median, others = np.median(area[60:]), np.median(area[:60])
    deviations = np.abs(np.r_[area[:60] - others, area[60:] - median])
    assert row["n"] == 20
    assert row["median"] == median
    assert row["others"] == others
    assert row["effect"] == pytest.approx((median - others) / (1.4826 * np.median(deviations)))
    assert row["words"] == f"Area {median:.3g} (others {others:.3g})"
    assert table.loc[("dust", "Area"), "effect"] == -row["effect"]


def test_the_largest_effects_come_first_and_copies_are_named(scalars):
    own = describe_groups(scalars, np.repeat([0, 1], [60, 20])).loc[1]
    assert own["effect"].abs().is_monotonic_decreasing
    assert own.index[2] == "Noise"
    first, second = own.index[:2]
    assert {first, second} == {"Area", "Diameter"}
    assert own["like"].tolist() == ["", first, ""]


def test_noise_and_missing_rows_are_among_the_others(scalars):
    groups = np.repeat([-1.0, np.nan, 4.0], [40, 20, 20])
    table = describe_groups(scalars, groups)
    assert table.index.get_level_values("group").unique().tolist() == [4]
    assert table.loc[(4, "Area"), "others"] == np.median(scalars["Area"][:60])


def test_groups_can_be_masks_that_overlap(scalars):
    masks = {"all": np.ones(80, bool), "last": np.arange(80) >= 60}
    table = describe_groups(scalars, masks)
    assert table.loc["all", "n"].unique().tolist() == [80]
    assert table.loc["all", "others"].isna().all()
    assert table.loc[("all", "Noise"), "words"] == f"Noise {scalars['Noise'].median():.3g}"


def test_missing_and_constant_scalars():
    scalars = pd.DataFrame(
        {
            "none": np.full(6, np.nan),
            "constant": np.ones(6),
            "step": [1, 1, 1, 2, 2, 2],
            "gap": [1, np.nan, 3, 10, 12, 14],
        }
    )
    own = describe_groups(scalars, [0, 0, 0, 1, 1, 1]).loc[1]
    assert own.index.tolist() == ["step", "gap", "constant", "none"]
    assert own.loc["step", "effect"] == np.inf
    assert own.loc["constant", "effect"] == 0
    assert np.isnan(own.loc["none", "effect"])
    assert own.loc["gap", ["median", "others"]].tolist() == [12, 2]


def test_large_numbers_are_not_written_as_powers():
    table = describe_groups(pd.DataFrame({"sum": [9418.2, 320953.0]}), ["a", "b"])
    assert table.loc[("b", "sum"), "words"] == "sum 320,953 (others 9,418)"


def test_a_particle_table_is_described_without_its_images():
    table = make_table(np.zeros((4, 3, 3), np.uint8), area=[1.0, 2.0, 3.0, 4.0])
    assert describe_groups(table, ["a", "a", "b", "b"]).loc["a"].index.tolist() == ["area"]


def test_descriptions_refuse_nonsense(scalars):
    with pytest.raises(TypeError, match="scalars is a ndarray; expected a DataFrame"):
        describe_groups(scalars.to_numpy(), np.zeros(80, int))
    with pytest.raises(ValueError, match="Column 'text' of scalars has dtype"):
        describe_groups(scalars.assign(text="x"), np.zeros(80, int))
    with pytest.raises(ValueError, match="scalars has no column of numbers"):
        describe_groups(scalars[[]], np.zeros(80, int))
    with pytest.raises(ValueError, match="groups has 3 rows; expected 80"):
        describe_groups(scalars, [1, 2, 3])
    with pytest.raises(ValueError, match=r"groups\['x'\] has dtype int64 and shape \(80,\)"):
        describe_groups(scalars, {"x": np.zeros(80, int)})
    with pytest.raises(ValueError, match="groups has no group with a row in it"):
        describe_groups(scalars, np.full(80, -1))


# ---------------------------------------------------------------- typical rows


def test_the_medoid_comes_first_and_exceptions_never():
    rng = np.random.RandomState(0)
    Z = rng.normal(size=(100, 3))
    Z[:10] += 50
    groups = np.where(np.arange(100) < 95, "in", "out")
    rows = typical_rows(Z, groups, n_rows=12)["in"]
    own = Z[:95]
    total = np.linalg.norm(own[:, None] - own, axis=2).sum(axis=1)
    assert rows[0] == total.argmin()
    assert len(set(rows.tolist())) == 12
    assert rows.min() >= 10
    assert rows.max() < 95
    distance = np.linalg.norm(Z[rows] - Z[rows[0]], axis=1)
    assert (np.diff(distance) > 0).all()


def test_small_groups_give_all_their_rows():
    rows = typical_rows([[0.0], [1.0], [2.0], [9.0]], [0, 0, 0, -1], n_rows=20)
    assert {name: sorted(some.tolist()) for name, some in rows.items()} == {0: [0, 1, 2]}


def test_a_large_group_is_compared_with_a_sample_of_itself():
    Z = np.random.RandomState(0).normal(size=(3000, 2))
    chosen = [typical_rows(Z, np.zeros(3000, int), 5, random_state=s)[0] for s in (0, 0, 1)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    # The sample's medoid is near the true one: within the innermost 2 %.
    assert all(
        np.linalg.norm(Z[rows[0]]) < np.quantile(np.linalg.norm(Z, axis=1), 0.02) for rows in chosen
    )


def test_a_medoid_with_copies_comes_first():
    rows = typical_rows(np.zeros((5, 2)), np.zeros(5, int), 3)[0]
    assert rows[0] == 0


def test_typical_rows_refuse_nonsense():
    with pytest.raises(ValueError, match="'n_rows' parameter"):
        typical_rows([[0.0]], [0], n_rows=0)
    with pytest.raises(ValueError, match="'coverage' parameter"):
        typical_rows([[0.0]], [0], coverage=1.5)
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        typical_rows([[np.nan]], [0])


# ---------------------------------------------------------------- labels of any kind


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        ([3, -1, None, 5], [0, NOISE, MISSING, 1], [3, 5]),
        ([1.0, np.nan, 2.0], [0, MISSING, 1], [1, 2]),
        (["b", "a", None, np.nan], [1, 0, MISSING, MISSING], ["a", "b"]),
        (pd.array([1, None, -2], dtype="Int64"), [0, MISSING, NOISE], [1]),
        (pd.Categorical(["z", None, "a"], ["z", "a", "unused"]), [0, MISSING, 1], ["z", "a"]),
        ([True, False], [1, 0], [False, True]),
        (["a", 1, 2], [2, 0, 1], [1, 2, "a"]),
        (pd.Series([0.5, -1.5], index=[9, 9]), [0, NOISE], [0.5]),
    ],
)
def test_labels_of_any_kind(labels, codes, names):
    got, found = encode_labels(labels)
    assert got.tolist() == codes
    assert found == names


def test_negative_numbers_are_noise_among_text_and_in_categories():
    codes, names = encode_labels(np.array(["a", -1, "b", None, -2.0], dtype=object))
    assert (codes.tolist(), names) == ([0, NOISE, 1, MISSING, NOISE], ["a", "b"])
    codes, names = encode_labels(pd.Series([1, -1, 0, 1]).astype("category"))
    assert (codes.tolist(), names) == ([1, NOISE, 0, 1], [0, 1])
    assert encode_labels([True, False])[1] == [False, True]
