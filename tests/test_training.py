"""The engine: seeds, schedules, early stopping, faults, checkpoints, diagnostics."""

import copy
import gc
import signal
import warnings
import weakref

import numpy as np
import pytest
import torch
from conftest import NETWORKS, SMALL, assert_same, make_network, outputs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback, EarlyStopping

from icecore_sk import VAE, AutoEncoder, ResNet18Classifier
from icecore_sk._engine import Batches, HostRows, autocast_dtype
from icecore_sk._images import ImageRows
from icecore_sk.datasets import load_digit_images


def weights(model):
    return {k: v.numpy() for k, v in model.net_.module_.state_dict().items()}


def assert_same_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("name", NETWORKS)
def test_same_seed_same_weights_and_global_generators_untouched(name, digits):
    X, y = digits[0][:130], digits[1][:130]
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    first = make_network(name).fit(X, y)
    next_numpy, next_torch = np.random.rand(), torch.rand(1)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert next_numpy == np.random.rand()  # noqa: NPY002
    assert next_torch == torch.rand(1)
    second = make_network(name).fit(X, y)
    assert_same_weights(first, second)
    other = make_network(name, random_state=1).fit(X, y)
    assert not np.array_equal(first.transform(X), other.transform(X))


def test_a_flow_vae_without_flows_is_the_vae(digits):
    X = digits[0]
    flow, plain = make_network("FlowVAE", n_flows=0), make_network("VAE")
    assert_same_weights(flow.fit(X), plain.fit(X))
    assert_same(outputs(flow, X), outputs(plain, X))
    columns = ["train_loss", "reconstruction", "kl"]
    assert flow.history_[columns].equals(plain.history_[columns])
    with_flows = make_network("FlowVAE").fit(X)
    assert not np.array_equal(with_flows.transform(X), plain.transform(X))


def test_without_a_seed_the_global_generator_stays_where_it_was(digits):
    np.random.seed(1)  # noqa: NPY002
    AutoEncoder(2, max_epochs=1).fit(digits[0][:20])
    value = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert value == np.random.rand()  # noqa: NPY002


def test_random_state_instance_moves_on(digits):
    random_state = np.random.RandomState(0)
    fits = [
        AutoEncoder(2, max_epochs=1, random_state=random_state).fit(digits[0][:20])
        for _ in range(2)
    ]
    assert not np.array_equal(*[fit.transform(digits[0][:20]) for fit in fits])


def test_a_row_does_not_depend_on_its_company(fitted, digits):
    X = digits[0]
    whole = outputs(fitted, X)
    order = np.random.RandomState(0).permutation(len(X))
    assert_same({k: v[order] for k, v in whole.items()}, outputs(fitted, X[order]))
    for part in (slice(0, 1), slice(37, 38), slice(299, 300), slice(10, 277)):
        assert_same({k: v[part] for k, v in whole.items()}, outputs(fitted, X[part]))


def test_outputs_are_the_same_at_every_call(fitted, digits):
    assert_same(outputs(fitted, digits[0]), outputs(fitted, digits[0]))


def test_history(fitted):
    history = fitted.history_
    assert history["epoch"].tolist() == [1, 2]
    assert fitted.n_iter_ == 2
    assert fitted.loss_curve_ == history["train_loss"].tolist()
    assert history["train_loss"].iloc[1] < history["train_loss"].iloc[0]
    assert history["valid_loss"].isna().all()
    assert (history["seconds"] > 0).all()
    if hasattr(fitted, "beta"):
        assert {"reconstruction", "kl", "active_units"} <= set(history)
        # After one epoch of warm-up the loss is the sum of its parts.
        last = history.iloc[-1]
        assert last["train_loss"] == pytest.approx(last["reconstruction"] + last["kl"], rel=1e-6)


def test_one_cycle_schedule_ends_low(digits):
    model = AutoEncoder(2, max_epochs=4, lr=2e-3, batch_size=50, random_state=0).fit(digits[0])
    lr = model.history_["lr"]
    assert lr.max() <= 2e-3
    assert lr.iloc[-1] < 1e-5


