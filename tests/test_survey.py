"""The survey: what it finds, how it goes on after a stop, and what it refuses."""

import json
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

from icecore_sk import (
    VAE,
    AutoEncoder,
    MeanCorrection,
    ResNet18Classifier,
    SelfLabelledClassifier,
    WithinClassWhitening,
)
from icecore_sk._images import read_table, tensor_column
from icecore_sk.datasets import load_particles, make_particles, save_particles
from icecore_sk.survey import Survey, survey
from icecore_sk.survey._inputs import read_labelled
from icecore_sk.survey._maps import cluster, reduce, whitened
from icecore_sk.survey._results import write_pages
from icecore_sk.survey._steps import Steps
from icecore_sk.survey._workflow import smallest_cluster
from icecore_sk.survey.cli import main

N = 90


def quick(particles, labelled=None, **params):
    small = {"max_epochs": 1, "net_params": {"stem": "standard", "encoder_width": 16}}
    return survey(
        particles,
        labelled,
        **{
            "model": VAE(3, **small),
            "classifier": ResNet18Classifier(**small, class_weight="balanced_sampling"),
            "min_cluster_size": 6,
            "contamination": 0.04,
            "verbose": 0,
            **params,
        },
    )


@pytest.fixture(scope="module")
def particles():
    return make_particles(N, classes=2, image_size=16, random_state=0)


@pytest.fixture(scope="module")
def half_labelled(particles):
    """Every other label, and the name of the class that plays dust."""
    y = particles[1]
    known = y.astype(object).where(np.arange(N) % 2 == 0, None)
    return known, y.value_counts().index[0]


