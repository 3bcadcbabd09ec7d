"""A small FlowCam run, written as VisualSpreadsheet writes it, to be damaged by tests."""

import csv

import numpy as np
from PIL import Image

SIDES = [(20, 24), (15, 15), (30, 18), (14, 20), (16, 40), (25, 25)]  # height, width
SCALARS = ["Area (ABD)", "Circularity", "Sigma Intensity"]


def pixels(table):
    """Return the images of a particle table as one array."""
    chunks = table["image"].array.__arrow_array__().chunks
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in chunks])


def make_rows(name, n=6):
    """Return the particles of a run as dictionaries, six crops to a collage."""
    rng = np.random.default_rng(len(name))
    rows = []
    for k in range(n):
        height, width = SIDES[k % 6]
        row = {
            "Particle ID": k + 1,
            "Image File": f"{name}_{k // 6 + 1:06d}.tif",
            "Image X": 45 * (k % 6),
            "Image Y": 3,
            "Image Width": width,
            "Image Height": height,
            "Original Reference ID": f"{name.upper()}-{k:04d}",
            "Camera": 1,
            "Timestamp": "2024-04-08T11:11:01.303",
        }
        row |= {scalar: f"{rng.random():.4f}" for scalar in SCALARS}
        rows.append(row)
    return rows


def write_run(folder, rows, encoding="utf-8", without=()):
    """Write the table, some columns left out, and the collages; return these by name."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{folder.name}.csv", "w", newline="", encoding=encoding) as file:
        columns = [name for name in rows[0] if name not in without]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    rng = np.random.default_rng(1)
    pixels = {
        name: rng.integers(0, 256, (50, 280, 3), dtype=np.uint8)
        for name in sorted({row["Image File"] for row in rows})
    }
    for name, collage in pixels.items():
        Image.fromarray(collage).save(folder / name, compression="tiff_lzw")
    return pixels


def make_run(folder, n=6, change=None, **options):
    """Write a run whose rows `change` may alter; return the folder."""
    rows = make_rows(folder.name, n)
    if change is not None:
        rows = change(rows) or rows
    write_run(folder, rows, **options)
    return folder


def write_lst(path, fields, rows):
    """Write a `.lst` file of these rows, whose columns are the fields."""
    lines = ["017", f"num-fields|{len(fields)}", *(f"{name}|double" for name in fields)]
    lines += ["|".join(str(row[name]) for name in fields) for row in rows]
    path.write_text("\n".join(lines) + "\n")
