"""Train a GPT-2 from scratch: ``python -m initscope pretrain``.

What a command needs is imported when it runs: --help must not wait for torch.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from initscope.cli.options import (
    Commands,
    add_dry_run,
    add_parameters,
    count,
    fail,
    seconds,
    seed,
)

__all__: list[str] = []  # for this package alone

ABOUT = """\
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

EXAMPLES = """\
examples:
  python -m initscope pretrain --preset nano12 --text stdlib --out run \\
      --steps 100
      a minute, on any machine
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run \\
      --max-seconds 600
      ten minutes of it; again to go on
  python -m initscope pretrain --preset nano12 --text eltec-eng --out run \\
      --dry-run
      what it would cost; nothing is trained
  python -m initscope pretrain --text eltec-eng wikitext-2 --out run \\
      --steps 4000
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
  schedule: cosine              # or linear, wsd, constant
  weight_decay: 0.1
  std: 0.02

`python -c "import initscope.pretrain as p; help(p.PretrainSpec)"` explains every field. The exit
status is 0 if it finished or its time was up, 1 if it diverged, 2 for a mistake in what you asked
for, 130 after Ctrl-C.
"""


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the command line."""
    parser = commands.add(
        "pretrain",
        help="train a GPT-2 from scratch and follow its weight matrices",
        about=ABOUT,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for record and checkpoints"
    )
    parser.add_argument(
        "--spec", type=Path, metavar="FILE", help="what to train, in YAML; what follows overrides"
    )
    parser.add_argument("--preset", metavar="NAME", help="124m (default) or nano12")
    parser.add_argument("--text", nargs="+", metavar="NAME", help="one text, or a mixture")
    parser.add_argument("--steps", type=count, metavar="N", help="updates (default: 3000)")
    parser.add_argument(
        "--batch-size", type=count, metavar="N", help="passages of an update, over all processes"
    )
    parser.add_argument("--seed", type=seed, metavar="N", help="of weights and order (default: 0)")
    add_parameters(parser, "FIELD", "any other field of the specification")
    parser.add_argument(
        "--max-seconds",
        type=seconds,
        metavar="S",
        help="write a checkpoint and stop after so many seconds; the same command goes on",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (default: a GPU if any)")
    parser.add_argument(
        "--precision", metavar="NAME", help="float32 or bfloat16 (default: bfloat16 on a GPU)"
    )
    parser.add_argument(
        "--micro-batch-size",
        type=count,
        metavar="N",
        help="passages in one forward and backward pass; the rest of the batch is accumulated",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="whether to use torch.compile (default: on a GPU)",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=count,
        metavar="N",
        help="updates between checkpoints (default: a twentieth of the steps)",
    )
    parser.add_argument(
        "--report-to",
        default="none",
        metavar="NAME",
        help="logger of transformers to tell as well, for example tensorboard",
    )
    add_dry_run(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from initscope.memory import require_address_space
    from initscope.yaml_files import parse_option, read_yaml

    require_address_space("pretrain")
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
    from initscope.pretrain.records import describe_outcome
    from initscope.pretrain.run import end_processes, pretrain

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
    if is_first and (outcome := describe_outcome(record)):
        print(outcome, file=sys.stderr)
    where = f"{options.out / 'record'}: step {run['step']:,} of {spec.steps:,}"
    if run["status"] == "diverged":
        return fail(
            f"error: the loss was not finite after {run['diverged_step']:,} updates. {where} and "
            f"the last good checkpoint are kept. A lower learning_rate or std may help.",
            1,
        )
    again = "" if run["status"] == "finished" else "; the same command goes on from there"
    if is_first:
        print(f"{where}, {run['status']}{again}.")
    return 0