@pytest.fixture(scope="module")
def found(particles, half_labelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("survey") / "päth with spaces"
    known, dust = half_labelled
    return quick(particles[0], known, remove=dust, max_miss=0.2, out=out), out


def test_every_particle_is_in_the_table(found, particles, half_labelled):
    table = found[0].table
    assert table.index.equals(particles[0].index)
    scalars = particles[0].drop(columns="image")
    pd.testing.assert_frame_equal(table[scalars.columns], scalars)
    known = half_labelled[0]
    assert (table["label"].isna() == known.isna()).all()
    assert (table["label"][known.notna()] == known.dropna()).all()


def test_removed_particles_are_counted_and_have_a_reason(found, half_labelled):
    result, dust = found[0], half_labelled[1]
    removed = ~result.table["kept"].astype(bool)
    (step,) = (s for s in result.record["steps"] if s["name"] == "classifier")
    assert step["kept"] + step["dropped"] == N
    assert step["dropped"] == removed.sum()
    assert result.table["filter_reason"][removed].str.contains(dust).all()
    missing = result.table.loc[removed, ["VAE x", "VAE cluster", "outlier_score"]]
    assert missing.isna().all(axis=None)
    assert not result.table.loc[removed, "outlier"].any()


def test_maps_clusters_and_outliers_of_what_is_kept(found):
    result = found[0]
    kept = result.table[result.table["kept"].astype(bool)]
    assert list(result.maps) == ["VAE", "classifier", "scalars"]
    for name, columns in result.maps.items():
        assert np.isfinite(kept[list(columns)].to_numpy(float)).all()
        assert kept[f"{name} cluster"].notna().all()
    outliers = kept[kept["outlier"].astype(bool)]
    assert len(outliers) == pytest.approx(0.04 * len(kept), abs=1)
    assert (outliers["reason"].str.len() > 10).all()
    assert (
        outliers["outlier_score"].max() < kept["outlier_score"][~kept["outlier"].astype(bool)].min()
    )
    assert kept["neighbour_overlap"].between(0, 1).all()
    assert set(result.consistency) == {
        ("VAE", "classifier"), ("VAE", "scalars"), ("classifier", "scalars"),
    }  # fmt: skip


def test_the_folder_holds_everything(found, particles):
    result, out = found
    written = pd.read_parquet(out / "particles.parquet")
    assert written.index.equals(result.table.index)
    assert (written["reason"] == result.table["reason"]).all()
    pd.testing.assert_frame_equal(load_particles(out / "images.arrow"), particles[0])
    record = json.loads((out / "survey.json").read_text())["record"]
    assert record["seed"] == 0
    assert record["versions"]["scikit-learn"]
    assert (out / "report.html").stat().st_size > 10_000
    assert list((out / "figures").glob("*.png"))


def test_saved_models_place_new_particles_in_another_process(found, tmp_path):
    result, out = found
    new, _ = make_particles(20, classes=2, image_size=16, random_state=9)
    save_particles(new, tmp_path / "new.arrow")
    code = (
        "import sys, joblib; from icecore_sk.datasets import load_particles;"
        "models = joblib.load(sys.argv[1]); X = load_particles(sys.argv[2]);"
        "print(*models['outliers'].score_samples(X).round(6))"
    )
    command = [sys.executable, "-c", code, out / "pipeline.joblib", tmp_path / "new.arrow"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = result.models["outliers"].score_samples(new)
    np.testing.assert_allclose([float(v) for v in printed.split()], expected, atol=1e-4)
    model = joblib.load(out / "pipeline.joblib")["model"]
    assert model[:-1].transform(new).shape == (20, 2)
    assert len(model.predict(new)) == 20


def test_the_same_call_does_nothing_again(found, particles, half_labelled, capsys):
    result, out = found
    known, dust = half_labelled
    written = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    # As a run leaves them that is killed while it writes; a fit removes its own.
    for path in (path for path in written if path.name != "checkpoint.pt"):
        (out / path).with_name(f".{path.name}.0123abcd").touch()
    again = quick(particles[0], known, remove=dust, max_miss=0.2, out=out, verbose=1)
    assert sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file()) == written
    assert all(step["resumed"] for step in again.record["steps"][1:])
    assert not any(step["resumed"] for step in result.record["steps"][1:])
    pd.testing.assert_frame_equal(again.table, result.table)
    assert capsys.readouterr().out.count("kept from before") == len(again.record["steps"]) - 1


def test_a_changed_parameter_repeats_what_depends_on_it(found, particles, half_labelled):
    _, out = found
    known, dust = half_labelled
    other = quick(particles[0], known, remove=dust, max_miss=0.2, min_cluster_size=7, out=out)
    resumed = {step["name"]: step["resumed"] for step in other.record["steps"][1:]}
    assert resumed["classifier"]
    assert resumed["VAE"]
    assert not resumed["map_VAE"]
    assert not resumed["outliers"]


def test_a_model_that_labels_for_itself(particles, tmp_path):
    small = {"max_epochs": 1, "net_params": {"stem": "standard", "encoder_width": 16}}
    clusterer = make_pipeline(VAE(2, **small), KMeans(8))
    model = SelfLabelledClassifier(clusterer, ResNet18Classifier(**small))
    result = quick(particles[0], model=model, out=tmp_path)
    assert list(result.maps) == ["SelfLabelledClassifier", "scalars"]
    assert result.models["embedding"][-1].n_clusters_ == 8
    assert len(result.histories["SelfLabelledClassifier"]) == 1
    again = quick(particles[0], model=model, out=tmp_path)
    assert all(step["resumed"] for step in again.record["steps"][1:])


def test_the_classifiers_map_is_whitened_within_its_classes(found, particles, half_labelled):
    result, X, known = found[0], particles[0], half_labelled[0]
    classifier, has_label = result.models["classifier"], known.notna().to_numpy()
    whitening = WithinClassWhitening().fit(classifier.transform(X[has_label]), known[has_label])
    kept = result.table["kept"].to_numpy(dtype=bool)
    features = whitening.transform(classifier.transform(X[kept]))
    _, mapping = reduce(features, "UMAP", result.record["seed"])
    np.testing.assert_array_equal(mapping, result.table.loc[kept, list(result.maps["classifier"])])
    # One particle of each class says nothing of how its members differ.
    alone = whitened(classifier, X[:2], np.array(["a", "b"]), X[:5])
    np.testing.assert_array_equal(alone, classifier.transform(X[:5]))


def test_without_labels_or_scalars_there_are_still_two_maps(particles):
    result = quick(particles[0][["image"]])
    assert len(result.maps) == 2
    assert "predicted" not in result.table
    assert result.table["kept"].all()


def test_a_labelled_set_apart(particles):
    X, y = particles
    result = quick(X[:60], (X[60:], y[60:]))
    assert result.table["label"].isna().all()
    assert set(result.table["predicted"]) <= set(y)


# ---- steps


def test_a_stopped_run_goes_on_from_the_last_finished_step(tmp_path):
    done = []

    def stop():
        raise KeyboardInterrupt

    def go(last):
        steps = Steps(tmp_path, "data", 2, lambda text: None)
        first = steps.run("first", "", 1, lambda: done.append("first") or 41)
        return steps.run("second", "", first, last)

    with pytest.raises(KeyboardInterrupt):
        go(stop)
    assert go(lambda: done.append("second") or 42) == 42
    assert done == ["first", "second"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("change", ["data", "params", "before"])
def test_what_a_step_depends_on_makes_it_anew(change, tmp_path):
    def value(data, before, params, result):
        steps = Steps(tmp_path, data, 2, lambda text: None)
        steps.run("before", "", before, lambda: 0)
        return steps.run("step", "", params, lambda: result)

    assert value("a", 1, 1, "old") == "old"
    assert value("a", 1, 1, "new") == "old"
    changed = {"data": ("b", 1, 1), "before": ("a", 2, 1), "params": ("a", 1, 2)}[change]
    assert value(*changed, "new") == "new"


def test_a_damaged_result_is_made_again_and_said_so(tmp_path):
    said = []

    def value(result):
        return Steps(tmp_path, 0, 1, said.append).run("step", "", 0, lambda: result)

    value("old")
    (tmp_path / "step.joblib").write_bytes(b"broken")
    assert value("new") == "new"
    assert any("cannot be read" in text for text in said)


def test_many_rows_are_clustered_by_a_sample(monkeypatch):
    monkeypatch.setattr("icecore_sk.survey._maps.MOST_CLUSTERED", 200)
    rng = np.random.RandomState(0)
    mapping = np.vstack([rng.normal(m, 0.1, (300, 2)) for m in (0, 5)])
    _, labels = cluster(mapping, 50, 0)
    assert len(labels) == 600
    assert len({*labels[:300]} - {-1}) == len({*labels[300:]} - {-1}) == 1
    assert not {*labels[:300]} & {*labels[300:]} - {-1}


# ---- bad input


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"remove": "dust"}, "remove='dust' needs labels"),
        ({"remove": "dust", "labelled": ["a", "b"] * 45}, r"none of the labels.*\['a', 'b'\]"),
        ({"labelled": ["a"] * 3}, r"labels of shape \(3,\) for 90"),
        ({"labelled": [None] * 90}, "holds no label"),
    ],
)
def test_bad_labels(params, message, particles):
    with pytest.raises(ValueError, match=message):
        quick(particles[0], **params)


