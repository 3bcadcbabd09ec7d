// The particles of the page: columns decoded when first asked for, ids, thumbnails, CSV.
"use strict";

class Particles {
  constructor(data) {
    this.data = data;
    this.n = data.n;
    this.sheets = document.querySelectorAll("script.sheet");
    this.sheetUrls = [];
    this.rows = Particles.decode(data.row, Uint32Array);
    this.aspect = data.aspect && Particles.decode(data.aspect, Float32Array);
    this.outliers = Particles.decode(data.outliers, Uint32Array);
    for (const level of data.levels) level.codes = Particles.decode(level.codes, Int32Array);
    this.columns = new Map(data.columns.map((column) => [column.name, column]));
    this.scalars = data.columns.filter(
      (column) => column.kind === "scalar" && column.group !== "Map coordinates"
    );
  }

  static bytes(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  static decode(text, Type) {
    return new Type(Particles.bytes(text).buffer);
  }

  /** Numbers of a scalar (NaN is missing) or codes of a category (-1 is missing). */
  values(column) {
    if (!column.decoded) {
      const scalar = column.kind === "scalar";
      column.decoded = scalar
        ? Particles.decode(column.values, Float32Array)
        : Particles.decode(column.codes, Int16Array);
      column.values = column.codes = null;
    }
    return column.decoded;
  }

  /** What a column says of particle i, as a text; empty where it says nothing. */
  text(column, i) {
    const value = this.values(column)[i];
    if (column.kind === "scalar") return Number.isNaN(value) ? "" : Particles.format(value);
    return value < 0 ? "" : column.names[value];
  }

  static format(value) {
    const size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  }

  /** Text of one level of the index. */
  levelText(level, i) {
    return level.codes[i] < 0 ? "" : level.values[level.codes[i]];
  }

  id(i) {
    return this.levelText(this.data.levels[this.data.idLevel], i);
  }

  /** Particles with exactly this text in their index, else those whose id contains it. */
  find(text) {
    const { levels, idLevel } = this.data;
    for (const level of [levels[idLevel], ...levels]) {
      const code = level.values.indexOf(text);
      if (code >= 0) return this.where((i) => level.codes[i] === code);
    }
    const part = text.toLowerCase();
    const hits = levels[idLevel].values.map((value) => value.toLowerCase().includes(part));
    return this.where((i) => hits[levels[idLevel].codes[i]]);
  }

  where(condition) {
    const found = [];
    for (let i = 0; i < this.n; i++) if (condition(i)) found.push(i);
    return found;
  }

  /** The ids of particles as a CSV file, in the order of the table that the page was made from. */
  csv(indices) {
    const quote = (text) => `"${text.replaceAll('"', '""')}"`;
    const sorted = Array.from(indices).sort((a, b) => this.rows[a] - this.rows[b]);
    const { levels } = this.data;
    const lines = [levels.map((level) => quote(level.name)).join(",")];
    for (const i of sorted) {
      const cells = levels.map((level) => {
        const text = this.levelText(level, i);
        return level.quoted && level.codes[i] >= 0 ? quote(text) : text;
      });
      lines.push(cells.join(","));
    }
    return lines.join("\n") + "\n";
  }

  /** Address of a sprite sheet: a file beside the page, or a part of the page. */
  sheetUrl(number) {
    const { folder } = this.data.sprites;
    if (folder) return `${folder}/sheet-${String(number).padStart(4, "0")}.jpg`;
    if (!this.sheetUrls[number]) {
      const bytes = Particles.bytes(this.sheets[number].textContent);
      this.sheets[number].textContent = "";
      this.sheetUrls[number] = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    }
    return this.sheetUrls[number];
  }

  /** An element that shows particle i in its true proportions, its longer side `side` pixels. */
  thumbnail(i, side) {
    const s = this.data.sprites;
    const aspect = this.aspect ? this.aspect[i] : s.width / s.height;
    const width = side * Math.min(1, aspect);
    const height = side * Math.min(1, 1 / aspect);
    const [scaleX, scaleY] = [width / s.width, height / s.height];
    const place = i % s.perSheet;
    const inSheet = Math.min(s.perSheet, this.n - (i - place));
    const x = (place % s.perRow) * s.cellWidth * scaleX;
    const y = Math.floor(place / s.perRow) * s.cellHeight * scaleY;
    const picture = document.createElement("i");
    Object.assign(picture.style, {
      width: `${width}px`,
      height: `${height}px`,
      backgroundImage: `url("${this.sheetUrl(Math.floor(i / s.perSheet))}")`,
      backgroundPosition: `${-x}px ${-y}px`,
      backgroundSize:
        `${s.perRow * s.cellWidth * scaleX}px ` +
        `${Math.ceil(inSheet / s.perRow) * s.cellHeight * scaleY}px`,
    });
    const box = document.createElement("span");
    box.className = "thumbnail";
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `particle ${this.id(i)}`);
    box.style.width = box.style.height = `${side}px`;
    box.append(picture);
    return box;
  }
}
