"""The command line: ``python -m initscope --help``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from initscope import __version__
from initscope.errors import Terminated, UsageError, lack_of_resources, shown

# Everything else is imported by the command that needs it: --help must not wait for torch.

_ABOUT = """\
How the scale of the initial weights decides whether a network learns, and what becomes of it in
training: the package behind an interactive paper made of executed notebooks.

The chapters are the notebooks notebooks/NN_name.ipynb. Each shows measurements that this package
makes, next to the theory that predicts them. From here you can execute the chapters again, with
other parameters if you like, and run the experiments behind them on their own.
"""

_EXAMPLES = """\
examples:
  python -m initscope reproduce                       every chapter, small and quick
  python -m initscope reproduce 5 --profile cpu       chapter 5 as it is published
  python -m initscope reproduce 5 --output mine -p image_seeds 7
                                                      with another parameter, elsewhere
  python -m initscope reproduce --list                the chapters and their parameters
  python -m initscope sweep --spec wine.yaml --out results
                                                      an experiment of your own
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run
                                                      a GPT-2 from scratch, its weights followed
  python -m initscope COMMAND --help                  all there is to say about a command

From Python: `from initscope.init import initialize_` sets the weights of a model of your own, and
each module (`init`, `tracking`, `sweep`, ...) says in its docstring what it is for.
"""

_REPRODUCE = """\
Execute chapters again through papermill.

A profile is a folder notebooks/profiles/NAME with a file NN_name.yaml for each chapter, which gives
values to its parameters and which papermill reads too (papermill -f): `smoke` takes seconds and
downloads nothing, `cpu` is the full run on a laptop, `gpu` a larger one. Every value is checked
before anything runs.

A chapter that runs to its end without an error and without a warning replaces its notebook, or
goes to --output. Otherwise its notebook stays as it is, what was executed is kept in
_build/failed, and the other chapters still run. The same results give the same file, byte for
byte, so `git diff notebooks` shows what came out differently.
"""

_REPRODUCE_EXAMPLES = """\
examples:
  python -m initscope reproduce                       every chapter with the profile smoke
  python -m initscope reproduce 05_std_sweep --profile cpu
  python -m initscope reproduce 5 -p image_seeds 7 -p adam_rates "[1.0e-3]"
  git restore notebooks                               bring the committed chapters back

Values are YAML: write 1.0e-3, for 1e-3 is text in YAML. The exit status is 0 if every chapter
succeeded, 1 if one failed, 2 for a mistake in what you asked for (one execution at a time in one
folder is another), 130 after Ctrl-C, 143 after SIGTERM.
"""


_SWEEP = """\
Train every network of a sweep over the initialization, all at once, and record what became of
each: loss, accuracy, variances and gradient norms through the layers, the step of divergence.

FILE is a YAML mapping of the fields of initscope.sweep.SweepSpec; `name` is that of FILE unless
it is given. The table goes to DIR/NAME.parquet, one row a network. Stopped or killed, the same
command goes on where it was; finished, it reads the table and trains nothing. Several sweeps may
run in one folder at once.

The numbers are the same to the last bit on the same kind of processor with the same number of
--threads, however many workers there are, and to float32 rounding elsewhere. On a GPU TF32 and
bfloat16 are off.
"""

_SWEEP_EXAMPLES = """\
an example of FILE:
  dataset: wine
  hidden: [[64, 32]]            # a list of networks, each a list of widths
  stds: [0.001, 0.01, 0.1, 1.0] # write 1.0e-3, not 1e-3, which is text in YAML
  schemes: [xavier, kaiming, {name: kaiming, mode: fan_out, distribution: uniform}]
  optimizers:
    - {name: sgd, learning_rate: 0.1}
    - {name: adam, learning_rate: 1.0e-3}
  seeds: 5
  epochs: 20

examples:
  python -m initscope sweep --spec FILE --out results --dry-run
                                                      what it would cost; nothing is trained
  python -m initscope sweep --spec FILE --out results
  python -m initscope sweep --spec FILE --out results --executor processes --workers 2
  python -m initscope sweep --spec FILE --out results --executor dask --scheduler tcp://HOST:8786
                                                      on a running cluster; needs initscope[dask]

`python -c "import initscope.sweep as s; help(s.SweepSpec)"` explains every field.
"""

_PRETRAIN = """\
Train a GPT-2 from scratch on text, and follow the weight matrices of every layer: Q, K, V, the
projections, the MLP, the embeddings.

Stopped (--max-seconds, Ctrl-C) or killed, the same command goes on from the last checkpoint, and
the tracked variances are in the end those of an undisturbed run. Finished, it says so and trains
nothing. One run at a time trains in one folder; what is damaged is noticed by checksums, and a
checkpoint that is damaged is passed over for the one before it. A loss that is not finite ends the
training; what was recorded stays, and so does the last good checkpoint.

