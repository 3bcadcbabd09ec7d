"""Particle tables to and from files, and the layout of ICELEARNING."""

import csv
import pickle
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import make_table
from flowcam_run import make_run, pixels
from joblib.externals.loky.backend.reduction import dumps as loky_dumps
from PIL import Image

from icecore_sk import ResNet18Classifier
from icecore_sk._images import tensor_chunks
from icecore_sk._mapped_files import mapped_place
from icecore_sk.datasets import (
    FLOWCAM_SCALARS,
    load_flowcam,
    load_icelearning,
    load_particles,
    particle_table,
    save_particles,
)
from icecore_sk.datasets.icelearning import CLASSES
from icecore_sk.datasets.particle_table import CHECKSUM, METADATA, checksum

# ---- Arrow files


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_table_comes_back_as_it_was(tmp_path, shape, dtype):
    images = np.random.default_rng(0).integers(0, 255, (7, *shape)).astype(dtype)
    table = make_table(images, area=np.arange(7.0), count=np.arange(7))
    table.attrs["dropped"] = {"too small": 3}
    path = save_particles(table, tmp_path / "particles.arrow")
    back = load_particles(path)
    np.testing.assert_array_equal(pixels(back), images)
    pd.testing.assert_frame_equal(back.drop(columns="image"), table.drop(columns="image"))
    assert back.dtypes["image"] == table.dtypes["image"]
    assert back.attrs == table.attrs
    assert [p.name for p in tmp_path.iterdir()] == ["particles.arrow"]


def test_a_loaded_flowcam_run_keeps_index_and_account(tmp_path):
    make_run(tmp_path / "runs" / "a")
    make_run(tmp_path / "runs" / "b")
    table = load_flowcam(tmp_path / "runs", 16, verbose=0)
    back = load_particles(save_particles(table, tmp_path / "x.arrow"))
    assert back.index.names == ["run", "id", "width", "height"]
    pd.testing.assert_index_equal(back.index, table.index, exact=False)
    np.testing.assert_array_equal(pixels(back), pixels(table))
    assert back.attrs == table.attrs


def test_estimators_take_a_mapped_table(tmp_path, digits):
    X, y = digits
    table = make_table(X[:60])
    back = load_particles(save_particles(table, tmp_path / "x.arrow"))
    model = ResNet18Classifier(max_epochs=1, random_state=0)
    a, b = (model.fit(t, y[:60]).predict_proba(t) for t in (table, back))
    np.testing.assert_array_equal(a, b)


def test_opening_maps_the_images(tmp_path):
    images = np.zeros((4000, 64, 64), np.uint8)
    path = save_particles(make_table(images), tmp_path / "x.arrow")
    before = pa.total_allocated_bytes()
    back = load_particles(path)
    assert pa.total_allocated_bytes() - before < 1e6
    assert len(back) == 4000


