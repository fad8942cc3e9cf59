"""What tracking costs of a training step: ``python benchmarks/tracking.py [cuda]``.

Weights recorded at every step, written to a file as in training, against ``.std().item()`` of each
matrix and one ``.tolist()`` of all stds, in the same run: training steps with one, the other and
neither take turns, and medians are printed, each at its own best number of threads. On the CPU it
is ``nano12``, 8 x 128 bytes a step, and the time spent in the tracker is taken; on a GPU ``124m``,
16 x 1,024 tokens a step in bf16, and, since the statistics run beside Python there, the time of
whole steps.

A large vocabulary on few tokens is the worst case: an embedding costs more to read than to train.
So 50,000 words of 128 channels in a model of two blocks, 128 tokens a step, are timed too: by
default, where the embedding is measured at every tenth step (the mean of steps of both kinds), with
all at every step, without the embedding, and the distribution by sorting all weights and by
counting them in bins. What others add to a step is in ``benchmarks/trackers.py``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch
from _timing import seconds, set_threads, thread_counts

from initscope.init import initialize_
from initscope.models import gpt2
from initscope.tracking import VarianceTracker, weight_matrices
from initscope.tracking import statistics as tracking_statistics

ROUNDS, WARM_UP = 20, 3
NEVER: set[int] = set()


class Training:
    """One step after another on random tokens."""

    def __init__(self, preset: str, batch_size: int, device: str) -> None:
        self.model = gpt2(preset).to(device)
        initialize_(self.model, "gpt2")
        self.model.loss_type = "ForCausalLM"  # what it computes anyway, after a warning
        config = self.model.config
        self.tokens = torch.randint(
            config.vocab_size, (batch_size, config.n_positions), device=device
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, weight_decay=0.1)
        self.views = [view for _, _, view in weight_matrices(self.model)]
        self.cuda = device == "cuda"

    def forward_and_backward(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=self.cuda):
            loss = self.model(input_ids=self.tokens, labels=self.tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)

    def step(self) -> None:
        self.forward_and_backward()
        self.optimizer.step()

    def item_per_matrix(self) -> None:
        """The obvious way: a number for each matrix, brought to the host one by one."""
        for view in self.views:
            view.std().item()

    def list_of_stds(self) -> None:
        """Bring one number for each matrix to the host, all at once."""
        torch.stack([view.std() for view in self.views]).tolist()

    def tracker(self, folder: Path, *quantities: str) -> VarianceTracker:
        optimizer = self.optimizer if "update" in quantities else None
        tracker = VarianceTracker(
            self.model, optimizer, every=1, distribution_every=NEVER, quantities=quantities,
            out_folder=folder / "-".join(quantities),
        )  # fmt: skip
        tracker.start()
        return tracker


def bench_cpu(folder: Path) -> None:
    """Time in the tracker, for each quantity alone, as a share of the step it is part of."""
    training = Training("nano12", 8, "cpu")
    names = ("weight", "gradient", "update", "activation")
    trackers = {name: training.tracker(folder, name) for name in names}
    plain = "a step without tracking"
    times: dict[str, dict[int, list[float]]] = {}

    def add(name: str, threads: int, took: float) -> None:
        times.setdefault(name, {}).setdefault(threads, []).append(took)

    for number in range(ROUNDS + WARM_UP):
        for threads in thread_counts():
            set_threads(threads)
            step = seconds(training.step)
            add(plain, threads, step)
            add(".std().item() of each matrix", threads, seconds(training.item_per_matrix))
            add("one .tolist() of all .std()", threads, seconds(training.list_of_stds))
            for name, tracker in trackers.items():
                watched = 0.0
                if name == "activation":
                    tracker.begin_step()
                    watched = seconds(training.step) - step
                took = seconds(tracker.before_optimizer_step) + seconds(
                    tracker.after_optimizer_step
                )
                add(f"{name} at every step", threads, watched + took)
        if number < WARM_UP:
            times.clear()
    for tracker in trackers.values():
        tracker.finish()
    best = {
        name: min((statistics.median(took), threads) for threads, took in by_threads.items())
        for name, by_threads in times.items()
    }
    print(f"nano12, 8 x 128 bytes a step, {len(training.views)} matrices")
    print(f"{'':<32}{'ms':>9}{'share':>9}{'threads':>9}   aim")
    for name, (median, threads) in best.items():
        aim = "under 2%" if name == "weight at every step" else ""
        share = median / best[plain][0]
        print(f"{name:<32}{1e3 * median:>9.2f}{share:>9.2%}{threads:>9}   {aim}")


def bench_vocabulary(folder: Path) -> None:
    """Time whole steps with a vocabulary of 50,000, tracked and not, in turns."""
    set_threads(1)
    model = gpt2("nano12", vocab_size=50_000, n_layer=2, n_embd=128, n_head=4, n_positions=128)
    model.loss_type = "ForCausalLM"
    tokens = torch.randint(50_000, (1, 128))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.1)

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()

    def tracker(name: str, **options: object) -> VarianceTracker:
        return VarianceTracker(model, optimizer, every=1, out_folder=folder / name, **options)

    trackers = {
        "by default, every step": tracker("default", distribution_every=NEVER),
        "all at every step": tracker("all", distribution_every=NEVER, embeddings_every=1),
        "embeddings never": tracker("blocks", distribution_every=NEVER, embeddings_every=NEVER),
        "distribution in bins": tracker("bins", quantities=["weight"], distribution_every=1),
    }
    names = ["a step without tracking", *trackers, "distribution by a sort"]
    times: dict[str, list[float]] = {name: [] for name in names}
    for one in trackers.values():
        one.start()
    largest = tracking_statistics.LARGEST_SORTED
    for number in range(ROUNDS + WARM_UP):
        if number == WARM_UP:
            times = {name: [] for name in names}
        for name in names:
            one = trackers.get(name, trackers["distribution in bins"])
            if name == names[0]:
                times[name].append(seconds(step))
                continue
            tracking_statistics.LARGEST_SORTED = largest if name in trackers else 10**9
            one.begin_step()
            took = seconds(one.before_optimizer_step)
            times[name].append(took + seconds(one.after_optimizer_step))
    tracking_statistics.LARGEST_SORTED = largest
    plain = statistics.median(times[names[0]])
    print("\n50,000 words, 128 channels, 2 blocks, 128 tokens a step, one thread")
    print(f"{'':<32}{'ms':>9}{'share':>9}   aim")
    for name, took in times.items():
        median = statistics.median(took)
        aim = ""
        if name == "by default, every step":  # of ten steps one is dear
            dear = sorted(took)[-(ROUNDS // 10) :]
            median, aim = statistics.median(took) * 0.9 + statistics.median(dear) * 0.1, "under 6%"
        print(f"{name:<32}{1e3 * median:>9.2f}{median / plain:>9.2%}   {aim}")


def bench_cuda(folder: Path) -> None:
    """Whole steps with and without, in turns of 20."""
    training = Training("124m", 16, "cuda")
    tracker = training.tracker(folder, "weight")
    turn = 20

    def plain() -> None:
        for _ in range(turn):
            training.step()
        torch.cuda.synchronize()

    def tracked() -> None:
        for _ in range(turn):
            training.step()
            tracker.after_optimizer_step()
        torch.cuda.synchronize()

    def by_item() -> None:
        for _ in range(turn):
            training.step()
            training.item_per_matrix()
        torch.cuda.synchronize()

    plain(), tracked(), by_item()
    times = [(seconds(plain), seconds(tracked), seconds(by_item)) for _ in range(ROUNDS)]
    tracker.finish()
    print(f"124m, 16 x 1,024 tokens a step, {torch.cuda.get_device_name()}")
    print(f"{'':<32}{'ms':>9}{'share':>9}   aim")
    step = statistics.median(a for a, _, _ in times) / turn
    print(f"{'a step without tracking':<32}{1e3 * step:>9.2f}")
    for name, extra, aim in (
        ("weight at every step", [b - a for a, b, _ in times], "under 1%"),
        (".std().item() of each matrix", [c - a for a, _, c in times], ""),
    ):
        median = statistics.median(extra) / turn
        print(f"{name:<32}{1e3 * median:>9.2f}{median / step:>9.2%}   {aim}")


def main() -> None:
    """Print one table."""
    cuda = sys.argv[1:] == ["cuda"]
    if cuda and not torch.cuda.is_available():
        sys.exit("no GPU here: leave out 'cuda'.")
    print(f"torch {torch.__version__}, threads: {thread_counts()}\n")
    with tempfile.TemporaryDirectory() as folder:
        if cuda:
            bench_cuda(Path(folder))
        else:
            bench_cpu(Path(folder))
            bench_vocabulary(Path(folder))


if __name__ == "__main__":
    main()
