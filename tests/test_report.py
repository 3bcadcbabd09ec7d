"""The report without a browser: what it takes, what it refuses, what goes into the file."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from icecore_sk.survey import report
from icecore_sk.survey._report import columns, ids, sprites, summary
from icecore_sk.survey.report import write_report

MAPS = {"map": ("x", "y")}


@pytest.fixture
def table():
    """Six particles with everything that a report knows."""
    return pd.DataFrame(
        {
            "size": [1.0, 2.0, 3.0, 4.0, np.nan, 1e6],
            "x": [0.0, 1, 2, 3, 4, 5],
            "y": [0.0, 1, 2, 3, 4, 5],
            "label": ["dust", None, "pollen", "dust", "dust", "10"],
            "predicted": ["fibre", "dust", "pollen", "dust", "dust", "dust"],
            "map cluster": [0.0, 10.0, 2.0, -1.0, np.nan, -2.0],
            "outlier": [False, True, False, False, False, True],
            "outlier_score": [-1.0, -5.0, -1.0, -1.0, -1.0, -9.0],
            "reason": ["", "one", "", "", "", "two"],
        },
        index=pd.Index(["007", "a,b", 'c"d', "e\nf", "Größe", "</script>"], name="id"),
    )


@pytest.fixture
def images():
    return np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)


def read_data(path):
    """Return what the scripts of a page read."""
    page = path.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def decode(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"table": [1]}, TypeError, "table is a list; expected a DataFrame"),
        ({"table": pd.DataFrame({"x": [], "y": []})}, ValueError, "table has no rows"),
        ({"images": np.zeros((5, 8, 8), np.uint8)}, ValueError, "images has 5 rows and table"),
        ({"images": np.zeros((6, 8, 8))}, ValueError, "dtype float64; expected uint8.*round"),
        ({"images": np.zeros((6, 64), np.uint8)}, ValueError, r"shape \(6, 64\).*reshape"),
        ({"images": np.zeros((6, 2, 8, 8), np.uint8)}, ValueError, "2 channels; expected 1"),
        ({"images": "files"}, ValueError, "images has shape None"),
        ({"maps": {}}, ValueError, r"maps=\{\} must be a dict with at least one map"),
        ({"maps": {"map": "xy"}}, ValueError, "maps has 'xy' for 'map'; expected"),
        ({"maps": {"map": ("x", "z")}}, ValueError, "column 'z' for 'map', which table has not"),
        ({"maps": {"map": ("x", "label")}}, ValueError, "'label' of the map 'map' has dtype"),
        ({"histories": [1]}, TypeError, "histories is a list; expected a dict"),
        ({"histories": {"VAE": pd.DataFrame()}}, ValueError, "without the column 'epoch'"),
        ({"record": [1]}, TypeError, "record is a list; expected a dict"),
    ],
)
def test_refuses_what_it_cannot_show(tmp_path, table, images, changes, error, message):
    given = {"table": table, "images": images, "maps": MAPS} | changes
    with pytest.raises(error, match=message):
        write_report(tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_refuses_a_column_that_is_there_twice(tmp_path, table, images):
    twice = pd.concat([table, table[["size"]]], axis=1)
    with pytest.raises(ValueError, match="several columns named 'size'"):
        write_report(tmp_path, twice, images, maps=MAPS)


def test_asks_for_bokeh_at_first_use(tmp_path, table, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ImportError, match=r'pip install "icecore_sk\[report\]"'):
        write_report(tmp_path, table, images, maps=MAPS)


def test_no_text_of_the_data_becomes_markup(tmp_path, table, images):
    evil = "</script><script>alert(1)</script>"
    table = table.rename(columns={"size": evil}).assign(reason=evil, label=evil)
    path = write_report(
        tmp_path,
        table,
        images,
        maps={evil: ("x", "y")},
        histories={evil: pd.DataFrame({"epoch": [1], "train_loss": [1.0]})},
        record={"steps": [{"name": evil, "why": evil}], evil: {evil: evil}},
        title=evil,
    )
    page = path.read_text("utf-8")
    assert "alert(1)" in page
    assert "<script>alert(1)" not in page


class Skeleton(HTMLParser):
    """The elements of a page and the names of their attributes, in order."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, [name for name, _ in attrs]))

    def handle_comment(self, data):
        self.elements.append("comment")


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>alert(1)</script>",
        "</title><img src=x onerror=alert(1)>",
        '" onmouseover="alert(1)',
        "' onmouseover='alert(1)",
        "<!-- <script>",
        "{{ 7 * 7 }}{% raw %}",
        "\u2028\u2029\ufeff\0\U0001f600",
        "]]>&lt;script&gt;",
    ],
)
def test_text_from_anywhere_leaves_the_page_as_it_is(tmp_path, table, images, text):
    def page_of(word, folder):
        index = pd.MultiIndex.from_arrays(
            [[word] * 3 + ["b"] * 3, [f"{word}{k}" for k in range(6)]], names=["run", "id"]
        )
        other = table.set_index(index).rename(columns={"size": word})
        other = other.assign(label=word, predicted=word, reason=word, comment=[word, "b"] * 3)
        other["map cluster"] = [word, "b"] * 3
        history = pd.DataFrame({"epoch": [1], "train_loss": [1.0], word: [2.0]})
        record = {
            "steps": [{"name": word, "does": word, "why": word, "kept": word, word: word}],
            "consistency": {word: {"overlap": 0.5, "chance": 0.1}},
            word: {word: [word]},
        }
        maps, histories = {word: ("x", "y")}, {word: history}
        path = write_report(
            folder, other, images, maps=maps, histories=histories, record=record, title=word
        )
        return path.read_text("utf-8")

    harmless = Skeleton(page_of("word", tmp_path / "harmless")).elements
    page = page_of(text, tmp_path / "evil")
    assert Skeleton(page).elements == harmless
    assert "49" not in re.search("<title>(.*)</title>", page)[1]
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert text in data["levels"][0]["values"]


