"""Writes what `icecore COMMAND --help` says, for the page on the command line."""

import argparse
import os

from parts import write_part

COMMANDS = ("demo", "survey", "report", "score")


def write_help(app) -> None:
    """Write one text per command."""
    from icecore_sk.survey.cli import make_parser

    # Help is broken into lines of the terminal's width, and builds must not depend on that.
    os.environ["COLUMNS"] = "88"
    commands = next(
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name in COMMANDS:
        write_part(f"help_{name}.txt", commands.choices[name].format_help())


def setup(app):
    app.connect("builder-inited", write_help)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
