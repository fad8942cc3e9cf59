"""Execute chapters of the book again: ``python -m initscope reproduce``.

What a command needs is imported when it runs: --help must not wait for torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from initscope.cli.options import Commands, add_parameters

__all__: list[str] = []  # for this package alone

ABOUT = """\
Execute chapters again through papermill.

A profile is a folder notebooks/profiles/NAME with a file NN_name.yaml for each chapter, which gives
values to its parameters and which papermill reads too (papermill -f): `smoke` takes seconds and
downloads nothing, `cpu` is the full run on a laptop, `gpu` a larger one. Every value is checked
before anything runs.

A chapter that runs to its end without an error and without a warning replaces its notebook, or
goes to --output. Otherwise its notebook stays as it is, what was executed is kept in
_build/failed, and the other chapters still run. The same results give the same file, byte for
byte, so `git diff notebooks` shows what came out differently. At the end a table holds every
number of the chapters beside the published one, as git has it: _build/numbers.csv, or numbers.csv
in the folder of --output.
"""

EXAMPLES = """\
examples:
  python -m initscope reproduce
      every chapter with the profile smoke
  python -m initscope reproduce 05_std_sweep --profile cpu
  python -m initscope reproduce 5 -p image_seeds 7 -p adam_rates "[1.0e-3]"
  git restore notebooks
      bring the committed chapters back

Values are YAML: write 1.0e-3, for 1e-3 is text in YAML. The exit status is 0 if every chapter
succeeded, 1 if one failed, 2 for a mistake in what you asked for (one execution at a time in one
folder is another), 130 after Ctrl-C, 143 after SIGTERM.
"""


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the command line."""
    parser = commands.add(
        "reproduce",
        help="execute chapters of the book again",
        about=ABOUT,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="number (5), name (05_std_sweep) or path; all chapters if none is given",
    )
    parser.add_argument(
        "--profile", default="smoke", metavar="NAME", help="profile to run with (default: smoke)"
    )
    add_parameters(parser, "NAME", "value for a parameter, instead of the profile's")
    parser.add_argument(
        "--notebooks",
        type=Path,
        default=Path("notebooks"),
        metavar="DIR",
        help="folder of the chapters (default: notebooks)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="put the executed notebooks there and leave the published ones alone",
    )
    parser.add_argument(
        "--list", action="store_true", help="show what would run, with which parameters; then stop"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from initscope.memory import require_address_space
    from initscope.reproduce.parameters import plan
    from initscope.reproduce.run import describe_parameters, reproduce
    from initscope.yaml_files import parse_option

    parameters = {name: parse_option(name, text) for name, text in options.parameters}
    if options.list:
        for run in plan(options.chapters, options.profile, options.notebooks, parameters):
            print(f"{run.chapter}  {describe_parameters(run.parameters)}")
        return 0
    require_address_space("reproduce")
    outcomes = reproduce(
        options.chapters,
        options.profile,
        options.notebooks,
        parameters=parameters,
        output=options.output,
    )
    _hold_beside_published(options.notebooks, options.output)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _hold_beside_published(notebooks: Path, output: Path | None) -> None:
    """Write the table of all numbers, published and new, and say where; outside a clone, nothing.

    It holds the chapters of the folder that was written to, those of earlier executions included.
    """
    from initscope.errors import UsageError
    from initscope.reproduce.compare import (
        count_in_words,
        facts_at,
        facts_in,
        numbers_beside,
        write_numbers,
    )

    try:
        published = facts_at("HEAD", notebooks)
    except UsageError:
        return
    numbers = numbers_beside(published, facts_in(output or notebooks))
    path = (output or notebooks.resolve().parent / "_build") / "numbers.csv"
    path.parent.mkdir(exist_ok=True)
    write_numbers(path, numbers)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    print(f"Your numbers beside the published ones: {shown} ({count_in_words(numbers)}).")
