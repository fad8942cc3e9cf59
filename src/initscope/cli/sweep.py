"""Train a sweep over the initialization: ``python -m initscope sweep``.

What a command needs is imported when it runs: --help must not wait for torch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from initscope.cli.options import Commands, add_dry_run, count, fail
from initscope.errors import UsageError
from initscope.scalars import require

__all__: list[str] = []  # for this package alone

ABOUT = """\
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

EXAMPLES = """\
an example of FILE:
  dataset: wine
  hidden: [[64, 32]]            # a list of networks, each a list of widths
  stds: [0.001, 0.01, 0.1, 1.0] # write 1.0e-3, not 1e-3, which is text in YAML
  schemes: [xavier, {name: kaiming, mode: fan_out, distribution: uniform}]
  optimizers:
    - {name: sgd, learning_rate: 0.1}
    - {name: adam, learning_rate: 1.0e-3}
  seeds: 5
  epochs: 20

examples:
  python -m initscope sweep --spec FILE --out results --dry-run
      what it would cost; nothing is trained
  python -m initscope sweep --spec FILE --out results
  python -m initscope sweep --spec FILE --out results --dataset mine.npz
      on your own arrays train_inputs, train_labels, test_inputs, test_labels
  python -m initscope sweep --spec FILE --out results \\
      --executor processes --workers 2
  python -m initscope sweep --spec FILE --out results \\
      --executor dask --scheduler tcp://HOST:8786
      on a running cluster; needs initscope[dask]
  python -m initscope sweep --spec FILE --out results \\
      --executor slurm --workers 16 \\
      --slurm timeout_min 120 --slurm slurm_partition gpu
      as jobs of Slurm; needs initscope[slurm]

`python -c "import initscope.sweep as s; help(s.SweepSpec)"` explains every field.
"""


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the command line."""
    parser = commands.add(
        "sweep",
        help="train many networks that differ in their initialization",
        about=ABOUT,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--spec", type=Path, required=True, metavar="FILE", help="what to train, in YAML"
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="mnist, wine, digits, or an .npz file of your own, in place of FILE's",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the table"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu (default), cuda, cuda:1, ...")
    parser.add_argument(
        "--executor",
        choices=("processes", "dask", "slurm"),
        help="train on several workers: processes of this machine, those of Dask, or jobs of Slurm",
    )
    parser.add_argument(
        "--workers", type=count, metavar="N", help="how many to start (default: one a core)"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a running Dask cluster, which has the workers; of slurm: local, to try it out",
    )
    parser.add_argument(
        "--slurm",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="what a job asks Slurm for, as submitit calls it: timeout_min, slurm_partition, "
        "mem_gb, gpus_per_node, ...; may be repeated",
    )
    parser.add_argument(
        "--threads",
        type=count,
        metavar="N",
        help="torch threads that train a network (default: the cores, shared among the workers; "
        "on this machine at most 64 with all workers, or 4 a core)",
    )
    add_dry_run(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from initscope.memory import require_address_space
    from initscope.yaml_files import parse_option, read_yaml

    require_address_space("sweep")
    fields = {"name": options.spec.stem} | read_yaml(options.spec)
    if options.dataset is not None:
        fields = {n: v for n, v in fields.items() if n != "dataset_digest"}
        fields["dataset"] = options.dataset

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
    remote = options.scheduler is not None or options.executor == "slurm"
    elsewhere = options.executor is None or remote
    parameters = {name: parse_option(name, text) for name, text in options.slurm}
    require(
        not parameters or options.executor == "slurm", "--slurm is for the executor slurm only."
    )
    workers = 1 if elsewhere else options.workers or cores
    threads = options.threads
    if threads is None and not elsewhere:
        threads = max(1, cores // workers)
    if not remote:
        check_threads(threads, workers)
    require_room(spec, options.device, elsewhere=remote)

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
            with open_executor(
                options.executor,
                options.workers,
                options.scheduler,
                folder=options.out / f"{spec.name}.slurm",
                parameters=parameters,
            ) as executor:
                table = run_sweep(spec, executor=executor, **where)
        except BrokenExecutor:
            return fail(
                "error: a worker was killed, perhaps for want of memory. Finished chunks are kept "
                f"in {options.out}: the same command goes on from there.",
                1,
            )
    diverged = int(table["diverged_step"].notna().sum())
    print(f"{options.out / spec.name}.parquet: {len(table)} networks, {diverged} diverged.")
    return 0
