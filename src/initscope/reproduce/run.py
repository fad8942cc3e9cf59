"""Execute the chapters of the book again, with other parameters if you like.

:func:`reproduce` runs chapters through papermill with the parameters of a profile (see
:mod:`initscope.reproduce.parameters`) and replaces a notebook only by a complete execution without
errors or warnings, written so that the same results give the same file
(:mod:`initscope.reproduce.normalize`).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from initscope.checks import result_folder
from initscope.errors import Terminated, UsageError
from initscope.files import atomic_write
from initscope.folder_lock import write_lock
from initscope.reproduce.normalize import dumps, normalize, stderr_text
from initscope.reproduce.parameters import Run, plan, require_modules, tagged

_INJECTED = "injected-parameters"

# A kernel looks only once a second whether the process that started it is still there. Linux ends
# it with that process, whatever it is doing.
_KERNEL_OF_LINUX = """
import ctypes, os, runpy, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(os.environ.get("JPY_PARENT_PID", os.getppid())):
    runpy.run_module("ipykernel_launcher", run_name="__main__")
"""


@dataclass(frozen=True)
class Outcome:
    """Outcome of the execution of one chapter.

    Attributes
    ----------
    chapter
        Its stem.
    seconds
        Wall time of its execution.
    error
        What went wrong, on one line; empty if nothing did.
    path
        The executed notebook: the published one, or what there is of a failed one.
    """

    chapter: str
    seconds: float
    error: str
    path: Path

    @property
    def ok(self) -> bool:
        """Whether the chapter ran to its end without errors and warnings."""
        return not self.error


class ChapterError(Exception):
    """A chapter failed; the message is one line."""


def reproduce(
    chapters: Sequence[str] | None = None,
    profile: str = "smoke",
    notebooks: str | Path = "notebooks",
    *,
    parameters: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Execute chapters with the parameters of a profile.

    A chapter that runs to its end without an error and without a warning replaces its notebook.
    Otherwise the notebook stays as it is, what was executed is kept in ``_build/failed``, and
    the other chapters still run. Chapters run in the folder of the notebooks, by the Python that
    runs this.

    Parameters
    ----------
    chapters
        Numbers (``5``), stems (``05_std_sweep``) or paths; all chapters by default.
    profile
        Name of a folder ``profiles/NAME`` in `notebooks`, with a file of parameters a chapter. A
        chapter that declares a parameter ``profile`` is given this name.
    notebooks
        Folder of the chapters.
    parameters
        Values that override those of the profile, in each chapter that declares them.
    output
        Folder for the executed notebooks; by default they replace the published ones.
    say
        Called with each line of the report; printed by default.

    Returns
    -------
    list of Outcome
        One for each chapter, in order.

    Raises
    ------
    UsageError
        For an unknown chapter, profile or parameter, a value of the wrong type, a module that a
        chapter imports and that is not installed, an output folder that is that of the notebooks,
        by whatever path, or if another process executes chapters into the same folder; before
        anything runs.
    OSError
        If a notebook cannot be written, for example on a full disk. The published one is intact.
    KeyboardInterrupt
        On Ctrl-C, with a message that says what was finished. The kernel is stopped. After SIGTERM
        it is a :class:`initscope.errors.Terminated`.
    """
    say = say or _print
    folder = Path(notebooks)
    runs = plan(chapters or [], profile, folder, parameters or {})
    for run in runs:
        require_modules(run)
    destination = folder if output is None else Path(output)
    result_folder("output folder", destination)
    if output is not None and destination.resolve() == folder.resolve():
        raise UsageError(
            f"the output folder {output} is the folder of the published notebooks, which are to "
            f"stay as they are: name another one, or leave it out to replace them."
        )
    failed = folder.resolve().parent / "_build" / "failed"
    with write_lock(destination, "an execution of chapters"), _terminable():
        return _reproduce_all(runs, profile, folder, output, destination, failed, say)


