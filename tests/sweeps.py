"""What the tests of sweeps have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from initscope.records import write_table
from initscope.sweep import Optimizer, SweepSpec, chunks_of, run_sweep
from initscope.sweep.training import run_chunk

SGD, MOMENTUM, ADAM = Optimizer("sgd", 0.1), Optimizer("sgd", 0.1, 0.9), Optimizer("adam", 0.01)

# Eighteen runs in nine chunks: with SGD a seed each, with Adam, which keeps more, a part of one.
SPLIT = SweepSpec(
    hidden=((64, 32),),
    stds=(0.03, 0.3, 1e6),
    optimizers=(SGD, ADAM),
    seeds=3,
    epochs=20,
    memory_mb=1,
)
N_CHUNKS = 9


def run(spec: SweepSpec, out: Path | None = None, **options: object) -> pd.DataFrame:
    return run_sweep(spec, out, progress=False, **options)


def assert_same(table: pd.DataFrame, other: pd.DataFrame) -> None:
    """Every value equal bit by bit; NaN equals NaN."""
    assert list(table.columns) == list(other.columns)
    assert table.dtypes.equals(other.dtypes)
    assert len(table) == len(other)
    for name in table.columns:
        for a, b in zip(table[name], other[name], strict=True):
            assert (a is pd.NA and b is pd.NA) or np.array_equal(
                a, b, equal_nan=np.asarray(a).dtype.kind == "f"
            ), (name, a, b)


def chunk_files(out: Path, spec: SweepSpec) -> list[Path]:
    return sorted((out / f"{spec.name}.chunks").glob("*.parquet"))


def keep_chunks(spec: SweepSpec, out: Path, which: slice) -> list[Path]:
    """What a sweep leaves that was killed after some of its chunks."""
    kept = []
    for chunk in chunks_of(spec)[which]:
        kept.append(out / f"{spec.name}.chunks" / f"{chunk.digest}.parquet")
        write_table(kept[-1], run_chunk(chunk))
    return kept
