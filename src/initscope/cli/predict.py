"""Say what a model does before it is trained: ``python -m initscope predict``.

What a command needs is imported when it runs: --help must not wait for numpy.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initscope.cli.options import Commands, count, seconds, table_text

if TYPE_CHECKING:
    import pandas as pd

    from initscope.predict.model_prediction import ModelPrediction

__all__: list[str] = []  # for this package alone

MOST_ROWS = 14
"""Of the table of blocks; of more blocks some are shown, unless all are asked for."""

ABOUT = """\
Say what a transformer does at its start, and where AdamW takes its weights, from its config.json
alone: nothing is built, trained or downloaded.

Block by block: the std of the residual stream, what its largest element comes to, the std of
attention logits and of the gradient, and whether the number format holds them. Matrix by matrix:
the std at the start and the rms of its gradient; the std at which decay and steps balance,
sqrt(rate / (2 decay)) where gradients are noise; the updates until it is within a tenth of that;
the std at the end; and the share of the weights that an update would leave as they are, rounded
away, if they are kept in the number format.

What is known of blocks: those of gpt2, gpt_bigcode, opt, starcoder2, gemma, llama, mistral,
ministral, qwen2, olmo. Of others the command says what AdamW does, and that it leaves out the rest.
"""

EXAMPLES = """\
examples:
  python -m initscope predict --config config.json
      the start alone
  python -m initscope predict --config config.json \\
      --learning-rate 6e-4 --weight-decay 0.1 --steps 20000 --warmup-steps 500 \\
      --dtype bfloat16
      and what training makes of it
  python -m initscope predict --config config.json \\
      --std 0.006 --dtype float16 --json
      another std; for a program to read

From Python, `initscope.predict.predict` gives the same as tables, and lays them beside a record:
  prediction.beside(read_variances("variances"))