def _reproduce_all(
    runs: Sequence[Run],
    profile: str,
    folder: Path,
    output: str | Path | None,
    destination: Path,
    failed: Path,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Execute each run; stop only for what ends them all."""
    _remove_left_overs(destination)
    say(
        f"Executing {len(runs)} chapter{'s' * (len(runs) != 1)} of {folder} with the profile "
        f"{profile!r} ({folder / 'profiles' / profile})."
    )
    if output is None:
        say(
            f"The executed notebooks replace those in {folder} (`git restore {folder}` brings "
            "the committed ones back; --output DIR would leave them alone)."
        )
    else:
        say(f"The executed notebooks go to {destination}; those in {folder} stay as they are.")

    outcomes: list[Outcome] = []
    try:
        for number, run in enumerate(runs, start=1):
            say(f"[{number}/{len(runs)}] {run.chapter}  {describe_parameters(run.parameters)}")
            outcome = _reproduce_one(run, destination / run.path.name, failed)
            outcomes.append(outcome)
            if not outcome.ok:
                say(f"  {outcome.error}")
                say(f"  What was executed is in {_short(outcome.path)}.")
    except KeyboardInterrupt as interrupt:
        stopped = runs[len(outcomes)].chapter
        finished = ", ".join(done.chapter for done in outcomes if done.ok) or "none"
        raise type(interrupt)(
            f"stopped in {stopped}; its notebook is as it was. Finished before: {finished}."
        ) from None
    finally:
        if outcomes:
            say(format_table(outcomes))
    return outcomes


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end what goes on as Ctrl-C does: the kernel is stopped, and things are tidied."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the affair of the main thread
        return

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _remove_left_overs(folder: Path) -> None:
    """Remove what processes that were killed have left in `folder`; no other is at work in it."""
    for path in folder.glob(".[0-9][0-9]_*.ipynb*"):
        # The notebook that was executed, by the process; one that was about to be in its place.
        left = re.fullmatch(r"\..+\.(\d+)\.ipynb|\..+\.ipynb\.[0-9a-f]{32}", path.name)
        if left and left[1] != str(os.getpid()):
            path.unlink(missing_ok=True)


def describe_parameters(parameters: Mapping[str, Any]) -> str:
    """Return ``name=value`` for each parameter, or "its own defaults".

    >>> print(describe_parameters({"std": 0.1}))
    std=0.1
    """
    pairs = (f"{name}={value!r}" for name, value in parameters.items())
    return ", ".join(pairs) or "its own defaults"


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of chapters, seconds and outcomes."""
    width = max(len("chapter"), *(len(outcome.chapter) for outcome in outcomes))
    lines = [f"{'chapter':<{width}}  {'seconds':>8}  outcome"]
    for outcome in outcomes:
        result = "ok" if outcome.ok else f"failed: {outcome.error}"
        lines.append(f"{outcome.chapter:<{width}}  {outcome.seconds:>8.1f}  {result}")
    return "\n".join(lines)


def _reproduce_one(run: Run, destination: Path, failed: Path) -> Outcome:
    """Execute one chapter and, if all went well, write it to `destination`."""
    work = destination.parent.resolve() / f".{run.chapter}.{os.getpid()}.ipynb"
    kept = failed / run.path.name
    start = time.perf_counter()
    error = ""
    try:
        try:
            with _space_for(destination):
                work.write_text(dumps(_without_results(run)), encoding="utf-8")
                executed = _execute(work, run.path.resolve().parent, run.parameters)
            _check_outputs(executed)
        except ChapterError as failure:
            error = str(failure)
            failed.mkdir(parents=True, exist_ok=True)
            shutil.move(work, kept)
        else:
            root = run.path.resolve().parent.parent
            with _space_for(destination), atomic_write(destination) as part:
                part.write_text(dumps(normalize(executed, root)), encoding="utf-8")
            kept.unlink(missing_ok=True)
    finally:
        work.unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    return Outcome(run.chapter, seconds, error, kept if error else destination)


def _without_results(run: Run) -> NotebookNode:
    """Return the notebook without anything of an earlier execution."""
    notebook = nbformat.from_dict(run.notebook)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    # papermill would keep an old injected cell if no parameters are given now
    notebook.cells = [cell for cell in notebook.cells if not tagged(cell, _INJECTED)]
    return notebook


def _execute(work: Path, folder: Path, parameters: Mapping[str, Any]) -> NotebookNode:
    """Execute the notebook `work` in place, in `folder`; raise `ChapterError` if it fails."""
    import papermill
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are raised too
    path = re.sub(r"([{}])", r"\1\1", str(work))  # papermill formats paths
    try:
        executed = papermill.execute_notebook(
            path,
            path,
            parameters=parameters,
            engine_name=_engine(),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            request_save_on_cell_execute=False,  # twice a cell, each as long as a short cell takes
            unfinished_path=str(work),
            cwd=folder,
            stdout_file=sys.stdout,  # a chapter says what it trains, and for how long
            stderr_file=sys.stderr,
            start_timeout=120,
            iopub_timeout=120,
            kernel_manager_class=_kernel_manager(),
            shutdown_kernel="immediate",  # all is done, and to tidy up would take it seconds
        )
        for cell in executed.cells:
            if tagged(cell, _INJECTED):
                cell.metadata.tags.append("remove-cell")  # from the pages of the book
        return executed
    except PapermillExecutionError as error:
        reason = _first_line(f"{error.ename}: {error.evalue}")
        raise ChapterError(f"cell {error.exec_count}: {reason}") from error
    except DeadKernelError as error:
        raise ChapterError("its kernel died; it may have run out of memory") from error
    except (CellControlSignal, RuntimeError) as error:
        raise ChapterError(_first_line(str(error))) from error


def _engine() -> str:
    """Name of a papermill engine that saves what was executed if the kernel is lost."""
    from papermill.engines import NBClientEngine, papermill_engines

    class SavingEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, unfinished_path: str, **options: Any
        ) -> Any:
            try:
                return super().execute_managed_notebook(nb_man, kernel_name, **options)
            except Exception:
                nb_man.output_path = unfinished_path
                nb_man.save()
                raise

    papermill_engines.register("initscope", SavingEngine)
    return "initscope"


