"""ClassFilter: one class removed at a stated rate of misses, with reasons and a rescue."""

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import make_table
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import RepeatedStratifiedKFold, ShuffleSplit, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icecore_sk import ClassFilter, ResNet18Classifier


def draw(n, seed=0, dust=0.5, gap=2.5):
    """Return two features of dust around 0 and of two kinds of others around `gap`."""
    rng = np.random.RandomState(seed)
    y = rng.choice(["dust", "fibre", "pollen"], n, p=[dust, (1 - dust) / 2, (1 - dust) / 2])
    centres = {"dust": (0, 0), "fibre": (gap, 0), "pollen": (0, gap)}
    return np.array([centres[label] for label in y]) + rng.normal(size=(n, 2)), y


class KnownClassifier(GaussianNB):
    """A naive Bayes that knows how far a row lies from the training rows' mean."""

    def fit(self, X, y):
        self.mean_ = np.mean(X, axis=0)
        return super().fit(X, y)

    def score_samples(self, X):
        return -np.linalg.norm(np.asarray(X) - self.mean_, axis=1)


@pytest.fixture(scope="module")
def fitted():
    return ClassFilter(KnownClassifier(), remove="dust", random_state=0).fit(*draw(2000))


@pytest.mark.parametrize("prefit", [False, True])
def test_the_stated_rate_holds_on_fresh_rows(prefit):
    """On average over samples, which is what is promised; and not by removing nothing."""
    missed, removed = [], []
    for seed in range(40):
        X, y = draw(300, seed)
        classifier = GaussianNB()
        if prefit:
            classifier = FrozenEstimator(classifier.fit(*draw(300, 1000 + seed)))
        model = ClassFilter(classifier, remove="dust", max_miss=0.05, random_state=seed).fit(X, y)
        X, y = draw(4000, 2000 + seed)
        gone = ~model.predict(X)
        missed.append(gone[y != "dust"].mean())
        removed.append(gone[y == "dust"].mean())
    assert 0.03 < np.mean(missed) <= 0.05
    assert np.mean(removed) > 0.5


def test_rates_on_held_out_rows(fitted):
    X, y = draw(2000)
    n = (y != "dust").sum()
    assert fitted.n_calibration_ == n
    assert fitted.n_groups_ is None
    assert 0 < fitted.miss_rate_ <= 0.01
    keep = fitted.predict(X)
    assert keep.dtype == bool
    assert fitted.removed_rate_ == pytest.approx((~keep)[y == "dust"].mean(), abs=0.03)
    assert fitted.classes_.tolist() == ["dust", "fibre", "pollen"]
    assert fitted.n_features_in_ == 2


def test_lower_risk_removes_less():
    X, y = draw(2000)
    rates = [
        ClassFilter(GaussianNB(), remove="dust", max_miss=rate, random_state=0).fit(X, y)
        for rate in (0.005, 0.05, 0.2)
    ]
    assert np.all(np.diff([model.threshold_ for model in rates]) < 0)
    assert np.all(np.diff([model.removed_rate_ for model in rates]) > 0.05)


def test_what_looks_like_no_known_class_is_kept(fitted):
    far = np.array([[-40.0, -40.0], [-60.0, -50.0]])
    assert (fitted.classifier_.predict(far) == "dust").all()
    assert fitted.predict(far).all()
    plain = ClassFilter(KnownClassifier(), remove="dust", rescue=None, random_state=0)
    plain.fit(*draw(2000))
    assert plain.rescue_threshold_ is None
    assert not plain.predict(far).any()


@pytest.mark.parametrize("rescue", [0.01, 0.1])
def test_the_rescue_keeps_no_more_of_the_class_than_stated(rescue):
    shares = []
    for seed in range(20):
        model = ClassFilter(KnownClassifier(), remove="dust", rescue=rescue, random_state=seed)
        model.fit(*draw(1000, seed))
        X, y = draw(4000, 500 + seed)
        table = model.explain(X)[y == "dust"]
        beyond = table["probability"] > model.threshold_
        shares.append(table["rescued"].sum() / beyond.sum())
    assert 0.5 * rescue < np.mean(shares) <= 1.1 * rescue


def test_reasons_and_counts(fitted):
    X = pd.DataFrame([[-0.5, -0.5], [2.5, 2.5], [-40, -40]], index=["a", "b", "c"])
    table = fitted.explain(X.to_numpy())
    assert table.index.tolist() == [0, 1, 2]
    assert table["kept"].tolist() == fitted.predict(X.to_numpy()).tolist() == [False, True, True]
    assert table["rescued"].tolist() == [False, False, True]
    removed, kept, rescued = table["reason"]
    assert removed.startswith(f"removed: P(dust) {table['probability'][0]:.4g} > ")
    assert kept.startswith("kept: P(dust) ")
    assert f"<= {fitted.threshold_:.4g}" in kept
    assert rescued.startswith("rescued: P(dust) 1 - ")
    assert "looks like no known class (score_samples -5" in rescued
    assert table.attrs == {"rows": 3, "removed": 1, "kept": 2, "rescued": 1}