DIR/record gets the record: small tables of variances, histograms, loss, learning rate, gradient
norm and tokens per second, and run.json with specification, versions, hardware and time.
DIR/checkpoints gets the last two checkpoints, each 12 bytes a parameter.

Presets: 124m is GPT-2 small (12 layers, 768 wide, context 1024, GPT-2's BPE), for a GPU; nano12
has 12 layers too, is 96 wide and reads bytes: 3,000 steps take 11 minutes of one core.

Texts: NAME is a folder text/NAME in the folder that the environment variable INITSCOPE_DATA names
(eltec-eng, wikitext-2), a folder of your own with train-*.parquet and a column `text`, a name on
the Hugging Face hub (openwebtext, fineweb-edu, OWNER/NAME, OWNER/NAME:CONFIGURATION; needs a
network), or stdlib, the source text of Python itself, which is on every machine. Tokens are kept
in the folder that INITSCOPE_CACHE names, or ~/.cache/initscope.

On a GPU it computes in bfloat16 with torch.compile, on a CPU in float32.
"""

_PRETRAIN_EXAMPLES = """\
examples:
  python -m initscope pretrain --preset nano12 --text stdlib --out run --steps 100
                                                      a minute, on any machine
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run --max-seconds 600
                                                      ten minutes of it; again to go on
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run --dry-run
                                                      what it would cost; nothing is trained
  python -m initscope pretrain --text eltec-eng wikitext-2 --out run --steps 4000
                                                      124m on a mixture, on a GPU
  torchrun --nproc-per-node 8 -m initscope pretrain --text openwebtext --out run
                                                      on eight GPUs of a machine
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run-005 \\
      -p std 0.05 -p residual_scaling false -p seed 1

an example of FILE (any field that is left out has its default):
  preset: nano12
  text: [eltec-eng]
  steps: 3000
  learning_rate: 1.0e-3         # write 1.0e-3, not 1e-3, which is text in YAML
  weight_decay: 0.1
  std: 0.02

`python -c "import initscope.pretrain as p; help(p.PretrainSpec)"` explains every field. The exit
status is 0 if it finished or its time was up, 1 if it diverged, 2 for a mistake in what you asked
for, 130 after Ctrl-C.
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
        return int(options.run(options))
    except UsageError as error:
        return _fail(f"error: {_one_line(str(error))}", 2)
    except KeyboardInterrupt as interrupt:
        status = 143 if isinstance(interrupt, Terminated) else 130
        return _fail(f"\n{str(interrupt) or 'stopped'}", status)
    except BrokenPipeError:  # the reader of our output, like `head`, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"error: {_one_line(f'{error.strerror or error}{where}')}", 1)
    except Exception as error:
        if not (lacking := lack_of_resources(error)):
            raise
        return _fail(f"error: {_one_line(lacking)}", 1)


LONGEST_ERROR = 1000
"""Characters of an error message; the middle of a longer one is left out."""


def _one_line(message: str) -> str:
    """A message in one line that is not too long, whatever names of the caller's are in it."""
    plain = "".join(c if c.isprintable() else f"{ascii(c)[1:-1]}" for c in message[:100_000])
    if len(plain) <= LONGEST_ERROR:
        return plain
    half = LONGEST_ERROR // 2 - 3
    return f"{plain[:half]} ... {plain[-half:]}"


def _program() -> str:
    """What the user typed to start this: the installed command, or the module."""
    name = Path(sys.argv[0] if sys.argv else "").stem.lower()
    return "initscope" if name == "initscope" else "python -m initscope"


class _Parser(argparse.ArgumentParser):
    """Keeps an error in one line."""

    def error(self, message: str) -> NoReturn:
        super().error(_one_line(message))


def _fail(message: str, status: int) -> int:
    if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun, one speaks
        print(message, file=sys.stderr)
    return status


def _parser(program: str) -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter

    def examples(text: str) -> str:
        # torchrun starts a module, not a command.
        parts = text.split("torchrun --nproc-per-node 8 -m initscope")
        return "torchrun --nproc-per-node 8 -m initscope".join(
            part.replace("python -m initscope", program) for part in parts
        )

    parser = _Parser(
        program, description=_ABOUT, epilog=examples(_EXAMPLES), formatter_class=layout
    )
    parser.add_argument("--version", action="version", version=f"initscope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    reproduce = commands.add_parser(
        "reproduce",
        help="execute chapters of the book again",
        description=_REPRODUCE,
        epilog=examples(_REPRODUCE_EXAMPLES),
        formatter_class=layout,
    )
    reproduce.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="number (5), name (05_std_sweep) or path; all chapters if none is given",
    )
    reproduce.add_argument(
        "--profile", default="smoke", metavar="NAME", help="profile to run with (default: smoke)"
    )
    reproduce.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="value for a parameter, instead of the profile's; may be repeated",
    )
    reproduce.add_argument(
        "--notebooks",
        type=Path,
        default=Path("notebooks"),
        metavar="DIR",
        help="folder of the chapters (default: notebooks)",
    )
    reproduce.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="put the executed notebooks there and leave the published ones alone",
    )
    reproduce.add_argument(
        "--list", action="store_true", help="show what would run, with which parameters; then stop"
    )
    reproduce.set_defaults(run=_run_reproduce)

    sweep = commands.add_parser(
        "sweep",
        help="train many networks that differ in their initialization",
        description=_SWEEP,
        epilog=examples(_SWEEP_EXAMPLES),
        formatter_class=layout,
    )
    sweep.add_argument(
        "--spec", type=Path, required=True, metavar="FILE", help="what to train, in YAML"
    )
    sweep.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the table"
    )
    sweep.add_argument("--device", metavar="NAME", help="cpu (default), cuda, cuda:1, ...")
    sweep.add_argument(
        "--executor",
        choices=("processes", "dask"),
        help="train on several workers: processes of this machine, or those of Dask",
    )
    sweep.add_argument(
        "--workers", type=_count, metavar="N", help="how many to start (default: one a core)"
    )
    sweep.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a running Dask cluster, which then has the workers",
    )
    sweep.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="torch threads that train a network (default: the cores, shared among the workers; "
        "on this machine at most 64 with all workers, or 4 a core)",
    )
    sweep.add_argument(
        "--dry-run",
        action="store_true",
        help="say how much it is, in operations and bytes; train and write nothing",
    )
    sweep.set_defaults(run=_run_sweep)

    pretrain = commands.add_parser(
        "pretrain",
        help="train a GPT-2 from scratch and follow its weight matrices",
        description=_PRETRAIN,
        epilog=examples(_PRETRAIN_EXAMPLES),
        formatter_class=layout,
    )
    pretrain.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for record and checkpoints"
    )
    pretrain.add_argument(
        "--spec", type=Path, metavar="FILE", help="what to train, in YAML; what follows overrides"
    )
    pretrain.add_argument("--preset", metavar="NAME", help="124m (default) or nano12")
    pretrain.add_argument("--text", nargs="+", metavar="NAME", help="one text, or a mixture")
    pretrain.add_argument("--steps", type=_count, metavar="N", help="updates (default: 3000)")
    pretrain.add_argument(
        "--batch-size", type=_count, metavar="N", help="passages of an update, over all processes"
    )
    pretrain.add_argument(
        "--seed", type=_seed, metavar="N", help="of weights and order (default: 0)"
    )
    pretrain.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("FIELD", "VALUE"),
        help="any other field of the specification; may be repeated",
    )
    pretrain.add_argument(
        "--max-seconds",
        type=_seconds,
        metavar="S",
        help="write a checkpoint and stop after so many seconds; the same command goes on",
    )
    pretrain.add_argument("--device", metavar="NAME", help="cpu or cuda (default: a GPU if any)")
    pretrain.add_argument(
        "--precision", metavar="NAME", help="float32 or bfloat16 (default: bfloat16 on a GPU)"
    )
    pretrain.add_argument(
        "--micro-batch-size",
        type=_count,
        metavar="N",
        help="passages in one forward and backward pass; the rest of the batch is accumulated",
    )
    pretrain.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="whether to use torch.compile (default: on a GPU)",
    )
    pretrain.add_argument(
        "--checkpoint-every",
        type=_count,
        metavar="N",
        help="updates between checkpoints (default: a twentieth of the steps)",
    )
    pretrain.add_argument(
        "--report-to",
        default="none",
        metavar="NAME",
        help="logger of transformers to tell as well, for example tensorboard",
    )
    pretrain.add_argument(
        "--dry-run",
        action="store_true",
        help="say how much it is, in operations and bytes; train and write nothing",
    )
    pretrain.set_defaults(run=_run_pretrain)
    return parser


