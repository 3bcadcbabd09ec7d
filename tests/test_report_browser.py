"""The report in a real browser: everything that a reader does with it."""

import csv
import io
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from icecore_sk.datasets import make_particles
from icecore_sk.survey.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra `test`)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs the browser chromium (Debian: apt-get install chromium)"
)

# Ids that a careless page or CSV file would change.
PLANTED = ["007", "12345678901234567890", 'comma, "quote"', "two\nlines", "Größe µ", "<b>&amp;"]
N = 300


@pytest.fixture(scope="module")
def particles():
    """Particles on two maps: a ring, and the same ring turned; ids planted among them."""
    table, labels = make_particles(N, image_size=16, random_state=0)
    images = table.pop("image").array.__arrow_array__().combine_chunks().to_numpy_ndarray()
    ids = table.index.get_level_values("id").to_numpy().copy()
    ids[: len(PLANTED)] = PLANTED
    runs = np.where(np.arange(N) < 20, "first run", "second run")
    table.index = pd.MultiIndex.from_arrays([runs, ids], names=["run", "id"])
    angle = 2 * np.pi * np.arange(N) / N
    table["a x"], table["a y"] = np.cos(angle), np.sin(angle)
    table["b x"], table["b y"] = -np.sin(angle), np.cos(angle)
    table["label"] = labels.to_numpy()
    table["outlier_score"] = np.where(np.arange(N) < 3, -9.0 + np.arange(N), -1.0)
    table["outlier"] = table["outlier_score"] < -2
    table["reason"] = np.where(table["outlier"], "<i>planted</i> & odd", "")
    table["neighbour_overlap"] = np.linspace(0, 1, N)
    return table, images


@pytest.fixture(scope="module")
def report_path(particles, tmp_path_factory):
    table, images = particles
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "kl": [1.0, 2.0]})
    return write_report(
        tmp_path_factory.mktemp("report"),
        table,
        images,
        maps={"first": ("a x", "a y"), "second": ("b x", "b y")},
        histories={"VAE": history},
        record={"steps": [{"name": "read", "kept": N, "dropped": 0}], "seed": 0},
    )


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, report_path):
    """The open page, and what it asked for and complained of since it was opened."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    seen = {"requests": [], "errors": []}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.on(
        "console",
        lambda message: seen["errors"].append(message.text) if message.type == "error" else None,
    )
    page.goto(report_path.as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page, seen
    page.close()


@pytest.fixture
def page(opened):
    """The page with nothing selected or highlighted; afterwards, still without an error."""
    page, seen = opened
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('clear').click()")
    page.locator("#fit").click()
    yield page
    assert seen["errors"] == []
    strangers = [url for url in seen["requests"] if not url.startswith(("file:", "data:", "blob:"))]
    assert strangers == []


def point(page, panel, x, y):
    """Return where on the screen a place on a map is drawn."""
    page.locator(f"#map-{panel}").scroll_into_view_if_needed()
    return page.evaluate(
        """([panel, x, y]) => {
          const named = (d) => d.get_model_by_name(`plot-${panel}`);
          const plot = Bokeh.documents.map(named).find(Boolean);
          const box = document.getElementById(`map-${panel}`).getBoundingClientRect();
          const {x_range: h, y_range: v, inner_width: width, inner_height: height} = plot;
          return [
            box.left + width * (x - h.start) / (h.end - h.start),
            box.top + height * (v.end - y) / (v.end - v.start),
          ];
        }""",
        [panel, float(x), float(y)],
    )


def on_map(page, panel, name):
    """Return a list that a map's points or ring hold."""
    return page.evaluate(
        """([panel, name]) => {
          const found = (model) =>
            Bokeh.documents.map((d) => d.get_model_by_name(`${model}-${panel}`)).find(Boolean);
          if (name === "selected") return Array.from(found("points").selected.indices);
          if (name === "ring") return [...found("ring").data.x, ...found("ring").data.y];
          return Array.from(found("points").data[name]);
        }""",
        [panel, name],
    )


