"""load_flowcam on a run made here, whole and damaged, and on the real ones."""

import re
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from flowcam_run import SCALARS, SIDES, make_rows, make_run, pixels, write_run
from PIL import Image

from icecore_sk.datasets import FLOWCAM_SCALARS, load_flowcam

pytestmark = pytest.mark.filterwarnings("error")  # a test that expects a warning says so


def test_a_run_becomes_a_particle_table(tmp_path):
    collages = write_run(tmp_path / "run", make_rows("run", 12))
    table = load_flowcam(tmp_path / "run", image_size=32, verbose=0)
    assert table.columns.tolist() == ["image", "Image Width", "Image Height", *SCALARS]
    assert table.index.names == ["run", "id", "width", "height"]
    assert len(table) == 10
    assert table.attrs["dropped"] == {"crop smaller than min_side": 2}
    assert table.attrs["runs"]["run"] == {
        "read": 12,
        "kept": 10,
        "dropped": {"crop smaller than min_side": 2},
    }
    assert pixels(table).shape == (10, 32, 32)
    assert pixels(table).dtype == np.uint8
    assert sorted(collages) == ["run_000001.tif", "run_000002.tif"]
    assert (table["Image Width"] == table.index.get_level_values("width")).all()


@pytest.mark.parametrize("color", [False, True])
def test_pad_keeps_every_pixel_of_the_crop(tmp_path, color):
    collages = write_run(tmp_path / "run", make_rows("run", 12))
    table = load_flowcam(tmp_path / "run", (48, 41), "pad", 1, color=color, verbose=0)
    assert len(table) == 12
    for (_, _, width, height), row, image in zip(
        table.index, make_rows("run", 12), pixels(table), strict=True
    ):
        collage = Image.fromarray(collages[row["Image File"]])
        whole = np.asarray(collage if color else collage.convert("L"))
        x, y = row["Image X"], row["Image Y"]
        crop = whole[y : y + height, x : x + width]
        image = image.transpose(1, 2, 0) if color else image
        top, left = (48 - height) // 2, (41 - width) // 2
        inner = image[top : top + height, left : left + width]
        np.testing.assert_array_equal(inner, crop)
        outside = np.ones(image.shape[:2], bool)
        outside[top : top + height, left : left + width] = False
        assert len(np.unique(image[outside], axis=0)) <= 1