def _run_reproduce(options: argparse.Namespace) -> int:
    from initscope.reproduce.parameters import plan
    from initscope.reproduce.run import describe_parameters, reproduce
    from initscope.yaml_files import parse_option

    parameters = {name: parse_option(name, text) for name, text in options.parameters}
    if options.list:
        for run in plan(options.chapters, options.profile, options.notebooks, parameters):
            print(f"{run.chapter}  {describe_parameters(run.parameters)}")
        return 0
    outcomes = reproduce(
        options.chapters,
        options.profile,
        options.notebooks,
        parameters=parameters,
        output=options.output,
    )
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _run_sweep(options: argparse.Namespace) -> int:
    from initscope.yaml_files import read_yaml

    fields = {"name": options.spec.stem} | read_yaml(options.spec)

    # All that can be wrong is looked for before torch is imported, which takes seconds.
    from initscope.checks import result_folder
    from initscope.devices import check_device_name, check_executor, check_threads
    from initscope.sweep.chunks import require_room
    from initscope.sweep.spec import SweepSpec

    spec = SweepSpec.from_dict(fields)
    cores = os.cpu_count() or 1
    result_folder("out folder", options.out)
    check_device_name(options.device)
    if options.executor is not None:
        check_executor(options.executor, options.workers, options.scheduler)
    if options.executor is None:
        for name in ("workers", "scheduler"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} says where the workers are: name an --executor too.")
    # The workers of a running cluster are its own affair.
    elsewhere = options.executor is None or options.scheduler is not None
    workers = 1 if elsewhere else options.workers or cores
    threads = options.threads
    if threads is None and not elsewhere:
        threads = max(1, cores // workers)
    if options.scheduler is None:
        check_threads(threads, workers)
    require_room(spec, options.device, elsewhere=options.scheduler is not None)

    from concurrent.futures import BrokenExecutor

    from initscope.sweep.cost import sweep_cost
    from initscope.sweep.executors import open_executor
    from initscope.sweep.run import run_sweep

    if options.dry_run:
        print(sweep_cost(spec, options.out, options.device))
        return 0
    where = {"out": options.out, "device": options.device, "threads": threads}
    if options.executor is None:
        table = run_sweep(spec, **where)
    else:
        try:
            with open_executor(options.executor, options.workers, options.scheduler) as executor:
                table = run_sweep(spec, executor=executor, **where)
        except BrokenExecutor:
            return _fail(
                "error: a worker was killed, perhaps for want of memory. Finished chunks are kept "
                f"in {options.out}: the same command goes on from there.",
                1,
            )
    diverged = int(table["diverged_step"].notna().sum())
    print(f"{options.out / spec.name}.parquet: {len(table)} networks, {diverged} diverged.")
    return 0


def _run_pretrain(options: argparse.Namespace) -> int:
    from initscope.yaml_files import parse_option, read_yaml

    fields = read_yaml(options.spec) if options.spec is not None else {}
    for name in ("preset", "text", "steps", "batch_size", "seed"):
        if getattr(options, name) is not None:
            fields[name] = getattr(options, name)
    fields |= {name: parse_option(name, text) for name, text in options.parameters}

    # All that can be wrong is looked for before torch is imported, which takes seconds.
    from initscope.checks import result_folder
    from initscope.pretrain.plan import check_pretraining
    from initscope.pretrain.spec import PretrainSpec

    spec = PretrainSpec.from_dict(fields)
    result_folder("out folder", options.out)
    check_pretraining(spec, options.device, options.precision, options.micro_batch_size)

    from initscope.data.text_sources import is_on_hub
    from initscope.pretrain.cost import pretrain_cost
    from initscope.pretrain.run import end_processes, outcome_in_words, pretrain

    machine = {
        name: getattr(options, name)
        for name in ("device", "precision", "micro_batch_size", "compile")
    }
    if options.dry_run:
        print(pretrain_cost(spec, options.out, **machine))
        for source in filter(is_on_hub, spec.text):
            print(f"The text {source} is on the Hugging Face hub, which is not asked for it now.")
        return 0
    try:
        record = pretrain(
            spec,
            options.out,
            options.max_seconds,
            checkpoint_every=options.checkpoint_every,
            report_to=options.report_to,
            **machine,
        )
    finally:
        end_processes()
    run = record.run
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first and (outcome := outcome_in_words(record)):
        print(outcome, file=sys.stderr)
    where = f"{options.out / 'record'}: step {run['step']:,} of {spec.steps:,}"
    if run["status"] == "diverged":
        return _fail(
            f"error: the loss was not finite after {run['diverged_step']:,} updates. {where} and "
            f"the last good checkpoint are kept. A lower learning_rate or std may help.",
            1,
        )
    again = "" if run["status"] == "finished" else "; the same command goes on from there"
    if is_first:
        print(f"{where}, {run['status']}{again}.")
    return 0


def _count(text: str, least: int = 1) -> int:
    # 18 digits are as many as 64 bits hold for certain.
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is no whole number of at least {least} and at most 18 digits"
            if text.isdecimal() and len(text) > 18
            else f"{shown(text)} is no whole number of at least {least}"
        )
    return int(text)


def _seed(text: str) -> int:
    return _count(text, 0)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number of at least 0")
    return seconds
