"""The .lst file of a run, read where its table is missing."""

import numpy as np
import pytest
from flowcam_run import make_rows, pixels, write_lst, write_run

from icecore_sk.datasets import FLOWCAM_SCALARS, load_flowcam
from icecore_sk.datasets.flowcam_export import read_run

pytestmark = pytest.mark.filterwarnings("error")  # a test that expects a warning says so


FIELDS = {
    "id": "Particle ID",
    "image_x": "Image X",
    "image_y": "Image Y",
    "image_w": "Image Width",
    "image_h": "Image Height",
    "collage_file": "Image File",
    "abd_area": "Area (ABD)",
    "compactness": "Compactness",
    "image_id": "Original Reference ID",
}


def test_the_lst_is_read_where_the_csv_is_missing(tmp_path):
    rows = [row | {"Compactness": 2.0} for row in make_rows("run")]
    write_run(tmp_path / "run", rows)
    (tmp_path / "run" / "run.csv").unlink()
    lst = tmp_path / "run" / "run.lst"
    listed = [{field: row[column] for field, column in FIELDS.items()} for row in rows]
    write_lst(lst, list(FIELDS), listed)
    table = load_flowcam(tmp_path / "run", 16, verbose=0)
    assert table.index.get_level_values("id")[0] == "RUN-0000"
    assert (table["Circularity"] == 0.5).all()
    assert table["Area (ABD)"].tolist()[0] == float(rows[0]["Area (ABD)"])

    with open(lst, "a") as file:
        file.write("7|0|0|20")
    with pytest.warns(UserWarning, match=r"damaged line \(1\)"):
        assert len(load_flowcam(lst, 16, verbose=0)) == 5
    write_lst(lst, [name for name in FIELDS if name != "image_id"], listed)
    assert load_flowcam(lst, 16, verbose=0).index.get_level_values("id")[0] == "run/1"
    write_lst(lst, [*FIELDS, "id"], listed)
    with pytest.raises(ValueError, match=r"several fields named \['id'\]"):
        load_flowcam(lst, 16, verbose=0)
    for text in ("", "nonsense", "017\nnum-fields|x\n", "017\nnum-fields|9\nid|int32\n"):
        lst.write_text(text)
        with pytest.raises(ValueError, match="second line should be 'num-fields"):
            load_flowcam(lst, 16, verbose=0)


# Of a version without ids, axes, diameters of the filled shape, and times.
FIELDS_57 = """id image_x image_y image_w image_h src_x src_y src_image cal_image ppc camera
cal_const fringe_size raw_area raw_feret_max raw_feret_min raw_feret_mean
raw_perimeter raw_convex_perimeter abd_area abd_diameter length width esd_diameter
aspect_ratio perimeter convex_perimeter intensity sigma_intensity sum_intensity
compactness elongation roughness edge_gradient circle_fit symmetry circularity_hu
intensity_calimage raw_convex_hull_area raw_filled_area filled_area feret_max_angle
feret_min_angle avg_red avg_green avg_blue ch1_peak ch1_width ch1_area ch2_peak
ch2_width ch2_area ch3_peak ch3_width ch3_area timestamp collage_file"""


def test_the_lst_of_57_fields(tmp_path):
    folder = tmp_path / "run"
    rows = make_rows("run")
    write_run(folder, rows)
    (folder / "run.csv").unlink()
    fields = FIELDS_57.split()
    listed = [
        dict.fromkeys(fields, "0.5")
        | {field: row[FIELDS[field]] for field in [*fields[:5], "collage_file"]}
        for row in rows
    ]
    assert len(fields) == 57
    write_lst(folder / "run.lst", fields, listed)
    table = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert table.index.get_level_values("id")[0] == "run/1"
    assert (table["Aspect Ratio"] == 0.5).all()
    missing = {"Biovolume (Cylinder)", "Biovolume (P. Spheroid)"}
    assert set(FLOWCAM_SCALARS) - set(table) == missing


def test_real_lst_files_say_what_the_csv_says(shared_data):
    for lst in sorted((shared_data / "flowcam").glob("*/*/*.lst")):
        a, b = read_run(lst, 1).scalars, read_run(lst.with_suffix(".csv"), 1).scalars
        # A score of filters and what a scatter detector adds; here all of it is 0.
        assert [name for name in b if name not in a] == [
            "Filter Score",
            "Scatter Area",
            "Scatter Peak",
            "Scatter Width",
        ]
        assert set(a) <= set(b)
        assert len(a.columns) == 52
        assert (a == b[a.columns]).all().sum() == 38
        np.testing.assert_allclose(a, b[a.columns], rtol=2e-4, atol=2e-4)
        by_lst, by_csv = (load_flowcam(path, 32) for path in (lst, lst.with_suffix(".csv")))
        assert by_lst.index.equals(by_csv.index)
        np.testing.assert_array_equal(pixels(by_lst), pixels(by_csv))