@pytest.mark.parametrize("rows", [slice(None), slice(100, 2100)])
def test_workers_of_joblib_map_the_images(tmp_path, rows, monkeypatch):
    """What a worker is sent names the file; it has no images, and they are the same there."""
    images = np.random.default_rng(0).integers(0, 256, (2200, 32, 32), dtype=np.uint8)
    table = make_table(images, area=np.arange(2200.0))
    monkeypatch.setattr(particle_table, "BATCH_BYTES", 1_170_000)  # the file has two parts
    path = save_particles(table, tmp_path / "x.arrow")
    back = load_particles(path).iloc[rows]
    assert len(tensor_chunks(back["image"])) == 2
    sent = bytes(loky_dumps(back))
    assert len(sent) < 200_000 < len(loky_dumps(table))
    there = pickle.loads(sent)
    pd.testing.assert_frame_equal(there, back)
    np.testing.assert_array_equal(pixels(there), images[rows])
    if sys.platform == "linux":
        for chunk in tensor_chunks(there["image"]):
            assert mapped_place(chunk)[0] == str(path)
    pd.testing.assert_frame_equal(pickle.loads(bytes(loky_dumps(table))), table)


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    table = make_table(np.zeros((5, 4, 4), np.uint8))
    path = save_particles(table, tmp_path / "x.arrow")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", fail)
    with pytest.raises(OSError, match="No space left"):
        save_particles(table, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.arrow"]


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (np.zeros((3, 4, 4)), TypeError, "particles is a ndarray; expected a particle table"),
        (pd.DataFrame({"a": [1.0]}), ValueError, "has 0 image columns"),
        (make_table(np.zeros((2, 4, 4), np.uint8), name=["a", "b"]), ValueError, "'name'"),
        (make_table(np.zeros((2, 4, 4), np.uint8), z=[1j, 2]), ValueError, "'z' .* complex128"),
        (
            make_table(np.zeros((2, 4, 4), np.uint8)).set_axis(["a", 1]),
            TypeError,
            "Level 0 of the index of particles has values of several types",
        ),
        (make_table(np.zeros((2, 4, 4), np.uint8)).rename(columns={"image": 0}), TypeError, "0"),
        (
            make_table(np.zeros((2, 4, 4), np.uint8), a=[1, 2], b=[1, 2]).set_axis(
                ["image", "a", "a"], axis=1
            ),
            ValueError,
            "several columns named 'a'",
        ),
    ],
)
def test_what_is_no_particle_table_is_not_saved(tmp_path, table, error, message):
    with pytest.raises(error, match=message):
        save_particles(table, tmp_path / "x.arrow")
    assert not list(tmp_path.iterdir())


def test_what_is_no_particle_file_is_not_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no particle file"):
        load_particles(tmp_path / "x.arrow")
    path = save_particles(make_table(np.zeros((50, 8, 8), np.uint8)), tmp_path / "x.arrow")
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2], whole[:-8]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged, or no particle file"):
            load_particles(path)


NOTES = '{"format": 1, "index": ["id"], "attrs": {}}'
NAMES = pa.array(["a", "b"])
# The first id is said to end far outside the file's text.
LOST = pa.StringArray.from_buffers(
    2, pa.py_buffer(np.array([0, 10**6, 2], np.int32).tobytes()), pa.py_buffer(b"ab")
)
TENSOR = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 4, 4), np.uint8))


@pytest.mark.parametrize(
    ("columns", "notes", "message"),
    [
        ({"a": [1, 2]}, None, "no particle file"),
        ({"index:0": NAMES, "image:image": TENSOR}, "{", "no particle file"),
        ({"index:0": NAMES, "image:image": TENSOR}, "[]", "no particle file"),
        ({"index:0": NAMES, "image:image": TENSOR}, NOTES.replace("1", "2"), "format 2"),
        ({"index:0": NAMES, "image:image": [1, 2]}, NOTES, "0 image columns"),
        ({"index:0": NAMES, "image:a": TENSOR, "image:b": TENSOR}, NOTES, "2 image columns"),
        ({"index:0": NAMES, "image:image": TENSOR, "scalar:a": NAMES}, NOTES, "must be numeric"),
        ({"index:0": LOST, "image:image": TENSOR}, NOTES, "no particle file"),
    ],
)
def test_an_arrow_file_of_other_content_is_not_loaded(tmp_path, columns, notes, message):
    table = pa.table(columns)
    if notes is not None:
        crc = "0" if columns["index:0"] is LOST else str(checksum(table, notes.encode()))
        table = table.replace_schema_metadata({METADATA: notes, CHECKSUM: crc})
    path = tmp_path / "x.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match=message):
        load_particles(path)