def _kernel_manager() -> type:
    """Return the class that starts kernels of this very Python, set up the same everywhere.

    An installed kernel named ``python3`` may belong to another Python, so none is looked for.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPythonSpec(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            # A backend chosen in the user's environment would leave chapters without figures.
            inline = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
            quiet = ["--log-level=CRITICAL"]  # else it warns of sockets, and talks when stopped
            kernel = get_kernel_dict(extra_arguments=quiet)
            if sys.platform == "linux":
                python, dash_m, launcher, *arguments = kernel["argv"]
                assert (dash_m, launcher) == ("-m", "ipykernel_launcher")
                kernel["argv"] = [python, "-c", _KERNEL_OF_LINUX, *arguments]
            return KernelSpec(**kernel, env=inline)

    class ThisPython(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _only_this_python(self) -> KernelSpecManager:
            return ThisPythonSpec(parent=self)

    return ThisPython


def _check_outputs(notebook: NotebookNode) -> None:
    """Raise `ChapterError` if a cell left an error or wrote a warning."""
    for cell in notebook.cells:
        where = f"cell {cell.get('execution_count')}"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise ChapterError(f"{where}: {_first_line(f'{output.ename}: {output.evalue}')}")
        if text := stderr_text(cell):
            lines = text.splitlines()
            more = f" (and {len(lines) - 1} lines more)" if len(lines) > 1 else ""
            raise ChapterError(f"{where} wrote to standard error: {lines[0].strip()}{more}")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), text)


@contextmanager
def _space_for(destination: Path) -> Iterator[None]:
    """Say which notebook is meant, and that it is intact, when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            errno.ENOSPC,
            f"the disk is full: {destination} could not be written and is as it was. "
            "Free some space and run the same command again",
        ) from error


def _short(path: Path) -> str:
    """Return `path` relative to the working folder where it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _print(line: str) -> None:
    print(line, flush=True)
