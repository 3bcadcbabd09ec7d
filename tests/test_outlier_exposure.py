"""Training on images of no class, made of two images each."""

import pytest
import torch
from conftest import make_network, make_table

from icecore_sk import ResNet18Classifier
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


def test_loss_is_least_where_all_classes_are_equally_probable():
    y = torch.tensor([1, 0])
    batch, certain = {"y": y}, torch.tensor([[0.0, 4.0, 0.0], [4.0, 0.0, 0.0]])
    plain = ClassificationLoss()({"logits": certain}, batch)
    assert "outlier_exposure" not in plain
    equal = ClassificationLoss()({"logits": torch.cat([certain, torch.ones(1, 3)])}, batch)
    torch.testing.assert_close(equal["loss"], plain["loss"])
    torch.testing.assert_close(equal["outlier_exposure"], torch.zeros(2))
    unequal = torch.tensor([[2.0, 0.0, 0.0]])
    terms = ClassificationLoss(exposure_weight=0.3)(
        {"logits": torch.cat([certain, unequal])}, batch
    )
    uniform = torch.full((1, 3), 1 / 3)
    expected = torch.nn.functional.kl_div(unequal.log_softmax(1), uniform, reduction="sum")
    torch.testing.assert_close(terms["outlier_exposure"], expected.expand(2))
    torch.testing.assert_close(terms["loss"], plain["loss"] + 0.3 * expected)
    torch.testing.assert_close(terms["accuracy"], torch.ones(2))


@pytest.fixture(scope="module")
def fitted_with_and_without(digits):
    X, y = digits
    return [
        make_network("ResNet18Classifier", max_epochs=8, lr=3e-3, outlier_exposure=share).fit(
            X[:200], y[:200]
        )
        for share in (0.0, 0.5)
    ]


def test_composites_of_new_images_get_lower_probabilities(fitted_with_and_without, digits):
    X, y = (torch.from_numpy(part[200:]) for part in digits)
    X_none = composites(share=1.0)(X[:, None], y)[0][:, 0].numpy()

    def gap(model):
        known, none = (model.predict_proba(part).max(axis=1) for part in (X.numpy(), X_none))
        return known.mean() - none.mean()

    without, with_them = map(gap, fitted_with_and_without)
    assert with_them > without + 0.1


def test_known_images_are_told_apart_as_before(fitted_with_and_without, digits):
    X, y = digits
    without, with_them = (model.score(X[200:], y[200:]) for model in fitted_with_and_without)
    assert with_them > max(0.8, without - 0.05)


def test_history_tells_how_far_probabilities_are_from_equal(fitted_with_and_without):
    without, with_them = (model.history_ for model in fitted_with_and_without)
    assert "outlier_exposure" not in without
    assert with_them["outlier_exposure"].iloc[-1] < with_them["outlier_exposure"].max() / 1.5


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