@pytest.mark.parametrize("part", [np.float64(7.5).tobytes(), b"particle 3", b"small", b"area"])
def test_a_flipped_bit_is_noticed(tmp_path, part):
    table = make_table(np.zeros((9, 8, 8), np.uint8), area=np.arange(9) + 0.5)
    table.attrs["dropped"] = {"too small": 3}
    path = save_particles(table, tmp_path / "x.arrow")
    whole = path.read_bytes()
    changed = bytes([part[0] ^ 1]) + part[1:]
    assert part in whole
    path.write_bytes(whole.replace(part, changed))
    with pytest.raises(ValueError, match="is damaged, or no particle file"):
        load_particles(path)


def test_places_and_attrs_that_cannot_be_saved(tmp_path):
    table = make_table(np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(FileNotFoundError, match="is in a folder that does not exist"):
        save_particles(table, tmp_path / "nowhere" / "x.arrow")
    with pytest.raises(ValueError, match="is a folder; expected the name of a file"):
        save_particles(table, tmp_path)
    table.attrs["n"] = {"of numpy": np.int64(3), "rows": np.arange(2)}
    back = load_particles(save_particles(table, tmp_path / "x.arrow"))
    assert back.attrs == {"n": {"of numpy": 3, "rows": [0, 1]}}
    table.attrs["n"] = object()
    with pytest.raises(TypeError, match=r"particles\.attrs has a object"):
        save_particles(table, tmp_path / "x.arrow")


def test_a_part_is_saved_over_the_file_it_comes_from(tmp_path):
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    path = save_particles(make_table(images, area=np.arange(6.0)), tmp_path / "x.arrow")
    whole = load_particles(path)
    part = load_particles(save_particles(whole.iloc[2:5], path))
    np.testing.assert_array_equal(pixels(part), images[2:5])
    np.testing.assert_array_equal(pixels(whole), images)
    assert part["area"].tolist() == [2, 3, 4]
    empty = load_particles(save_particles(whole.iloc[:0], path))
    assert empty.shape == (0, 2)


# ---- ICELEARNING


def write_icelearning(root, file="train.csv", rows=None, labelled=True):
    """Write crops of the seven classes and a CSV that names them."""
    rng = np.random.default_rng(0)
    (root / "crops").mkdir(parents=True, exist_ok=True)
    if rows is None:
        rows = []
        for k, name in enumerate(CLASSES * 2):
            crop = rng.integers(0, 256, (20 + k, 30), dtype=np.uint8)
            Image.fromarray(crop).save(root / "crops" / f"{name}_{k}.png")
            row = {"imgpaths": f"crops/{name}_{k}.png"}
            row |= {scalar: rng.random() for scalar in FLOWCAM_SCALARS}
            if labelled:
                row |= {other: int(other == name) for other in CLASSES}
            rows.append(row)
    path = root / file
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_icelearning_training_data(tmp_path):
    rows = write_icelearning(tmp_path)
    X, y = load_icelearning(tmp_path, image_size=32, verbose=0)
    assert X.columns.tolist() == ["image", *FLOWCAM_SCALARS]
    assert y.tolist() == list(CLASSES) * 2
    assert y.index.equals(X.index)
    assert X.index.get_level_values("height").tolist() == list(range(20, 34))
    np.testing.assert_allclose(X["Width"], [row["Width"] for row in rows])
    crop = Image.open(tmp_path / "crops" / "camp_0.png")
    expected = np.asarray(crop.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels(X)[0], expected)


def test_icelearning_files_of_classes_and_unlabelled_cores(tmp_path):
    rows = write_icelearning(tmp_path)
    (tmp_path / "train.csv").unlink()
    for name in ("dust", "camp"):
        write_icelearning(tmp_path, f"datasets/{name}.csv", [r for r in rows if r[name]])
    with pytest.warns(UserWarning, match=r"lacks corylus.csv, grim.csv, .* not read"):
        X, y = load_icelearning(tmp_path, image_size=16, verbose=0)
    assert y.tolist() == ["camp", "camp", "dust", "dust"]
    assert X.index.get_level_values("run").tolist() == y.tolist()

    write_icelearning(tmp_path / "core", "GRIP_3306_raw.csv", labelled=False)
    with pytest.raises(ValueError, match=r"Pass files=, for example one of \['GRIP_3306_raw.csv"):
        load_icelearning(tmp_path / "core")
    X, y = load_icelearning(tmp_path / "core", "GRIP_3306_raw.csv", image_size=16, verbose=0)
    assert len(X) == 14
    assert y.tolist() == [None] * 14


def test_icelearning_classes_that_files_do_not_say(tmp_path):
    """A file's name is no label, and one label missing among others stays None."""
    rows = write_icelearning(tmp_path)
    rows[3] |= dict.fromkeys(CLASSES, 0)
    write_icelearning(tmp_path, rows=rows)
    _, y = load_icelearning(tmp_path, image_size=16, verbose=0)
    assert y.tolist() == [*CLASSES[:3], None, *CLASSES[4:], *CLASSES]

    write_icelearning(tmp_path, labelled=False)
    with pytest.warns(UserWarning, match=r"train.csv: no columns of labels \(camp corylus"):
        _, y = load_icelearning(tmp_path, image_size=16, verbose=0)
    assert y.tolist() == [None] * 14


def spoil(rows, **changes):
    for name, value in changes.items():
        rows[3][name.replace("_", " ")] = value
    return rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgpaths": "../secret.png"}, "expected one below root"),
        ({"imgpaths": "/etc/passwd"}, "expected one below root"),
        ({"imgpaths": "C:\\crops\\1.png"}, "expected one below root"),
        ({"imgpaths": "crops/camp_0.png"}, "more than once, such as 'crops/camp_0.png'"),
        ({"camp": 1}, r"1 row\(s\) are not one-hot, such as line 5"),
        ({"camp": "yes"}, "not one-hot"),
    ],
)
def test_icelearning_rows_that_cannot_be(tmp_path, changes, message):
    rows = write_icelearning(tmp_path)
    write_icelearning(tmp_path, rows=spoil(rows, **changes))
    with pytest.raises(ValueError, match=message):
        load_icelearning(tmp_path, verbose=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"imgpaths": "crops/none.png"}, "crop missing"),
        ({"Width": "wide"}, "no number in 'Width'"),
        ({"Width": ""}, "no number in 'Width'"),
    ],
)
def test_icelearning_rows_that_are_counted(tmp_path, changes, reason):
    rows = write_icelearning(tmp_path)
    write_icelearning(tmp_path, rows=spoil(rows, **changes))
    with pytest.warns(UserWarning, match=rf"1 of 14 particles were dropped: {reason} \(1\)"):
        X, y = load_icelearning(tmp_path, image_size=16, verbose=0)
    assert len(X) == len(y) == 13
    assert X.attrs["dropped"] == {reason: 1}
    assert y.tolist() == [name for k, name in enumerate(CLASSES * 2) if k != 3]