def lasso(page, panel, angles):
    """Draw a lasso around a part of the ring, given in radians, by mouse."""
    outside = [(1.2 * math.cos(a), 1.2 * math.sin(a)) for a in angles]
    inside = [(0.8 * math.cos(a), 0.8 * math.sin(a)) for a in reversed(angles)]
    corners = [point(page, panel, 0.85 * x, 0.85 * y) for x, y in [*outside, *inside]]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
    page.mouse.up()


def saved_ids(page):
    """Save the ids of the selection, and return the rows of the file and its text."""
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename.endswith(".csv")
    text = waiting.value.path().read_bytes().decode("utf-8")
    return list(csv.reader(io.StringIO(text, newline=""))), text


def test_summary_comes_first(page):
    assert page.locator("h1").inner_text() == "Particle survey"
    assert "300 particles" in page.locator(".tiles").inner_text()
    assert page.locator("#training .bk-Figure, #training .curve > *").count() >= 2


def test_hover_shows_thumbnail_and_text_as_text(page, particles):
    table, _ = particles
    page.mouse.move(*point(page, 0, 0.2, 0.2))
    x, y = table.iloc[2][["a x", "a y"]]
    page.mouse.move(*point(page, 0, x, y))
    card = page.locator("#hover")
    card.wait_for(state="visible")
    assert 'comma, "quote"' in card.inner_text()
    assert "<i>planted</i> & odd" in card.inner_text()
    picture = card.locator(".thumbnail i")
    assert "blob:" in picture.evaluate("(i) => getComputedStyle(i).backgroundImage")
    assert picture.bounding_box()["width"] == pytest.approx(128)
    page.mouse.move(*point(page, 0, 0, 0))
    card.wait_for(state="hidden")


def test_thumbnail_is_that_of_its_particle(page, particles):
    """Of all images, the one that the browser shows for an outlier is closest to its own."""
    _, images = particles
    shown = page.evaluate(
        """async () => {
          const tiles = [];
          for (const row of document.querySelectorAll("#outliers tbody tr")) {
            const style = row.querySelector(".thumbnail i").style;
            const sheet = new Image();
            sheet.src = style.backgroundImage.slice(5, -2);
            await sheet.decode();
            const scale = sheet.width / parseFloat(style.backgroundSize);
            const [x, y] = style.backgroundPosition.split(" ").map((at) => -parseFloat(at) * scale);
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 16;
            const context = canvas.getContext("2d");
            context.drawImage(sheet, -Math.round(x), -Math.round(y));
            const pixels = context.getImageData(0, 0, 16, 16).data;
            tiles.push(Array.from(pixels).filter((_, k) => k % 4 === 0));
          }
          return tiles;
        }"""
    )
    own = images.reshape(N, 16, 16).astype(int)
    for row, pixels in enumerate(shown):
        difference = np.abs(own - np.array(pixels).reshape(16, 16)).mean(axis=(1, 2))
        assert difference.argmin() == row
    assert len(shown) == 3


def test_lasso_fills_grid_and_csv_holds_exactly_the_selected_ids(page, particles):
    table, _ = particles
    assert page.locator("#download").is_disabled()
    # Particles 0 to 9 stand in the first 10 of 300 parts of the circle.
    lasso(page, 0, np.linspace(-0.5, 9.5, 12) * 2 * np.pi / N)
    page.wait_for_function("document.querySelectorAll('#grid button').length === 10")
    assert "10 of 300 particles" in page.locator("#selection-summary").inner_text()
    assert page.locator("#histograms .chosen").count() > 0
    rows, text = saved_ids(page)
    assert rows[0] == ["run", "id"]
    assert [tuple(row) for row in rows[1:]] == list(table.index[:10])
    read = pd.read_csv(io.StringIO(text), dtype=str).set_index(["run", "id"])
    assert list(read.index) == list(table.index[:10])


def test_selection_is_shared_by_the_maps_whichever_it_is_made_on(page, particles):
    table, _ = particles
    # On the second map, turned by a quarter, the same particles stand elsewhere.
    lasso(page, 1, np.pi / 2 + np.linspace(-0.5, 4.5, 8) * 2 * np.pi / N)
    page.wait_for_function("document.querySelectorAll('#grid button').length === 5")
    assert on_map(page, 0, "selected") == on_map(page, 1, "selected")
    rows, _ = saved_ids(page)
    assert [row[1] for row in rows[1:]] == list(table.index.get_level_values("id")[:5])
    page.locator("#clear").click()
    assert on_map(page, 0, "selected") == on_map(page, 1, "selected") == []


