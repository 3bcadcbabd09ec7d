"""Tables, pictures and checkpoints that mean harm: nothing is run, unpacked or read elsewhere."""

import json
import shutil
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import make_network, make_table
from flowcam_run import make_run, write_lst
from test_particle_files import write_icelearning

from icecore_sk.datasets import load_flowcam, load_icelearning, load_particles, save_particles
from icecore_sk.survey._results import write_pages

# ---------------------------------------------------------------- pictures and links

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 280 50\n%%EndComments\nshowpage\n"


def test_pictures_that_another_program_would_open_are_no_pictures(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", 12)
    (folder / "run_000001.tif").write_bytes(EPS)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was run"))
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.warns(UserWarning, match=r"'run_000001\.tif' not a picture \(6\)"):
        particles = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert len(particles) == 6


def test_collage_that_a_link_leads_elsewhere_is_not_read(tmp_path):
    folder = make_run(tmp_path / "run", 12)
    collage = folder / "run_000001.tif"
    collage.rename(tmp_path / "private.tif")
    collage.symlink_to(tmp_path / "private.tif")
    with pytest.warns(UserWarning, match=r"'run_000001\.tif' outside its folder \(6\)"):
        particles = load_flowcam(folder, 16, min_side=1, verbose=0)
    assert len(particles) == 6


def test_links_that_stay_inside_and_links_to_folders_are_followed(tmp_path):
    folder = make_run(tmp_path / "elsewhere" / "run", 12)
    (folder / "run_000001.tif").rename(folder / "first.tif")
    (folder / "run_000001.tif").symlink_to("first.tif")
    (tmp_path / "linked").symlink_to(folder)
    assert len(load_flowcam(tmp_path / "linked", 16, min_side=1, verbose=0)) == 12


def test_crops_that_links_lead_elsewhere_are_not_read(tmp_path):
    rows = write_icelearning(tmp_path / "root")
    crop = tmp_path / "root" / rows[0]["imgpaths"]
    crop.rename(tmp_path / "private.png")
    crop.symlink_to(tmp_path / "private.png")
    with pytest.warns(UserWarning, match=r"crop outside its folder \(1\)"):
        particles, _ = load_icelearning(tmp_path / "root", image_size=16, verbose=0)
    assert len(particles) == len(rows) - 1


def test_picture_that_declares_more_than_any_camera_takes(tmp_path):
    rows = write_icelearning(tmp_path)
    path = tmp_path / rows[0]["imgpaths"]
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2  # width and height in a PNG's header
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"crop absurdly large \(1\)"):
        load_icelearning(tmp_path, image_size=16, verbose=0)


def test_table_too_large_to_be_one(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run")
    monkeypatch.setattr("icecore_sk.datasets.flowcam_export.MAX_TABLE_BYTES", 100)
    with pytest.raises(ValueError, match=r"run\.csv has .* bytes; expected a table of at most 100"):
        load_flowcam(folder, 16, verbose=0)


# ---------------------------------------------------------------- particle files


@pytest.fixture
def arrow_file(tmp_path):
    table = make_table(np.zeros((50, 8, 8), np.uint8), area=np.arange(50.0))
    return save_particles(table, tmp_path / "x.arrow")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_particle_file_is_refused_before_it_is_unpacked(codec, arrow_file):
    table = pa.ipc.open_file(str(arrow_file)).read_all()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_file(str(arrow_file), table.schema, options=options) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="compressed, and may unpack to any size"):
        load_particles(arrow_file)