def test_stretch_fills_the_image(tmp_path):
    collages = write_run(tmp_path / "run", make_rows("run"))
    image = pixels(load_flowcam(tmp_path / "run", 24, min_side=1, verbose=0))[5]
    crop = Image.fromarray(collages["run_000001.tif"]).convert("L").crop((225, 3, 250, 28))
    expected = np.asarray(crop.resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(image, expected)


def test_pad_says_what_it_shrinks(tmp_path):
    make_run(tmp_path / "run")
    with pytest.warns(UserWarning, match=r"4 of 6 crops .* image_size=40 would"):
        table = load_flowcam(tmp_path / "run", 20, "pad", 1, verbose=0)
    assert table.attrs["shrunk"] == 4
    assert table.index.get_level_values("width").tolist() == [width for _, width in SIDES]


def test_many_runs_by_folder_by_parent_and_by_file(tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path / "campaign" / name)
    by_parent = load_flowcam(tmp_path / "campaign", 16, verbose=0)
    by_list = load_flowcam([tmp_path / "campaign" / n for n in "ab"], 16, verbose=0)
    by_file = load_flowcam([f"{tmp_path}/campaign/{n}/{n}.csv" for n in "ab"], 16, verbose=0)
    pd.testing.assert_frame_equal(by_parent, by_list)
    pd.testing.assert_frame_equal(by_parent, by_file)
    assert by_parent.index.get_level_values("run").unique().tolist() == ["a", "b"]


def test_a_path_with_spaces_and_other_letters(tmp_path):
    folder = make_run(tmp_path / "Grímsvötn 2011 µm 氷")
    table = load_flowcam(folder, 16, verbose=0)
    assert table.index.get_level_values("run")[0] == "Grímsvötn 2011 µm 氷"


def test_latin_1_text_is_read(tmp_path):
    def annotate(rows):
        for row in rows:
            row["Comment"] = "Größe in µm"

    folder = make_run(tmp_path / "run", change=annotate, encoding="latin-1")
    table = load_flowcam(folder, 16, verbose=0)
    assert len(table) == 5
    assert table.attrs["left_out"] == {"Comment": "no numbers"}


# ---- faults of the export


def test_missing_and_truncated_collages_are_counted(tmp_path):
    folder = make_run(tmp_path / "run", 18)
    (folder / "run_000001.tif").unlink()
    whole = (folder / "run_000002.tif").read_bytes()
    (folder / "run_000002.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"'run_000001.tif' missing \(6\)"):
        table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert len(table) == 6
    assert sum(table.attrs["dropped"].values()) == 12
    assert table.index.get_level_values("id").tolist() == [f"RUN-{k:04d}" for k in range(12, 18)]


@pytest.mark.parametrize(
    ("column", "value"),
    [("Image X", 270), ("Image Y", 40), ("Image X", -1), ("Image Height", 10**6)],
)
def test_a_crop_outside_its_collage_is_counted(tmp_path, column, value):
    def move(rows):
        rows[2][column] = value

    folder = make_run(tmp_path / "run", change=move)
    with pytest.warns(UserWarning, match=r"crop outside its collage 'run_000001.tif' \(1\)"):
        table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert len(table) == 5
    assert "RUN-0002" not in table.index.get_level_values("id")


@pytest.mark.parametrize("value", ["", "nan", "inf", "n/a", "1,5", "12 µm"])
def test_a_scalar_that_is_no_number_is_counted(tmp_path, value):
    def spoil(rows):
        rows[1]["Circularity"] = value

    folder = make_run(tmp_path / "run", change=spoil)
    with pytest.warns(UserWarning, match=r"no number in 'Circularity' \(1\)"):
        table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert table.attrs["dropped"] == {"no number in 'Circularity'": 1}
    assert np.isfinite(table[SCALARS].to_numpy()).all()


@pytest.mark.parametrize("value", ["", "x", "3.5", "1e40", "-4"])
def test_a_crop_without_usable_size_is_counted(tmp_path, value):
    def spoil(rows):
        rows[1]["Image Width"] = value

    folder = make_run(tmp_path / "run", change=spoil)
    with pytest.warns(UserWarning, match=r"no usable position in the collage \(1\)"):
        table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert len(table) == 5


def test_one_pixel_crops(tmp_path):
    def shrink(rows):
        rows[0] |= {"Image Width": 1, "Image Height": 1}

    folder = make_run(tmp_path / "run", change=shrink)
    assert len(load_flowcam(folder, 16, min_side=1, verbose=0)) == 6
    assert len(load_flowcam(folder, 40, "pad", 1, verbose=0)) == 6
    assert load_flowcam(folder, 16, verbose=0).attrs["dropped"] == {"crop smaller than min_side": 2}


@pytest.mark.parametrize("column", ["Image File", "Image X", "Image Width"])
def test_a_missing_column(tmp_path, column):
    folder = make_run(tmp_path / "run", without=[column])
    with pytest.raises(ValueError, match=rf"run.csv lacks the column\(s\) \['{column}'\]"):
        load_flowcam(folder, 16, verbose=0)


def test_ids_are_made_where_the_export_has_none(tmp_path):
    folder = make_run(tmp_path / "run", without=["Original Reference ID"])
    ids = load_flowcam(folder, 16, verbose=0).index.get_level_values("id")
    assert ids.tolist() == ["run/1", "run/2", "run/3", "run/5", "run/6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run.csv is empty"),
        ("\n\n", "run.csv is empty"),
        ("Particle ID,Image File,Image X,Image Y,Image Width,Image Height\n", "only a header"),
        ("Image X,Image X\n1,2\n", r"several columns named \['Image X'\]"),
    ],
)
def test_an_empty_or_strange_csv(tmp_path, text, message):
    folder = make_run(tmp_path / "run")
    (folder / "run.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_flowcam(folder, 16, verbose=0)


def test_damaged_lines_are_counted(tmp_path):
    folder = make_run(tmp_path / "run")
    with open(folder / "run.csv", "a") as file:
        file.write("7,run_000001.tif,3")
    with pytest.warns(UserWarning, match=r"1 of 7 particles .* damaged line \(1\)"):
        table = load_flowcam(folder, 16, verbose=0)
    assert len(table) == 5


def test_a_stray_quote_costs_no_line_in_silence(tmp_path):
    folder = make_run(tmp_path / "run", 12)
    lines = (folder / "run.csv").read_text().splitlines()
    lines[2], lines[6] = lines[2].replace(",1,", ',"1,', 1), lines[6].replace(",1,", ',1",', 1)
    (folder / "run.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"5 of 12 particles .* damaged line \(5\)"):
        assert len(load_flowcam(folder, 16, min_side=1, verbose=0)) == 7
    (folder / "run.csv").write_text("\n".join(lines[:6]))
    with pytest.raises(ValueError, match=r"run.csv cannot be read from line 3 on"):
        load_flowcam(folder, 16, verbose=0)


def test_no_line_fits_the_header(tmp_path):
    folder = make_run(tmp_path / "run")
    header, *lines = (folder / "run.csv").read_text().splitlines()
    (folder / "run.csv").write_text("\n".join([header, *(line + "," for line in lines)]))
    with pytest.raises(ValueError, match=r"None of the 6 line\(s\) of .*run.csv has the 12 cells"):
        load_flowcam(folder, 16, verbose=0)


def test_csvs_of_other_software(tmp_path):
    """Byte order mark, Windows line ends, quotes, spaces, other order, empty lines, UTF-16."""
    folder = make_run(tmp_path / "run")
    whole = load_flowcam(folder, 16, verbose=0)
    table = pd.read_csv(folder / "run.csv", dtype=str)
    text = table[table.columns[::-1]].to_csv(index=False, quoting=1, lineterminator="\r\n")
    text = text.replace(",", ", ") + ", , ,,,,,,,,,\r\n\r\n"
    for encoding in ("utf-8-sig", "utf-16"):
        (folder / "run.csv").write_bytes(text.encode(encoding))
        same = load_flowcam(folder, 16, verbose=0)
        pd.testing.assert_frame_equal(same[whole.columns], whole)
        assert same.attrs == whole.attrs


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_decimal_commas(tmp_path, separator):
    folder = make_run(tmp_path / "run")
    table = pd.read_csv(folder / "run.csv")
    table.to_csv(folder / "run.csv", index=False, decimal=",")
    with pytest.raises(ValueError, match=r"run.csv has decimal commas, such as '0,\d+' in 'Area"):
        load_flowcam(folder, 16, verbose=0)
    table.to_csv(folder / "run.csv", index=False, decimal=",", sep=separator)
    with pytest.raises(ValueError, match=r"between its columns; expected commas"):
        load_flowcam(folder, 16, verbose=0)


def test_a_scalar_without_any_number_is_reported(tmp_path):
    def empty(rows):
        for row in rows:
            row |= {"Circularity": "", "Comment": "nice", "Mixed": "x"}
        rows[0]["Mixed"] = "1"

    folder = make_run(tmp_path / "run", change=empty)
    with pytest.warns(UserWarning, match=r"2 column\(s\) .* 'Circularity' \(no numbers\); 'Mixed'"):
        table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert list(table.attrs["left_out"]) == ["Circularity", "Comment", "Mixed"]
    assert len(table) == 6


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_a_run_without_usable_rows_costs_the_others_nothing(tmp_path, resize):
    def spoil(rows):
        for row in rows:
            row |= {"Image Width": "", "Circularity": "?"}

    make_run(tmp_path / "runs" / "a", change=spoil)
    make_run(tmp_path / "runs" / "b")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = load_flowcam(tmp_path / "runs", 16, resize, verbose=0)
    said = " ".join(str(warning.message) for warning in caught)
    assert re.search(r"6 of 6 particles of run 'a' .* no usable position", said)
    assert ("shrunk" in said) == (resize == "pad")
    assert len(table) == 5
    assert table.columns.tolist() == ["image", "Image Width", "Image Height", *SCALARS]
    assert table.attrs["runs"]["a"]["kept"] == 0


def test_a_folder_that_lost_its_table_is_named(tmp_path):
    make_run(tmp_path / "runs" / "a")
    lost = make_run(tmp_path / "runs" / "b")
    (lost / "b.csv").unlink()
    with pytest.warns(UserWarning, match=r"1 folder\(s\) hold collages but no table.*b'"):
        table = load_flowcam(tmp_path / "runs", 16, verbose=0)
    assert table.attrs["runs"].keys() == {"a"}


def test_particles_without_an_id_are_counted(tmp_path):
    def forget(rows):
        rows[1]["Original Reference ID"] = rows[4]["Original Reference ID"] = " "

    folder = make_run(tmp_path / "run", change=forget)
    with pytest.warns(UserWarning, match=r"no id \(2\)"):
        assert len(load_flowcam(folder, 16, min_side=1, verbose=0)) == 4


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "I;16"])
def test_collages_of_every_mode(tmp_path, mode):
    """Under the name that the table gives, whatever the format."""
    folder = make_run(tmp_path / "run")
    grey = np.arange(50 * 280).reshape(50, 280) % 251
    if mode == "I;16":
        collage = Image.fromarray((grey * 256).astype(np.uint16))
    else:
        collage = Image.fromarray(grey.astype(np.uint8)).convert(mode)
    collage.save(folder / "run_000001.tif", format="PNG")
    table = load_flowcam(folder, 48, "pad", 1, verbose=0)
    np.testing.assert_array_equal(pixels(table)[0, 14:34, 12:36], grey[3:23, :24])
    colour = load_flowcam(folder, 48, "pad", 1, color=True, verbose=0)
    np.testing.assert_array_equal(pixels(colour)[0, 2, 14:34, 12:36], grey[3:23, :24])