"""


def add_parser(commands: Commands) -> None:
    """Add the command and its options to the command line."""
    parser = commands.add(
        "predict",
        help="say what a transformer does at its start and under AdamW",
        about=ABOUT,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="config.json of transformers"
    )
    number: dict[str, Any] = {"type": seconds, "metavar": "X"}  # at least 0
    parser.add_argument("--learning-rate", **number, help="of AdamW, the peak")
    parser.add_argument("--weight-decay", **number, default=0.0, help="of AdamW (default: 0)")
    parser.add_argument("--steps", type=count, metavar="N", help="updates")
    parser.add_argument(
        "--warmup-steps", type=count, metavar="N", help="updates of linear warm-up (default: none)"
    )
    parser.add_argument(
        "--schedule", default="cosine", metavar="NAME",
        help="cosine (default), linear, wsd or constant",
    )  # fmt: skip
    parser.add_argument("--final-learning-rate", **number, help="at the last update (default: 0)")
    parser.add_argument(
        "--betas", nargs=2, type=seconds, default=(0.9, 0.999), metavar="B", help="of AdamW"
    )
    parser.add_argument("--epsilon", **number, default=1e-8, help="of AdamW (default: 1e-8)")
    parser.add_argument(
        "--dtype", default="bfloat16", metavar="NAME",
        help="number format: float32, bfloat16 (default) or float16",
    )  # fmt: skip
    parser.add_argument(
        "--seq-len", type=count, metavar="N", help="tokens of a sequence (default: up to 256)"
    )
    parser.add_argument(
        "--batch-tokens", type=count, metavar="N",
        help="tokens that the loss is a mean over (default: one sequence)",
    )  # fmt: skip
    parser.add_argument("--std", **number, help="of the weights, in place of the configured one")
    parser.add_argument(
        "--residual-scaling",
        action=argparse.BooleanOptionalAction,
        help="whether what writes to the stream starts at std / sqrt(2 blocks) (default: GPT-2)",
    )
    parser.add_argument("--all", action="store_true", help="show every block")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # All that can be wrong with the file is found before pandas and scipy are imported.
    from initscope.predict.config import TransformerConfig

    config = TransformerConfig.read(options.config)

    from initscope.predict.forecast import predict

    found = predict(
        options.config,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        steps=options.steps,
        schedule=options.schedule,
        warmup_steps=options.warmup_steps or 0,
        final_learning_rate=options.final_learning_rate,
        betas=tuple(options.betas),
        epsilon=options.epsilon,
        dtype=options.dtype,
        seq_len=options.seq_len,
        batch_tokens=options.batch_tokens,
        std=options.std,
        residual_scaling=options.residual_scaling,
    )
    if options.json:
        print(json.dumps(_plain(found), indent=1))
        return 0
    heads = f"{config.n_head} heads of {config.head_dim}"
    if config.n_kv_head != config.n_head:
        heads += f", {config.n_kv_head} of keys and values"
    print(
        f"{config.family or 'transformer'}: {config.n_layer} blocks of {config.n_embd:,} channels, "
        f"{heads}, MLP of {config.mlp_width:,}{' with a gate' * config.gated}"
    )
    if len(found.blocks):
        print(f"\nAt the start, in {options.dtype}:")
        print(_shown_blocks(found.blocks, options.all))
    if math.isfinite(found.initial_loss):
        print(f"loss at the start: {found.initial_loss:.3f}")
    print("\nMatrices:")
    print(_shown_matrices(found.matrices, AT_START, places=True))
    if trained := _shown_matrices(found.matrices, UNDER_ADAMW, places=False):
        print(f"\nUnder AdamW:\n{trained}")
    if math.isfinite(found.time_constant):
        print(
            f"at the peak rate, in equilibrium: {math.degrees(found.rotation):.3f} degrees an "
            f"update;\ntime constant of the variance {_number(found.time_constant)} updates"
        )
    if math.isfinite(found.start_left):
        print(f"left of the initial weights at the end: {100 * found.start_left:.3g}%")
    for note in found.notes:
        print(f"note: {note}")
    return 0


def _plain(found: ModelPrediction) -> dict[str, Any]:
    """Return everything in values that JSON has; what is not known or infinite is null."""

    def value(one: Any) -> Any:
        one = getattr(one, "item", lambda: one)()
        return None if isinstance(one, float) and not math.isfinite(one) else one

    def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
        return [{k: value(v) for k, v in row.items()} for row in table.to_dict("records")]

    names = ("initial_loss", "start_left", "rotation", "time_constant")
    return {
        "blocks": rows(found.blocks),
        "matrices": rows(found.matrices),
        **{name: value(getattr(found, name)) for name in names},
        "notes": list(found.notes),
    }


def _number(value: float) -> str:
    """Return a number for a table, to three digits."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "never"
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.2e}" if abs(value) < 1 else f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _shown_blocks(blocks: pd.DataFrame, every: bool) -> str:
    """Return the table of the blocks as text; of many a few, evenly spaced."""
    last = len(blocks) - 1
    some = list(range(len(blocks)))
    if not every and len(blocks) > MOST_ROWS:
        some = sorted({round(k * last / (MOST_ROWS - 1)) for k in range(MOST_ROWS)})
    rows = [["block", "signal std", "largest", "logit std", "gradient std", ""]]
    for row in blocks.iloc[some].to_dict("records"):
        wrong = [word for word in ("overflows", "underflows") if row[word]]
        numbers = ("signal_std", "signal_largest", "logit_std", "gradient_std")
        cells = [_number(row[name]) for name in numbers]
        rows.append([str(row["block"]), *cells, " and ".join(wrong)])
    return table_text(rows)


AT_START = {"std_start": "std at start", "gradient_rms": "gradient rms"}
UNDER_ADAMW = {
    "std_equilibrium": "equilibrium",
    "steps_to_equilibrium": "updates to it",
    "std_end": "std at end",
    "unchanged_end": "unmoved",
}


def _shown_matrices(matrices: pd.DataFrame, names: dict[str, str], *, places: bool) -> str:
    """Return columns of the table of the matrices as text; empty if it has none of them.

    A line a role, of several layers the range; with `places` layers and shapes too.
    """
    there = [name for name in names if name in matrices]
    if not there:
        return ""
    rows = [["role", *["layers", "shape"] * places, *(names[name] for name in there)]]
    for role, group in matrices.groupby("role", sort=False):
        first, last = group["layer"].iloc[0], group["layer"].iloc[-1]
        cells = [f"{first}" if first == last else f"{first} to {last}"]
        cells += [f"{group['rows'].iloc[0]:,} x {group['columns'].iloc[0]:,}"]
        cells = cells if places else []
        for name in there:
            low, high = _number(group[name].min()), _number(group[name].max())
            cells.append(low if low == high else f"{low} to {high}")
        rows.append([str(role), *cells])
    return table_text(rows)
