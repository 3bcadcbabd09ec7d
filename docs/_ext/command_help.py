"""Writes what `icecore COMMAND --help` says, for the page on the command line."""

import argparse
import os
from pathlib import Path

PARTS = Path(__file__).resolve().parents[1] / "_parts"
COMMANDS = ("demo", "survey", "report")


def write_help(app) -> None:
    """Write one text per command where it has changed."""
    from icecore_sk.survey.cli import make_parser

    # Help is broken into lines of the terminal's width, and builds must not depend on that.
    os.environ["COLUMNS"] = "88"
    commands = next(
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    PARTS.mkdir(exist_ok=True)
    for name in COMMANDS:
        text = commands.choices[name].format_help()
        path = PARTS / f"help_{name}.txt"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def setup(app):
    app.connect("builder-inited", write_help)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