def test_page_holds_every_particle_once_and_ids_to_the_letter(tmp_path, table, images):
    data = read_data(write_report(tmp_path, table, images, maps=MAPS))
    rows = decode(data["row"], "<u4")
    assert sorted(rows) == list(range(6))
    (level,) = data["levels"]
    codes = decode(level["codes"], "<i4")
    assert [level["values"][code] for code in codes] == [table.index[row] for row in rows]
    assert level["quoted"]
    assert [table.index[rows[i]] for i in decode(data["outliers"], "<u4")] == ["</script>", "a,b"]
    assert {rows[int(i)]: reason for i, reason in data["reasons"].items()} == {1: "one", 5: "two"}


def test_big_integers_and_missing_ids_stay_what_they_are():
    big = 2**63 - 1
    index = pd.MultiIndex.from_arrays([["a", None], [big, big - 1]], names=["run", None])
    run, number = ids.describe_index(index)
    assert number["values"] == [str(big), str(big - 1)]
    assert not number["quoted"]
    assert list(decode(run["codes"], "<i4")) == [0, -1]
    assert ids.id_level(index) == 1


@pytest.mark.parametrize(
    ("names", "level"),
    [(["run", "id", "width", "height"], 1), (["run", "number", "width", "height"], 1), ([None], 0)],
)
def test_the_level_of_the_ids_is_found(names, level):
    index = pd.MultiIndex.from_arrays([[1]] * len(names), names=names)
    assert ids.id_level(index if len(names) > 1 else pd.Index([1])) == level


def test_order_by_place_keeps_neighbours_together():
    x, y = np.random.default_rng(0).uniform(size=(2, 4096))
    x[7] = np.nan
    order = ids.order_by_place(x, y)
    assert order[-1] == 7
    assert sorted(order) == list(range(4096))
    steps = np.hypot(np.diff(x[order[:-1]]), np.diff(y[order[:-1]]))
    assert steps.mean() < 0.1 * np.nanmean(np.hypot(np.diff(x), np.diff(y)))


