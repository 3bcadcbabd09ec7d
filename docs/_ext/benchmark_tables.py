"""Writes the tables of benchmarks/results as one part of the page on benchmarks."""

import re
from pathlib import Path

from parts import write_part

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
HEADING = re.compile(r"^#+ ", re.MULTILINE)
PICTURE = re.compile(r"^!\[.*\]\(.*\.png\)\n*", re.MULTILINE)
# What the folders hold, in the order of the page. A folder without tables yet has no section.
SECTIONS = {
    "leave_digits_out": (
        "Digits left out of training",
        "MNIST, all 10,000 test images. Measured by `benchmarks/leave_digits_out.py`. ACC, NMI and "
        "ARI compare clusters with the ten digits; recall and purity are those of the cluster of "
        "each digit that was left out.",
    ),
    "particles": (
        "Particles",
        "Two labelled FlowCam runs with three classes. Measured by `benchmarks/particles.py`.",
    ),
    "outliers": (
        "Outliers",
        "Unusual particles planted among drawn ones, and `OutlierScorer` on many rows. Measured by "
        "`benchmarks/outliers.py`.",
    ),
    "speed": (
        "Speed",
        "Images per second, beside other ways to do the same. Measured by `benchmarks/speed.py`.",
    ),
    "larger_than_memory": (
        "Larger than memory",
        "Particles of 64x64 from mapped files. {doc}`guide/sizing` reckons on from them.",
    ),
    "fuzz": ("Damaged files", "What readers make of files that were damaged at random."),
    "kills": ("Killed at random", "Fits, scores and surveys that were killed and started again."),
    "soak": ("Leaks", "Fits, saves, loads and scores in one process, again and again."),
}


def kept(pattern: str) -> list[Path]:
    """Return the results that are committed: quick ones lie in a folder that git ignores."""
    found = sorted(RESULTS.rglob(pattern))
    return [path for path in found if "work" not in path.relative_to(RESULTS).parts]


def section_of(path: Path) -> str:
    """Return the key of the section that a file of results belongs to."""
    folder = path.relative_to(RESULTS).parts[0]
    return folder if folder in SECTIONS else "leave_digits_out"


def title_of(path: Path, heading: str) -> str:
    """Return what a table is of, from the name of its file or folder."""
    name = path.parent.name if path.stem == "README" else path.stem
    words = name.replace("_", " ")
    return heading if words == path.parts[-2] else words[0].upper() + words[1:]


def make_part() -> str:
    """Return the sections as Markdown."""
    files = kept("*.md")
    lines = []
    for key, (heading, words) in SECTIONS.items():
        own = [path for path in files if section_of(path) == key]
        if not own:
            continue
        lines += [f"## {heading}", "", words, ""]
        for path in own:
            text = path.read_text().strip()
            if len(own) > 1:
                lines += [f"### {title_of(path, heading)}", ""]
            # A file's title is the section's, and its other headings go below that.
            text = re.sub(r"\A# .*\n+", "", text)
            text = PICTURE.sub("", text)  # they follow, with a path from here
            deeper = "#" if len(own) == 1 else "##"
            lines += [HEADING.sub(lambda found, more=deeper: more + found[0], text), ""]
        lines += pictures(key)
    return "\n".join(lines)


def pictures(key: str) -> list[str]:
    """Return the figures that lie beside a section's tables."""
    found = [path for path in kept("*.png") if section_of(path) == key]
    lines = []
    for path in found:
        place = path.relative_to(REPOSITORY).as_posix()
        lines += [f"![{path.stem.replace('_', ' ')}](../{place})", ""]
    return lines


def write_tables(app) -> None:
    """Write the tables as a part of the page."""
    write_part("benchmark_tables.md", make_part())


def setup(app):
    app.connect("builder-inited", write_tables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
