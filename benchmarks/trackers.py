"""What trackers add to a training step, and what one gets: ``benchmarks/trackers.py [page]``.

The same job for each, at every step: ``nano12``, 8 x 128 bytes a step, one thread. Steps without a
tracker and steps with each take turns, each on a model of its own; the share is the median over
rounds of what a step took longer than the plain one beside it, so that it does not depend on how
fast the machine is. Others are tried as they are documented, writing where they write; one that is
not installed is named, with what installs it. With ``page`` the table goes into
``book/use_it.md``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _timing import seconds, set_threads

from initscope.init import initialize_
from initscope.models import gpt2
from initscope.tracking import VarianceTracker

ROUNDS, WARM_UP = 40, 4
PAGE = Path(__file__).resolve().parents[1] / "book" / "use_it.md"
BEGIN, END = "% written by benchmarks/trackers.py\n", "% until here\n"


class Training:
    """One step after another on random tokens, with what a tracker is told between its parts."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = gpt2("nano12")
        initialize_(self.model, "gpt2")
        self.model.loss_type = "ForCausalLM"  # what it computes anyway, after a warning
        self.tokens = torch.randint(256, (8, 128))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, weight_decay=0.1)
        self.before: Callable[[], object] = lambda: None
        self.middle: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self.close: Callable[[], object] = lambda: None

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.before()
        self.model(input_ids=self.tokens, labels=self.tokens).loss.backward()
        self.middle()
        self.optimizer.step()
        self.after()


class Tracker(NamedTuple):
    """One way to track: what it gives, the package it is in, and how it is set up."""

    name: str
    gives: str
    package: str
    set_up: Callable[[Training, Path], None]


def ours(training: Training, folder: Path) -> None:
    tracker = VarianceTracker(
        training.model,
        training.optimizer,
        every=1,
        distribution_every=set(),
        out_folder=folder / "a",
    )
    tracker.__enter__()
    training.close = lambda: tracker.__exit__(None, None, None)


def plain_loop(training: Training, folder: Path) -> None:
    parameters = [p for p in training.model.parameters() if p.dim() > 1]
    kept: list[torch.Tensor] = []
    file = (folder / "loop.csv").open("w")

    def middle() -> None:
        kept[:] = [p.detach().clone() for p in parameters]

    def after() -> None:
        found = [s for p in parameters for s in (p.std(), p.grad.std())]  # type: ignore[union-attr]
        found += [(p - old).std() for p, old in zip(parameters, kept, strict=True)]
        file.write(",".join(map(str, torch.stack(found).tolist())) + "\n")

    training.middle, training.after, training.close = middle, after, file.close


def module_monitor(training: Training, folder: Path) -> None:
    from torch_module_monitor import ModuleMonitor

    monitor = ModuleMonitor(monitor_step_fn=lambda step: True)
    monitor.set_module(training.model)
    monitor.add_parameter_metric("std", lambda x: x.std())
    monitor.add_gradient_metric("std", lambda x: x.std())
    steps = iter(range(10**9))

    def middle() -> None:
        monitor.monitor_parameters()
        monitor.monitor_gradients()
        monitor.end_step()
        monitor.get_step_metrics()

    training.before = lambda: monitor.begin_step(next(steps))
    training.middle = middle


def wandb_watch(training: Training, folder: Path) -> None:
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    import wandb

    run: Any = wandb.init(dir=folder, project="trackers")
    run.watch(training.model, log="all", log_freq=1)
    training.after = lambda: run.log({})
    training.close = run.finish


TRACKERS = (
    Tracker(
        "`VarianceTracker`",
        "mean, std, rms of weights and gradients; of each update its size, rotation, and its three "
        "terms of the budget; q, k and v apart; a table on disk",
        "",
        ours,
    ),
    Tracker("a plain loop", "std of weights, gradients and updates, in a file", "", plain_loop),
    Tracker(
        "torch-module-monitor", "std of weights and gradients, in memory", "torch-module-monitor",
        module_monitor,
    ),
    Tracker(
        "`wandb.watch`, offline", "histograms of weights and gradients, in its file", "wandb",
        wandb_watch,
    ),
)  # fmt: skip


def shares(trackers: list[Tracker], folder: Path) -> dict[str, float]:
    """Return what each adds to a step, as a share of it."""
    plain = Training()
    jobs = {tracker.name: Training() for tracker in trackers}
    for tracker in trackers:
        tracker.set_up(jobs[tracker.name], folder)
    added: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(ROUNDS + WARM_UP):
        for name, job in jobs.items():
            beside = seconds(plain.step)
            took = seconds(job.step)
            if number >= WARM_UP:
                added[name].append(took / beside - 1)
    for job in jobs.values():
        job.close()
    return {name: statistics.median(found) for name, found in added.items()}


def table(found: dict[str, float], load: float) -> str:
    """Return the table as it stands on the page."""
    versions = f"torch {torch.__version__.partition('+')[0]}, {os.cpu_count()} cores"
    lines = [
        "| Tracker, at every step | Adds to a step | What one gets |",
        "| --- | --- | --- |",
    ]
    for tracker in TRACKERS:
        share = found.get(tracker.name)
        cost = "not installed" if share is None else f"{share:.1%}"
        lines.append(f"| {tracker.name} | {cost} | {tracker.gives} |")
    return "\n".join(lines) + (
        f"\n\nA GPT-2 of 12 layers on 1,024 bytes a step, one thread ({versions}, load {load:.1f} "
        f"at the start): medians of {ROUNDS} steps beside as many without a tracker.\n"
    )


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)
    set_threads(1)
    there, load = [], os.getloadavg()[0]
    for tracker in TRACKERS:
        module = tracker.package.replace("-", "_")
        if tracker.package and importlib.util.find_spec(module) is None:
            print(f"{tracker.package} is not installed: pip install {tracker.package}")
        else:
            there.append(tracker)
    with tempfile.TemporaryDirectory() as folder:
        found = shares(there, Path(folder))
    text = table(found, load)
    print(text)
    if sys.argv[1:] == ["page"]:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