def test_columns_are_scalars_or_categories(table):
    found = {column["name"]: column for column in columns.describe_columns(table, {"x", "y"})}
    assert "reason" not in found
    assert found["x"]["group"] == "Map coordinates"
    assert found["size"]["kind"] == "scalar"
    assert found["size"]["missing"] == 1
    assert found["size"]["log"]
    clusters = found["map cluster"]
    assert clusters["names"] == ["0", "2", "10", "noise"]
    assert clusters["counts"] == [1, 1, 1, 2]
    assert clusters["missing"] == 1
    assert list(decode(clusters["codes"], "<i2")) == [0, 2, 1, 3, -1, 3]
    assert found["outlier"]["names"] == ["no", "yes"]
    colour = {
        name: dict(zip(found[name]["names"], found[name]["colours"], strict=True))
        for name in ("label", "predicted")
    }
    assert colour["label"]["dust"] == colour["predicted"]["dust"]
    assert len({*colour["label"].values(), *colour["predicted"].values()}) == 4


def test_limits_are_those_of_most_values():
    values = pd.Series([*np.linspace(0, 1, 1000), 1e9, np.inf, np.nan])
    column = columns.scalar_column(values)
    assert column["high"] < 1.01
    assert column["missing"] == 2
    constant = columns.scalar_column(pd.Series([3.0, 3.0]))
    assert constant["low"] < 3 < constant["high"]
    assert columns.scalar_column(pd.Series([np.nan]))["missing"] == 1
    rare = columns.scalar_column(pd.Series([*[0.0] * 1000, *range(1, 11)]))
    assert (rare["low"], rare["high"]) == (0, 10)


def test_rare_categories_share_a_grey_and_are_counted():
    names = [f"class {i}" for i in range(60) for _ in range(60 - i)]
    column = columns.category_column(pd.Series(names))
    assert len(column["names"]) == columns.MAX_CATEGORIES + 1
    assert column["names"][-1] == columns.OTHER
    assert sum(column["counts"]) == len(names)
    assert "class 0" in column["names"]
    assert "class 59" not in column["names"]


