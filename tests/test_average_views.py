"""Predictions and features as the mean over views of each image."""

import numpy as np
import pytest
import torch
from conftest import make_network, make_table
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from icecore_sk import OutlierScorer, ResNet18Classifier, load, save
from icecore_sk.nn.augment import likely_views

BOTH = {"flip": True, "quarter_turns": True}
FEATURES = ("transform", "decision_function", "intermediate_features")


@pytest.fixture(scope="module")
def classifier(digits):
    return make_network(
        "ResNet18Classifier", max_epochs=3, augmentation=BOTH, average_views=True
    ).fit(*digits)


@pytest.fixture
def plain(classifier):
    """The same network that looks at each image once."""
    state = classifier.__getstate__()
    again = clone(classifier)
    again.__setstate__(state)
    return again.set_params(average_views=False)


@pytest.mark.parametrize(
    ("shape", "kinds", "n"),
    [
        ((5, 5), BOTH, 8),
        ((5, 5), {"flip": False, "quarter_turns": True}, 4),
        ((5, 5), {"flip": True, "quarter_turns": False}, 2),
        ((5, 7), BOTH, 4),
        ((5, 7), {"shift": True}, 5),
        ((5, 5), BOTH | {"shift": True}, 8),
        ((5, 5), {}, 1),
    ],
)
def test_views_are_all_different_and_of_one_shape(shape, kinds, n):
    image = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape)
    views = likely_views(image, **kinds)
    assert len({tuple(view.flatten().tolist()) for view in views}) == len(views) == n
    assert all(view.shape == image.shape for view in views)
    assert views[0].equal(image)


def test_a_shift_of_less_than_a_pixel_moves_nothing():
    image = torch.arange(80.0).reshape(1, 1, 8, 10)
    assert len(likely_views(image, shift=0.06)) == 3  # .48 of a pixel down, .6 to the right
    assert len(likely_views(image, shift=0.04)) == 1


def test_a_shift_moves_by_a_pixel_to_each_side_and_draws_the_edge_out():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    _, *moved = likely_views(image, shift=True)
    down, up, right, left = (view[0, 0] for view in moved)
    assert down.equal(image[0, 0, [0, 0, 1]])
    assert up.equal(image[0, 0, [1, 2, 2]])
    assert right.equal(image[0, 0][:, [0, 0, 1, 2]])
    assert left.equal(image[0, 0][:, [1, 2, 3, 3]])


@pytest.mark.parametrize("turn", [lambda X: np.rot90(X, axes=(1, 2)), lambda X: X[:, :, ::-1]])
def test_it_does_not_matter_how_an_image_lies(turn, classifier, plain, digits):
    X = digits[0][:40]
    turned = np.ascontiguousarray(turn(X))
    for method in ("predict_proba", "transform", "score_samples", "intermediate_features"):
        a, b = (getattr(classifier, method)(images) for images in (X, turned))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
        a, b = (getattr(plain, method)(images) for images in (X, turned))
        assert np.abs(a - b).max() > 0.01


def test_it_is_the_mean_over_the_views(classifier, plain, digits):
    X = torch.from_numpy(digits[0][:20])[:, None]
    views = [view[:, 0].numpy() for view in likely_views(X, **BOTH)]
    for method in FEATURES:
        mean = np.mean([getattr(plain, method)(view) for view in views], axis=0)
        got = getattr(classifier, method)(views[0])
        np.testing.assert_allclose(got, mean, rtol=1e-3, atol=1e-3)
    expected = classifier.classes_[classifier.decision_function(views[0]).argmax(axis=1)]
    np.testing.assert_array_equal(classifier.predict(views[0]), expected)


def test_training_is_the_same(classifier, digits):
    once = clone(classifier).set_params(average_views=False).fit(*digits)
    for a, b in zip(
        once.net_.module_.parameters(), classifier.net_.module_.parameters(), strict=True
    ):
        assert a.equal(b)


def test_scalars_and_files(digits, tmp_path):
    X, y = digits[0][:80], digits[1][:80]
    table = make_table(X, ink=X.mean(axis=(1, 2)))
    model = make_network("ResNet18Classifier", augmentation={"flip": True}, average_views=True)
    model.fit(table, y)
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").predict_proba(table), model.predict_proba(table)
    )
    scores = OutlierScorer(FrozenEstimator(model), random_state=0).fit(table, y)
    assert np.isfinite(scores.score_samples(table)).all()


def test_shifted_views_are_averaged_where_training_knows_no_others(digits):
    X, y = digits
    model = make_network("ResNet18Classifier", augmentation={"shift": 0.2, "rotate": 5}).fit(X, y)
    views = likely_views(torch.from_numpy(X[:20])[:, None].float(), shift=True)
    views = [view[:, 0].numpy().astype(np.uint8) for view in views]
    once = {name: [getattr(model, name)(v) for v in views] for name in FEATURES}
    model.set_params(average_views=True)
    for name, of_views in once.items():
        got = getattr(model, name)(views[0])
        np.testing.assert_allclose(got, np.mean(of_views, axis=0), rtol=1e-3, atol=1e-3)
        assert np.abs(got - of_views[0]).max() > 0.01


@pytest.mark.parametrize("augmentation", [None, {"rotate": 10}, {"flip": False, "shift": 0}])
def test_there_must_be_views(augmentation, classifier, digits):
    wrong = ResNet18Classifier(average_views=True, augmentation=augmentation)
    with pytest.raises(ValueError, match=r"average_views=True needs 'flip', 'quarter_turns' or"):
        wrong.fit(*digits)
    fitted = clone(classifier)
    fitted.__setstate__(classifier.__getstate__())
    with pytest.raises(ValueError, match="average_views=False"):
        fitted.set_params(augmentation=augmentation).predict(digits[0][:2])


def test_average_views_is_a_boolean(digits):
    with pytest.raises(ValueError, match="'average_views' parameter of ResNet18Classifier must"):
        ResNet18Classifier(average_views=8).fit(*digits)
