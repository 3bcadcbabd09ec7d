"""Training on images of no class, made of two images each."""

import numpy as np
import pytest
import torch
from conftest import make_network, make_table, outputs
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback

from icecore_sk import ResNet18Classifier, load, save
from icecore_sk.datasets import load_digit_images
from icecore_sk.nn import ClassificationLoss
from icecore_sk.nn.composites import Composites


def composites(share=0.5, seed=0):
    return Composites(torch.Generator().manual_seed(seed), share)


@pytest.fixture
def flat():
    """Images of one grey level each, which tells the row that a pixel comes from."""
    y = torch.tensor([0, 0, 1, 2, 2, 2])
    return torch.arange(6.0)[:, None, None, None].expand(6, 1, 12, 9), y


def test_each_composite_has_two_parts_of_different_classes(flat):
    image, y = flat
    joined, one = composites(share=1.0)(image, y)
    assert joined.shape == image.shape
    assert sorted(one.tolist()) == list(range(6))
    for picture, first in zip(joined, one, strict=True):
        levels = picture.unique().long()
        assert len(levels) == 2
        assert first in levels
        assert len(y[levels].unique()) == 2
        share = (picture == first).float().mean()
        assert 0.15 < share < 0.85


def test_share_is_of_the_rows_of_the_batch(flat):
    assert [len(composites(share)(*flat)[0]) for share in (0.2, 0.5, 1.0)] == [2, 3, 6]


def test_the_same_generator_draws_the_same_composites(flat):
    again = [composites(seed=seed)(*flat)[0] for seed in (1, 1, 2)]
    assert again[0].equal(again[1])
    assert not again[0].equal(again[2])


def test_rows_of_one_class_have_no_composite(flat):
    joined, one = composites()(flat[0], torch.zeros(6, dtype=torch.long))
    assert joined.shape == (0, 1, 12, 9)
    assert len(one) == 0


def test_images_of_no_class_count_like_rows_of_a_class_of_their_own():
    y = torch.tensor([1, 0])
    batch, known = {"y": y}, torch.tensor([[0.0, 4.0, 1.0], [4.0, 0.0, 2.0]])
    plain = ClassificationLoss()({"logits": known}, batch)
    assert "outlier_exposure" not in plain
    further = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    terms = ClassificationLoss()({"logits": torch.cat([known, further])}, batch)
    all_rows = torch.cat([known, further]), torch.tensor([1, 0, 2, 2, 2])
    expected = torch.nn.functional.cross_entropy(*all_rows, reduction="sum") / 2
    torch.testing.assert_close(terms["loss"].mean(), expected)
    torch.testing.assert_close(terms["loss"] - terms["outlier_exposure"], plain["loss"])
    torch.testing.assert_close(terms["accuracy"], torch.ones(2))


@pytest.fixture(scope="module")
def halves():
    X, y = load_digit_images(return_X_y=True)
    return (X[:600], y[:600]), (X[600:], y[600:])


@pytest.fixture(scope="module")
def fitted_with_and_without(halves):
    params = {"max_epochs": 8, "batch_size": 16, "lr": 3e-3}
    return [
        make_network("ResNet18Classifier", **params, outlier_exposure=share).fit(*halves[0])
        for share in (0.0, 1.0)
    ]


def test_composites_of_new_images_look_less_known(fitted_with_and_without, halves):
    X, y = map(torch.from_numpy, halves[1])
    X_none = composites(share=1.0)(X[:, None], y)[0][:, 0].numpy()
    truth = np.repeat([True, False], [len(X), len(X_none)])
    without, with_them = (
        roc_auc_score(truth, model.score_samples(np.concatenate([X.numpy(), X_none])))
        for model in fitted_with_and_without
    )
    assert with_them > without + 0.04
    assert with_them > 0.8


def test_known_images_are_told_apart_as_before(fitted_with_and_without, halves):
    without, with_them = (model.score(*halves[1]) for model in fitted_with_and_without)
    assert with_them > max(0.85, without - 0.05)


def test_the_class_of_none_is_no_class_of_the_classifier(fitted_with_and_without, digits):
    model, X = fitted_with_and_without[1], digits[0]
    assert model.predict_proba(X).shape == model.decision_function(X).shape == (300, 10)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert set(model.predict(X)) <= set(range(10))
    assert model.net_.module_.head.out_features == 11


def test_batch_size_counts_them(digits):
    fits = [
        make_network("ResNet18Classifier", max_epochs=1, batch_size=20, outlier_exposure=share)
        for share in (0.0, 1.0)
    ]
    seen = []

    class Count(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            seen[-1].append((len(batch[0]["image"]), len(batch[0]["y"])))

    for model in fits:
        seen.append([])
        model.set_params(callbacks=[Count()]).fit(digits[0][:100], digits[1][:100])
    assert seen == [[(20, 20)] * 5, [(20, 10)] * 10]


def test_history_has_their_part_of_the_loss(fitted_with_and_without):
    without, with_them = (model.history_ for model in fitted_with_and_without)
    assert "outlier_exposure" not in without
    part = with_them["outlier_exposure"]
    assert 0 < part.iloc[-1] < part.iloc[0] / 3
    assert (with_them["train_loss"] > part).all()


def test_two_classes_and_a_file(digits, tmp_path):
    X, y = digits[0], digits[1] > 4
    model = make_network("ResNet18Classifier", outlier_exposure=0.5).fit(X, y)
    assert model.decision_function(X).shape == (300,)
    save(model, tmp_path / "model")
    for name, value in outputs(model, X).items():
        np.testing.assert_array_equal(getattr(load(tmp_path / "model"), name)(X), value)


def test_a_composite_takes_the_scalars_of_its_first_part(digits):
    """Scalars that name the class: composites must not have any others."""
    X, y = digits[0][:60], digits[1][:60]
    table = make_table(X, name=y.astype(float))
    model = make_network("ResNet18Classifier", outlier_exposure=1.0, early_stopping=True)
    seen = []
    original = model._make_module

    def watched(*args):
        module = original(*args)
        module.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append({k: v.clone() for k, v in kwargs.items()}),
            with_kwargs=True,
        )
        return module

    model._make_module = watched
    model.fit(table, y)
    batch = seen[0]
    n = len(batch["image"]) // 2
    assert len(batch["scalars"]) == 2 * n
    for image, scalar in zip(batch["image"][n:], batch["scalars"][n:], strict=True):
        same = (batch["image"][:n] == image).flatten(1).float().mean(1)
        candidates = batch["scalars"][:n][batch["scalars"][:n, 0] == scalar[0]]
        assert len(candidates)
        assert same[batch["scalars"][:n, 0] == scalar[0]].max() > 0.15


@pytest.mark.parametrize("share", [-0.1, 1.5, "many", None])
def test_share_out_of_range(share, digits):
    with pytest.raises(ValueError, match="'outlier_exposure' parameter of ResNet18Classifier must"):
        ResNet18Classifier(outlier_exposure=share).fit(*digits)
