"""Networks that start from a classifier, and the two ways in which a VAE goes wrong."""

import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import make_table
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from icecore_sk import VAE, AutoEncoder, FlowVAE, ImageMinMaxScaler, ResNet18Classifier
from icecore_sk.nn import planar

N = 60
AUTOENCODERS = {"AutoEncoder": AutoEncoder, "VAE": VAE, "FlowVAE": FlowVAE}
FORMS = ("images", "rows", "table")
SHAPE = (1, 8, 8)
# Half the side after the first layer, an eighth of the channels: what starts where is the same.
NETWORK = {
    "net_params": {"stem": "pooled", "encoder_width": 8},
    "random_state": 0,
    "precision": "float32",
}
# What explodes and collapses must be a network as it is used.
WIDE = {"net_params": {"stem": "pooled"}}


def make_classifier(**params):
    # Two steps, because the first moves the last layer alone, which starts at zero. Another seed
    # than the autoencoders', whose own start would else be the classifier's.
    return ResNet18Classifier(**{"max_epochs": 2, **NETWORK, "random_state": 1, **params})


def make_autoencoder(name, **params):
    return AUTOENCODERS[name](4, **{"max_epochs": 1, **NETWORK, **params})


def first_weights(model):
    return model.net_.module_.encoder.body.conv1.weight.detach().numpy()


@pytest.fixture(scope="module")
def forms(digits):
    """The same images in every form, with two scalars where the form has room for them."""
    X = digits[0][:N]
    scalars = {"area": X.sum((1, 2)) / 255.0, "angle": np.linspace(0, 360, N)}
    return {
        "images": X,
        "rows": np.column_stack([X.reshape(N, -1), *scalars.values()]).astype(np.float32),
        "table": make_table(X, **scalars),
    }


@pytest.fixture(scope="module")
def y(digits):
    """Names of the digits, known for every other row."""
    names = np.array([f"digit {label % 3}" for label in digits[1][:N]], dtype=object)
    names[1::2] = None
    return names


@pytest.fixture(scope="module")
def on_scalars(forms, y):
    """A classifier of particles with two scalars."""
    return make_classifier().fit(forms["table"][::2], y[::2])


def fit(model, forms, form, y=None):
    return model.set_params(image_shape=SHAPE if form == "rows" else None).fit(forms[form], y)


@pytest.mark.parametrize("name", AUTOENCODERS)
@pytest.mark.parametrize("form", FORMS)
def test_images_start_from_a_classifier_of_images_and_scalars(name, form, forms, on_scalars):
    # So low a learning rate leaves the weights where they start.
    params = {"lr": 1e-9, "encoder": FrozenEstimator(on_scalars)}
    model = fit(make_autoencoder(name, **params), forms, form)
    np.testing.assert_allclose(first_weights(model), first_weights(on_scalars), atol=1e-7)


@pytest.mark.parametrize(("name", "form"), list(zip(AUTOENCODERS, FORMS, strict=True)))
def test_unfitted_classifier_is_the_same_fitted_by_hand(name, form, forms, y):
    model = fit(make_autoencoder(name, encoder=make_classifier()), forms, form, y)
    subset = forms[form][::2]
    by_hand = make_classifier(image_shape=model.image_shape).fit(subset, y[::2])
    assert by_hand.n_scalars_ == (0 if form == "images" else 2)
    again = clone(model).set_params(encoder=FrozenEstimator(by_hand)).fit(forms[form])
    np.testing.assert_array_equal(model.transform(forms[form]), again.transform(forms[form]))


def test_a_vae_that_decodes_scalars_starts_from_a_classifier_of_images(digits, forms):
    classifier = make_classifier().fit(digits[0][:N], digits[1][:N])
    params = {"lr": 1e-9, "scalar_weight": 0.1, "encoder": FrozenEstimator(classifier)}
    model = make_autoencoder("VAE", **params).fit(forms["table"])
    assert "scalar_loss" in model.history_
    np.testing.assert_allclose(first_weights(model), first_weights(classifier), atol=1e-7)


def codes(names):
    """Integers in the place of names, neither 0, 1, 2 nor in a row."""
    return np.array([int(name[-1]) * 7 for name in names])


