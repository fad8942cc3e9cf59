"""Read the values of options, and end a command with a line that says why."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from itertools import groupby
from typing import Any

from initscope.errors import shown

__all__: list[str] = []  # for this package alone


class Layout(argparse.HelpFormatter):
    """Fill paragraphs to the width of the terminal; keep lines that are indented."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for kept, part in groupby(text.splitlines(), lambda line: line[:1] in ("", " ")):
            own = list(part)
            lines += own if kept else textwrap.wrap(" ".join(own), width)
        return "\n".join(indent + line for line in lines)


class Commands:
    """The commands of a command line, to which each adds itself.

    Parameters
    ----------
    subparsers
        Those of the parser of all commands.
    program
        What the user typed to start it.
    """

    def __init__(self, subparsers: Any, program: str) -> None:
        self._subparsers, self._program = subparsers, program

    def add(self, name: str, *, help: str, about: str, examples: str) -> argparse.ArgumentParser:
        """Add a command; returns the parser of its options."""
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=help,
            description=about,
            epilog=for_program(examples, self._program),
            formatter_class=Layout,
        )
        return parser


def for_program(examples: str, program: str) -> str:
    """Return examples of the command line as they are typed for `program`."""
    torchrun = "torchrun --nproc-per-node 8 -m initscope"  # it starts a module, not a command
    parts = examples.split(torchrun)
    return torchrun.join(part.replace("python -m initscope", program) for part in parts)


# --- Options of several commands --------------------------------------------------------------


def add_parameters(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """Add ``-p NAME VALUE``, which may be repeated; `name` is what the usage calls NAME."""
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=(name, "VALUE"),
        help=f"{help}; may be repeated",
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add ``--dry-run``."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say how much it is, in operations and bytes; train and write nothing",
    )


# --- Values: what argparse takes as `type` ---------------------------------------------------


def count(text: str, least: int = 1) -> int:
    """Return a whole number of at least `least`."""
    # 18 digits are as many as 64 bits hold for certain.
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is no whole number of at least {least} and at most 18 digits"
            if text.isdecimal() and len(text) > 18
            else f"{shown(text)} is no whole number of at least {least}"
        )
    return int(text)


def seed(text: str) -> int:
    """Return a whole number of at least 0."""
    return count(text, 0)


def seconds(text: str) -> float:
    """Return a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number of at least 0")
    return number


# --- Tables -----------------------------------------------------------------------------------


def table_text(rows: list[list[str]]) -> str:
    """Return rows of text in columns; the first column to the left, others to the right.

    A name of a column, in the first row, may be of several lines.
    """
    names = [name.split("\n") for name in rows[0]]
    height = max(map(len, names))
    heads = [[""] * (height - len(name)) + name for name in names]
    rows = [*map(list, zip(*heads, strict=True)), *rows[1:]]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


# --- Errors: one line ------------------------------------------------------------------------

LONGEST_ERROR = 1000
"""Characters of an error message; the middle of a longer one is left out."""


def one_line(message: str) -> str:
    """Return a message in one line of some length, whatever names of the caller's are in it."""
    plain = "".join(c if c.isprintable() else f"{ascii(c)[1:-1]}" for c in message[:100_000])
    if len(plain) <= LONGEST_ERROR:
        return plain
    half = LONGEST_ERROR // 2 - 3
    return f"{plain[:half]} ... {plain[-half:]}"


def fail(message: str, status: int) -> int:
    """Say what went wrong; return `status`."""
    if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun, one speaks
        print(message, file=sys.stderr)
    return status
