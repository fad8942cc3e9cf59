"""TensorBoard, W&B and MLflow are told what a tracker records: each is installed, and read back."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from initscope.tracking import read_variances

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "use_it.md").read_text(encoding="utf8").partition("## Loggers")[2]
NAMES = ["tensorboard", "wandb", "mlflow"]
PACKAGES = ["tensorboard", "wandb", "mlflow-skinny"]  # the last is mlflow without its server

# What is installed here comes first: the loggers bring only what is missing.
BEHIND = "import sys; sys.path.append({folder!r})\n"

READ = """
import json, sys
from pathlib import Path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

found = {"tensorboard": {}, "wandb": {}, "mlflow": {}}
(events,) = Path("runs").rglob("events.*")
board = EventAccumulator(str(events))
board.Reload()
for tag in board.Tags()["scalars"]:
    found["tensorboard"][tag] = {event.step: event.value for event in board.Scalars(tag)}
for raw in json.loads(Path("wandb.json").read_text()):
    record = Record.FromString(bytes.fromhex(raw))
    row = {item.key or "/".join(item.nested_key): json.loads(item.value_json)
           for item in record.history.item}
    for name, value in row.items():
        found["wandb"].setdefault(name, {})[row["train/global_step"]] = value
for file in Path("mlruns").glob("*/*/metrics/**/*"):
    if file.is_file():
        lines = [line.split() for line in file.read_text().splitlines()]
        name = str(file).partition("/metrics/")[2]
        found["mlflow"][name] = {int(step): float(value) for _, value, step in lines}
Path("found.json").write_text(json.dumps(found))
"""


def records(data: bytes) -> Iterator[bytes]:
    """Whole records of a file of W&B, a log in blocks of 32 KiB behind 7 bytes."""
    place, held = 7, b""
    while place + 7 <= len(data):
        room = 2**15 - place % 2**15
        if room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        held += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield held
            held = b""


def run(code: str, folder: Path) -> None:
    """Run Python with the variables that the page sets."""
    exports = re.findall(r"^export (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    given = dict(pair.split("=", 1) for line in exports for pair in line.split())
    assert len(given) == 4
    given |= {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", BEHIND.format(folder=str(folder / "packages")) + code],
        cwd=folder, capture_output=True, text=True, env=os.environ | given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.compatibility
@pytest.mark.timeout(600)
def test_each_logger_has_what_was_recorded(tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target"]
    done = subprocess.run(
        [*install, str(tmp_path / "packages"), *PACKAGES], capture_output=True, text=True
    )
    if done.returncode != 0:
        message = f"{' and '.join(PACKAGES)} cannot be installed here: {done.stderr[-300:]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    code = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    assert code.count("report_to=[]") == 1
    run(code.replace("report_to=[]", f"report_to={NAMES}"), tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    history = [one.hex() for one in records(file.read_bytes()) if b"weight_std" in one]
    (tmp_path / "wandb.json").write_text(json.dumps(history))
    run(READ, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    table = read_variances(tmp_path / "variances").query("step > 0")
    for name, prefix in (("tensorboard", "train/"), ("wandb", "train/"), ("mlflow", "")):
        for kind, stat in (("weight", "std"), ("update", "rotation")):
            rows = table[(table["kind"] == kind) & (table["stat"] == stat)]
            for (layer, role), own in rows.groupby(["layer", "role"]):
                told = found[name][f"{prefix}{kind}_{stat}/{role}/layer_{layer:02d}"]
                assert {int(step) for step in told} == {5, 10, 15, 20}
                for step, value in own[["step", "value"]].itertuples(index=False):
                    assert told[str(step)] == pytest.approx(value, rel=1e-5)