@pytest.mark.parametrize("column", ["imgpaths", "Circle Fit", "dust"])
def test_icelearning_without_a_column(tmp_path, column):
    rows = write_icelearning(tmp_path)
    for row in rows:
        del row[column]
    write_icelearning(tmp_path, rows=rows)
    with pytest.raises(ValueError, match=column):
        load_icelearning(tmp_path, verbose=0)


def test_icelearning_damaged_and_small(tmp_path):
    rows = write_icelearning(tmp_path)
    for side, row in zip((14, 1), rows, strict=False):
        Image.fromarray(np.zeros((side, 30), np.uint8)).save(tmp_path / row["imgpaths"])
    whole = (tmp_path / rows[2]["imgpaths"]).read_bytes()
    (tmp_path / rows[2]["imgpaths"]).write_bytes(whole[:150])
    (tmp_path / rows[3]["imgpaths"]).write_text("no picture")
    with pytest.warns(UserWarning, match="2 of 14 particles were dropped: crop "):
        X, y = load_icelearning(tmp_path, image_size=16, verbose=0)
    assert sum(X.attrs["dropped"].values()) == 4
    assert X.attrs["dropped"]["crop smaller than min_side"] == 2
    assert y.tolist() == [row["imgpaths"].split("/")[1].split("_")[0] for row in rows[4:]]
    expected = Image.open(tmp_path / rows[4]["imgpaths"]).resize((16, 16), Image.BILINEAR)
    np.testing.assert_array_equal(pixels(X)[0], expected)
    with pytest.raises(ValueError, match=r"No particle is left of 14: .* lower min_side=50"):
        load_icelearning(tmp_path, min_side=50, verbose=0)
    with pytest.raises(ValueError, match="min_side=0 must be an integer"):
        load_icelearning(tmp_path, min_side=0)


