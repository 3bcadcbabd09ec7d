"""Parts of pages that are written at build time."""

from pathlib import Path

PARTS = Path(__file__).resolve().parents[1] / "_parts"


def write_part(name: str, text: str) -> None:
    """Write a part where it has changed, so that an unchanged page is not built again."""
    path = PARTS / name
    if not path.is_file() or path.read_text() != text:
        PARTS.mkdir(exist_ok=True)
        path.write_text(text)
