"""The command line: ``python -m initscope --help``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from initscope import __version__, extras
from initscope.cli import predict, pretrain, reproduce, show, sweep
from initscope.cli.options import Commands, Layout, fail, for_program, one_line
from initscope.errors import Terminated, UsageError, lack_of_resources

__all__ = ["main"]

_ABOUT = """\
How the scale of the initial weights decides whether a network learns, and what becomes of it in
training: the package behind an interactive paper made of executed notebooks.

The chapters are the notebooks notebooks/NN_name.ipynb. Each shows measurements that this package
makes, next to the theory that predicts them. From here you can execute the chapters again, with
other parameters if you like, and run the experiments behind them on their own.
"""

_EXAMPLES = """\
examples:
  python -m initscope reproduce
      every chapter, small and quick
  python -m initscope reproduce 5 --profile cpu
      chapter 5 as it is published
  python -m initscope reproduce 5 --output mine -p image_seeds 7
      with another parameter, elsewhere
  python -m initscope reproduce --list
      the chapters and their parameters
  python -m initscope sweep --spec wine.yaml --out results
      an experiment of your own
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run
      a GPT-2 from scratch, its weights followed
  python -m initscope predict --config config.json \\
      --learning-rate 6e-4 --weight-decay 0.1
      what a model of yours does at its start, and where AdamW takes its weights
  python -m initscope show run --html run.html
      what became of the weights of a run
  python -m initscope COMMAND --help
      all there is to say about a command

From Python: `from initscope.init import initialize_` sets the weights of a model of your own, and
each module (`init`, `tracking`, `sweep`, ...) says in its docstring what it is for.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Parameters
    ----------
    arguments
        Those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):  # a file may have a name that is no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser(_program()).parse_args(arguments)
    try:
        with extras.named("this command"):
            return int(options.run(options))
    except UsageError as error:
        return fail(f"error: {one_line(str(error))}", 2)
    except KeyboardInterrupt as interrupt:
        status = 143 if isinstance(interrupt, Terminated) else 130
        return fail(f"\n{str(interrupt) or 'stopped'}", status)
    except BrokenPipeError:  # the reader of our output, like `head`, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return fail(f"error: {one_line(f'{error.strerror or error}{where}')}", 1)
    except Exception as error:
        if not (lacking := lack_of_resources(error)):
            raise
        return fail(f"error: {one_line(lacking)}", 1)


def _program() -> str:
    """Return what the user typed to start this: the installed command, or the module."""
    name = Path(sys.argv[0] if sys.argv else "").stem.lower()
    return "initscope" if name == "initscope" else "python -m initscope"


class _Parser(argparse.ArgumentParser):
    """Argument parser that keeps an error in one line."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _parser(program: str) -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        program,
        description=_ABOUT,
        epilog=for_program(_EXAMPLES, program),
        formatter_class=Layout,
    )
    parser.add_argument("--version", action="version", version=f"initscope {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands = Commands(subparsers, program)
    for command in (reproduce, sweep, pretrain, predict, show):
        command.add_parser(commands)
    return parser