def test_colours_follow_the_chosen_column(page, particles):
    table, _ = particles
    choice = page.locator("#panel-0 .choose-colour")
    offered = choice.locator("option").all_inner_texts()
    assert {"label", "outlier_score", "Circularity", "a x", "run"} <= set(offered)
    assert "reason" not in offered
    n_colours = {}
    for column in ("label", "run", "outlier", "Circularity"):
        choice.select_option(column)
        n_colours[column] = len(set(on_map(page, 0, "colour")))
    assert n_colours["label"] == table["label"].nunique()
    assert n_colours["run"] == n_colours["outlier"] == 2
    assert n_colours["Circularity"] > 30
    assert "98 % of the values" in page.locator("#panel-0 .legend").inner_text()
    choice.select_option("label")


def test_a_name_in_the_legend_selects_its_particles(page, particles):
    table, _ = particles
    page.locator("#panel-1 .legend button", has_text="diatom").click()
    assert len(on_map(page, 0, "selected")) == (table["label"] == "diatom").sum()


def test_either_panel_shows_any_map(page):
    choice = page.locator("#panel-1 .choose-map")
    assert choice.input_value() == "1"
    assert on_map(page, 0, "x") != on_map(page, 1, "x")
    choice.select_option("first")
    assert on_map(page, 0, "x") == on_map(page, 1, "x")
    choice.select_option("second")


@pytest.mark.parametrize("planted", [name for name in PLANTED if "\n" not in name])
def test_search_finds_an_id_to_the_letter(page, planted):
    page.locator("#search-text").fill(planted)
    page.locator("#search button").click()
    assert page.locator("#search-result").inner_text() == "1 found"
    assert planted in page.locator("#pinned").inner_text()
    rows, _ = saved_ids(page)
    assert [row[1] for row in rows[1:]] == [planted]


def test_search_finds_runs_and_parts_of_ids_and_says_where_there_is_nothing(page):
    for text, found in (("first run", "20 found"), ("größe", "1 found"), ("zzz", "No id or run")):
        page.locator("#search-text").fill(text)
        page.keyboard.press("Enter")
        assert page.locator("#search-result").inner_text().startswith(found)


def test_outlier_row_puts_a_ring_around_its_particle(page, particles):
    table, _ = particles
    rows = page.locator("#outliers tbody tr")
    assert rows.count() == 3
    assert "<i>planted</i> & odd" in rows.nth(1).inner_text()
    rows.nth(1).click()
    assert rows.nth(1).get_attribute("aria-current") == "true"
    for panel, name in enumerate("ab"):
        wanted = table.iloc[1][[f"{name} x", f"{name} y"]].to_numpy(float)
        assert on_map(page, panel, "ring") == pytest.approx(wanted, abs=1e-6)
    assert PLANTED[1] in page.locator("#pinned").inner_text()
    page.locator("#pinned .close").click()
    assert on_map(page, 0, "ring") == []


def test_those_that_moved_most_are_selected(page):
    page.locator("#select-moved").click()
    rows, _ = saved_ids(page)
    assert [row[1] for row in rows[1:]] == PLANTED[:3]


def test_move_and_zoom_leaves_the_selection_alone(page):
    place = point(page, 0, 0, 0)
    page.locator("[data-mode=move]").click()
    span = "Bokeh.documents.map((d) => d.get_model_by_name('plot-0')).find(Boolean).x_range.end"
    before = page.evaluate(span)
    page.mouse.move(*place)
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"{span} < {before}")
    assert on_map(page, 0, "selected") == []
    page.locator("#fit").click()
    assert page.evaluate(span) == pytest.approx(before)
    page.locator("[data-mode=lasso]").click()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, report_path):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(60_000)
    page.goto(report_path.as_uri())
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#outliers tbody tr").first.click()
    box = page.locator("#map-0").bounding_box()
    assert 0 <= box["y"] + box["height"] / 2 <= 844
    page.close()
