// The page: one selection shared by two maps, a grid, histograms and a table of outliers.
"use strict";

const icecore = {};

(async () => {
  const byId = (id) => document.getElementById(id);
  const count = (number) => number.toLocaleString("en");
  const element = (tag, className = "", text = "") =>
    Object.assign(document.createElement(tag), { className, textContent: text });
  const particles = new Particles(JSON.parse(byId("data").textContent));
  byId("data").textContent = "";
  const FIRST_THUMBNAILS = 60;
  const MORE_THUMBNAILS = 240;
  const OUTLIERS_AT_ONCE = 50;
  const HISTOGRAMS_AT_ONCE = 8;
  const N_BINS = 24;
  let selected = [];
  let panels = [];
  let current = null;
  let busy = false;

  // ---------------------------------------------------------------- one particle

  /** Write all that is known of particle i into a card. */
  function fillCard(card, i, extra = []) {
    const list = element("dl");
    const add = (name, text, className = "") => {
      if (!text) return;
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", className, text));
      list.append(pair);
    };
    const { levels, idLevel, reasons } = particles.data;
    levels.forEach((level, k) =>
      add(level.name, particles.levelText(level, i), k === idLevel ? "id" : "")
    );
    const told = particles.data.columns.filter((column) => column.group === "Results");
    for (const column of new Set([...told, ...extra])) add(column.name, particles.text(column, i));
    card.replaceChildren(particles.thumbnail(i, 128));
    if (reasons[i]) card.append(element("p", "reason", reasons[i]));
    card.append(list);
  }

  /** Ring a particle on both maps and keep its card; null lets go of it. */
  function highlight(i) {
    current = i;
    for (const panel of panels) panel.ring(i);
    const pinned = byId("pinned");
    pinned.hidden = i === null;
    for (const marked of document.querySelectorAll("[data-particle][aria-current]")) {
      marked.removeAttribute("aria-current");
    }
    if (i === null) return;
    for (const shown of document.querySelectorAll(`[data-particle="${i}"]`)) {
      shown.setAttribute("aria-current", "true");
    }
    fillCard(pinned, i, particles.scalars);
    const close = element("button", "close", "Close");
    close.addEventListener("click", () => highlight(null));
    pinned.prepend(close);
    pinned.scrollTop = 0;
  }

  function showMaps() {
    const top = byId("map-0").getBoundingClientRect();
    if (top.bottom < 120 || top.top > innerHeight - 120) {
      byId("panel-0").scrollIntoView({ block: "start" });
    }
  }

  function hover(i, x, y, extra) {
    const card = byId("hover");
    fillCard(card, i, extra);
    card.hidden = false;
    const { width, height } = card.getBoundingClientRect();
    card.style.left = `${x + 18 + width > innerWidth ? Math.max(4, x - 18 - width) : x + 18}px`;
    card.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - height - 4))}px`;
  }

  // ---------------------------------------------------------------- the selection

  /** Select particles on both maps and show them. */
  function select(indices) {
    busy = true;
    selected = Array.from(Uint32Array.from(indices).sort());
    for (const panel of panels) panel.points.selected.indices = selected;
    busy = false;
    const none = selected.length === 0;
    byId("selection-summary").textContent = none
      ? "Draw a lasso around particles on a map, choose a name in a legend, or find an id."
      : `${count(selected.length)} of ${count(particles.n)} particles ` +
        `(${((100 * selected.length) / particles.n).toPrecision(2)} %).`;
    byId("download").disabled = byId("clear").disabled = none;
    drawGrid(FIRST_THUMBNAILS);
    drawHistograms(false);
  }

  /** Show at most `limit` thumbnails, spread evenly over the selection. */
  function drawGrid(limit) {
    const shown = Math.min(limit, selected.length);
    const buttons = Array.from({ length: shown }, (_, k) => {
      const i = selected[Math.floor((k * selected.length) / shown)];
      const button = element("button");
      button.type = "button";
      button.dataset.particle = i;
      if (i === current) button.setAttribute("aria-current", "true");
      button.append(particles.thumbnail(i, 60));
      button.addEventListener("click", () => highlight(i));
      button.addEventListener("mouseenter", (event) => hover(i, event.clientX, event.clientY));
      button.addEventListener("mouseleave", () => (byId("hover").hidden = true));
      return button;
    });
    byId("grid").replaceChildren(...buttons);
    const more = byId("more-thumbnails");
    more.hidden = shown === selected.length;
    more.onclick = () => drawGrid(limit + MORE_THUMBNAILS);
    byId("grid-note").textContent = more.hidden
      ? ""
      : `${count(shown)} of them are shown, spread evenly over the selection.`;
  }

  function save() {
    const blob = new Blob([particles.csv(selected)], { type: "text/csv;charset=utf-8" });
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = "selected_particles.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // ---------------------------------------------------------------- scalars

  /** The bin of every particle, 255 where it has no value; the ends take what lies beyond. */
  function bins(column) {
    if (!column.bins) {
      const position = MapPanel.positions(column);
      column.bins = Uint8Array.from(particles.values(column), (value) =>
        Number.isNaN(value) ? 255 : Math.min(N_BINS - 1, Math.floor(N_BINS * position(value)))
      );
    }
    return column.bins;
  }

  /** Share of particles in each bin; null stands for all particles. */
  function distribution(column, indices) {
    const bin = bins(column);
    const counts = new Float64Array(256);
    if (indices) for (const i of indices) counts[bin[i]]++;
    else for (const k of bin) counts[k]++;
    const known = (indices ?? bin).length - counts[255];
    return Array.from(counts.subarray(0, N_BINS), (number) => number / Math.max(1, known));
  }

  function median(column, indices) {
    const values = particles.values(column);
    const chosen = indices ? Float32Array.from(indices, (i) => values[i]) : values;
    const known = chosen.filter((value) => !Number.isNaN(value)).sort();
    return known.length ? Particles.format(known[Math.floor(known.length / 2)]) : "none";
  }

  function difference(a, b) {
    let [gap, largest] = [0, 0];
    a.forEach((share, k) => (largest = Math.max(largest, Math.abs((gap += share - b[k])))));
    return largest;
  }

  function drawHistograms(showAll) {
    let shown = particles.scalars;
    if (selected.length) {
      const gaps = new Map();
      for (const column of shown) {
        column.all ??= distribution(column, null);
        column.chosen = distribution(column, selected);
        gaps.set(column, difference(column.chosen, column.all));
      }
      shown = [...shown].sort((a, b) => gaps.get(b) - gaps.get(a));
    }
    if (!showAll) shown = shown.slice(0, HISTOGRAMS_AT_ONCE);
    byId("histograms").replaceChildren(...shown.map(histogram));
    const note = byId("histogram-note");
    note.replaceChildren(element("span", "key of-all"), "all particles");
    if (selected.length) {
      const key = element("span", "key of-chosen");
      note.append(key, "selected. First the scalars in which the selection differs most.");
    }
    const more = byId("more-histograms");
    more.hidden = shown.length === particles.scalars.length;
    more.textContent = `Show all ${particles.scalars.length} scalars`;
    more.onclick = () => drawHistograms(true);
  }

  function histogram(column) {
    const all = (column.all ??= distribution(column, null));
    const chosen = selected.length ? column.chosen : null;
    const box = element("div", "histogram");
    const name = element("b", "", column.name);
    name.title = column.name;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${N_BINS} 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    const highest = Math.max(1e-9, ...all, ...(chosen ?? []));
    for (const [kind, shares] of [["all", all], ["chosen", chosen]]) {
      if (!shares) continue;
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", kind);
      const steps = shares.map((share, k) => `V${1 - share / highest}H${k + 1}`);
      path.setAttribute("d", `M0,1${steps.join("")}V1Z`);
      svg.append(path);
    }
    const ends = element("div", "ends");
    ends.append(
      element("span", "", Particles.format(column.low)),
      element("span", "", column.log ? "log" : ""),
      element("span", "", Particles.format(column.high))
    );
    column.median ??= median(column, null);
    const words = chosen
      ? `median ${median(column, selected)} (all: ${column.median})`
      : `median ${column.median}`;
    box.append(name, svg, ends, element("small", "", words));
    return box;
  }

  // ---------------------------------------------------------------- outliers

  function addOutliers() {
    const body = document.querySelector("#outliers tbody");
    if (!body) return;
    const score = particles.columns.get("outlier_score");
    const start = body.rows.length;
    const wanted = particles.outliers.subarray(start, start + OUTLIERS_AT_ONCE);
    for (const i of wanted) {
      const row = element("tr");
      row.tabIndex = 0;
      row.dataset.particle = i;
      const picture = element("td");
      picture.append(particles.thumbnail(i, 56));
      const words = element("td", "", particles.data.reasons[i] ?? "");
      words.append(element("span", "id", particles.id(i)));
      row.append(picture, words, element("td", "number", score ? particles.text(score, i) : ""));
      const choose = () => {
        highlight(i);
        showMaps();
      };
      row.addEventListener("click", choose);
      row.addEventListener("keydown", (event) => event.key === "Enter" && choose());
      body.append(row);
    }
    const left = particles.outliers.length - body.rows.length;
    byId("more-outliers").hidden = left === 0;
    byId("more-outliers").textContent = `Show more (${count(left)} left)`;
  }

  // ---------------------------------------------------------------- what the figures call

  icecore.selectedOnMap = (panel, indices) => {
    if (!busy) select(indices);
  };

  icecore.resized = (number) => panels[number]?.resized();

  icecore.hovered = (number, { index, geometry }) => {
    const panel = panels[number];
    const under = index.indices;
    if (!panel || !under.length) {
      byId("hover").hidden = true;
      return;
    }
    const [x, y] = panel.map.decoded;
    const distance = (i) => (x[i] - geometry.x) ** 2 + (y[i] - geometry.y) ** 2;
    const nearest = under.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    const frame = byId(`map-${number}`).getBoundingClientRect();
    hover(nearest, frame.left + geometry.sx, frame.top + geometry.sy, [panel.column]);
  };

  // ---------------------------------------------------------------- start

  // Without graphics hardware the processor emulates WebGL, which takes longer than a canvas does.
  const gl = document.createElement("canvas").getContext("webgl2");
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  const drawnBy = names ? gl.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
  const emulated = !gl || /swiftshader|llvmpipe|software/i.test(drawnBy);
  const figures = JSON.parse(byId("figures").textContent, (key, value) =>
    key === "output_backend" && emulated ? "canvas" : value
  );
  for (const [id, item] of Object.entries(figures)) await Bokeh.embed.embed_item(item, id);
  panels = [0, 1].map((number) => new MapPanel(number, particles, select));
  for (const panel of panels) {
    panel.draw(true);
    byId(`map-${panel.number}`).addEventListener("mouseleave", () => (byId("hover").hidden = true));
  }

  const modes = document.querySelectorAll("[data-mode]");
  const setMode = (mode) => {
    for (const button of modes) button.setAttribute("aria-pressed", button.dataset.mode === mode);
    for (const panel of panels) panel.setMode(mode);
  };
  for (const button of modes) button.addEventListener("click", () => setMode(button.dataset.mode));
  const onClick = (id, action) => byId(id)?.addEventListener("click", action);
  onClick("zoom-in", () => panels.forEach((panel) => panel.zoom(1 / 1.5)));
  onClick("zoom-out", () => panels.forEach((panel) => panel.zoom(1.5)));
  onClick("fit", () => panels.forEach((panel) => panel.fit()));
  onClick("clear", () => select([]));
  onClick("download", save);
  onClick("more-outliers", addOutliers);
  onClick("select-outliers", () => select(particles.outliers));
  onClick("select-moved", () => {
    const overlap = particles.values(particles.columns.get("neighbour_overlap"));
    const known = particles.where((i) => !Number.isNaN(overlap[i]));
    known.sort((a, b) => overlap[a] - overlap[b]);
    select(known.slice(0, Math.ceil(known.length / 100)));
  });
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("search-text").value;
    if (!text) return;
    const found = particles.find(text);
    byId("search-result").textContent = found.length
      ? `${count(found.length)} found`
      : `No id or run contains \u201c${text}\u201d.`;
    if (!found.length) return;
    select(found);
    highlight(found[0]);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && highlight(null));
  addOutliers();
  select([]);
  document.body.dataset.ready = "true";
})().catch((error) => {
  const problem = Object.assign(document.createElement("p"), {
    className: "problem",
    textContent: `The report could not be drawn: ${error.message}`,
  });
  document.body.append(problem);
  throw error;
});