def test_particle_file_whose_end_tells_of_other_parts(arrow_file):
    """Two files, the front of the one and the end of the other."""
    table = pa.ipc.open_file(str(arrow_file)).read_all()
    with pa.ipc.new_file(str(arrow_file), table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    end = arrow_file.read_bytes()
    footer = int.from_bytes(end[-10:-6], "little") + 10
    with pa.ipc.new_file(str(arrow_file), table.schema) as writer:
        writer.write_table(table)
    arrow_file.write_bytes(arrow_file.read_bytes()[: -footer or None] + end[-footer:])
    with pytest.raises(ValueError, match="damaged, or no particle file"):
        load_particles(arrow_file)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def checkpoint(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    make_network("AutoEncoder", max_epochs=1, checkpoint_dir=folder).fit(digits[0][:60])
    return folder / "checkpoint.pt"


@pytest.fixture
def fit_again(checkpoint, digits, tmp_path):
    """Put a copy of the checkpoint into a folder; return its path and what fits there."""
    path = tmp_path / "checkpoint.pt"
    shutil.copy(checkpoint, path)
    model = make_network("AutoEncoder", max_epochs=1, checkpoint_dir=tmp_path)
    return path, lambda: model.fit(digits[0][:60])


def rewrite(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def test_checkpoint_that_is_whole_is_taken(fit_again):
    path, fit = fit_again
    before = path.read_bytes()
    fit()
    assert path.read_bytes() == before


def test_flipped_bit_in_the_weights_of_a_checkpoint_is_found(fit_again):
    """torch.load takes it for another weight."""
    path, fit = fit_again
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match=r"cannot be read .*is damaged.*Delete it to start anew"):
        fit()


def test_compressed_checkpoint_is_refused_before_it_is_unpacked(fit_again):
    path, fit = fit_again
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"cannot be read .*is compressed"):
        fit()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("module"),
        lambda state: state["module"].popitem(),
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
        lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
        lambda state: state.update(generators=[]),
        lambda state: state["generators"].__setitem__(0, torch.zeros(3)),
        lambda state: state.update(history=5),
        lambda state: state.update(callbacks=[]),
        lambda state: state.update(identity="[" * 100_000),
        lambda state: state.update(identity=json.dumps([1])),
    ],
)
def test_checkpoint_whose_parts_do_not_fit(change, fit_again):
    path, fit = fit_again
    rewrite(path, change)
    with pytest.raises(ValueError, match=r"checkpoint\.pt' cannot be read .*Delete it"):
        fit()


# ---------------------------------------------------------------- what the fuzzer found


def test_particle_among_the_fields_of_a_lst_file_is_not_lost(tmp_path):
    """Where the header lost a line end, its last line was the first particle."""
    folder = make_run(tmp_path / "run")
    (folder / "run.csv").unlink()
    fields = ["id", "image_x", "image_y", "image_w", "image_h", "collage_file"]
    rows = [dict.fromkeys(fields, 20) | {"id": k, "collage_file": "x.tif"} for k in range(3)]
    write_lst(folder / "run.lst", fields, rows)
    text = (folder / "run.lst").read_text()
    (folder / "run.lst").write_text(text.replace("image_y|double\n", "image_y|double", 1))
    with pytest.raises(ValueError, match=r"run\.lst has 'image_y.*expected 'name\|type'"):
        load_flowcam(folder, 16, verbose=0)


def test_field_of_a_lst_file_that_is_no_number_leaves_what_follows_from_it_out(tmp_path):
    """Derived columns hold NaN then, between which a text was looked for."""
    folder = make_run(tmp_path / "run")
    (folder / "run.csv").unlink()
    fields = ["id", "image_x", "image_y", "image_w", "image_h", "collage_file", "compactness"]
    rows = [dict.fromkeys(fields, 20) | {"id": k, "compactness": "x"} for k in range(6)]
    write_lst(
        folder / "run.lst", fields, [row | {"collage_file": "run_000001.tif"} for row in rows]
    )
    with pytest.warns(UserWarning, match=r"2 column\(s\) are left out: 'Compactness'"):
        particles = load_flowcam(folder, 16, verbose=0)
    assert len(particles) == 6
    assert particles.attrs["left_out"] == dict.fromkeys(
        ["Compactness", "Circularity"], "no numbers"
    )


@pytest.mark.filterwarnings("ignore:.* particles")
def test_where_no_particle_is_left_the_folder_is_named(tmp_path):
    folder = make_run(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"No particle is left of 1 run\(s\), the first in '.*run':"
    ):
        load_flowcam(folder, 16, min_side=99, verbose=0)
    write_icelearning(tmp_path / "root")
    with pytest.raises(ValueError, match=r"No particle is left of 14: .* root='.*root'"):
        load_icelearning(tmp_path / "root", min_side=99, verbose=0)


def test_crop_named_twice_is_an_error_that_names_the_table(tmp_path):
    rows = write_icelearning(tmp_path)
    write_icelearning(tmp_path, rows=[rows[0], *rows])
    with pytest.raises(ValueError, match=r"train\.csv: 1 path\(s\) occur more than once"):
        load_icelearning(tmp_path, verbose=0)


# ---------------------------------------------------------------- a survey's folder


@pytest.mark.parametrize("name", ["particles.parquet", "survey.json"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"[]", b"{}", b"[" * 10**5, b"\xff\xfe{"])
def test_damaged_folder_of_a_survey_is_an_error_that_names_the_file(name, content, tmp_path):
    table = make_table(np.zeros((2, 4, 4), np.uint8))
    save_particles(table, tmp_path / "images.arrow")
    table.drop(columns="image").assign(kept=True).to_parquet(tmp_path / "particles.parquet")
    (tmp_path / "survey.json").write_text('{"maps": {}, "record": {}, "histories": {}}')
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}' is damaged, or was not written by a survey"):
        write_pages(tmp_path)
