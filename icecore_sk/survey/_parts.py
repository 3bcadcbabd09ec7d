"""A folder of Parquet files, each written whole or not at all."""

import json
import math
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from icecore_sk._writing import replacing, tidy

# Readers of Parquet folders skip what begins with an underscore or a dot.
MANIFEST = "_manifest.json"
FORMAT = 2  # 1: all parts but the last were of chunk_size rows
# What a folder must share with a run that goes on in it, and how a difference is told.
MUST_AGREE = {
    "model": "model",
    "data": "particles",
    "methods": "methods",
    "chunk_size": "chunk_size",
}


class Parts:
    """Parts of a table of n rows, in their order.

    They are as few as `chunk_size` allows and all of a size, give or take a row: with a last part
    that is small, workers that share the parts evenly would not share the rows evenly.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    n_rows : int
    chunk_size : int
        The most rows of a part.
    """

    def __init__(self, folder, n_rows: int, chunk_size: int):
        self.folder = Path(folder)
        self.n_rows, self.chunk_size = n_rows, chunk_size
        self.digits = max(5, len(str(len(self) - 1)))

    def __len__(self) -> int:
        return math.ceil(self.n_rows / self.chunk_size)

    def rows(self, number: int) -> tuple[int, int]:
        """Return the first row of a part and the one behind its last."""
        return number * self.n_rows // len(self), (number + 1) * self.n_rows // len(self)

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:0{self.digits}d}.parquet"

    def write(self, number: int, table: pd.DataFrame) -> None:
        """Write a part so that it is there whole or not at all, also where the power fails."""
        content = pa.Table.from_pandas(table, preserve_index=False)
        with replacing(self.path(number)) as temporary:
            parquet.write_table(content, temporary)

    def missing(self) -> list[int]:
        """Return the parts that are not there; one that is damaged is none."""
        return [number for number in range(len(self)) if not self._is_whole(number)]

    def _is_whole(self, number: int) -> bool:
        path = self.path(number)
        if not path.is_file():
            return False
        start, stop = self.rows(number)
        try:
            return parquet.read_metadata(path).num_rows == stop - start
        except (pa.ArrowException, OSError):
            return False

    def tidy(self) -> None:
        """Remove what killed processes have left of files that they did not finish."""
        tidy(self.folder / MANIFEST)
        for left in self.folder.glob(".part-*.parquet.*"):
            left.unlink(missing_ok=True)

    # ---------------------------------------------------------------- the manifest

    def open(self, manifest: dict) -> None:
        """Begin a folder, or make sure that this is the one that `manifest` began.

        Raises
        ------
        ValueError
            Where the folder holds parts of something else; the message says of what.
        """
        path = self.folder / MANIFEST
        manifest = {"format": FORMAT, "n_rows": self.n_rows, "n_parts": len(self), **manifest}
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            strangers = sorted(each.name for each in self.folder.glob("*.parquet"))
            if strangers:
                raise ValueError(
                    f"folder={str(self.folder)!r} holds {strangers[0]!r} and no {MANIFEST} that "
                    "says of what. Pass another folder."
                )
            with replacing(path) as temporary:
                Path(temporary).write_text(json.dumps(manifest, indent=1) + "\n")
            return
        self._compare(_read(path), manifest)

    def _compare(self, kept: dict, manifest: dict) -> None:
        differ = []
        for key, name in MUST_AGREE.items():
            if kept[key] != manifest[key]:
                differ.append(f"{name} ({_difference(kept[key], manifest[key])})")
        if differ:
            raise ValueError(
                f"folder={str(self.folder)!r} holds the results of other {' and '.join(differ)}. "
                "Pass another folder, or the same as before to go on."
            )
        versions = {
            name: f"{name} {kept['versions'].get(name)} (now {version})"
            for name, version in manifest["versions"].items()
            if kept["versions"].get(name) != version
        }
        if versions:
            warnings.warn(
                f"folder={str(self.folder)!r} was begun with {', '.join(versions.values())}: what "
                "is added now may differ in the last digits. Pass another folder to score all "
                "particles with the versions that are here.",
                UserWarning,
                stacklevel=4,
            )


def _read(path: Path) -> dict:
    try:
        kept = json.loads(path.read_text())
        if kept["format"] != FORMAT:
            raise ValueError(f"format {kept['format']}")
        return {key: kept[key] for key in (*MUST_AGREE, "versions")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} is damaged, or of another version ({type(error).__name__}: {error}). "
            "Pass another folder."
        ) from error


def _difference(before, now) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in now if before.get(key) != now[key]]
        return ", ".join(f"{key}: {before.get(key)}, now {now[key]}" for key in keys)
    return f"{before}, now {now}"
