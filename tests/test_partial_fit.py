"""Training in chunks: each call goes on from the one before, exactly, also in another process."""

import copy
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from conftest import NETWORKS, assert_same, make_network, make_table, outputs
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback
from test_training import assert_same_weights, weights

from icecore_sk import VAE, AutoEncoder, ResNet18Classifier, load, save
from icecore_sk._engine.go_on import moments_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLASSES = np.arange(10)


def make(name, **params):
    return make_network(name, batch_size=32, **params)


def part(model, X, y, chunk):
    """One call of partial_fit on the rows of a slice."""
    classes = {"classes": CLASSES} if hasattr(model, "predict_proba") else {}
    return model.partial_fit(X[chunk], y[chunk], **classes)


def in_chunks(model, X, y, size=75):
    """Give X in chunks."""
    for start in range(0, len(X), size):
        model = part(model, X, y, slice(start, start + size))
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def chunked(request, digits):
    """Each network after four chunks of the digits. Tests must not train it on."""
    return in_chunks(make(request.param), *digits)


def test_same_calls_same_weights_and_global_generators_untouched(chunked, digits):
    X, y = digits
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = in_chunks(clone(chunked), X, y)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert_same_weights(again, chunked)
    other = in_chunks(clone(chunked).set_params(random_state=1), X, y)
    assert not np.array_equal(other.transform(X), chunked.transform(X))


def through_file(model, folder):
    return load(save(model, folder / "model.safetensors"))


def through_joblib(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


@pytest.mark.parametrize(
    "through", [through_file, through_joblib, lambda model, folder: copy.deepcopy(model)]
)
def test_goes_on_after_loading_as_without_saving(through, chunked, digits, tmp_path):
    X, y = digits
    saved = through(in_chunks(clone(chunked), X[:150], y[:150]), tmp_path)
    again = in_chunks(saved, X[150:], y[150:])
    assert_same_weights(again, chunked)
    columns = [name for name in chunked.history_ if name != "seconds"]
    assert again.history_[columns].equals(chunked.history_[columns])
    assert_same(outputs(again, X[:20]), outputs(chunked, X[:20]))


IN_ANOTHER_PROCESS = """
import sys, joblib
models, X, y = joblib.load(sys.argv[1])
for start in (150, 225):
    rows = slice(start, start + 75)
    models = [model.partial_fit(X[rows], y[rows]) for model in models]
joblib.dump(models, sys.argv[2])
"""


def test_another_process_goes_on_in_the_same_way(digits, tmp_path):
    X, y = digits
    models = [in_chunks(make(name), X[:150], y[:150]) for name in NETWORKS]
    joblib.dump((models, X, y), tmp_path / "in")
    words = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS]
    subprocess.run([*words, tmp_path / "in", tmp_path / "out"], check=True)
    for model, there in zip(models, joblib.load(tmp_path / "out"), strict=True):
        assert_same_weights(there, in_chunks(model, X[150:], y[150:]))


def test_moments_history_and_rate_go_on(chunked):
    assert chunked.n_iter_ == 4
    assert chunked.history_["epoch"].tolist() == [1, 2, 3, 4]
    assert len(chunked.loss_curve_) == 4
    moments = moments_of(chunked.net_)
    # Batches of 32, 32 and 11 rows: three steps in each chunk, a rise over the first five.
    assert set(moments["step"]) == {12.0}
    np.testing.assert_allclose(chunked.history_["lr"], np.array([0.6, 1, 1, 1]) * chunked.lr)
    largest = max(np.abs(moment).max() for moment in moments["exp_avg"].values())
    assert largest > 0


def test_chunks_train(digits):
    X, y = digits
    model = make("ResNet18Classifier")
    for _ in range(8):
        model = in_chunks(model, X, y)
    assert model.history_["train_loss"].iloc[-1] < 0.3 * model.history_["train_loss"].iloc[0]
    assert model.score(X, y) > 0.9


def test_first_chunk_starts_from_the_weights_of_fit(digits):
    """The same seed draws the same network, whichever way it is trained."""
    started = []

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            started.append({k: v.clone() for k, v in net.module_.state_dict().items()})

    X = digits[0]
    make("VAE", max_epochs=1, callbacks=[Look()]).fit(X)
    make("VAE", callbacks=[Look()]).partial_fit(X)
    assert started[0].keys() == started[1].keys()
    for name, value in started[0].items():
        assert_array_equal(value, started[1][name])