def test_early_stopping_restores_the_best_weights(digits):
    X, y = digits
    model = ResNet18Classifier(
        max_epochs=30, lr=5e-3, early_stopping=True, n_iter_no_change=2, random_state=0
    ).fit(X, y)
    valid = model.history_["valid_loss"]
    best = int(valid.idxmin())
    assert model.n_iter_ < 30
    assert len(valid) - 1 - best >= 2
    # A fit of exactly as many epochs on the same schedule has the same weights only if they were
    # put back; here the loss on the held-out rows itself tells.
    held_out = model._split(
        ImageRows([X[:, None]]), np.searchsorted(model.classes_, y), _splitting()
    )
    proba = model.predict_proba(X[held_out[1]])
    loss = -np.log(proba[np.arange(len(proba)), np.searchsorted(model.classes_, y[held_out[1]])])
    assert loss.mean() == pytest.approx(valid[best], rel=0.02)


def _splitting():
    from icecore_sk._random import draw_seed, spawn_generators

    return spawn_generators(draw_seed(0), 7)[2]


def test_validation_split_is_shuffled_and_stratified():
    y = np.repeat([0, 1, 2], [200, 60, 40])  # sorted: an unshuffled split would see one class
    model = ResNet18Classifier(early_stopping=True)
    model.classes_ = np.unique(y)
    train, valid = model._split(ImageRows([np.zeros((300, 1, 8, 8))]), y, _splitting())
    assert np.bincount(y[valid]).tolist() == [20, 6, 4]
    assert sorted([*train, *valid]) == list(range(300))


def test_warm_start_goes_on(digits):
    X = digits[0]
    params = {"max_epochs": 3, "random_state": 0, **SMALL}
    model = AutoEncoder(4, likelihood="bernoulli", warm_start=True, **params)
    model.fit(X)
    first = model.history_["train_loss"].tolist()
    model.fit(X)
    assert model.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert model.n_iter_ == 6
    # The fourth epoch goes on from the third, where a cold start repeats the first.
    assert model.history_["train_loss"].iloc[3] < first[1]
    cold = clone(model).set_params(warm_start=False).fit(X)
    assert cold.history_["train_loss"].tolist() == first
    with pytest.raises(ValueError, match="warm_start brings weights that do not fit"):
        model.set_params(latent_dim=5).fit(X)


@pytest.mark.parametrize(
    ("n", "sizes"), [(7, [3, 4]), (6, [3, 3]), (8, [3, 3, 2]), (1, [1]), (4, [4])]
)
def test_a_last_batch_of_one_is_folded_into_the_one_before(n, sizes):
    rows = ImageRows([np.arange(n * 4, dtype=np.uint8).reshape(n, 1, 2, 2)])
    placed = HostRows(rows, torch.device("cpu"))
    batches = Batches(placed, np.arange(n), 3, shuffle=torch.Generator().manual_seed(0))
    seen = [batch["image"] for batch, _ in batches]
    assert [len(image) for image in seen] == sizes
    assert len(batches) == len(sizes)
    pixels = sorted((torch.cat(seen)[:, 0, 0, 0] * 255).round().int().tolist())
    assert pixels == [4 * i for i in range(n)]


def test_fit_with_a_rest_of_one_row(digits):
    model = AutoEncoder(2, batch_size=50, max_epochs=1, random_state=0).fit(digits[0][:101])
    assert np.isfinite(model.transform(digits[0][:101])).all()


