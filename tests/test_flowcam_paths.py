"""What load_flowcam takes for its parameters and paths, and what it refuses."""

import shutil

import numpy as np
import pytest
from flowcam_run import make_run, pixels

from icecore_sk.datasets import load_flowcam

pytestmark = pytest.mark.filterwarnings("error")  # a test that expects a warning says so


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_size": 0}, "image_size=0 must be a positive integer"),
        ({"image_size": (8, 8, 8)}, "image_size="),
        ({"resize": "crop"}, r"resize='crop' must be one of \['stretch', 'pad'\]"),
        ({"min_side": 0}, "min_side=0 must be an integer of at least 1"),
    ],
)
def test_bad_parameters(tmp_path, params, message):
    folder = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        load_flowcam(folder, verbose=0, **params)


def test_bad_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder nor a file"):
        load_flowcam(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no FlowCam run"):
        load_flowcam(tmp_path)
    with pytest.raises(ValueError, match="paths is empty"):
        load_flowcam([])
    for paths in (None, 5, [5], b"run"):
        with pytest.raises(TypeError, match="expected a path, or a list of paths"):
            load_flowcam(paths)
    with pytest.raises(ValueError, match=r"No particle is left .* lower min_side \(now 50\)"):
        load_flowcam(make_run(tmp_path / "run"), min_side=50, verbose=0)


def test_paths_of_every_kind(tmp_path):
    folder = make_run(tmp_path / "runs" / "run")
    table = load_flowcam(folder, 16, verbose=0)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "run").symlink_to(folder)
    (folder / "round").symlink_to(tmp_path / "runs")
    (folder / "run_summary.csv").write_text("List File,run.lst\n")
    (folder / "._run.csv").write_bytes(b"\0\5")
    shutil.copytree(folder, folder / ".ipynb_checkpoints", symlinks=True)
    (folder / "run.csv").rename(folder / "RUN 1.CSV")
    for paths in (f"{folder}/", tmp_path / "runs", (p for p in [folder]), tmp_path / "links"):
        same = load_flowcam(paths, 16, verbose=0)
        assert same.index.get_level_values("run").unique().tolist() == ["RUN 1"]
        np.testing.assert_array_equal(pixels(same), pixels(table))
    with pytest.raises(ValueError, match=r"has the file '.*tif'; expected a folder, or a .csv"):
        load_flowcam(folder / "run_000001.tif")
    (folder / "RUN 1.CSV").unlink()
    with pytest.raises(ValueError, match="holds no FlowCam run"):
        load_flowcam(folder)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    make_run(tmp_path / "run")

    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(PermissionError, match="run"):
        load_flowcam(tmp_path / "run", verbose=0)


def test_tables_of_one_name_are_named_after_their_folders(tmp_path):
    for name in ("a", "b"):
        folder = make_run(tmp_path / name)
        (folder / f"{name}.csv").rename(folder / "export.csv")
    table = load_flowcam(tmp_path, 16, verbose=0)
    assert list(table.attrs["runs"]) == ["a", "b"]
    assert table.index.get_level_values("run").unique().tolist() == ["a", "b"]
    (tmp_path / "x").mkdir()
    shutil.copytree(tmp_path / "a", tmp_path / "x" / "a")
    with pytest.raises(ValueError, match=r"2 runs named 'a': .* Rename their tables or folders"):
        load_flowcam(tmp_path, 16, verbose=0)


def test_two_tables_in_a_folder(tmp_path):
    folder = make_run(tmp_path / "run")
    shutil.copy(folder / "run.csv", folder / "copy.csv")
    assert len(load_flowcam(folder, 16, verbose=0)) == 5
    (folder / "run.csv").rename(folder / "other.csv")
    with pytest.raises(ValueError, match=r"several tables .*copy.csv, other.csv"):
        load_flowcam(folder, 16, verbose=0)


def test_a_folder_is_known_by_its_name_from_inside_too(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run ä")
    (table,) = folder.glob("*.csv")
    table.rename(folder / "run ä.csv")
    shutil.copy(folder / "run ä.csv", folder / "x.csv")
    expected = load_flowcam(folder, 8, verbose=0)
    monkeypatch.chdir(folder)
    assert load_flowcam(".", 8, verbose=0).index.equals(expected.index)
