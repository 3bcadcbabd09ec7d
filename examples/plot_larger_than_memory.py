"""
Particles that do not fit into memory
=====================================

`save_particles` writes a particle table to one file, and `load_particles` opens it without reading
the images: they stay on the disk, and each is fetched when it is used. So a network can go through
more images than fit into memory. Ids and scalars are read; they take little room.
"""

# %%
# Two runs, each in a file of its own. They are small here, and handled as large ones are.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa

from icecore_sk import AutoEncoder
from icecore_sk.datasets import load_particles, make_particles, save_particles

folder = tempfile.TemporaryDirectory()
paths = []
for seed in (1, 2):
    particles, _ = make_particles(500, image_size=32, random_state=seed)
    paths.append(save_particles(particles, Path(folder.name, f"run_{seed}.arrow")))
del particles

# %%
# Opened, and put one below the other: the images of both files are one column, and none of them has
# been copied. What Arrow has allocated tells.
before = pa.total_allocated_bytes()
table = pd.concat([load_particles(path) for path in paths])
opened = pa.total_allocated_bytes() - before
on_disk = sum(path.stat().st_size for path in paths)
print(f"{len(table):,} particles: {on_disk / 1e6:.2f} MB on the disk,", end=" ")
print(f"{opened / 1e6:.2f} MB allocated to open them.")

# %%
# A network learns from as many as there is time for, and then goes through all of them, batch by
# batch. Neither makes a copy of the images that were not asked for.
some = table[["image"]].sample(100, random_state=0)
model = AutoEncoder(8, max_epochs=2, batch_size=32, random_state=0).fit(some)
latent = model.transform(table[["image"]])
print(f"Latent vectors of all {len(latent):,}: {latent.nbytes / 1e6:.2f} MB.")

# %%
# What is held in memory beside the network: a tenth of the images to learn from, and the result.
megabytes = {
    "files on the disk": on_disk,
    "allocated to open them": opened,
    "images to learn from": pa.array(some["image"]).nbytes,
    "latent vectors of all": latent.nbytes,
}
figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
bars = ax.barh(list(megabytes), [size / 1e6 for size in megabytes.values()], color="#332288")
ax.bar_label(bars, fmt="%.2f", padding=4, fontsize=13)
ax.invert_yaxis()
ax.margins(x=0.15)
ax.set_xlabel("MB", fontsize=13)
ax.tick_params(labelsize=13)

del table, some  # before the files go
folder.cleanup()
plt.show()