def test_nonfinite_loss_stops_with_the_last_finite_weights(digits):
    class Poison(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            if training and len(net.history) == 3:
                batch[0]["image"].fill_(float("nan"))

    model = VAE(4, max_epochs=5, random_state=0, callbacks=[Poison()])
    with pytest.raises(FloatingPointError, match=r"VAE stopped: the loss became nan in epoch 3, "):
        model.fit(digits[0])
    assert model.n_iter_ == 3
    assert all(np.isfinite(value).all() for value in weights(model).values())
    assert np.isfinite(model.transform(digits[0])).all()


def test_learning_rate_far_too_high_is_an_error_not_nan(digits):
    model = AutoEncoder(4, lr=1e18, max_epochs=3, precision="float32", random_state=0)
    with pytest.raises(FloatingPointError, match=r"Lower lr \(now 1e\+18\)"):
        model.fit(digits[0])
    assert np.isfinite(model.transform(digits[0])).all()


def test_weights_that_the_last_step_ruined_are_not_kept(digits):
    """One step: its loss is that of the weights before it, and finite."""
    model = AutoEncoder(4, lr=1e30, max_epochs=1, precision="float32", random_state=0)
    with pytest.raises(FloatingPointError, match=r"a weight became (inf|nan) in epoch 1, batch 1"):
        model.fit(digits[0][:64])
    assert all(np.isfinite(value).all() for value in weights(model).values())
    assert np.isfinite(model.transform(digits[0][:64])).all()


def test_a_fitted_network_lets_its_training_images_go(digits):
    X = digits[0][:40].copy()
    gone = weakref.ref(X)
    model = AutoEncoder(2, max_epochs=1, random_state=0).fit(X)
    del X
    gc.collect()
    assert gone() is None
    assert np.isfinite(model.transform(digits[0][:3])).all()


def test_collapsed_posterior_is_noticed_and_cured(digits):
    X = digits[0]
    with pytest.warns(ConvergenceWarning, match=r"posterior collapsed: 0 of 4 .*free_bits"):
        collapsed = VAE(4, beta=300.0, kl_warmup=0, max_epochs=4, random_state=0).fit(X)
    assert collapsed.history_["active_units"].iloc[-1] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        cured = VAE(4, max_epochs=4, random_state=0).fit(X)
    assert cured.history_["active_units"].iloc[-1] >= 2


def test_free_bits_keep_the_kl_up(digits):
    params = {"beta": 20.0, "kl_warmup": 0, "max_epochs": 8, "random_state": 0, **SMALL}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        without = VAE(4, **params).fit(digits[0])
        with_bits = VAE(4, free_bits=1.0, **params).fit(digits[0])
    assert with_bits.history_["kl"].iloc[-1] > without.history_["kl"].iloc[-1] + 1.0


def test_exploding_kl_is_noticed(digits):
    class Explode(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                with torch.no_grad():
                    net.module_.head.bias[:4] = 1e3

    with pytest.warns(ConvergenceWarning, match=r"KL divergence exploded: .* in epoch 2"):
        VAE(4, max_epochs=2, random_state=0, callbacks=[Explode()]).fit(digits[0])


@pytest.fixture
def ctrl_c():
    """Python's own handler: a shell lets jobs that it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_keyboard_interrupt_is_passed_on(digits):
    class CtrlC(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                signal.raise_signal(signal.SIGINT)

    model = AutoEncoder(2, max_epochs=3, callbacks=[CtrlC()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits[0])
    assert not hasattr(model, "net_")


def test_callbacks_are_cloned_and_skorch_callbacks_work(digits):
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0, threshold_mode="abs")
    stop.set_params(threshold=1e9)
    before = copy.deepcopy(vars(stop))
    model = AutoEncoder(2, max_epochs=9, random_state=0, callbacks=[stop]).fit(digits[0])
    assert model.n_iter_ < 9
    assert vars(stop) == before


def test_weights_of_a_frozen_network_are_the_start(digits):
    X, y = digits
    classifier = make_network("ResNet18Classifier").fit(X, y)
    plain = make_network("VAE", max_epochs=1, lr=1e-9).fit(X)
    moved = clone(plain).set_params(encoder=FrozenEstimator(classifier)).fit(X)
    start = weights(classifier)["encoder.body.conv1.weight"]
    np.testing.assert_allclose(weights(moved)["encoder.body.conv1.weight"], start, atol=1e-6)
    assert not np.allclose(weights(plain)["encoder.body.conv1.weight"], start, atol=1e-3)


def test_encoder_is_fitted_on_the_labelled_rows(digits):
    X, y = digits
    partly = y.astype(object)
    partly[:100], partly[100:150], partly[150:200] = None, -1, np.nan
    encoder = ResNet18Classifier(max_epochs=1, random_state=0)
    by_hand = FrozenEstimator(clone(encoder).fit(X[200:], y[200:]))
    fits = [
        AutoEncoder(4, max_epochs=1, random_state=0, encoder=e).fit(X, partly)
        for e in (encoder, by_hand)
    ]
    np.testing.assert_array_equal(fits[0].transform(X), fits[1].transform(X))
    with pytest.raises(ValueError, match="needs labels; pass y"):
        AutoEncoder(4, encoder=encoder).fit(X)
    with pytest.raises(ValueError, match="y has 0 label"):
        AutoEncoder(4, encoder=encoder).fit(X, np.full(300, -1))


def test_encoder_of_another_kind(digits):
    from sklearn.decomposition import PCA

    for wrong in (FrozenEstimator(PCA(2).fit(digits[0].reshape(300, -1))), PCA(2)):
        with pytest.raises(TypeError, match="expected an icecore_sk network"):
            AutoEncoder(2, encoder=wrong).fit(digits[0])


@pytest.mark.parametrize(
    ("name", "error"), [("ResNet18Classifier", RuntimeError), ("FlowVAE", KeyboardInterrupt)]
)
def test_interrupted_fit_resumes_exactly(name, error, digits, tmp_path):
    X, y = digits

    class Stop(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise error("power cut")

    params = {"max_epochs": 4, "early_stopping": True, "n_iter_no_change": 9}
    params["augmentation"] = {"rotate": 10}
    if name == "ResNet18Classifier":
        params["outlier_exposure"] = 0.3
    whole = make_network(name, **params).fit(X, y)
    stopped = make_network(name, **params, checkpoint_dir=tmp_path, callbacks=[Stop()])
    with pytest.raises(error, match="power cut"):
        stopped.fit(X, y)
    with pytest.raises(NotFittedError):
        stopped.transform(X)
    resumed = make_network(name, **params, checkpoint_dir=tmp_path, callbacks=[Callback()])
    resumed.fit(X, y)
    assert_same_weights(whole, resumed)
    drop = ["seconds"]
    assert resumed.history_.drop(columns=drop).equals(whole.history_.drop(columns=drop))
    with pytest.raises(ValueError, match=r"differs in X\. Use another checkpoint_dir"):
        clone(resumed).fit(X[::-1], y)
    with pytest.raises(ValueError, match=r"differs in lr\."):
        clone(resumed).set_params(lr=1.0).fit(X, y)
    if name == "ResNet18Classifier":  # the other reads no y
        with pytest.raises(ValueError, match=r"differs in y\."):
            clone(resumed).fit(X, y[::-1])


def test_full_disk_costs_checkpoints_and_no_training(digits, tmp_path):
    resource = pytest.importorskip("resource")
    X = digits[0]
    model = make_network("AutoEncoder", checkpoint_dir=tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system then refuses what no longer fits, as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.warns(RuntimeWarning, match="could not be written") as told:
            model.fit(X)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = [str(w.message) for w in told if w.category is RuntimeWarning]
    assert len(said) == 2
    assert "after epoch 2." in said[1]
    assert_same_weights(make_network("AutoEncoder").fit(X), model)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fit_left_of_a_checkpoint_is_removed(digits, tmp_path):
    (tmp_path / ".checkpoint.pt.0123abcd").write_bytes(b"half a checkpoint")
    make_network("AutoEncoder", max_epochs=1, checkpoint_dir=tmp_path).fit(digits[0][:60])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_checkpoint_that_cannot_be_written_or_read(digits, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ValueError, match=r"checkpoint_dir=.* cannot be written"):
        AutoEncoder(2, checkpoint_dir=blocked, random_state=0).fit(digits[0])
    with pytest.raises(ValueError, match="needs an integer random_state"):
        AutoEncoder(2, checkpoint_dir=tmp_path / "new").fit(digits[0])
    (tmp_path / "checkpoint.pt").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"cannot be read .*Delete it to start anew"):
        AutoEncoder(2, checkpoint_dir=str(tmp_path), random_state=0).fit(digits[0])


def test_class_weight_is_scikit_learns(digits):
    X, y = digits
    few = np.flatnonzero((y != 3) | (np.arange(len(y)) < 30))
    balanced = ResNet18Classifier(max_epochs=1, class_weight="balanced", random_state=0)
    balanced.fit(X[few], y[few])
    used = balanced.net_.criterion_.class_weight.numpy()
    counts = np.bincount(y[few])
    np.testing.assert_allclose(used * counts, (used * counts)[0])
    np.testing.assert_allclose((used * counts).sum() / len(few), 1.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_learns_what_there_is_to_learn(name):
    X, y = load_digit_images(return_X_y=True)
    # Neighbouring rows are of the same writers.
    shuffled = np.random.default_rng(0).permutation(len(X))
    train, rest = shuffled[:200], shuffled[200:]
    # A narrow one learns less.
    settings = dict(max_epochs=40, batch_size=50, **SMALL)
    model = make_network(name, **settings).fit(X[train], y[train])
    if name == "ResNet18Classifier":
        # .79 to .85 in twelve fits: six seeds, in float32 and in bfloat16.
        assert model.score(X[rest], y[rest]) > 0.75
    else:
        images, mean = X[rest] / 255, X[train].mean(0) / 255
        error = ((model.reconstruct(X[rest]) - images) ** 2).mean()
        assert error < 0.9 * ((mean - images) ** 2).mean()


def test_gaussian_copes_with_any_scale(digits):
    X = digits[0].astype(np.float64)
    small = AutoEncoder(4, max_epochs=2, random_state=0).fit(X * 1e-3 - 5)
    large = AutoEncoder(4, max_epochs=2, random_state=0).fit(X * 1e3 + 5)
    assert small.likelihood_ == large.likelihood_ == "gaussian"
    for model, data in ((small, X * 1e-3 - 5), (large, X * 1e3 + 5)):
        error = ((model.reconstruct(data) - data) ** 2).mean() / data.var()
        assert error < 1.0


def test_precision_float32_and_bfloat16_agree(digits):
    X = digits[0]
    a, b = (
        AutoEncoder(4, likelihood="bernoulli", max_epochs=1, precision=p, random_state=0).fit(X)
        for p in ("float32", "bfloat16")
    )
    assert a.net_.amp_dtype is None
    assert b.net_.amp_dtype is torch.bfloat16
    assert a.loss_curve_[0] == pytest.approx(b.loss_curve_[0], rel=0.02)


@pytest.mark.parametrize("native", [True, False])
def test_precision_goes_by_what_the_processor_multiplies(native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    cpu = torch.device("cpu")
    assert autocast_dtype("auto", cpu) is (torch.bfloat16 if native else None)
    assert autocast_dtype("float32", cpu) is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert autocast_dtype("bfloat16", cpu) is torch.bfloat16
    said = [str(warning.message) for warning in caught]
    assert bool(said) != native
    assert native or "precision='bfloat16', but this CPU does not multiply bfloat16" in said[0]


def test_verbose_shows_progress(digits, capsys):
    AutoEncoder(2, max_epochs=2, verbose=1).fit(digits[0][:20])
    assert "AutoEncoder: 100%" in capsys.readouterr().err
    AutoEncoder(2, max_epochs=1).fit(digits[0][:20])
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""
