"""Keeps the gallery true to the library: examples run again where the library changed."""

import hashlib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GALLERY = REPOSITORY / "docs" / "gallery"
STATE = GALLERY / "library.hash"


def library_hash() -> str:
    """Return a digest of all modules of the library."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted((REPOSITORY / "icecore_sk").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def forget_stale(app, config) -> None:
    """Have examples run again after a change of the library, and drop pages of examples gone."""
    if not STATE.is_file() or STATE.read_text() != library_hash():
        config.sphinx_gallery_conf["run_stale_examples"] = True
    sources = {path.stem for path in (REPOSITORY / "examples").rglob("*.py")}
    for page in GALLERY.rglob("plot_*.rst"):
        if page.stem not in sources:
            page.unlink()


def remember(app, error) -> None:
    """Note which library the gallery shows, once every example has run."""
    if error is None and app.config.plot_gallery and GALLERY.is_dir():
        STATE.write_text(library_hash())


def setup(app):
    # sphinx-gallery reads its configuration on the same event, with the usual priority of 500.
    app.connect("config-inited", forget_stale, priority=5)
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