def test_probabilities_that_round_to_one_are_told_apart():
    X, y = draw(1000)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e6))
    sharp = FrozenEstimator(model.fit(40 * X, y))
    sharp.estimator[-1].coef_ *= 40
    sharp.estimator[-1].intercept_ *= 40
    model = ClassFilter(sharp, remove="dust").fit(40 * X, y)
    assert (sharp.predict_proba(40 * X)[y != "dust"] == 1).any()
    assert 0 < model.miss_rate_ <= 0.01
    assert model.removed_rate_ > 0.2


def test_a_fitted_classifier_is_used_as_it_is():
    classifier = GaussianNB().fit(*draw(300, 1))
    X, y = draw(400, 2)
    model = ClassFilter(FrozenEstimator(classifier), remove="dust").fit(X, y)
    assert model.classifier_.estimator is classifier
    assert model.n_calibration_ == (y != "dust").sum()
    p = classifier.predict_proba(X)[:, 0]
    np.testing.assert_array_equal(model.predict(X), p <= model.threshold_ + 1e-12)
    with pytest.raises(ValueError, match=r"remove='sand' is no class of the classifier; it knows"):
        ClassFilter(FrozenEstimator(classifier), remove="sand").fit(
            X, np.char.replace(y, "dust", "sand")
        )


def draw_runs(n_runs, seed):
    """Return rows of runs whose features are shifted each by an amount of its own."""
    rng = np.random.RandomState(seed)
    X, y = draw(150 * n_runs, seed)
    run = np.repeat([f"run {k}" for k in range(n_runs)], 150)
    return X + np.repeat(rng.normal(0, 0.8, (n_runs, 2)), 150, axis=0), y, run