def test_small_chunks_do_not_take_over_the_norms(digits):
    """Statistics of few rows mix with those before; of the first rows they are all there is."""
    X = digits[0]
    model = make("AutoEncoder").partial_fit(X[:200])
    (name, before), *_ = ((k, v) for k, v in weights(model).items() if k.endswith("running_mean"))
    dark = np.zeros((2, 8, 8), np.uint8)
    few = copy.deepcopy(model).partial_fit(dark)
    many = copy.deepcopy(model).partial_fit(np.zeros((200, 8, 8), np.uint8))
    moved = [np.abs(weights(other)[name] - before).mean() for other in (few, many)]
    assert 0 < moved[0] < 0.5 * moved[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_partial_fit_after_fit_goes_on_and_fit_starts_anew(name, digits, tmp_path):
    X, y = digits
    fitted = make(name, early_stopping=True).fit(X, y)
    start = weights(fitted)
    model = part(copy.deepcopy(fitted).set_params(early_stopping=False), X, y, slice(0, 75))
    assert model.n_iter_ == fitted.n_iter_ + 1
    assert model.history_["epoch"].tolist() == [1, 2, 3]
    assert model.history_[["train_loss", "lr", "seconds"]].iloc[-1].notna().all()
    # From the weights of the fit, by a first step of a fifth of lr.
    (last, after), *_ = ((k, v) for k, v in weights(model).items() if k.endswith("weight"))
    assert 0 < np.abs(after - start[last]).max() < 4 * model.lr
    # A fit's moments are in no file, so they are not used without a file either.
    loaded = through_file(fitted, tmp_path).set_params(early_stopping=False)
    assert_same_weights(part(loaded, X, y, slice(0, 75)), model)
    assert_same_weights(model.set_params(early_stopping=True).fit(X, y), fitted)
    assert model.n_iter_ == fitted.n_iter_
    assert "moments" not in model.__getstate__()["net_"]


def test_warm_started_history_stays(digits):
    X = digits[0]
    model = make("AutoEncoder", warm_start=True).fit(X).fit(X)
    model.partial_fit(X)
    assert model.history_["epoch"].tolist() == [1, 2, 3, 4, 5]
    again = pickle.loads(pickle.dumps(model)).partial_fit(X)
    assert again.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6]


def test_starts_from_an_encoder_in_the_first_call_only(digits):
    X, y = digits
    frozen = FrozenEstimator(make("ResNet18Classifier").fit(X, y))
    model = make("AutoEncoder", encoder=frozen).partial_fit(X[:40])
    plain = make("AutoEncoder").partial_fit(X[:40])
    assert not np.array_equal(model.transform(X), plain.transform(X))
    other = copy.deepcopy(model).set_params(encoder=None)
    assert_same_weights(model.partial_fit(X[40:80]), other.partial_fit(X[40:80]))
    fitted_first = make("AutoEncoder", encoder=make("ResNet18Classifier"))
    assert fitted_first.partial_fit(X[:40], y[:40]).partial_fit(X[40:80]).n_iter_ == 2


def test_every_form(digits):
    X = digits[0]
    forms = {
        "grey": X,
        "images": X[:, None],
        "rows": X.reshape(len(X), -1),
        "table": make_table(X),
    }
    results = []
    for form, data in forms.items():
        model = make("AutoEncoder", image_shape=(1, 8, 8))
        for start in (0, 150):
            rows = slice(start, start + 150)
            model.partial_fit(data.iloc[rows] if form == "table" else data[rows])
        results.append(weights(model))
    for other in results[1:]:
        for name, value in results[0].items():
            assert_array_equal(value, other[name])