def test_absurd_and_strange_collages(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", 12)
    (folder / "run_000002.tif").unlink()
    (folder / "run_000002.tif").mkdir()
    monkeypatch.setattr("icecore_sk.datasets.crops.MAX_PIXELS", 50 * 280 - 1)
    with (
        pytest.warns(UserWarning, match=r"absurdly large \(280 x 50\) \(6\); .* missing \(6\)"),
        pytest.raises(ValueError, match="No particle is left"),
    ):
        load_flowcam(folder, 16, min_side=1, verbose=0)


def test_ids_must_be_unique(tmp_path):
    def repeat(rows):
        rows[1]["Original Reference ID"] = rows[0]["Original Reference ID"]

    with pytest.raises(ValueError, match=r"1 id\(s\) more than once, such as 'RUN-0000'"):
        load_flowcam(make_run(tmp_path / "run", change=repeat), 16, verbose=0)
    folder = make_run(tmp_path / "other")
    with pytest.raises(ValueError, match=r"other.csv' 2 times. Pass each run once"):
        load_flowcam([folder, folder], 16, verbose=0)
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(
        ValueError, match=r"gives 5 particle\(s\) more than once, such as id 'OTHER"
    ):
        load_flowcam([folder, tmp_path / "copy"], 16, verbose=0)


def test_columns_that_not_all_runs_have(tmp_path):
    def add(rows):
        for row in rows:
            row["Ch1 Peak"] = 0.5

    make_run(tmp_path / "runs" / "a", change=add)
    make_run(tmp_path / "runs" / "b")
    with pytest.warns(UserWarning, match=r"'Ch1 Peak' \(run 'b' does not have it\)"):
        table = load_flowcam(tmp_path / "runs", 16, verbose=0)
    assert "Ch1 Peak" not in table
    assert len(table) == 10


def test_a_collage_elsewhere_is_not_opened(tmp_path):
    """A table names collages beside it, whatever path it gives."""
    folder = make_run(tmp_path / "run")
    (tmp_path / "secret").mkdir()
    (folder / "run_000001.tif").rename(tmp_path / "secret" / "run_000001.tif")
    table = (folder / "run.csv").read_text()
    (folder / "run.csv").write_text(table.replace("run_000001", "../secret/run_000001"))
    with (
        pytest.warns(UserWarning, match="'run_000001.tif' missing"),
        pytest.raises(ValueError, match="No particle is left"),
    ):
        load_flowcam(tmp_path / "run", 16, verbose=0)


# ---- real runs


def test_real_runs(shared_data):
    flowcam = shared_data / "flowcam"
    table, y = load_flowcam(flowcam / "labelled", 64, labels=flowcam / "labels.csv", min_side=1)
    assert len(table) == 2000
    assert y.value_counts().to_dict() == {"Junk": 1562, "Missed": 231, "Protist": 207}
    assert set(FLOWCAM_SCALARS) - set(table) == {
        "Biovolume (Cylinder)",
        "Biovolume (P. Spheroid)",
    }
    varying = [name for name in table.columns[1:] if table[name].nunique() > 1]
    assert len(varying) == 41
    assert table.attrs["labels"]["matched"] == 2000
    both = load_flowcam([flowcam / "labelled", flowcam / "unlabelled"], 64)
    assert both.columns.tolist() == table.columns.tolist()
    unlabelled = both.attrs["runs"][both.index.get_level_values("run")[-1]]
    assert unlabelled["dropped"] == {"crop smaller than min_side": 61}
    assert unlabelled["kept"] == 939


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_real_crops_are_cut_pixel_for_pixel(shared_data, mode):
    for path in sorted((shared_data / "flowcam").glob("*/*/*_000001.tif")):
        if path.name.startswith("cal_image"):
            continue
        folder = path.parent
        table = load_flowcam(folder, 128, "pad", 1, color=mode == "RGB")
        export = pd.read_csv(folder / f"{folder.name}.csv").set_index("Original Reference ID")
        collages = {
            name: np.asarray(Image.open(folder / name).convert(mode))
            for name in export["Image File"].unique()
        }
        assert len(table) == len(export) == 1000
        for (_, name, width, height), image in zip(table.index, pixels(table), strict=True):
            row = export.loc[name]
            x, y = row["Image X"], row["Image Y"]
            top, left = (128 - height) // 2, (128 - width) // 2
            np.testing.assert_array_equal(
                (image if mode == "L" else image.transpose(1, 2, 0))[
                    top : top + height, left : left + width
                ],
                collages[row["Image File"]][y : y + height, x : x + width],
            )