def test_whole_runs_are_held_out():
    missed = {"runs": [], "rows": []}
    for seed in range(8):
        X, y, run = draw_runs(5, seed)
        table = pd.DataFrame(
            X, index=pd.MultiIndex.from_arrays([run, np.arange(len(y))], names=["run", "id"])
        )
        by_index = ClassFilter(GaussianNB(), remove="dust", max_miss=0.05).fit(table, y)
        by_runs = ClassFilter(GaussianNB(), remove="dust", max_miss=0.05).fit(X, y, run)
        rows = StratifiedKFold(5, shuffle=True, random_state=seed)
        by_rows = ClassFilter(GaussianNB(), remove="dust", max_miss=0.05, cv=rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            by_rows.fit(table, y)
        assert by_index.threshold_ == by_runs.threshold_
        assert (by_runs.n_groups_, by_rows.n_groups_) == (5, None)
        X, y, _ = draw_runs(20, 100 + seed)
        for name, model in (("runs", by_runs), ("rows", by_rows)):
            missed[name].append((~model.predict(X))[y != "dust"].mean())
    assert np.mean(missed["runs"]) < 0.065
    assert np.mean(missed["rows"]) > 1.2 * np.mean(missed["runs"])


class PlacedClassifier(GaussianNB):
    """A naive Bayes with features, whose `score_samples` tells nothing."""

    def transform(self, X):
        return np.asarray(X)

    def score_samples(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize("prefit", [False, True])
def test_the_rescue_goes_by_the_distance_from_the_classes(prefit):
    shares = []
    for seed in range(10):
        classifier = PlacedClassifier()
        if prefit:
            classifier = FrozenEstimator(classifier.fit(*draw(500, 1000 + seed)))
        model = ClassFilter(classifier, remove="dust", max_miss=0.05, rescue=0.05)
        model.set_params(random_state=seed).fit(*draw(1000, seed))
        X, y = draw(4000, 2000 + seed)
        table = model.explain(X)[y == "dust"]
        beyond = table["score"] > model.explain(X)["score"].where(y != "dust").quantile(0.95)
        shares.append(table["rescued"].sum() / beyond.sum())
    assert 0.02 < np.mean(shares) <= 0.06
    # Further into the dust than any dust: the classifier is sure, and has never seen it.
    far = model.explain([[-30.0, -30.0]]).iloc[0]
    assert far["probability"] > 0.999
    assert far["rescued"]
    assert far["kept"]
    assert "no known class (4" in far["reason"]
    assert "sd from the nearest > " in far["reason"]


def test_without_a_rescue_no_features_are_computed():
    class Unmapped(PlacedClassifier):
        def transform(self, X):
            raise AssertionError("asked for features")

    model = ClassFilter(Unmapped(), remove="dust", rescue=None, random_state=0)
    assert model.fit(*draw(500)).explain(draw(50)[0])["rescued"].sum() == 0


def test_a_table_of_one_run_is_split_by_rows():
    X, y = draw(400)
    index = pd.Index(["A"] * 400, name="run")
    model = ClassFilter(GaussianNB(), remove="dust").fit(pd.DataFrame(X, index), y)
    assert model.n_groups_ is None


def test_a_network_on_a_particle_table(digits):
    X, y = digits
    table = make_table(X)
    labels = np.where(y < 5, "Junk", np.char.add("digit ", y.astype(str)))
    network = ResNet18Classifier(max_epochs=2)
    model = ClassFilter(network, remove="Junk", max_miss=0.1, cv=2, random_state=0)
    model.fit(table[:200], labels[:200])
    report = model.explain(table[200:])
    assert report.index.equals(table.index[200:])
    assert report["kept"].tolist() == model.predict(X[200:]).tolist()
    assert np.isfinite(model.rescue_threshold_)
    assert model.feature_names_in_.tolist() == ["image"]
    assert network.random_state is None
    assert model.classifier_.random_state is not None


def test_random_state_reaches_the_classifier():
    X, y = draw(300)
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    thresholds = {
        ClassFilter(forest, remove="dust", max_miss=0.1, random_state=seed).fit(X, y).threshold_
        for seed in (0, 0, 1)
    }
    assert len(thresholds) == 2
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    ClassFilter(forest, remove="dust", max_miss=0.1).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_rare_classes_are_no_trouble():
    X, y = draw(400)
    y = y.astype(object)
    y[np.flatnonzero(y == "fibre")[:2]] = ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ClassFilter(LogisticRegression(), remove="dust").fit(X, y)
    assert model.n_calibration_ == (y != "dust").sum()


def test_too_few_rows_for_the_rate():
    X, y = draw(60)
    n = int((y != "dust").sum())
    with pytest.warns(UserWarning, match=rf"max_miss=0.01 needs 99 held-out .* there are {n}\."):
        model = ClassFilter(GaussianNB(), remove="dust").fit(X, y)
    assert model.miss_rate_ == 0


def test_a_classifier_that_tells_nothing_removes_nothing():
    X, y = draw(300)
    with pytest.warns(UserWarning, match="No held-out row of 'dust' is removed at max_miss=0.01"):
        model = ClassFilter(DummyClassifier(), remove="dust").fit(X, y)
    assert model.predict(X).all()


def test_one_shuffled_split_will_do():
    X, y = draw(600)
    model = ClassFilter(GaussianNB(), remove="dust", cv=ShuffleSplit(1, test_size=0.5))
    assert model.fit(X, y).n_calibration_ == pytest.approx(150, abs=30)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"remove": "sand"}, r"remove='sand' is no class of y; expected one of \['dust', 'fibre'"),
        ({"max_miss": 0}, r"'max_miss' parameter of ClassFilter must be a float in the range"),
        ({"max_miss": 1.5}, r"'max_miss' parameter of ClassFilter must be"),
        ({"rescue": 0.0}, r"'rescue' parameter of ClassFilter must be"),
        ({"rescue": 0.01}, r"needs a classifier with transform or score_samples, and GaussianNB"),
        ({"cv": 1}, r"'cv' parameter of ClassFilter must be"),
        ({"cv": 99}, r"cv=99 needs as many rows of 'dust' and of the other classes, but there"),
        ({"cv": RepeatedStratifiedKFold(n_splits=2)}, r"holds out some rows more than once"),
        ({"classifier": RidgeClassifier()}, r"RidgeClassifier\(\) has no predict_proba, from"),
    ],
)
def test_parameters_that_cannot_be(params, message):
    params = {"classifier": GaussianNB(), "remove": "dust", **params}
    with pytest.raises(ValueError, match=message):
        ClassFilter(**params).fit(*draw(100))


def test_labels_and_groups_that_cannot_be():
    X, y = draw(100)
    model = ClassFilter(GaussianNB(), remove="dust", max_miss=0.1)
    with pytest.raises(ValueError, match=r"needs at least 2 classes, but y holds 1 class: \['x'\]"):
        model.fit(X, ["x"] * 100)
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match=r"y contains 2 missing label\(s\)"):
            model.fit(X, [missing, missing, *y[2:]])
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(X, None)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:50])
    with pytest.raises(ValueError, match="groups holds 1 group"):
        model.fit(X, y, ["A"] * 100)
    with pytest.raises(ValueError, match=r"leaves no rows of 'dust' to fit on \(runs are held"):
        model.fit(X, y, (y == "dust").astype(int))
    train, test = np.flatnonzero(y != "x"), np.flatnonzero(y == "dust")
    with pytest.raises(ValueError, match="holds out only rows of 'dust'"):
        ClassFilter(GaussianNB(), remove="dust", cv=[(train, test)]).fit(X, y)