def test_icelearning_pad_says_what_it_shrinks(tmp_path):
    write_icelearning(tmp_path)
    with pytest.warns(UserWarning, match="14 of 14 crops .* image_size=33 would"):
        X, _ = load_icelearning(tmp_path, image_size=29, resize="pad", verbose=0)
    assert X.attrs["shrunk"] == 14


def test_icelearning_files_of_some_classes(tmp_path):
    rows = write_icelearning(tmp_path)
    (tmp_path / "train.csv").unlink()
    write_icelearning(tmp_path, "camp.csv", [row for row in rows if row["camp"]])
    with open(tmp_path / "camp.csv", "a") as file:
        file.write("crops/x.png,1")
    wrong = pytest.raises(ValueError, match=r"camp.csv has 1 line\(s\) with more or fewer cells")
    with wrong, pytest.warns(UserWarning, match="lacks corylus.csv"):
        load_icelearning(tmp_path, verbose=0)


def test_icelearning_without_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        load_icelearning(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no CSV file"):
        load_icelearning(tmp_path)
    with pytest.raises(FileNotFoundError, match="which is no file"):
        load_icelearning(tmp_path, "x.csv")


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "1", "LA", "I;16"])
def test_icelearning_pictures_of_every_mode(tmp_path, mode):
    rows = write_icelearning(tmp_path)
    grey = np.linspace(0, 255, 400).astype(np.uint8).reshape(20, 20)
    picture = Image.fromarray(grey)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert(mode)
    picture.save(tmp_path / rows[0]["imgpaths"])
    X, _ = load_icelearning(tmp_path, image_size=20, verbose=0)
    difference = np.abs(pixels(X)[0].astype(int) - grey)
    # One bit per pixel is dithered, so only the mean survives.
    assert abs(difference.mean()) < 130 if mode == "1" else difference.max() <= 3


def test_real_icelearning_crops(shared_data, tmp_path):
    prefixes = {"focustest": "dust", "GRIP": "cont"}
    rows = []
    for source in sorted((shared_data / "icelearning" / "train_examples").glob("*.png")):
        (tmp_path / "crops").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "crops")
        prefix = source.name.split("_")[0]
        name = prefixes.get(prefix, prefix)
        row = {"imgpaths": f"crops/{source.name}"} | dict.fromkeys(FLOWCAM_SCALARS, 1.0)
        rows.append(row | {other: int(other == name) for other in CLASSES})
    write_icelearning(tmp_path, rows=rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, y = load_icelearning(tmp_path, verbose=0)
    assert sorted(y) == sorted(CLASSES)
    assert X.index.get_level_values("width").max() == 446
    (peru,) = (shared_data / "icelearning" / "peru").glob("*.png")
    shutil.copy(peru, tmp_path / "crops")
    unlabelled = {"imgpaths": f"crops/{peru.name}"} | dict.fromkeys(FLOWCAM_SCALARS, 1.0)
    write_icelearning(tmp_path, "peru.csv", [unlabelled])
    X, y = load_icelearning(tmp_path, "peru.csv", verbose=0)
    assert X.index.get_level_values("height").tolist() == [132]
    assert y.tolist() == [None]
    assert len(np.unique(pixels(X))) > 20
