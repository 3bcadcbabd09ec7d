"""LabelShiftCorrection: the shares of the classes in another run, and predictions that use them."""

import joblib
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import KFold, PredefinedSplit, ShuffleSplit
from sklearn.naive_bayes import GaussianNB

from icecore_sk import LabelShiftCorrection, ResNet18Classifier
from icecore_sk._label_shift_correction import calibrate, find_shares
from icecore_sk.datasets import make_particles

CLASSES = ["dust", "fibre", "pollen"]
CENTRES = np.array([(0, 0), (2, 0), (0, 2)])


def draw(counts, seed=0, repeat=1):
    """Return rows of three classes; `repeat` copies of each column mislead naive Bayes."""
    rng = np.random.RandomState(seed)
    of = rng.permutation(np.repeat(np.arange(3), counts))
    X = CENTRES[of] + rng.normal(size=(len(of), 2))
    return np.tile(X, repeat), np.array(CLASSES)[of]


@pytest.fixture(scope="module")
def overconfident():
    """Naive Bayes takes four copies of a measurement for four measurements."""
    return LabelShiftCorrection(GaussianNB(), random_state=0).fit(*draw((400, 400, 400), 0, 4))


@pytest.mark.parametrize("seed", range(5))
def test_shares_and_predictions_of_another_run(overconfident, seed):
    X, y = draw((1800, 180, 20), seed + 1, 4)
    overconfident.shares_ = overconfident.prior_
    before = overconfident.predict(X)
    after = overconfident.adapt(X).predict(X)
    assert overconfident.shares_ == pytest.approx([0.9, 0.09, 0.01], abs=0.02)
    # Uncalibrated, the rarest class is lost or the shares are far off.
    naive = find_shares(overconfident.classifier_.predict_log_proba(X), overconfident.prior_)
    assert (
        np.abs(naive - [0.9, 0.09, 0.01]).max()
        > np.abs(overconfident.shares_ - [0.9, 0.09, 0.01]).max()
    )
    assert (after == y).mean() > (before == y).mean() + 0.05


def test_the_temperature_is_the_number_of_copies(overconfident):
    assert overconfident.temperature_ == pytest.approx(4, rel=0.15)
    assert overconfident.bias_ == pytest.approx(0, abs=0.3)


def test_probabilities_are_those_of_bayes():
    X, y = draw((3000, 3000, 3000))
    model = LabelShiftCorrection(GaussianNB(), random_state=0).fit(X, y)
    new, _ = draw((4500, 400, 100), 1)
    density = np.exp(-0.5 * ((new[:, None] - CENTRES) ** 2).sum(axis=2)) * [0.9, 0.08, 0.02]
    truth = density / density.sum(axis=1, keepdims=True)
    p = model.adapt(new).predict_proba(new)
    assert np.abs(p - truth).mean() < 0.01
    assert p.sum(axis=1) == pytest.approx(1)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(new)).all()


def test_what_balancing_did_is_taken_back():
    X, y = draw((1800, 150, 50))
    balanced = LogisticRegression(class_weight="balanced")
    model = LabelShiftCorrection(balanced, random_state=0).fit(X, y)
    assert model.shares_ == pytest.approx([0.9, 0.075, 0.025])
    new, y_new = draw((1800, 150, 50), 1)
    plain = LogisticRegression().fit(X, y)
    assert model.score(new, y_new) == pytest.approx(plain.score(new, y_new), abs=0.01)
    assert model.score(new, y_new) > balanced.fit(X, y).score(new, y_new) + 0.02


def test_a_class_that_the_run_has_not(overconfident):
    X, _ = draw((500, 500, 0), 3, 4)
    overconfident.adapt(X)
    assert overconfident.shares_[2] < 0.01
    assert np.isfinite(overconfident.predict_proba(X)).all()


def test_rows_do_not_depend_on_each_other_once_adapted(overconfident):
    X, _ = draw((900, 90, 10), 2, 4)
    p = overconfident.adapt(X).predict_proba(X)
    np.testing.assert_array_equal(p[:7], overconfident.predict_proba(X[:7]))


def test_separable_classes_stay_finite():
    log_p = np.log([[1 - 1e-6, 1e-6], [1e-6, 1 - 1e-6]] * 20)
    temperature, bias = calibrate(log_p, np.tile([0, 1], 20))
    assert 0 < temperature < np.inf
    assert np.isfinite(bias).all()


def test_frozen_classifier_is_calibrated_on_the_rows_passed():
    X, y = draw((200, 200, 200), 0, 4)
    classifier = GaussianNB().fit(X, y)
    model = LabelShiftCorrection(FrozenEstimator(classifier)).fit(*draw((300, 300, 300), 1, 4))
    assert model.classifier_.estimator is classifier
    assert model.temperature_ == pytest.approx(4, rel=0.3)
    with pytest.raises(ValueError, match=r"knows the classes .* y holds \['a', 'b'\]"):
        LabelShiftCorrection(FrozenEstimator(classifier)).fit(X, ["a", "b"] * 300)


def test_one_seed_governs_all():
    X, y = draw((60, 60, 60))
    params = [
        LabelShiftCorrection(LogisticRegression(), random_state=s).fit(X, y) for s in (1, 1, 2)
    ]
    temperatures = [model.temperature_ for model in params]
    assert temperatures[0] == temperatures[1] != temperatures[2]


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"classifier": RidgeClassifier()}, None, "'classifier' parameter"),
        ({}, ["a"] * 30, "at least 2 classes, but y holds 1 class: \\['a'\\]"),
        ({}, ["a"] * 29 + ["b"], "cv=3 needs as many rows of each class, but there are 1 of 'b'"),
        ({}, ["a"] * 15 + ["b"] * 14 + [None], r"1 missing label\(s\).*adapt\("),
        (
            {"cv": KFold(3)},
            ["a"] * 10 + ["b"] * 10 + ["c"] * 10,
            "knows the classes .* a cv that leaves some",
        ),
        (
            {"cv": ShuffleSplit(1, test_size=1, random_state=0)},
            ["a"] * 15 + ["b"] * 15,
            "holds out no row of",
        ),
    ],
)
def test_bad_input(params, y, message):
    X = np.random.RandomState(0).normal(size=(30, 2))
    y = ["a", "b"] * 15 if y is None else y
    with pytest.raises(ValueError, match=message):
        LabelShiftCorrection(**{"classifier": LogisticRegression(), **params}).fit(X, y)


def test_a_network_on_particles_and_a_file(tmp_path):
    X, y = make_particles(120, classes=2, image_size=16, random_state=0)
    network = ResNet18Classifier(max_epochs=1, random_state=0)
    model = LabelShiftCorrection(network, cv=2, random_state=0).fit(X, y)
    new, _ = make_particles(60, classes=2, weights=[0.9, 0.1], image_size=16, random_state=1)
    p = model.adapt(new).predict_proba(new)
    assert p.shape == (60, 2)
    assert model.transform(new).shape[0] == 60
    assert model.score_samples(new).shape == (60,)
    joblib.dump(model, tmp_path / "model.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model.joblib").predict_proba(new), p)


def test_a_fit_that_fails_leaves_it_as_it_was():
    X, y = draw((60, 60, 60))
    model = LabelShiftCorrection(GaussianNB(), random_state=0).fit(X, y)
    before = model.predict_proba(X)
    held = PredefinedSplit(np.where((y == "dust") & (np.arange(180) < 90), 0, -1))
    with pytest.raises(ValueError, match="holds out no row of"):
        model.set_params(cv=held).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
