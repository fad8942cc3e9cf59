"""Show a recorded run: ``python -m initscope show``.

What a command needs is imported when it runs: --help must not wait for pandas.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from initscope.cli.options import Commands, seconds, table_text
from initscope.errors import UsageError, shown
from initscope.scalars import require

if TYPE_CHECKING:
    import pandas as pd

    from initscope.widgets.qkv_training.folders import RunFolder

__all__: list[str] = []  # for this package alone

ABOUT = """\
Show what became of the weights of a run, from the folder of a tracker (VarianceTracker,
VarianceCallback) or of `pretrain`: a line a role, medians over its layers. Of two folders also
their std side by side, at the last step that both recorded.

--html FILE writes one page with the same tables and an instrument of the book over the run, or over
both: step, layer and role by sliders, with its histograms and, for a run of `pretrain`, what AdamW
theory predicts. The page is one file; it needs no kernel, no server and no network.

--live follows a run under way, until it ends or you press Ctrl-C; the page of --html is then
written anew as well, and loads itself again.
"""

EXAMPLES = """\
examples:
  python -m initscope show variances
  python -m initscope show run run-005 --html runs.html
  python -m initscope show run --live --every 10
"""


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the command line."""
    parser = commands.add(
        "show",
        help="show a recorded run, compare two, follow one under way",
        about=ABOUT,
        examples=EXAMPLES,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="one run, or two")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page as well")
    parser.add_argument("--live", action="store_true", help="follow the run until it ends")
    parser.add_argument(
        "--every", type=seconds, default=5.0, metavar="S", help="seconds between looks (default: 5)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    require(len(options.folders) <= 2, "show takes one folder, or two to compare.")
    require(
        len(set(options.folders)) == len(options.folders),
        "show compares a folder with another one.",
    )
    if options.html is not None:
        name = shown(str(options.html))
        require(not os.path.isdir(options.html), f"--html {name} is a folder: name a file.")
        require(
            os.path.isdir(options.html.absolute().parent),
            f"--html {name} is in a folder that is not there.",
        )
    for folder in options.folders:
        there = options.live or os.path.isdir(folder)
        require(there, f"there is no folder {shown(str(folder))[1:-1]}.")
    from initscope.widgets.qkv_training.folders import read_folder

    newest = None
    while True:
        try:
            found = [read_folder(folder) for folder in options.folders]
        except UsageError:
            if not options.live:
                raise
            found = []  # it has not begun
        state = [(run.newest_step, run.status) for run in found]
        if found and state != newest:
            newest = state
            _print(found, clear=options.live and sys.stdout.isatty())
            if options.html is not None:
                _write_page(options.html, found, options.live, options.every)
        if not options.live or (found and all(run.ended for run in found)):
            return 0
        time.sleep(max(0.1, options.every))


def _print(runs: list[RunFolder], clear: bool) -> None:
    from initscope.analysis.summary import compared_runs, run_summary

    if clear:
        print("\033[2J\033[H", end="")
    for run in runs:
        print(f"{run.path}: step {run.newest_step:,}, {run.status}")
        print(summary_text(run_summary(run.variances)))
    if len(runs) == 2:
        table = compared_runs(*(run.variances for run in runs))
        print(f"median std at step {table.attrs['step']:,}, the second over the first:")
        rows = [["role", "first", "second", "ratio"]]
        for role, row in table.iterrows():
            rows.append([str(role), *(_number(value) for value in row)])
        print(table_text(rows))
    sys.stdout.flush()


def summary_text(table: pd.DataFrame) -> str:
    """Return the table of :func:`initscope.analysis.run_summary` as text."""
    names = {
        "std_start": "std at\nstart",
        "std_end": "std\nnow",
        "growth": "growth",
        "spread": "layers\napart",
        "rotation": "rotation\n(deg)",
        "gradient_rms": "gradient\nrms",
    }
    rows = [["role", "layers", *names.values()]]
    for role, row in table.iterrows():
        values = {**row, "rotation": math.degrees(row["rotation"])}
        rows.append([str(role), f"{row['layers']:.0f}", *(_number(values[name]) for name in names)])
    return table_text(rows)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value:+}"
    return f"{value:.3g}"


def _write_page(path: Path, runs: list[RunFolder], live: bool, every: float) -> None:
    from initscope.analysis.summary import compared_runs, run_summary
    from initscope.files import atomic_write
    from initscope.widgets.page import page
    from initscope.widgets.qkv_training.folders import folders_widget

    tables = {
        f"{run.path}: step {run.newest_step:,}, {run.status}": run_summary(run.variances)
        for run in runs
    }
    if len(runs) == 2:
        both = compared_runs(*(run.variances for run in runs))
        tables[f"median std at step {both.attrs['step']:,}, the second over the first"] = both
    going = live and not all(run.ended for run in runs)
    text = page(
        folders_widget(runs),
        " and ".join(str(run.path) for run in runs),
        tables,
        reload_after=max(2.0, every) if going else None,
    )
    with atomic_write(path) as new:
        new.write_text(text, encoding="utf8")