def test_chunks_must_be_alike(digits):
    X, y = digits
    table = make_table(X, area=1.0 * y)
    model = make("AutoEncoder").partial_fit(X[:50])
    before = weights(model)
    with pytest.raises(ValueError, match=r"chunk comes as a particle table, but AutoEncoder was"):
        model.partial_fit(make_table(X[:50]))
    with pytest.raises(ValueError, match=r"comes as images \(n, C, H, W\), .* the same form"):
        model.partial_fit(X[:50, None])
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), but .* have shape \(1, 6, 6\)"):
        model.partial_fit(X[:50, :6, :6])
    with pytest.raises(ValueError, match=r"1 sample.* a minimum of 2 .*Join it to the chunk"):
        model.partial_fit(X[:1])
    bad = X[:50].astype(np.float32)
    bad[3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad)
    assert model.n_iter_ == 1
    for name, value in weights(model).items():
        assert_array_equal(value, before[name])
    of_table = make("AutoEncoder").partial_fit(table.iloc[:50])
    with pytest.raises(ValueError, match="feature names"):
        of_table.partial_fit(table.rename(columns={"area": "width"}).iloc[:50])
    with pytest.raises(ValueError, match="feature names"):
        of_table.partial_fit(make_table(X[:50]))


def test_parameters_that_speak_of_a_whole_set_are_refused(digits, tmp_path):
    X, y = digits
    with pytest.raises(ValueError, match=r"partial_fit does not support early_stopping=True"):
        make("VAE", early_stopping=True).partial_fit(X)
    with pytest.raises(ValueError, match=r"does not support checkpoint_dir=.* save the estimator"):
        make("VAE", checkpoint_dir=tmp_path / "here").partial_fit(X)
    assert not (tmp_path / "here").exists()
    model = make("ResNet18Classifier", class_weight="balanced")
    with pytest.raises(ValueError, match=r"class_weight='balanced' is not supported .*dict\(zip"):
        model.partial_fit(X, y, classes=CLASSES)
    assert not hasattr(model, "classes_")


def test_another_network_is_refused(digits):
    X, y = digits
    model = make("FlowVAE").partial_fit(X[:50])
    with pytest.raises(ValueError, match=r"ask for another: latent_dim .* was 4.*start anew with"):
        copy.deepcopy(model).set_params(latent_dim=5).partial_fit(X[:50])
    with pytest.raises(ValueError, match=r"net_params \(encoder_width is now None, was 8\)"):
        copy.deepcopy(model).set_params(net_params=None).partial_fit(X[:50])
    classifier = make("ResNet18Classifier").partial_fit(X, y, classes=CLASSES)
    with pytest.raises(ValueError, match=r"outlier_exposure \(has_unknown is now True"):
        classifier.set_params(outlier_exposure=0.5).partial_fit(X, y)


def test_likelihood_is_of_the_first_chunk(digits):
    X = digits[0]
    white = (X > 100).astype(np.float32)
    model = make("AutoEncoder").partial_fit(white[:50])
    model.partial_fit(X[50:100] / np.float32(255))
    assert model.likelihood_ == "bernoulli"
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs pixels in \[0, 1\]"):
        model.partial_fit(3.0 * white[:50])
    grey = make("AutoEncoder").partial_fit(X[:50])
    assert grey.partial_fit(white[:50]).likelihood_ == "gaussian"


def test_classes_of_all_chunks(digits):
    X, y = digits
    names = np.array([f"digit {label}" for label in y])
    model = make("ResNet18Classifier")
    with pytest.raises(ValueError, match=r"classes must be passed on the first call .*numpy\.uniq"):
        model.partial_fit(X, names)
    with pytest.raises(ValueError, match=r"needs at least 2 classes, but `classes` holds"):
        model.partial_fit(X, names, classes=["digit 1"])
    with pytest.raises(ValueError, match="classes holds NaN or None"):
        model.partial_fit(X, names, classes=["digit 1", None])
    with pytest.raises(ValueError, match=r"y has \['digit 0', .* not among the classes"):
        model.partial_fit(X, names, classes=["digit 1", "digit 2"])
    # A chunk of one class, and classes that no chunk has yet.
    ones = y == 1
    model.partial_fit(X[ones], names[ones], classes=sorted(set(names), reverse=True))
    assert model.classes_.tolist() == sorted(set(names))
    assert model.predict_proba(X[:3]).shape == (3, 10)
    model.partial_fit(X[:100], names[:100])
    model.partial_fit(X[:100], names[:100], classes=sorted(set(names)))
    with pytest.raises(ValueError, match=r"are not those of the calls before"):
        model.partial_fit(X[:100], names[:100], classes=["digit 1", "digit 2"])
    with pytest.raises(ValueError, match=r"y has \['another'\]"):
        model.partial_fit(X[:2], ["digit 1", "another"])
    assert model.n_iter_ == 3