LABELS = {
    "None among strings": lambda names, known: np.where(known, names, None),
    "NaN among strings": lambda names, known: pd.Series(np.where(known, names, np.nan)),
    "-1 among strings": lambda names, known: np.where(known, names, -1).tolist(),
    "str": lambda names, known: pd.Series(np.where(known, names, None), dtype="str"),
    "NA among Int64": lambda names, known: pd.Series(codes(names), dtype="Int64").where(known),
    "NA among strings": lambda names, known: pd.array(
        np.where(known, names, pd.NA), dtype="string[python]"
    ),
    "a column": lambda names, known: np.where(known, names, None)[:, None],
    "category": lambda names, known: pd.Series(np.where(known, names, None), dtype="category"),
    "-1 among integers": lambda names, known: np.where(known, codes(names), -1),
    "NaN among floats": lambda names, known: np.where(known, codes(names), np.nan),
}


@pytest.fixture(scope="module")
def expected(forms, y):
    model = make_autoencoder("AutoEncoder", encoder=make_classifier())
    return model.fit(forms["images"], y).transform(forms["images"])


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind, digits, expected):
    X = digits[0][:N]
    names = np.array([f"digit {label % 3}" for label in digits[1][:N]], dtype=object)
    labels = LABELS[kind](names, np.arange(N) % 2 == 0)
    if isinstance(labels, pd.Series):
        labels.index = labels.index[::-1]  # rows belong together by position, as in scikit-learn
    model = make_autoencoder("AutoEncoder", encoder=make_classifier())
    np.testing.assert_array_equal(model.fit(X, labels).transform(X), expected)


def test_labels_that_cannot_be_used(digits):
    X, digit = digits[0][:N], digits[1][:N]
    model = make_autoencoder("VAE", encoder=make_classifier())
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, digit[:-1])
    with pytest.raises(ValueError, match=r"should be a 1d array, got an array of shape \(60, 2\)"):
        model.fit(X, np.column_stack([digit, digit]))
    with pytest.raises(ValueError, match="needs at least 2 classes, but y holds 1 class: 3"):
        model.fit(X, np.where(digit == 3, 3, -1))


def test_networks_of_another_shape_are_refused(digits):
    X, digit = digits[0][:N], digits[1][:N]
    colour = make_classifier().fit(np.repeat(X[:, None], 3, axis=1), digit)
    with pytest.raises(ValueError, match=r"encoder brings weights that do not fit .*conv1"):
        make_autoencoder("VAE", encoder=FrozenEstimator(colour)).fit(X)
    with pytest.raises(ValueError, match="not fitted yet"):
        make_autoencoder("VAE", encoder=FrozenEstimator(make_classifier())).fit(X)


def test_the_labelled_set_is_one_parameter_of_a_search(forms, y, on_scalars):
    X = forms["table"]
    pipeline = make_pipeline(
        ImageMinMaxScaler(), make_autoencoder("VAE", encoder=make_classifier()), StandardScaler()
    )
    labels = pd.Series(y, index=X.index[::-1])
    Z = clone(pipeline).fit(X, labels).transform(X)
    np.testing.assert_array_equal(clone(pipeline).fit(X, y).transform(X), Z)

    grid = [
        {"vae__encoder": [None, FrozenEstimator(on_scalars)]},
        {"vae__encoder": [make_classifier(max_epochs=9)], "vae__encoder__max_epochs": [2, 3]},
    ]
    # Without the last step, so that the score is the VAE's.
    search = GridSearchCV(pipeline[:2], grid, cv=2, error_score="raise").fit(X, labels)
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    assert clone(search.best_estimator_).fit(X, labels).score(X) == search.score(X)


# ---------------------------------------------------------------- explosion and collapse

LATENT_DIM = 8


def fit_vae(digits, cls=VAE, **params):
    """Fit 128 digits in 4 steps an epoch; return the history and the warnings' messages."""
    params = {"max_epochs": 4, "batch_size": 32, **NETWORK, **WIDE, **params}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = cls(LATENT_DIM, **params).fit(digits[0][:128])
    return model.history_, [str(w.message) for w in caught if w.category is ConvergenceWarning]


@pytest.fixture(scope="module")
def over_trained(digits):
    """A classifier of 40 digits, trained until nothing is left of its loss, and on."""
    params = {"max_epochs": 60, "lr": 0.05, "weight_decay": 0.0, "random_state": 1, **WIDE}
    classifier = make_classifier(**params).fit(digits[0][:40], digits[1][:40])
    assert classifier.loss_curve_[-1] < 0.01
    return FrozenEstimator(classifier)


