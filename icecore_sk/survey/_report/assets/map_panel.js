// One of the two maps: which mapping it shows, its colours, its legend, what is in view.
"use strict";

const SHAPES = ["circle", "square", "diamond", "inverted_triangle", "triangle"];
const SWATCHES = ["\u25cf", "\u25a0", "\u25c6", "\u25bc", "\u25b2"];
const MISSING = "#c8c8c8";
// Anchors of viridis, which readers with any colour vision can follow.
const SCALE = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779",
  "#6ece58", "#b5de2b", "#fde725"];

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
// The order of the bytes is that in which bokeh reads an array of colours.
const packed = ([r, g, b], alpha = 255) => ((r << 24) | (g << 16) | (b << 8) | alpha) >>> 0;

class MapPanel {
  constructor(number, particles, pick) {
    this.number = number;
    this.particles = particles;
    this.pick = pick;
    this.element = document.getElementById(`panel-${number}`);
    this.model = (name) =>
      Bokeh.documents.map((d) => d.get_model_by_name(`${name}-${number}`)).find((m) => m);
    this.plot = this.model("plot");
    this.points = this.model("points");
    this.legend = this.element.querySelector(".legend");
    this.mapChoice = this.element.querySelector(".choose-map");
    this.colourChoice = this.element.querySelector(".choose-colour");
    this.fillChoices();
  }

  fillChoices() {
    const { maps, columns, firstColour } = this.particles.data;
    maps.forEach((map, k) => this.mapChoice.add(new Option(map.name, k)));
    for (const column of columns) {
      let group = this.colourChoice.querySelector(`optgroup[label="${column.group}"]`);
      if (!group) {
        group = document.createElement("optgroup");
        group.label = column.group;
        this.colourChoice.append(group);
      }
      group.append(new Option(column.name, column.name));
    }
    this.mapChoice.value = Math.min(this.number, maps.length - 1);
    // Of a single map, the second panel shows something else than the first.
    const second = columns.find((column) => column.name === "outlier_score");
    this.colourChoice.value =
      this.number && maps.length === 1 && second ? second.name : firstColour;
    this.mapChoice.addEventListener("change", () => this.draw(true));
    this.colourChoice.addEventListener("change", () => this.draw(false));
  }

  get map() {
    const map = this.particles.data.maps[this.mapChoice.value];
    if (!map.decoded) {
      map.decoded = ["x", "y"].map((axis) => Particles.decode(map[axis], Float32Array));
      map.x = map.y = null;
    }
    return map;
  }

  get column() {
    return this.particles.columns.get(this.colourChoice.value);
  }

  draw(refit) {
    const [x, y] = this.map.decoded;
    const { colour, marker } = this.colours();
    this.points.data = { x, y, colour, marker };
    if (refit) {
      this.fit();
      this.ring(this.ringed);
    }
    this.drawLegend();
  }

  /** Colour and shape of every particle by the chosen column. */
  colours() {
    const { n } = this.particles;
    const column = this.column;
    const values = this.particles.values(column);
    const colour = new Uint32Array(n);
    const marker = new Array(n).fill(SHAPES[0]);
    const missing = packed(rgb(MISSING), 90);
    if (column.kind === "category") {
      // What is grey is in the background.
      const table = column.colours.map((c) => packed(rgb(c), c.toLowerCase() === MISSING ? 110 : 255));
      for (let i = 0; i < n; i++) {
        const code = values[i];
        colour[i] = code < 0 ? missing : table[code];
        if (code >= 0) marker[i] = SHAPES[column.shapes[code]];
      }
    } else {
      const position = MapPanel.positions(column);
      const steps = Array.from({ length: 256 }, (_, k) => packed(MapPanel.shade(k / 255)));
      for (let i = 0; i < n; i++) {
        colour[i] = Number.isNaN(values[i]) ? missing : steps[Math.round(255 * position(values[i]))];
      }
    }
    return { colour, marker };
  }

  /** A function that takes a scalar to its place between the robust limits, in [0, 1]. */
  static positions({ low, high, log }) {
    const clip = (value) => Math.min(1, Math.max(0, value));
    if (!log) return (value) => clip((value - low) / (high - low));
    const [from, to] = [Math.log(low), Math.log(high)];
    return (value) => (value <= low ? 0 : clip((Math.log(value) - from) / (to - from)));
  }