@pytest.mark.parametrize("shape", [(300, 20, 12), (300, 1, 128, 128), (300, 3, 100, 60)])
def test_each_thumbnail_is_where_the_page_looks_for_it(shape):
    images = np.empty(shape, np.uint8)
    # Neighbours differ as much as they can.
    images[:] = (255 * (np.arange(300) % 2)).astype(np.uint8).reshape(-1, *[1] * (len(shape) - 1))
    order = np.arange(300)[::-1]
    layout, sheets = sprites.fit_sprites(images, order, 2**30)
    assert len(sheets) == 2
    assert max(layout.height, layout.width) == min(64, max(shape[-2:]))
    for place in (0, 15, 16, 255, 256, 299):
        sheet = np.asarray(Image.open(io.BytesIO(sheets[place // 256])).convert("L"))
        row, col = divmod(place % 256, sprites.PER_ROW)
        top, left = row * layout.cell_height, col * layout.cell_width
        cell = sheet[top : top + layout.height, left : left + layout.width]
        wanted = 255 * (order[place] % 2)
        assert np.abs(cell.astype(int) - wanted).max() <= 4


def test_thumbnails_shrink_until_they_fit():
    images = np.random.default_rng(0).integers(0, 256, (256, 64, 64), np.uint8)
    order = np.arange(256)
    layout, sheets = sprites.fit_sprites(images, order, 400_000)
    assert layout.height < 64
    assert sum(map(len, sheets)) <= 400_000


def test_many_particles_have_their_sheets_beside_the_page(tmp_path, table, images, monkeypatch):
    monkeypatch.setattr(report, "MAX_IN_ONE_FILE", 5)
    stale = tmp_path / "report_files" / "sheet-0009.jpg"
    stale.parent.mkdir()
    stale.touch()
    path = write_report(tmp_path, table, images, maps=MAPS)
    assert [file.name for file in stale.parent.iterdir()] == ["sheet-0000.jpg"]
    assert read_data(path)["sprites"]["folder"] == "report_files"
    assert 'class="sheet"' not in path.read_text("utf-8")
    # And back again, with nothing left behind.
    monkeypatch.undo()
    write_report(tmp_path, table, images, maps=MAPS)
    assert not list(stale.parent.iterdir())
    assert 'class="sheet"' in path.read_text("utf-8")


def test_stretched_crops_get_their_proportions_back(tmp_path, table, images):
    index = pd.MultiIndex.from_arrays(
        [table.index, [10, 20, 30, 40, 50, 60], [20] * 6], names=["id", "width", "height"]
    )
    table = table.set_index(index)
    assert read_data(write_report(tmp_path, table, images, maps=MAPS))["aspect"] is None
    table.attrs["resize"] = "stretch"
    data = read_data(write_report(tmp_path, table, images, maps=MAPS))
    aspect = decode(data["aspect"], "<f4")[np.argsort(decode(data["row"], "<u4"))]
    np.testing.assert_allclose(aspect, [0.5, 1, 1.5, 2, 2.5, 3])


def test_a_memory_map_and_a_table_with_images_are_taken(tmp_path, table, images):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    table["x"] = pd.array([0, 1, 2, 3, None, 5], dtype="Int64")
    data = read_data(write_report(tmp_path, table, mapped, maps=MAPS))
    assert data["maps"][0]["missing"] == 1


def test_outliers_are_what_is_true_and_nothing_else(tmp_path, table, images):
    table["outlier"] = pd.array([False, True, None, False, None, True], dtype="boolean")
    data = read_data(write_report(tmp_path / "out", table, images, maps=MAPS))
    found = [table.index[row] for row in decode(data["row"], "<u4")]
    assert [found[i] for i in decode(data["outliers"], "<u4")] == ["</script>", "a,b"]
    assert summary.make_tiles(table, 1)[-2]["value"] == "2"
    table["outlier"] = [1, -1, 1, 1, 1, -1]  # of an outlier detector: -1 is what is to be shown
    with pytest.raises(ValueError, match=r"'outlier' of table holds -1; .*pass predict\(X\) =="):
        write_report(tmp_path / "not", table, images, maps=MAPS)
    assert not (tmp_path / "not").exists()


def test_summary_says_what_was_kept_and_dropped(table):
    tiles = {tile["name"]: tile for tile in summary.make_tiles(table, 1)}
    assert tiles["particles"]["value"] == "6"
    assert tiles["labelled"]["value"] == "5"
    assert tiles["clusters"] == {
        "value": "3",
        "name": "clusters",
        "note": "2 particles in none (noise)",
    }
    assert tiles["outliers"]["note"] == "33.3% of all, each with a reason"
    record = {
        "steps": [
            {"name": "read", "kept": 1234, "dropped": {"small": 7}, "seconds": 0.123456},
            {"name": "map", "does": "map it", "clusters": 9, "noise": 1000, "resumed": False},
        ],
        "consistency": {"a / b": {"overlap": 0.5, "per_particle": np.ones(3)}},
        "seed": 3,
        "versions": {"numpy": "2"},
    }
    read, mapped = summary.make_steps(record)
    assert read == {"name": "read", "kept": "1,234", "dropped": "small: 7", "seconds": "<1"}
    assert mapped["name"] == "map it"
    assert mapped["found"] == "clusters: 9, noise: 1,000"
    agreement = summary.make_consistency(record)
    assert agreement == {"columns": ["Maps", "Shared neighbours"], "rows": [["a / b", "0.5"]]}
    assert summary.make_details(record) == [
        {"name": "Run", "rows": [("Seed", "3")]},
        {"name": "Versions", "rows": [("numpy", "2")]},
    ]