def test_bad_particles(particles):
    X = particles[0]
    with pytest.raises(ValueError, match="0 image columns"):
        quick(X.drop(columns="image"))
    with pytest.raises(ValueError, match="10 rows; a survey needs at least 50"):
        quick(X[:10])
    with pytest.raises(ValueError, match="several rows with the id"):
        quick(pd.concat([X, X[:1]]))
    with pytest.raises(ValueError, match=r"other columns than particles: \['Length'\]"):
        read_labelled(X, (X.drop(columns="Length"), [1] * N))
    with pytest.raises(ValueError, match=r"the column\(s\) \['reason'\].*rename\(columns="):
        quick(X.rename(columns={"Length": "reason"}))
    with pytest.raises(ValueError, match="labelled has several rows with the id"):
        read_labelled(X, (pd.concat([X, X[:1]]), [1] * (N + 1)))


def test_labels_of_every_kind(particles):
    X = particles[0]
    for labels in ([0, 1, -1] * (N // 3), (True, False, None) * (N // 3)):
        _, y, label = read_labelled(X, labels)
        assert y.dtype.kind in "ib"
        assert y.tolist() == [value for value in labels if value is not None and value != -1]
        assert label.isna().tolist() == [value is None or value == -1 for value in labels]
    with pytest.raises(ValueError, match="labelled has text and numbers, such as 'a' and 1"):
        read_labelled(X, [1, "a", None] * (N // 3))


def test_labels_go_where_their_ids_are(particles):
    X = particles[0]
    y = pd.Series(np.arange(N) % 7, index=X.index)
    for labels in (y, y[::-1], y.to_numpy(), y.reset_index(drop=True)):
        assert read_labelled(X, labels)[2].tolist() == y.tolist()
    with pytest.raises(ValueError, match=r"holds 60 labels by id.*y.reindex\(particles.index\)"):
        read_labelled(X, y[:60])


def test_labels_of_other_particles_stay_with_these(particles):
    X = particles[0]
    own, others = X[:20], X[20:40].set_axis(X.index[:20])
    assert read_labelled(X, (own, ["dust"] * 20))[2].notna().sum() == 20
    with pytest.raises(ValueError, match=r"share 20 id\(s\), .* but not the images"):
        read_labelled(X, (others, ["dust"] * 20))
    _, y, label = read_labelled(
        X.reset_index(drop=True), (others.reset_index(drop=True), ["dust"] * 20)
    )
    assert len(y) == 20
    assert label.isna().all()


def test_images_that_no_report_shows_are_refused_at_once(particles, tmp_path):
    X = particles[0]
    images = read_table(X[["image"]]).gather(np.arange(N))
    X = X.assign(image=tensor_column(images / np.float32(255)))
    with pytest.raises(ValueError, match=r"images of dtype float32 .* or out=None"):
        quick(X, out=tmp_path / "out")


def test_files_of_two_surveys_are_never_shown_together(particles, tmp_path):
    X = particles[0]
    table = pd.DataFrame({"kept": True, "outlier_score": 0.0}, index=X.index)
    found = Survey(table=table, particles=X[::-1])
    with pytest.raises(ValueError, match="are of different particles"):
        found.write_report(tmp_path)
    (tmp_path / "particles.parquet").unlink()
    (tmp_path / "particles.parquet").mkdir()  # the next survey is stopped there
    with pytest.raises(OSError):
        found.write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no finished survey: .*survey.json"):
        write_pages(tmp_path)


def test_clusters_are_measured_by_what_is_kept(particles):
    assert smallest_cluster(None, 300) == 10
    assert smallest_cluster(None, 6240) == 62
    assert smallest_cluster(45, 90) == 45
    with pytest.raises(ValueError, match=r"min_cluster_size=46 is more than half of the 90 part"):
        quick(particles[0], min_cluster_size=46)


def test_numbers_that_come_back_from_a_file_are_no_ids(particles, tmp_path):
    a, b = (part.reset_index(drop=True) for part in (particles[0][:50], particles[0][50:]))
    for name, part in (("a", a), ("b", b)):
        save_particles(part, tmp_path / name)
    a, b = (load_particles(tmp_path / name) for name in "ab")
    _, y, label = read_labelled(a, (b, ["dust"] * 40))
    assert len(y) == 40
    assert label.isna().all()


def test_a_class_that_one_run_has_can_be_removed(particles):
    X, y = particles
    dust = y.value_counts().index[-1]
    runs = np.where((y == dust) | (np.arange(N) % 2 == 0), "A", "B")
    X = X.set_axis(pd.MultiIndex.from_arrays([runs, X.index], names=["run", "id"]))
    with pytest.warns(UserWarning, match="in too few runs to hold out whole runs"):
        result = quick(X, y.to_numpy(), remove=dust, max_miss=0.2)
    assert not result.table.loc[(y == dust).to_numpy(), "kept"].any()


def test_pictures_of_an_earlier_survey_do_not_stay(particles, tmp_path):
    X, y = particles
    quick(X, y, out=tmp_path)
    assert list(tmp_path.rglob("map_*_label.png"))
    own = tmp_path / "map_of_mine.png"
    own.write_bytes(b"")
    quick(X, out=tmp_path)
    assert list(tmp_path.rglob("map_VAE_clusters.png"))
    assert not list(tmp_path.rglob("map_*_label.png"))
    assert own.exists()


@pytest.mark.parametrize(
    "params",
    [{"min_cluster_size": 1}, {"contamination": 7}, {"random_state": None}, {"max_miss": 0}],
)
def test_parameters_are_checked_before_anything_is_learned(params, particles):
    (name,) = params
    with pytest.raises(ValueError, match=f"The '{name}' parameter of survey must be"):
        quick(particles[0], **params)


# ---- command line


def test_command_line(particles, half_labelled, tmp_path, capsys):
    X, _ = particles
    save_particles(X, tmp_path / "p.arrow")
    known = half_labelled[0].dropna()
    ids = known.index.get_level_values("id").astype(str)
    pd.DataFrame(
        {"Original Reference ID": [*ids, "NOBODY"], "label": [*known, known.iloc[0]]}
    ).to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "out"
    command = [
        "survey", f"{tmp_path}/p.arrow", "--labels", f"{tmp_path}/labels.csv", "--out", f"{out}",
        "--epochs", "1", "--latent-dim", "3", "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{out}/report.html"]
    (warning,) = [line for line in printed.err.splitlines() if "labels" in line]
    assert warning.startswith("icecore: warning: labels has 1 id(s)")
    assert "'NOBODY'" in warning
    record = json.loads((out / "survey.json").read_text())["record"]
    assert record["read"]["labels"]["unknown"] == 1
    assert record["read"]["labels"]["matched"] == len(known)
    before = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert main(["report", f"{out}"]) == 0
    assert len((out / "report.html").read_text()) == pytest.approx(len(before), rel=0.05)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["survey", "nowhere", "--out", "o"], "nowhere"),
        (["survey", "nowhere.arrow", "--out", "o"], "no particle file 'nowhere.arrow'"),
        (["survey", "a.arrow", "b", "--out", "o"], "Pass one particle file, or folders"),
        (["survey", "a.arrow", "--image-size", "9", "--out", "o"], "--image-size 9 is for folders"),
        (["survey", "a.arrow", "--min-side", "9", "--out", "o"], "--min-side 9 is for folders"),
        (["survey", "a", "--remove", "x", "--out", "o"], "--remove x needs --labels"),
        (["report", "nowhere"], "holds no finished survey"),
    ],
)
def test_errors_are_one_line(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("icecore: error:")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("clusters", "said"),
    [
        ([0], ["1 particle, 0 removed.", "1 cluster, 0 particles in none.", "1 outlier;"]),
        ([0, 1, -1], ["3 particles, 0 removed.", "2 clusters, 1 particle in none.", "3 outliers;"]),
    ],
)
def test_summary_counts_one_and_many(clusters, said):
    rows = {"VAE cluster": clusters, "kept": True, "outlier": True}
    table = pd.DataFrame(rows | {"outlier_score": -1.0, "reason": "largest"})
    found = Survey(table, particles=None, maps={"VAE": ("VAE x", "VAE y")})
    lines = found.summary().replace("Map of VAE: ", "").splitlines()
    assert all(map(str.startswith, lines, said))
    read = {"name": "read", "kept": 3, "dropped": 2, "why": "crop smaller than min_side: 2"}
    found.record["steps"] = [read, {"name": "filter", "dropped": 1, "why": "looks like dust"}]
    assert (
        found.summary()
        .splitlines()[0]
        .endswith("0 removed. 2 more left out in reading: crop smaller than min_side: 2.")
    )


@pytest.mark.parametrize("name", ["model", "classifier"])
def test_a_pipeline_is_refused_before_anything_is_learned(particles, name):
    pipeline = make_pipeline(MeanCorrection(), AutoEncoder(2))
    with pytest.raises(ValueError, match=f"{name} is a Pipeline of meancorrection, autoencoder"):
        survey(particles[0], **{name: pipeline})