  static shade(position) {
    const at = position * (SCALE.length - 1);
    const left = Math.min(SCALE.length - 2, Math.floor(at));
    const [a, b] = [rgb(SCALE[left]), rgb(SCALE[left + 1])];
    return a.map((value, k) => Math.round(value + (at - left) * (b[k] - value)));
  }

  drawLegend() {
    const column = this.column;
    const parts = column.kind === "category" ? this.chips(column) : [MapPanel.bar(column)];
    const notes = [];
    if (column.kind === "scalar") {
      notes.push(`98 % of the values lie in this range${column.log ? " (logarithmic)" : ""}.`);
    }
    if (column.missing) notes.push(`${column.missing.toLocaleString("en")} without a value: pale grey.`);
    if (this.map.missing) {
      notes.push(`${this.map.missing.toLocaleString("en")} particles have no place on this map.`);
    }
    if (notes.length) {
      const note = document.createElement("div");
      note.className = "note";
      note.textContent = notes.join(" ");
      parts.push(note);
    }
    this.legend.replaceChildren(...parts);
  }

  /** A button for each category, which selects its particles. */
  chips(column) {
    const values = this.particles.values(column);
    return column.names.map((name, code) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.title = `Select all of ${name}`;
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.color = column.colours[code];
      swatch.textContent = SWATCHES[column.shapes[code]];
      const count = document.createElement("span");
      count.className = "count";
      count.textContent = column.counts[code].toLocaleString("en");
      chip.append(swatch, name, count);
      chip.addEventListener("click", () => this.pick(this.particles.where((i) => values[i] === code)));
      return chip;
    });
  }

  static bar(column) {
    const bar = document.createElement("div");
    bar.className = "colour-bar";
    const strip = document.createElement("i");
    strip.style.background = `linear-gradient(to right, ${SCALE.join(", ")})`;
    bar.append(Particles.format(column.low), strip, Particles.format(column.high));
    return bar;
  }

  /** Show every particle that has a place on the map. */
  fit() {
    const spans = this.map.decoded.map((values) => {
      let [low, high] = [Infinity, -Infinity];
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      return low <= high ? [low, high] : [0, 1];
    });
    const [[left, right], [bottom, top]] = spans;
    this.show((left + right) / 2, (bottom + top) / 2, 1.08 * (right - left), 1.08 * (top - bottom));
  }

  /** Show a part of the map; a unit is as long upwards as sideways, whatever the frame's shape. */
  show(x, y, width, height) {
    const { inner_width: w, inner_height: h } = this.plot;
    if (!(w > 0 && h > 0)) return;
    const unit = Math.max(width / w, height / h) || 1 / w;
    this.plot.x_range.setv({ start: x - (unit * w) / 2, end: x + (unit * w) / 2 });
    this.plot.y_range.setv({ start: y - (unit * h) / 2, end: y + (unit * h) / 2 });
    this.shown = true;
  }

  get view() {
    const { x_range: x, y_range: y } = this.plot;
    return [(x.start + x.end) / 2, (y.start + y.end) / 2, x.end - x.start, y.end - y.start];
  }

  zoom(factor) {
    const [x, y, width, height] = this.view;
    this.show(x, y, width * factor, height * factor);
  }

  resized() {
    if (this.shown) this.show(...this.view);
    else this.fit();
  }

  /** Put a ring around particle i, which comes into view; null takes it away. */
  ring(i) {
    this.ringed = i ?? null;
    const at = this.ringed === null ? [] : this.map.decoded.map((values) => values[i]);
    const placed = at.length && at.every(Number.isFinite);
    this.model("ring").data = placed ? { x: [at[0]], y: [at[1]] } : { x: [], y: [] };
    if (!placed) return;
    const [x, y, width, height] = this.view;
    if (Math.abs(at[0] - x) > width / 2 || Math.abs(at[1] - y) > height / 2) {
      this.show(at[0], at[1], width, height);
    }
  }

  /** What dragging does: "lasso", "box" or "move", of which the last one zooms by wheel too. */
  setMode(mode) {
    for (const name of ["lasso", "box", "move"]) this.model(name).active = name === mode;
    this.model("wheel").active = mode === "move";
  }
}
