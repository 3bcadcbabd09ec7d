"""The pictures of a survey."""

from pathlib import Path


def write_figures(folder, table, images, maps, histories) -> None:
    Path(folder).mkdir(exist_ok=True)