# The KL of each of four classifiers (seeds 0, 1, 3, 4) explodes with 24 flows that read the
# features as they are; with 16, not always.
FLOWS = {"cls": FlowVAE, "n_flows": 24, "max_epochs": 8}


def fit_unscaled(digits, **params):
    """Fit flows that read the features as they are, which makes them leap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planar, "FEATURE_SCALE", 1.0)
        return fit_vae(digits, **params)


@pytest.fixture(scope="module")
def exploded(digits, over_trained):
    history, (message,) = fit_unscaled(digits, **FLOWS, encoder=over_trained)
    assert message.startswith("The KL divergence exploded: ")
    assert message.endswith("Lower lr (0.001) or fit the encoder for fewer epochs.")
    return history


def test_over_trained_encoder_explodes_the_kl_and_a_brief_one_does_not(digits, exploded):
    brief = make_classifier(max_epochs=3, **WIDE).fit(digits[0][:40], digits[1][:40])
    healthy, said = fit_unscaled(digits, **FLOWS, encoder=FrozenEstimator(brief))
    assert not said
    assert exploded["kl"].max() > 3 * healthy["kl"].max()
    # The nats bought nothing.
    assert exploded["reconstruction"].iloc[-1] > healthy["reconstruction"].iloc[-1]


@pytest.mark.parametrize("cure", [{"lr": 3e-4}, {"n_flows": 0}], ids=str)
def test_kl_of_an_over_trained_encoder_is_kept_down(cure, digits, over_trained, exploded):
    healthy, said = fit_unscaled(digits, **FLOWS | cure, encoder=over_trained)
    assert not said
    assert exploded["kl"].max() > 3 * healthy["kl"].max()


def test_flows_of_scaled_features_bear_an_over_trained_encoder(digits, over_trained, exploded):
    healthy, said = fit_vae(digits, **FLOWS, encoder=over_trained)
    assert not said
    assert exploded["kl"].max() > 3 * healthy["kl"].max()


def test_high_learning_rate_explodes_the_kl_and_a_lower_one_does_not(digits):
    exploded, said = fit_vae(digits, lr=0.2)
    assert any("KL divergence exploded" in m and m.endswith("Lower lr (0.2).") for m in said)
    assert exploded["kl"].max() > 5 * LATENT_DIM
    healthy, said = fit_vae(digits, lr=2e-3)
    assert not said
    assert healthy["kl"].max() < LATENT_DIM


COLLAPSING = {"beta": 20.0, "kl_warmup": 0.0, "lr": 3e-3, "max_epochs": 6}


@pytest.fixture(scope="module")
def collapsed(digits):
    history, said = fit_vae(digits, **COLLAPSING)
    (message,) = said
    assert message.startswith(f"The posterior collapsed: 0 of {LATENT_DIM} latent dimensions")
    return history


@pytest.mark.parametrize("cure", [{"beta": 1.0}, {"free_bits": 1.0}, {"kl_warmup": 60.0}], ids=str)
def test_posterior_collapse_and_its_cures(cure, digits, collapsed):
    assert collapsed["active_units"].iloc[-1] == 0
    assert collapsed["kl"].iloc[-1] < 0.1
    cured, said = fit_vae(digits, **COLLAPSING | cure)
    assert not said
    assert cured["active_units"].iloc[-1] >= LATENT_DIM // 2
    assert cured["kl"].iloc[-1] > 10 * collapsed["kl"].iloc[-1]


def test_warm_start_does_not_bring_an_old_explosion_up_again(digits):
    X = digits[0][:128]
    params = {"max_epochs": 2, "batch_size": 32, **NETWORK, **WIDE}
    model = VAE(LATENT_DIM, lr=0.2, warm_start=True, **params)
    with pytest.warns(ConvergenceWarning, match="exploded"):
        model.fit(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The KL divergence exploded")
        model.set_params(lr=1e-6).fit(X)
    assert model.n_iter_ == 4


@pytest.mark.parametrize("name", ["VAE", "FlowVAE"])
@pytest.mark.parametrize(
    "params", [{}, {"kl_warmup": 10}, {"beta": 0.01, "max_epochs": 8}], ids=str
)
def test_healthy_fits_are_not_warned_of(name, params, digits):
    _, said = fit_vae(digits, AUTOENCODERS[name], **params)
    assert not said
