"""Scores of any number of particles, written chunk by chunk."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from icecore_sk import AutoEncoder, MeanCorrection, OutlierScorer, load, save
from icecore_sk.datasets import load_particles, make_particles, save_particles
from icecore_sk.survey import cli, score_particles
from icecore_sk.survey._model_digest import model_digest
from icecore_sk.survey._parts import Parts
from icecore_sk.survey._sources import open_source

N, CHUNK = 70, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("particles")


@pytest.fixture(scope="module")
def particles():
    X, _ = make_particles(N, image_size=16, random_state=0)
    return X[["image", "Length", "Area (ABD)"]]


@pytest.fixture(scope="module")
def path(folder, particles):
    return save_particles(particles, folder / "particles.arrow")


@pytest.fixture(scope="module")
def network(particles):
    model = AutoEncoder(2, max_epochs=1, net_params={"encoder_width": 4}, random_state=0)
    return make_pipeline(MeanCorrection(), model).fit(particles)


@pytest.fixture(scope="module")
def scorer(network, particles):
    return OutlierScorer(FrozenEstimator(network), contamination=0.2).fit(particles)


def bytes_of(out):
    return {part.name: part.read_bytes() for part in sorted(out.glob("part-*"))}


SIZES = [(1, 8), (8, 8), (9, 8), (70, 16), (30_000, 8192)]


@pytest.mark.parametrize(("n_rows", "chunk_size"), SIZES)
def test_parts_are_as_few_and_as_equal_as_can_be(n_rows, chunk_size, tmp_path):
    """Workers that share the parts evenly then share the rows evenly."""
    parts = Parts(tmp_path, n_rows, chunk_size)
    starts, stops = zip(*map(parts.rows, range(len(parts))), strict=True)
    sizes = np.subtract(stops, starts)
    assert (starts[0], stops[-1], starts[1:]) == (0, n_rows, stops[:-1])
    assert len(parts) == -(-n_rows // chunk_size)
    assert sizes.max() <= min(chunk_size, sizes.min() + 1)


def test_reads_back_as_one_table(network, path, particles, tmp_path):
    out = score_particles(network, path, tmp_path / "out", chunk_size=CHUNK)
    table = pd.read_parquet(out)
    assert sorted(each.name for each in out.iterdir()) == [
        "_manifest.json",
        *(f"part-0000{number}.parquet" for number in range(5)),
    ]
    ids = particles.index.to_frame(index=False)
    pd.testing.assert_frame_equal(table[list(ids)], ids)
    features = [f"autoencoder{k}" for k in range(2)]
    assert np.array_equal(table[features].to_numpy(), network.transform(particles))
    assert np.array_equal(table["score_samples"], network.score_samples(particles))


def test_a_table_gives_the_same_files_and_goes_on_with_those_of_its_path(
    scorer, path, particles, tmp_path
):
    """The last step of a Pipeline explains; what it says depends on no chunk."""
    model = make_pipeline(FunctionTransformer(), scorer)
    by_path = score_particles(model, path, tmp_path / "path", chunk_size=CHUNK)
    by_table = score_particles(model, particles, tmp_path / "table", chunk_size=CHUNK)
    assert bytes_of(by_path) == bytes_of(by_table)
    expected = scorer.explain(particles).reset_index(drop=True)
    found = pd.read_parquet(by_path)[list(expected)]
    assert expected["outlier"].any()
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    score_particles(model, load_particles(path), by_path, chunk_size=CHUNK)


class Stopped(Exception):
    pass


def test_goes_on_where_it_was_stopped(network, path, tmp_path, monkeypatch):
    whole = score_particles(network, path, tmp_path / "whole", chunk_size=CHUNK)
    calls = []

    def counting(X):
        calls.append(len(X))
        if len(calls) == 3:
            raise Stopped
        return X

    model = make_pipeline(FunctionTransformer(counting), network)
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        score_particles(model, path, out, chunk_size=CHUNK)
    assert len(bytes_of(out)) == 2
    # One of these is damaged, and another was being written when the power failed.
    (out / "part-00001.parquet").write_bytes(b"PAR1")
    (out / ".part-00002.parquet.01234567").write_bytes(b"PAR1")
    (out / "._manifest.json.01234567").write_bytes(b"{")
    score_particles(model, path, out, chunk_size=CHUNK)
    assert calls[3:] == [14, 14, 14, 14]
    assert bytes_of(out) == bytes_of(whole)
    assert not list(out.glob(".*"))
    score_particles(model, path, out, chunk_size=CHUNK)
    assert len(calls) == 7


def test_refuses_a_folder_of_something_else(network, scorer, path, particles, tmp_path):
    out = score_particles(network, path, tmp_path / "out", chunk_size=CHUNK)
    with pytest.raises(ValueError, match=r"other chunk_size \(16, now 17\)"):
        score_particles(network, path, out, chunk_size=17)
    with pytest.raises(ValueError, match=r"other methods \(.*, now \['transform'\]\)"):
        score_particles(network, path, out, chunk_size=CHUNK, methods=["transform"])
    with pytest.raises(ValueError, match=r"other model .*OutlierScorer.* and methods"):
        score_particles(scorer, path, out, chunk_size=CHUNK)
    other = particles.assign(Length=particles["Length"] + 1)
    with pytest.raises(ValueError, match=r"other particles \(ids and scalars"):
        score_particles(network, other, out, chunk_size=CHUNK)
    other = MeanCorrection().fit(particles[:10]).transform(particles)
    with pytest.raises(ValueError, match=r"other particles \(images"):
        score_particles(network, other, out, chunk_size=CHUNK)
    manifest = json.loads((out / "_manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    (out / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match=r"begun with torch 1\.0"):
        score_particles(network, path, out, chunk_size=CHUNK)
    (out / "_manifest.json").write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(ValueError, match=r"another version \(ValueError: format 1\)"):
        score_particles(network, path, out, chunk_size=CHUNK)
    (out / "_manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        score_particles(network, path, out, chunk_size=CHUNK)
    (out / "_manifest.json").unlink()
    with pytest.raises(ValueError, match=r"holds 'part-00000\.parquet' and no _manifest"):
        score_particles(network, path, out, chunk_size=CHUNK)


def test_says_what_cannot_be_done(network, scorer, path, particles, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"methods has 'predict', which AutoEncoder cannot do"):
        score_particles(network, path, out, methods=["predict"])
    with pytest.raises(ValueError, match="must be None or a list"):
        score_particles(network, path, out, methods="transform")
    with pytest.raises(ValueError, match="chunk_size=0 must be"):
        score_particles(network, path, out, chunk_size=0)
    with pytest.raises(TypeError, match=r"chunk_size=1\.5 must be"):
        score_particles(network, path, out, chunk_size=1.5)
    with pytest.raises(TypeError, match="particles is a list"):
        score_particles(network, [1], out)
    with pytest.raises(ValueError, match="particles has 0 rows"):
        score_particles(network, particles[:0], out)
    with pytest.raises(FileNotFoundError, match="There is no particle file"):
        score_particles(network, tmp_path / "none.arrow", out)
    with pytest.raises(ValueError, match="not fitted"):
        score_particles(AutoEncoder(), path, out)
    with pytest.raises(ValueError, match=r"Particles 0 to 69: .*'reconstruct'.* returns .*shape"):
        score_particles(network[-1], path, tmp_path / "images", methods=["reconstruct"])
    renamed = FunctionTransformer(lambda X: X[["Length"]].set_axis(["id"], axis=1)).fit(particles)
    with pytest.raises(ValueError, match="several columns named 'id'"):
        score_particles(renamed, path, tmp_path / "twice", methods=["transform"])


def test_unnamed_index_and_predictions(particles, tmp_path):
    scalars = particles.reset_index(drop=True)
    picked = FunctionTransformer(lambda X: X[["Length"]])
    model = make_pipeline(picked, StandardScaler(), OutlierScorer()).fit(scalars)
    methods = ["predict", "decision_function"]
    out = score_particles(model, scalars, tmp_path / "out", methods=methods, chunk_size=CHUNK)
    table = pd.read_parquet(out)
    assert list(table) == ["index", *methods]
    assert table["index"].tolist() == list(range(N))
    assert table["predict"].tolist() == model.predict(scalars).tolist()


def test_digest_knows_a_model_again(network, scorer, particles, tmp_path):
    model = make_pipeline(MeanCorrection(), scorer).fit(particles)
    loaded = load(save(model, tmp_path / "model.safetensors"))
    assert model_digest(loaded) == model_digest(model)
    assert model_digest(load(save(network, tmp_path / "model.safetensors"))) == model_digest(
        network
    )
    other = load(save(network, tmp_path / "model.safetensors"))
    other[-1].net_.module_.encoder
    next(iter(other[-1].net_.module_.parameters())).data[:] += 1e-3
    assert model_digest(other) != model_digest(network)


def test_file_is_read_by_chunks(path, particles):
    source = open_source(path)
    whole = pd.concat([source.read(start, start + 9) for start in range(0, N, 9)])
    source.release()
    pd.testing.assert_frame_equal(whole, particles)
    damaged = path.with_name("damaged.arrow")
    content = bytearray(path.read_bytes())
    at = content.rindex(particles["Length"].to_numpy()[:4].tobytes())
    content[at] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        open_source(damaged)


def test_command(network, path, tmp_path, capsys):
    model = save(network, tmp_path / "model.safetensors")
    out = tmp_path / "out"
    words = ["score", str(model), str(path), "--out", str(out), "--chunk-size", str(CHUNK)]
    assert cli.main([*words, "--methods", "transform", "--quiet"]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    table = pd.read_parquet(out)
    assert list(table)[-2:] == ["autoencoder0", "autoencoder1"]
    assert cli.main([*words, "--methods", "transform"]) == 0
    assert "particles" in capsys.readouterr().err
    for wrong, message in (
        (["--methods", "predict"], "methods has 'predict'"),
        (["--methods", "score_samples"], "holds the results of other methods"),
    ):
        assert cli.main([*words, *wrong]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("icecore: error:")
        assert message in line
    words[1] = str(tmp_path / "none")
    assert cli.main(words) == 1
    assert "There is no model file" in capsys.readouterr().err


def test_columns_that_the_model_does_not_know_are_left_out(path, particles, tmp_path):
    images = particles[["image"]]
    model = MeanCorrection().fit(images)
    scorer = OutlierScorer(
        make_pipeline(model, AutoEncoder(2, max_epochs=1, random_state=0)), components=["distance"]
    ).fit(images)
    out = score_particles(scorer, path, tmp_path / "out", methods=["score_samples"])
    assert np.array_equal(pd.read_parquet(out)["score_samples"], scorer.score_samples(images))
