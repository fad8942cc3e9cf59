"""Help chapters: their folder, a message before long work, numbers for the prose, a result.

The chapters import this module; :mod:`initscope.reproduce` executes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from initscope import checks
from initscope.errors import shown
from initscope.scalars import listed

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

    from initscope.claims import Claim, Finding
    from initscope.pretrain.records import PretrainRecord
    from initscope.pretrain.spec import PretrainSpec
    from initscope.sweep import SweepSpec

LITTLE_WORK = 2_000
"""Epochs of networks, or updates of a language model, that are over before they are counted."""


def enter(chapter: str) -> None:
    """Make the folder of a chapter the working folder, wherever its kernel was started.

    What a chapter reads and writes is named relative to the folder of its notebook. JupyterLab,
    VS Code and :mod:`initscope.reproduce` start a kernel there; papermill starts it where papermill
    was called. The folder is the first that holds the notebook, of

    1. that of the file which papermill with ``--inject-input-path`` (``PAPERMILL_INPUT_PATH``) or
       VS Code (``__vsc_ipynb_file__``) name in a variable of the notebook,
    2. the working folder,
    3. that of the file which JupyterLab names in the environment (``JPY_SESSION_NAME``; programs
       that a notebook starts inherit it),
    4. ``notebooks`` in the working folder, then each folder above and its ``notebooks``,
    5. the folder ``notebooks`` of the project that the package is installed from, if it is
       installed as editable.

    If none does, the working folder stays as it is.

    Parameters
    ----------
    chapter
        Its stem, like ``"05_std_sweep"``.

    >>> before = Path.cwd()
    >>> enter("99_no_chapter")
    >>> Path.cwd() == before
    True
    """
    here = Path.cwd()
    variables = _variables_of_notebook()
    named = (variables.get("PAPERMILL_INPUT_PATH"), variables.get("__vsc_ipynb_file__"))
    candidates = [(here / name).parent for name in named if isinstance(name, str)]
    candidates += [here, Path(os.environ.get("JPY_SESSION_NAME", "")).parent]
    for folder in (here, *here.parents):
        candidates += [folder, folder / "notebooks"]
    candidates.append(Path(__file__).resolve().parents[2] / "notebooks")
    for folder in candidates:
        if (folder / f"{chapter}.ipynb").is_file():
            os.chdir(folder)
            return


def _in_notebook() -> bool:
    """Return whether a kernel runs this, not a terminal, whose lines stay."""
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _variables_of_notebook() -> dict[str, Any]:
    """Return the variables of the notebook that runs this; none outside of one."""
    from IPython import get_ipython

    shell = get_ipython()
    return {} if shell is None else dict(shell.user_ns)


def put(*, significant: int | None = None, **values: Any) -> None:
    """Glue numbers and texts, so that the prose of the chapter can show them by name.

    Parameters
    ----------
    significant
        Significant digits to which numbers are rounded, where the last ones depend on the machine.
    **values
        What is glued, by name; numbers of numpy become those of Python.

    >>> put()
    """
    from myst_nb import glue

    for name, value in values.items():
        if significant and not isinstance(value, str | int):
            value = float(f"{value:.{significant}g}")
        glue(name, value.item() if isinstance(value, np.generic) else value, display=False)


def source_note(chapter: str, profile: str, *files: str | Path) -> Any:
    """Return a line that leads from a figure to its data and to the command that makes them.

    It is Markdown output of a cell. Files of the same name in different folders are named after the
    folders.

    >>> print(source_note("05_std_sweep", "cpu", "results/wine.parquet").data.split(". ")[0])
    *Data:* [wine.parquet](results/wine.parquet)
    """
    from IPython.display import Markdown

    checks.text("chapter", chapter)
    checks.text("profile", profile)
    for file in files:
        checks.file_path("files", file)
    paths = [Path(file) for file in files]
    names, before = [path.name for path in paths], ""
    if len(set(paths)) > 1 and len(set(names)) == 1:
        before = f"{names[0]} of "
        shared = len(Path(os.path.commonpath(paths)).parts)
        names = [path.parts[shared] for path in paths]
    links = ", ".join(
        f"[{name}]({path.as_posix()})" for name, path in zip(names, paths, strict=True)
    )
    command = f"python -m initscope reproduce {chapter} --profile {profile}"
    return Markdown(f"*Data:* {before}{links}. *Made by:* `{command}`")


def result(summary: str, findings: Iterable[Finding] = ()) -> Any:
    """Return the result of a chapter in a line, with what became of its claims, as Markdown output.

    The book shows both in its prose; elsewhere the prose has ``{glue:text}`` in their place.

    Parameters
    ----------
    summary
        What comes out, in a sentence or a few.
    findings
        What became of each claim and prediction of the chapter.

    >>> result("All networks train.").data
    '**What comes out.** All networks train.'
    """
    from IPython.display import Markdown

    found = "".join(f"\n- **{f.claim}: {f.in_words}.** {f.summary}" for f in findings)
    return Markdown(f"**What comes out.** {summary}" + (f"\n{found}" if found else ""))


_MATRICES = {"qkv": "Q, K and V", "qk": "Q and K", "v": "V"}
"""What readers call them."""


def findings_table(claims: Mapping[str, Claim], findings: Iterable[Finding]) -> Styler:
    """Return what became of the claims of a chapter, as a table in whole sentences.

    Parameters
    ----------
    claims
        The claims by key, see :func:`initscope.claims.read_claims`.
    findings
        Findings on some of the claims or on all.

    Raises
    ------
    UsageError
        A finding on a claim that is not among `claims`.
    """
    from initscope.claims import Finding

    checks.mapping("claims", claims)
    rows = {}
    for finding in listed("findings", findings):
        checks.require(
            isinstance(finding, Finding), f"findings must be those of claims, not {shown(finding)}."
        )
        checks.require(finding.claim in claims, f"there is no claim {finding.claim}.")
        words = [_MATRICES.get(word, word) for word in finding.claim.split("-")]
        rows[" ".join(words)] = {  # a name in words, for readers
            "says": claims[finding.claim].statement,
            "in scope": finding.in_words,
            "beyond it": finding.beyond_in_words,
            "effect": finding.effect.in_words if finding.effect else "",
            "runs": f"{finding.runs:,}",
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")
    wrapped = {"white-space": "normal", "text-align": "left", "vertical-align": "top"}
    return (
        table.style.set_properties(**wrapped)
        .set_properties(subset=["says"], **{"min-width": "15em"})
        .set_table_styles([{"selector": "th", "props": list(wrapped.items())}])
    )


def sweeps_left(specs: Iterable[SweepSpec], out: str | Path) -> list[SweepSpec]:
    """Return the sweeps whose finished table is not in the folder `out`.

    Raises
    ------
    UsageError
        As :func:`initscope.sweep.run_sweep`: a table that is damaged or of another specification.
    """
    from initscope.sweep.records import finished_table

    return [spec for spec in specs if finished_table(Path(out), spec) is None]


def runs_left(specs: dict[str, PretrainSpec], out: str | Path) -> dict[str, PretrainSpec]:
    """Return the pretraining runs that have not ended in `out`, each in a folder of its name."""
    from initscope.pretrain.records import read_run, record_folder

    ended = ("finished", "diverged")
    left = {}
    for name, spec in specs.items():
        run = read_run(record_folder(Path(out) / name))
        if run is None or run["status"] not in ended:
            left[name] = spec
    return left


def recorded_variances(
    path: str | Path,
    specs: Mapping[str, PretrainSpec],
    stats: Iterable[tuple[str, str]] = (("weight", "std"),),
    device: str | None = None,
) -> pd.DataFrame:
    """Return statistics of the matrices of many pretraining runs, as one record.

    If there is no record, the runs are trained first, in a folder beside it that has its name
    without the suffix and is ignored by git; if that is stopped, the same call goes on. Reading a
    record takes no torch.

    Parameters
    ----------
    path
        File of the record, parquet.
    specs
        The runs by name.
    stats
        Kind and statistic of each number kept, see :class:`initscope.tracking.VarianceTracker`.
    device
        The device that trains.

    Returns
    -------
    pandas.DataFrame
        ``run`` and the columns of a variance table. The last validation loss of a run is a row of
        kind ``evaluation``, statistic ``loss``, role ``model`` and layer 0.

    Raises
    ------
    UsageError
        As :func:`initscope.pretrain.pretrain`; a statistic that a run does not record.
    """
    from initscope.records import recorded

    checks.file_path("path", path)
    specs, wanted = dict(checks.mapping("specs", specs)), list(stats)
    folder = Path(path).with_suffix("")

    def measure() -> pd.DataFrame:
        from initscope.pretrain import pretrain

        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        tables = []
        with announced(runs=runs_left(specs, folder), out=folder, device=device):
            for name, spec in specs.items():
                run = pretrain(spec, folder / name, device=device)
                tables.append(_statistics(name, run, wanted))
        return pd.concat(tables, ignore_index=True)

    specification = {
        "runs": {name: spec.to_dict() for name, spec in specs.items()},
        "stats": [list(pair) for pair in wanted],
    }
    return recorded(path, specification, measure)


def _statistics(name: str, run: PretrainRecord, wanted: list[tuple[str, str]]) -> pd.DataFrame:
    """Return the wanted rows of a run, and its last loss."""
    table = run.variances
    pairs = pd.MultiIndex.from_frame(table[["kind", "stat"]])
    for kind, stat in wanted:
        checks.require(
            (kind, stat) in pairs, f"the run {name} has no statistic {stat} of kind {kind}."
        )
    last = run.evaluation.iloc[[-1]]
    loss = pd.DataFrame({"step": last["step"], "layer": 0, "role": "model", "value": last["loss"]})
    rows = [table[pairs.isin(wanted)], loss.assign(kind="evaluation", stat="loss")]
    found = pd.concat([part[list(table.columns)] for part in rows]).assign(run=name)
    return found[["run", *table.columns]].astype({"value": "float32"})


class _NotThere(Exception):
    """A record would have to be measured."""


def is_recorded(path: str | Path, specification: Mapping[str, Any]) -> bool:
    """Return whether the file holds a record of this specification, so that nothing is computed."""
    from initscope.records import recorded

    def measure() -> Any:
        raise _NotThere

    try:
        recorded(path, specification, measure)
    except _NotThere:
        return False
    return True


@contextmanager
def announced(
    sweeps: Iterable[SweepSpec] = (),
    runs: dict[str, PretrainSpec] | None = None,
    *,
    out: str | Path,
    device: str | None = None,
) -> Iterator[None]:
    """Say what a chapter is about to train, how long, and how to take the records instead.

    Use it in a ``with`` statement. Nothing is said if nothing is left to train. The message is
    removed when the training is done, so that a chapter that trained looks like one that read its
    records.

    Parameters
    ----------
    sweeps
        The sweeps to train, see :func:`sweeps_left`.
    runs
        The pretraining runs to train, see :func:`runs_left`.
    out
        The folder of the records.
    device
        The device that trains.
    """
    sweeps, runs = list(sweeps), runs or {}
    if sweeps or runs:
        _announce(sweeps, runs, Path(out), device)
    yield
    if (sweeps or runs) and _in_notebook():
        from IPython.display import clear_output

        clear_output()


def _announce(
    sweeps: list[SweepSpec], runs: dict[str, PretrainSpec], out: Path, device: str | None
) -> None:
    what = []
    if sweeps:
        what.append(f"{sum(spec.n_runs for spec in sweeps):,} networks")
    if runs:
        what.append(f"{len(runs)} language model{'s' * (len(runs) != 1)}")
    print(
        f"About to train {' and '.join(what)}: not all records of this chapter are in\n"
        f"  {Path.cwd() / out}",
        flush=True,
    )
    work = sum(spec.n_runs * spec.epochs for spec in sweeps)
    work += sum(spec.steps for spec in runs.values())
    if work < LITTLE_WORK:
        return
    if any(spec.dataset == "mnist" for spec in sweeps):
        print("MNIST is loaded first; if it is not on this machine, 15 MB are downloaded.")
    from initscope.sweep.cost import format_duration, format_flops

    flops = _flops(sweeps, runs, out, device)
    recorded = _seconds_recorded(out.parent)
    took = f"; the records in\n  {Path.cwd() / out.parent}\ntook {format_duration(recorded)}"
    print(
        f"That is {format_flops(flops)}{took if recorded else ''}. Stopped, it goes on where "
        "it was. To take\nthe published measurements instead, stop here and run the chapter in "
        "the folder notebooks/\nof a copy of the project, with the parameters that stand there: "
        "the measurements are in\nnotebooks/results/, and nothing is trained.",
        flush=True,
    )


def _flops(
    sweeps: list[SweepSpec], runs: dict[str, PretrainSpec], out: Path, device: str | None
) -> float:
    """Return the floating-point operations of what is left to train."""
    from initscope.pretrain.cost import pretrain_cost
    from initscope.sweep.cost import sweep_cost
    from initscope.sweep.records import table_path

    total = 0.0
    for spec in sweeps:
        # A file of its name that stands there all the same holds only what is kept of a sweep.
        kept = None if table_path(out, spec).exists() else out
        total += sweep_cost(spec, kept, device).flops_left
    for name, run in runs.items():
        total += pretrain_cost(run, out / name, device=device).flops_left
    return total


def _seconds_recorded(results: Path) -> float:
    """Return the seconds that the sweeps and pretraining runs recorded below a folder took."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seconds = 0.0
    for path in results.glob("*/*.parquet"):
        with suppress(OSError, pa.ArrowException, ValueError):
            metadata = pq.read_schema(path).metadata or {}
            seconds += json.loads(metadata.get(b"initscope", "{}")).get("seconds", 0.0)
    for path in results.glob("*/*/record/run.json"):
        with suppress(OSError, ValueError):
            seconds += json.loads(path.read_text()).get("seconds", 0.0)
    return seconds
