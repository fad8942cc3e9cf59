"""Train a 12-layer GPT-2 on the bytes of novels and record its weight matrices.

    INITSCOPE_DATA=<folder of the data> OMP_NUM_THREADS=1 python record.py

A plain loop, for the widget of the chapter; the chapter's own run will replace these records.
Interrupted, it goes on from the last checkpoint. Beside this file it writes

``weights.parquet``     step, layer, role, kind, stat, value: mean and std of each weight matrix
                        after `step` steps, and std of the gradient, clipped, that made that step
``histograms.parquet``  step, layer, role, low, high, counts: weights counted in even bins between
                        low and high, five std from 0; those beyond are in the outermost bins
``training.parquet``    step, lr, loss, gradient_norm: of each step, the norm before clipping

and into the metadata of each, under the key ``initscope``, the settings, the machine and the
seconds it took: minutes of one core, more where others use the machine at the same time.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import transformers
from torch.nn.functional import cross_entropy

from initscope.batched_training import environment
from initscope.init import initialize_
from initscope.models import gpt2
from initscope.records import write_table
from initscope.tracking import COLUMNS

SETTINGS = {
    "model": "nano12",
    "scheme": "gpt2",
    "text": "eltec-eng",
    "steps": 1200,
    "batch_size": 8,
    "lr": 1e-3,
    "final_lr": 1e-4,
    "warmup_steps": 100,
    "betas": [0.9, 0.95],
    "weight_decay": 0.1,
    "clip": 1.0,
    "seed": 0,
    "record_every": 10,
    "histogram_steps": list(range(0, 1201, 100)),
    "histogram_bins": 40,
    "histogram_stds": 5,
}


def learning_rate(step: int) -> float:
    """Of step 1, 2, ...: linear warm-up, then a cosine."""
    if step <= SETTINGS["warmup_steps"]:
        return SETTINGS["lr"] * step / SETTINGS["warmup_steps"]
    done = (step - SETTINGS["warmup_steps"]) / (SETTINGS["steps"] - SETTINGS["warmup_steps"])
    swing = (1 + math.cos(math.pi * done)) / 2
    return SETTINGS["final_lr"] + (SETTINGS["lr"] - SETTINGS["final_lr"]) * swing


def read_bytes() -> torch.Tensor:
    """All chapters of the training novels as one sequence of bytes."""
    folder = Path(os.environ["INITSCOPE_DATA"]) / "text" / SETTINGS["text"]
    texts = pd.concat(pd.read_parquet(path)["text"] for path in sorted(folder.glob("train-*")))
    return torch.frombuffer(bytearray("\n\n".join(texts).encode()), dtype=torch.uint8)


def batch(text: torch.Tensor, step: int, length: int) -> torch.Tensor:
    """Random passages, the same for the same step, shape (batch_size, length)."""
    generator = torch.Generator().manual_seed(SETTINGS["seed"] + step)
    starts = torch.randint(len(text) - length, (SETTINGS["batch_size"], 1), generator=generator)
    return text[starts + torch.arange(length)].long()


def matrices(model: torch.nn.Module, of: str) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Layer from 1, role and matrix, `of` "weight" or "gradient"; Q, K and V are views of one."""

    def matrix(module: torch.nn.Module) -> torch.Tensor:
        return module.weight.detach() if of == "weight" else module.weight.grad

    for layer, block in enumerate(model.transformer.h, start=1):
        for role, part in zip("qkv", matrix(block.attn.c_attn).chunk(3, dim=1), strict=True):
            yield layer, role, part
        yield layer, "attn_proj", matrix(block.attn.c_proj)
        yield layer, "mlp_fc", matrix(block.mlp.c_fc)
        yield layer, "mlp_proj", matrix(block.mlp.c_proj)


def statistics(model: torch.nn.Module, step: int) -> list[tuple]:
    """Rows of ``weights.parquet``; there is no gradient before the first step."""
    rows = []
    for layer, role, weight in matrices(model, "weight"):
        std, mean = torch.std_mean(weight.double(), correction=0)
        rows.append((step, layer, role, "weight", "mean", mean.item()))
        rows.append((step, layer, role, "weight", "std", std.item()))
    if step > 0:
        for layer, role, gradient in matrices(model, "gradient"):
            std = gradient.double().std(correction=0)
            rows.append((step, layer, role, "gradient", "std", std.item()))
    return rows


def histograms(model: torch.nn.Module, step: int) -> list[tuple]:
    """Rows of ``histograms.parquet``, for Q, K and V."""
    rows = []
    for layer, role, weight in matrices(model, "weight"):
        if role in "qkv":
            end = SETTINGS["histogram_stds"] * weight.double().std(correction=0).item()
            inside = weight.double().clamp(-end, end).numpy()
            counts, _ = np.histogram(inside, SETTINGS["histogram_bins"], (-end, end))
            rows.append((step, layer, role, -end, end, counts.tolist()))
    return rows


def write(folder: Path, name: str, frame: pd.DataFrame, metadata: dict) -> None:
    """Write one record, its numbers in single precision."""
    single = dict.fromkeys(frame.select_dtypes("float"), "float32")
    table = pa.Table.from_pandas(frame.astype(single), preserve_index=False)
    write_table(
        folder / f"{name}.parquet",
        table.replace_schema_metadata({"initscope": json.dumps(metadata)}),
    )


def main() -> None:
    """Train, record, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--stop-after", type=int, help="stop after this step, as if interrupted")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / ".checkpoint.pt"

    torch.set_num_threads(1)
    text = read_bytes()
    model = gpt2(SETTINGS["model"])
    initialize_(
        model, SETTINGS["scheme"], generator=torch.Generator().manual_seed(SETTINGS["seed"])
    )
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": SETTINGS["weight_decay"],
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=SETTINGS["betas"],
    )
    rows = {"weights": statistics(model, 0), "histograms": histograms(model, 0), "training": []}
    done, seconds = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        rows, done, seconds = saved["rows"], saved["step"], saved["seconds"]

    start = time.perf_counter() - seconds
    for step in range(done + 1, SETTINGS["steps"] + 1):
        inputs = batch(text, step, model.config.n_positions + 1)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        logits = model(inputs[:, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), inputs[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, SETTINGS["clip"])
        optimizer.step()
        rows["training"].append((step, learning_rate(step), loss.item(), norm.item()))
        if step % SETTINGS["record_every"] == 0:
            rows["weights"] += statistics(model, step)
        if step in SETTINGS["histogram_steps"]:
            rows["histograms"] += histograms(model, step)
        if step % 100 == 0 or step == arguments.stop_after:
            seconds = time.perf_counter() - start
            print(f"step {step}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved |= {"rows": rows, "step": step, "seconds": seconds}
            torch.save(saved, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
        if step == arguments.stop_after:
            return

    used = environment() | {"transformers": transformers.__version__}
    metadata = {"settings": SETTINGS, "environment": used, "seconds": round(seconds)}
    columns = {
        "weights": list(COLUMNS),
        "histograms": ["step", "layer", "role", "low", "high", "counts"],
        "training": ["step", "lr", "loss", "gradient_norm"],
    }
    for name, names in columns.items():
        write(arguments.out, name, pd.DataFrame(rows[name], columns=names), metadata)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