@pytest.mark.parametrize(
    ("y", "classes"), [(["2", "10", "11"], range(12)), ([2, 10, 11], ["2", "10", "11"])]
)
def test_text_is_not_taken_for_numbers(y, classes, digits):
    with pytest.raises(ValueError, match=r"y has \['?2'?, '?10'?, '?11'?\], which is not among"):
        make("ResNet18Classifier").partial_fit(digits[0][:30], y * 10, classes=classes)


def test_weights_of_classes(digits):
    X, y = digits
    doubled = make("ResNet18Classifier", class_weight=dict.fromkeys(range(10), 2.0))
    plain = make("ResNet18Classifier")
    losses = [
        part(model, X, y, slice(0, 30)).history_["train_loss"].iloc[0] for model in (doubled, plain)
    ]
    np.testing.assert_allclose(losses[0], 2 * losses[1], rtol=1e-5)
    sampled = make("ResNet18Classifier", class_weight="balanced_sampling", outlier_exposure=0.5)
    assert in_chunks(sampled, X, y).n_iter_ == 4


class Break(Callback):
    def on_batch_begin(self, net, batch=None, **kwargs):
        if len(net.history) > 1:
            batch[0]["image"].fill_(np.nan)


class Interrupt(Callback):
    def on_batch_begin(self, net, batch=None, **kwargs):
        raise KeyboardInterrupt


def test_a_chunk_that_fails_leaves_the_estimator_as_it_was(digits):
    X = digits[0]
    model = make("AutoEncoder", callbacks=[Break()]).partial_fit(X[:75])
    before, moments = weights(model), moments_of(model.net_)
    moments = copy.deepcopy(moments)
    with pytest.raises(FloatingPointError, match=r"as it was before this chunk. Lower lr"):
        model.partial_fit(X[75:150])
    model.set_params(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[75:150])
    assert model.n_iter_ == 1
    for name, value in weights(model).items():
        assert_array_equal(value, before[name])
    for name, value in moments_of(model.net_)["exp_avg"].items():
        assert_array_equal(value, moments["exp_avg"][name])
    model.set_params(callbacks=None).partial_fit(X[75:150])
    assert_same_weights(model, make("AutoEncoder").partial_fit(X[:75]).partial_fit(X[75:150]))


def test_collapse_is_told_once_it_can_be(digits):
    X = digits[0]
    model = VAE(4, beta=100.0, max_epochs=3, random_state=0, net_params={"encoder_width": 8})
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.partial_fit(X).partial_fit(X)
    with pytest.warns(ConvergenceWarning, match="collapsed"):
        model.partial_fit(X)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda moments: moments.pop("step"), "moments are"),
        (lambda moments: moments["exp_avg"].popitem(), "not those of the weights"),
        (lambda moments: moments.update(step=moments["step"][1:]), "count the steps"),
        (lambda moments: moments.update(step=-moments["step"]), "are no counts"),
        (lambda moments: next(iter(moments["exp_avg_sq"].values())).fill(-1.0), "none that can be"),
        (lambda moments: next(iter(moments["exp_avg"].values())).fill(np.nan), "none that can be"),
        (lambda moments: moments["exp_avg"].update(dict.fromkeys(moments["exp_avg"], np.zeros(3))),
         "of shape"),
    ],
)  # fmt: skip
def test_moments_that_cannot_be_are_refused(change, message, digits):
    model = make("AutoEncoder").partial_fit(digits[0][:40])
    state = copy.deepcopy(model.__getstate__())
    change(state["net_"]["moments"])
    with pytest.raises(ValueError, match=message):
        AutoEncoder.__new__(AutoEncoder).__setstate__(state)


def test_unfitted_clone_has_learned_nothing(digits):
    model = clone(make("ResNet18Classifier").partial_fit(*digits, classes=CLASSES))
    assert isinstance(model, ResNet18Classifier)
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(*digits)
