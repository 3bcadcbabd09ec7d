"""Estimators go into safe files and come back bit for bit."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_network
from model_files import forge, make_models
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_common import ESTIMATORS as CHECKED
from umap import UMAP

import icecore_sk
from icecore_sk import (
    AutoEncoder,
    ClusterTransformer,
    ImageMinMaxScaler,
    MeanCorrection,
    OutlierScorer,
    files,
    load,
    save,
)
from icecore_sk._files.container import MissingPackageError, read_container
from icecore_sk._files.fitted import FITTED
from icecore_sk._files.migrations import states_of
from icecore_sk._files.types import ESTIMATORS, PARTS
from icecore_sk._outliers.neighbours import Neighbours

METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "score_samples",
    "reconstruct",
    "explain",
)
NAMES = (
    "ResNet18Classifier, AutoEncoder, VAE, FlowVAE, classifier of texts, network of a table, "
    "network from another, MeanCorrection, ImageMinMaxScaler, ClusterTransformer, OutlierScorer, "
    "OutlierScorer of images, OutlierScorer of a table, ClassFilter, "
    "ClassFilter of a forest, LabelShiftCorrection, SelfLabelledClassifier, WithinClassWhitening, "
    "Pipeline, Pipeline of a table, scikit-learn's alone"
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:max_miss=0.1 needs"),
    pytest.mark.filterwarnings("ignore:No held-out row"),
    pytest.mark.filterwarnings("ignore:The posterior collapsed"),
]


@pytest.fixture(scope="module")
def models(digits):
    return make_models(digits[0][:120], digits[1][:120])


@pytest.fixture
def mean_file(digits, tmp_path):
    return save(MeanCorrection().fit(digits[0]), tmp_path / "mean.safetensors")


def said(model, X):
    """Return what a model says of X, by method."""
    results = {}
    for method in METHODS:
        if hasattr(model, method):
            results[method] = getattr(model, method)(X)
    return results


def assert_equal(a, b):
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    else:
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", NAMES.split(", "))
def test_what_comes_back_says_the_same_bit_for_bit(name, models, tmp_path):
    model, X = models[name]
    again = load(save(model, tmp_path / "model.safetensors"))
    expected, found = said(model, X), said(again, X)
    assert expected.keys() == found.keys()
    for method in expected:
        assert_equal(expected[method], found[method])
    assert again.get_params(deep=False).keys() == model.get_params(deep=False).keys()


def test_every_public_estimator_can_be_saved(models):
    public = {type(estimator).__name__ for estimator in CHECKED}
    assert public == set(ESTIMATORS) == set(FITTED) - set(PARTS)
    assert set(PARTS) <= set(FITTED)
    assert public <= {type(model).__name__ for model, _ in models.values()}
    assert set(models) == set(NAMES.split(", "))


def test_learned_attributes_come_back(models, tmp_path):
    model, _ = models["VAE"]
    again = load(save(model, tmp_path / "model.safetensors"))
    pd.testing.assert_frame_equal(again.history_, model.history_, check_exact=True)
    assert again.loss_curve_ == model.loss_curve_
    assert again.image_shape_ == model.image_shape_


def test_network_that_comes_back_fits_on(digits, tmp_path):
    model = make_network("AutoEncoder", warm_start=True).fit(digits[0])
    again = load(save(model, tmp_path / "model.safetensors"))
    assert_equal(
        model.fit(digits[0]).transform(digits[0]), again.fit(digits[0]).transform(digits[0])
    )
    assert again.n_iter_ == 4


def test_unfitted_estimators_keep_their_parameters(tmp_path):
    for estimator in CHECKED:
        again = load(save(estimator, tmp_path / "model.safetensors"))
        assert repr(again) == repr(estimator)
        assert vars(again).keys() == vars(estimator).keys()


def test_object_that_is_held_twice_is_saved_once(models, tmp_path):
    model, _ = models["ClassFilter"]
    again = load(save(model, tmp_path / "model.safetensors"))
    assert again.classifier_ is again.classifier
    arrays = read_container(tmp_path / "model.safetensors")[1]
    assert sum(name.endswith("head.weight") for name in arrays) == 1


def test_approximate_search_is_built_again_from_its_seed(digits, tmp_path, monkeypatch):
    """A stand-in for the search, whose compilation takes half a minute."""
    seeds = []

    class Search:
        def __init__(self, rows):
            self.exact = NearestNeighbors().fit(rows)

        def query(self, rows, k, epsilon):
            return self.exact.kneighbors(rows, k)[::-1]

    def build(neighbours, seed):
        seeds.append(seed)
        return Search(neighbours.rows)

    monkeypatch.setattr(Neighbours, "_approximate", build)
    F = digits[0].reshape(300, -1)[:60] / 16
    model = OutlierScorer(algorithm="approximate", random_state=0).fit(F)
    again = load(save(model, tmp_path / "model.safetensors"))
    assert_equal(model.score_samples(F), again.score_samples(F))
    assert len(seeds) == 2
    assert seeds[0] == seeds[1]


def test_random_state_that_is_a_generator_goes_on_where_it_was(tmp_path):
    generator = np.random.RandomState(3)
    generator.normal(size=5)
    again = load(save(KMeans(2, random_state=generator), tmp_path / "model.safetensors"))
    assert_equal(again.random_state.normal(size=3), generator.normal(size=3))


def test_arrays_of_every_kind_come_back(tmp_path):
    rng = np.random.RandomState(0)
    values = {
        "text": np.array([["é", ""], ["abc", "d"]]),
        "objects": np.array([["a", 1], [None, 2.5]], dtype=object),
        "lists": np.array([None, [1, 2], [3, 4]], dtype=object)[1:],
        "surrogate \ud800": np.arange(2),
        "bytes": np.array([b"ab", b"c"]),
        "bool": np.array([True, False]),
        "half": np.float16([1.5, np.nan, np.inf]),
        "complex": np.array([1 + 2j]),
        "columns first": np.asfortranarray(rng.normal(size=(3, 4))),
        "strided": rng.normal(size=(4, 6))[::2, ::3],
        "big-endian": np.arange(3, dtype=">i4"),
        "empty": np.empty((0, 3), np.float32),
        "records": np.array([(1, 2.5)], dtype=[("a", "u1"), ("b", "f8")]),
        "day": np.array(["2024-02-29"], dtype="M8[D]"),
        "number": np.float32(0.1),
        "no dimension": np.array(3),
        "nested": {"x": [(1, None), {2.5}, slice(0, None)], 3: float("-inf")},
    }
    model = StandardScaler()
    model.values_ = values
    again = load(save(model, tmp_path / "model.safetensors")).values_
    assert again["nested"] == values["nested"]
    assert again["columns first"].flags.f_contiguous
    for name in values.keys() - {"nested", "big-endian"}:
        np.testing.assert_array_equal(again[name], values[name], strict=True, err_msg=name)
        assert type(again[name]) is type(values[name])
    np.testing.assert_array_equal(again["big-endian"], values["big-endian"])


# ---------------------------------------------------------------- other processes and versions

READER = """
import sys, numpy as np
from icecore_sk import load
folder = sys.argv[1]
model = load(f"{folder}/model.safetensors")
np.save(f"{folder}/found.npy", model.predict(np.load(f"{folder}/X.npy")))
"""


def test_pipeline_says_the_same_in_a_fresh_process(models, tmp_path):
    model, X = models["Pipeline"]
    save(model, tmp_path / "model.safetensors")
    np.save(tmp_path / "X.npy", X)
    subprocess.run([sys.executable, "-c", READER, str(tmp_path)], check=True)
    assert_equal(np.load(tmp_path / "found.npy"), model.predict(X))


def test_file_of_the_first_format_still_loads():
    """Written by version 0.1.0, format 1.0, and never written again."""
    model = load(Path(__file__).parent / "data" / "format_1_0.safetensors")
    steps = ["MeanCorrection", "ImageMinMaxScaler", "ResNet18Classifier"]
    assert [type(step).__name__ for _, step in model.steps] == steps
    X = (np.arange(4 * 64) ** 2 % 251).astype(np.uint8).reshape(4, 8, 8)
    X[:2] = np.sort(X[:2].reshape(2, 64)).reshape(2, 8, 8)
    X[2:, 2:6, 2:6] //= 8
    np.testing.assert_array_equal(model.predict(X), ["dust", "dust", "dust", "pollen"])
    dust = model.predict_proba(X)[:, 0]
    np.testing.assert_allclose(dust, [0.5155, 0.5185, 0.5088, 0.4882], atol=1e-3)


def test_older_minor_format_is_brought_up_to_date(mean_file, monkeypatch):
    def rename(document):
        state = document["model"]["state"]["dict"]
        document["model"]["state"]["dict"] = [
            ["mean_" if key == "average_" else key, entry] for key, entry in state
        ]
        return document

    def older(document):
        document["format"] = [1, 0]
        state = document["model"]["state"]["dict"]
        document["model"]["state"]["dict"] = [
            ["average_" if key == "mean_" else key, entry] for key, entry in state
        ]

    mean = load(mean_file).mean_
    forge(mean_file, older)
    with pytest.raises(ValueError, match="average_"):
        load(mean_file)
    monkeypatch.setattr(files, "MIGRATIONS", [rename, *files.MIGRATIONS])
    assert load(mean_file).mean_ == mean


def make_older(path, minor, estimator, name):
    """Turn a file into one of format 1.`minor`: its estimator had nothing of this name."""

    def older(document):
        document["format"] = [1, minor]
        states = states_of(f"icecore_sk.{estimator}", document["model"])
        assert states
        for state in states:
            state[:] = [pair for pair in state if pair[0] != name]

    forge(path, older)


def test_a_filter_of_before_its_distances_rescues_as_it_did(models, tmp_path):
    """Format 1.1: by `score_samples`, below a threshold on the same scale."""
    model, F = models["ClassFilter of a forest"]
    path = tmp_path / "filter.safetensors"
    save(model, path)

    make_older(path, 1, "ClassFilter", "_known")
    assert load(path).explain(F).equals(model.explain(F))

    model, X = models["ClassFilter"]
    familiar = model.classifier_.score_samples(X)
    old = copy.copy(model)
    old._known, old.rescue_threshold_ = None, float(np.median(familiar))
    rescued = (old.explain(X)["score"] > old._offset) & (familiar < old.rescue_threshold_)
    assert rescued.any()
    assert old.explain(X)["rescued"].tolist() == rescued.tolist()


def test_autoencoders_of_before_views_were_trained_on_none(models, tmp_path):
    """Format 1.2."""
    model, X = models["FlowVAE"]
    path = tmp_path / "flows.safetensors"
    save(model, path)

    make_older(path, 2, "FlowVAE", "augmentation")
    again = load(path)
    assert again.get_params()["augmentation"] is None
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_newer_major_format_is_refused(mean_file):
    forge(mean_file, lambda document: document.update(format=[2, 0]))
    with pytest.raises(ValueError, match=r"format is 2\.0, and this version .* reads 1\.x"):
        load(mean_file)


def test_versions_are_written_and_named_where_loading_fails(mean_file):
    document = read_container(mean_file)[0]
    assert document["format"] == [files.MAJOR, len(files.MIGRATIONS)]
    assert document["versions"]["icecore_sk"] == icecore_sk.__version__
    assert document["versions"]["numpy"] == np.__version__
    assert {"torch", "scikit-learn", "python"} < set(document["versions"])

    def change(document):
        document["versions"]["icecore_sk"] = "7.0.0"
        document["model"]["estimator"] = "icecore_sk.Later"

    forge(mean_file, change)
    with pytest.raises(ValueError, match=r"'icecore_sk\.Later'.*written with icecore_sk 7\.0\.0"):
        load(mean_file)


# ---------------------------------------------------------------- what cannot be saved


def test_step_of_another_package_is_named_with_the_way_out(digits, tmp_path):
    pipe = make_pipeline(StandardScaler(), UMAP())
    with pytest.raises(ValueError, match=r"steps\.1\.1 cannot be saved: .* UMAP of umap.*joblib"):
        save(pipe, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_callbacks_cannot_be_saved(tmp_path):
    model = make_network("VAE", callbacks=[print])
    with pytest.raises(ValueError, match=r"callbacks\.0 cannot be saved.*callbacks=None"):
        save(model, tmp_path / "model.safetensors")


def test_search_is_saved_by_what_it_found(digits, tmp_path):
    F = digits[0].reshape(300, -1) / 255
    search = GridSearchCV(make_pipeline(KMeans(2)), {"kmeans__n_clusters": [2, 3]}, cv=2).fit(F)
    with pytest.raises(ValueError, match=r"save\(search\.best_estimator_"):
        save(search, tmp_path / "model.safetensors")
    load(save(search.best_estimator_, tmp_path / "model.safetensors")).predict(F)


def test_places_on_this_machine_are_not_saved(tmp_path):
    pipe = make_pipeline(make_network("VAE", checkpoint_dir=tmp_path), memory=str(tmp_path))
    again = load(save(pipe, tmp_path / "model.safetensors"))
    assert again.memory is None
    assert again[0].checkpoint_dir is None
    assert pipe.memory == str(tmp_path)


def test_more_texts_than_load_would_take_are_not_saved(tmp_path, monkeypatch):
    model = StandardScaler()
    model.names_ = ["name"] * 1000
    monkeypatch.setattr("icecore_sk._files.container.MOST_HEADER_BYTES", 5000)
    with pytest.raises(ValueError, match="more names and texts than a file may"):
        save(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_invalid_parameter_is_found_when_saving(tmp_path):
    with pytest.raises(ValueError, match="'lr' parameter of VAE"):
        save(make_network("VAE", lr=-1.0), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("estimator", "name", "error", "match"),
    [
        ("VAE", "model", TypeError, "estimator is a str; expected an estimator"),
        (MeanCorrection(), "no/model", FileNotFoundError, "folder that does not exist"),
        (MeanCorrection(), "", ValueError, "is a folder; expected the name of a file"),
    ],
)
def test_what_save_is_given(estimator, name, error, match, tmp_path):
    with pytest.raises(error, match=match):
        save(estimator, tmp_path / name)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file"):
        load(tmp_path / "model.safetensors")


def test_writing_that_fails_leaves_the_older_file(mean_file, monkeypatch):
    before = mean_file.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(OSError, match="no room"):
        save(ImageMinMaxScaler(), mean_file)
    assert mean_file.read_bytes() == before
    assert list(mean_file.parent.iterdir()) == [mean_file]


@pytest.mark.parametrize("function", [save, load])
def test_missing_safetensors_is_asked_for(function, mean_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    arguments = (MeanCorrection(), mean_file) if function is save else (mean_file,)
    with pytest.raises(ImportError, match=r"safetensors.*pip install 'icecore_sk\[safe\]'"):
        function(*arguments)


def test_missing_skops_is_asked_for(models, tmp_path, monkeypatch):
    model, _ = models["LabelShiftCorrection"]
    path = save(model, tmp_path / "model.safetensors")
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for function, arguments in ((save, (model, path)), (load, (path,))):
        with pytest.raises(MissingPackageError, match=r"skops.*pip install 'icecore_sk\[safe\]'"):
            function(*arguments)


def test_set_output_comes_back(digits, tmp_path):
    path = tmp_path / "model.safetensors"
    model = make_pipeline(StandardScaler(), PCA(2), ClusterTransformer(KMeans(2, n_init=1)))
    X = digits[0][:40].reshape(40, -1).astype(float)
    model.set_output(transform="pandas").fit(X)
    save(model, path)
    pd.testing.assert_frame_equal(load(path).transform(X), model.transform(X))
    save(AutoEncoder(2).set_output(transform="pandas"), path)
    assert load(path)._sklearn_output_config == {"transform": "pandas"}
    for output in ({"transform": "rubbish"}, {"fit": "pandas"}, [1]):
        strange = AutoEncoder(2)
        strange._sklearn_output_config = output
        with pytest.raises(ValueError, match="its AutoEncoder has the set_output"):
            save(strange, path)


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    model = MeanCorrection().fit(np.zeros((3, 8, 8)))
    model.note_ = "mine"
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"'note_'.*Delete the attribute"):
        save(model, path)
    assert not path.exists()


def test_scorers_of_before_keep_the_metric_of_their_fit(tmp_path):
    """Format 1.3."""
    scorer = OutlierScorer(metric="cosine").fit(np.random.RandomState(0).normal(size=(50, 3)))
    path = tmp_path / "scorer.safetensors"
    save(scorer, path)

    make_older(path, 3, "OutlierScorer", "_metric")
    assert load(path)._metric == "cosine"
    save(OutlierScorer(), path)
    assert load(path).get_params() == OutlierScorer().get_params()
