"""Updates of any optimizer, of several at once, and of weights that are rounded after the step."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
import transformers
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from initscope.errors import UsageError
from initscope.tracking import VarianceTracker, variance_budget, weight_matrices
from initscope.tracking.optimizers import is_decoupled

TOKENS = torch.arange(40).reshape(4, 10)


class Lion(Optimizer):
    """Sign of a momentum, with decay beside it (Chen et al. 2023)."""

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.lerp(p.grad, m, group["betas"][0]).sign(), alpha=-group["lr"])
                m.lerp_(p.grad, 1 - group["betas"][1])


class Halved(AdamW):
    """A subclass whose step is half of AdamW's: its state tells something else.

    It calls the step of its base, whose hooks are its own, once there was an AdamW.
    """

    def step(self, closure: None = None) -> None:
        before = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}
        super().step()
        for group in self.param_groups:
            kept = 1 - group["lr"] * group["weight_decay"]
            for p in group["params"]:
                p.data.copy_((p.data + kept * before[p]) / 2)


# Decay that is known to stand beside the step, or 0 if it is part of the step.
OTHERS: dict[str, tuple[Callable[[Any], Optimizer], float]] = {
    "lion": (lambda p: Lion(p, lr=0.01, weight_decay=0.3), 0.3),
    "adafactor": (lambda p: torch.optim.Adafactor(p, lr=0.01, weight_decay=0.3), 0.3),
    "adafactor of transformers": (
        lambda p: transformers.Adafactor(
            p, lr=0.01, relative_step=False, scale_parameter=True, weight_decay=0.3
        ),
        0.0,
    ),
    "adafactor of transformers, by its rate": (
        lambda p: transformers.Adafactor(
            p, lr=0.01, relative_step=False, scale_parameter=False, weight_decay=0.3
        ),
        0.3,
    ),
    "nadam": (lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.3), 0.0),
    "nadam, decoupled": (
        lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.3, decoupled_weight_decay=True),
        0.3,
    ),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.3), 0.0),
    "a subclass of adamw": (lambda p: Halved(p, lr=0.01, weight_decay=0.3), 0.3),
    "sgd, nesterov": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.3),
        0.0,
    ),
}


class AdamW8bit(Optimizer):
    """Like that of bitsandbytes: AdamW by what it does, and no subclass of torch's."""

    coupled = False

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "weight_decay": weight_decay})
        self.manager = {"steps": 0}  # what is not in its state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        self.manager["steps"] += 1
        for group in self.param_groups:
            rate, decay = group["lr"], group["weight_decay"]
            for p in group["params"]:
                p.grad.add_(torch.rand_like(p) * 1e-9)  # draws as the rounding to 8 bits may
                gradient = p.grad + decay * p if self.coupled else p.grad
                m = self.state[p].setdefault("state1", torch.zeros_like(p))
                m.lerp_(gradient, 1 - group["betas"][0])
                p.mul_(1 if self.coupled else 1 - rate * decay).add_(m, alpha=-rate)


def impostor(params: Any) -> Optimizer:
    """One whose name says the opposite of what it does."""
    kind = type("AdamW", (AdamW8bit,), {"coupled": True})
    return kind(params, weight_decay=0.3)


class NeedsAnother(Optimizer):
    """One that cannot step by itself."""

    def __init__(self, params: Any, other: Any) -> None:
        super().__init__(params, {"lr": 0.1, "weight_decay": 0.3})
        self.other = other

    def step(self, closure: None = None) -> None:
        raise ValueError("step needs a closure")


class Subclass(AdamW):
    """AdamW under another name."""


class HeavyBall(torch.optim.SGD):
    """SGD under another name."""


@pytest.mark.parametrize(
    ("build", "decoupled"),
    [
        (lambda p: AdamW(p, weight_decay=0.3), True),
        (lambda p: Adam(p, weight_decay=0.3), False),
        (lambda p: Adam(p, weight_decay=0.3, decoupled_weight_decay=True), True),
        (lambda p: Subclass(p, weight_decay=0.3), True),
        (lambda p: Subclass(p, weight_decay=0.0), False),
        (lambda p: AdamW8bit(p, weight_decay=0.3), True),
        (impostor, False),
        (lambda p: HeavyBall(p, lr=0.1, momentum=0.9, weight_decay=0.3), False),
        (lambda p: HeavyBall(p, lr=0.1, weight_decay=0.3), True),  # the same thing without momentum
        (lambda p: torch.optim.Muon(p, weight_decay=0.3), True),
        (lambda p: torch.optim.RAdam(p, weight_decay=0.3), False),
        (lambda p: torch.optim.Adagrad(p, weight_decay=0.3), False),  # has its state at the start
        (lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True, weight_decay=0.3), False),
    ],
)
def test_decay_beside_the_step_is_told_by_what_an_optimizer_does(
    build: Callable[[Any], Optimizer], decoupled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 5))
    optimizer = build([weight])
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append(1))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    called.clear()
    kept = weight.detach().clone(), torch.get_rng_state(), copy.deepcopy(vars(optimizer))
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    for _ in range(2):
        assert is_decoupled(optimizer, settings) == decoupled
    assert torch.equal(weight, kept[0])
    assert torch.equal(torch.get_rng_state(), kept[1])
    assert str(vars(optimizer)["state"]) == str(kept[2]["state"])
    assert vars(optimizer).get("manager") == kept[2].get("manager")
    assert called == []
    assert caplog.text == ""
    scheduler.step()


def test_it_is_said_if_decay_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = NeedsAnother([weight], other=None)
    for _ in range(2):
        assert not is_decoupled(optimizer, {"lr": 0.1, "weight_decay": 0.3})
    assert caplog.text.count("whether NeedsAnother decays the weights by themselves") == 1
    assert "step needs a closure" in caplog.text


def train(model: nn.Module, optimizers: list[Optimizer], steps: int, **options: Any) -> Any:
    """Train and return the tracker, and the weights before and after each step."""
    history = []
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(one, 0.9) for one in optimizers]
    given = optimizers if len(optimizers) > 1 else optimizers[0]
    options = {"every": 1, "quantities": ("weight", "update")} | options
    with VarianceTracker(model, given, **options) as tracker:
        for _ in range(steps):
            for optimizer in optimizers:
                optimizer.zero_grad()
            model(input_ids=TOKENS, labels=TOKENS).loss.backward()
            rates = [one.param_groups[0]["lr"] for one in optimizers]
            before = {(m, r): view.clone() for m, r, view in weight_matrices(model)}
            for optimizer in optimizers:
                optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
            after = {(m, r): view.clone() for m, r, view in weight_matrices(model)}
            history.append((rates, before, after))
    return tracker, history


def updates(frame: pd.DataFrame, step: int) -> pd.DataFrame:
    rows = frame[(frame["kind"] == "update") & (frame["step"] == step)]
    return rows.pivot(index=["layer", "role"], columns="stat", values="value")  # noqa: PD010


@pytest.mark.parametrize("name", OTHERS)
def test_an_update_is_the_difference_of_the_weights(name: str) -> None:
    torch.manual_seed(0)
    model = tiny.llama().double()
    AdamW(model.parameters())
    build, decay = OTHERS[name]
    tracker, history = train(model, [build(model.parameters())], 3)
    for step, ((rate,), before, after) in enumerate(history, start=1):
        found = updates(tracker.to_frame(), step)
        assert len(found) == len(before)
        for key, old in before.items():
            new, row = after[key], found.loc[key]
            change = (new.square().mean() - old.square().mean()).item()
            exact = {"rel": 1e-6, "abs": 1e-10 * old.square().mean().item()}
            assert row[["decay", "alignment", "step"]].sum() == pytest.approx(change, **exact)
            moved = new - (1 - rate * decay) * old
            assert row["decay"] == pytest.approx(
                ((1 - rate * decay) ** 2 - 1) * old.square().mean().item(), **exact
            )
            assert row["step"] == pytest.approx(moved.square().mean().item(), **exact)
            assert row["rms"] == pytest.approx(moved.square().mean().sqrt().item() / rate, rel=1e-6)
            cosine = ((old * new).sum() / (old.norm() * new.norm())).item()
            assert math.cos(row["rotation"]) == pytest.approx(cosine, abs=1e-12)
        assert "unchanged" not in found


@pytest.mark.parametrize("build", [AdamW, Lion])
def test_a_parameter_without_a_dimension_has_an_update(build: Any) -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.logit_scale = nn.Parameter(torch.tensor(2.0))

    model = Scaled()
    optimizer = build(model.parameters(), lr=0.25, weight_decay=0.0)
    with VarianceTracker(model, optimizer, matrices="all", every=1) as tracker:
        (model(torch.ones(1, 3)).sum() + model.logit_scale).backward()
        optimizer.step()
    found = updates(tracker.to_frame(), 1)
    assert found["rms"].tolist() == pytest.approx([1.0, 1.0], rel=1e-4)


def test_the_size_of_lion_s_step_is_one() -> None:
    torch.manual_seed(0)
    model = tiny.llama()
    tracker, _ = train(model, [Lion(model.parameters(), lr=0.01)], 2)
    found = updates(tracker.to_frame(), 2).drop(index=(0, "token_embedding"))
    np.testing.assert_allclose(found["rms"], 1.0, rtol=1e-4)


def split(model: nn.Module) -> list[Optimizer]:
    """Muon for the matrices of blocks, AdamW for the rest."""
    named = dict(model.named_parameters())
    inside = [p for n, p in named.items() if p.dim() == 2 and ".layers." in n]
    rest = [p for n, p in named.items() if p.dim() != 2 or ".layers." not in n]
    muon = torch.optim.Muon(inside, lr=0.02, weight_decay=0.2)
    return [muon, AdamW(rest, lr=0.003, weight_decay=0.1)]


@pytest.mark.parametrize("reverse", [False, True])
def test_several_optimizers_are_recorded_after_the_last(reverse: bool) -> None:
    torch.manual_seed(0)
    model = tiny.llama().double()
    optimizers = split(model)[:: -1 if reverse else 1]
    tracker, history = train(model, optimizers, 3)
    frame = tracker.to_frame()
    assert sorted(frame["step"].unique()) == [0, 1, 2, 3]
    stds = frame.query("kind == 'weight' and stat == 'std'").set_index(["step", "layer", "role"])
    for step, (rates, before, after) in enumerate(history, start=1):
        found = updates(frame, step)
        assert len(found) == len(before) == 16
        by_kind = dict(zip([type(one).__name__ for one in optimizers], rates, strict=True))
        for key, old in before.items():
            new = after[key]
            assert stds.loc[(step, *key), "value"] == pytest.approx(new.std(correction=0).item())
            change = (new.square().mean() - old.square().mean()).item()
            total = found.loc[key, ["decay", "alignment", "step"]].sum()
            assert total == pytest.approx(change, rel=1e-6, abs=1e-10)
            shrunk = by_kind["Muon"] * 0.2 if key[0] in (1, 2) else by_kind["AdamW"] * 0.1
            assert found.loc[key, "decay"] == pytest.approx(
                ((1 - shrunk) ** 2 - 1) * old.square().mean().item(), rel=1e-9
            )


def test_an_optimizer_that_steps_less_often_leaves_a_step_out() -> None:
    torch.manual_seed(0)
    model = tiny.llama()
    often, seldom = split(model)
    with VarianceTracker(model, [often, seldom], every=1, quantities=["update"]) as tracker:
        for number in range(4):
            often.zero_grad()
            seldom.zero_grad()
            model(input_ids=TOKENS, labels=TOKENS).loss.backward()
            often.step()
            if number % 2:
                seldom.step()
    frame = tracker.to_frame()
    assert sorted(frame["step"].unique()) == [1, 2, 3, 4]
    layers = frame.groupby("step")["layer"].agg(set)
    assert layers[2] == layers[4] == {0, 1, 2, 3}
    assert layers[1] >= {1, 2}


@pytest.mark.parametrize("rate", [1e-5, 1e-3])
def test_weights_of_16_bits_mostly_do_not_move(rate: float) -> None:
    torch.manual_seed(0)
    model = tiny.llama().bfloat16()
    optimizer = AdamW(model.parameters(), lr=rate, weight_decay=0.1)
    tracker, history = train(model, [optimizer], 3)
    for step, (_, before, after) in enumerate(history, start=1):
        found = updates(tracker.to_frame(), step)
        for key, old in before.items():
            new, row = after[key].double(), found.loc[key]
            old = old.double()
            assert row["unchanged"] == pytest.approx((new == old).double().mean().item())
            change = (new.square().mean() - old.square().mean()).item()
            size = old.square().mean().item()
            terms = row[["decay", "alignment", "step"]].sum()
            assert terms + row["rounding"] == pytest.approx(change, abs=1e-9 * size)
    if rate == 1e-5:
        assert found["unchanged"].min() > 0.8
        # What was asked for is not what became of the weights.
        assert (found["rounding"].abs() > 0.3 * found["alignment"].abs()).mean() > 0.5


def test_the_budget_of_16_bits_needs_the_weights_before() -> None:
    torch.manual_seed(0)
    model = tiny.gpt2().bfloat16()
    optimizer = AdamW(model.parameters(), lr=1e-5)
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    before = {p: p.detach().clone() for p in model.parameters()}
    optimizer.step()
    says = "10 weights of torch.bfloat16 are rounded after the step"
    with pytest.warns(UserWarning, match=says) as warned:
        without = variance_budget(optimizer, model)
    assert warned[0].filename == __file__  # the line of the caller is shown
    assert "rounding" not in set(without["stat"])
    frame = variance_budget(optimizer, model, before=before)
    found = frame.pivot(index=["layer", "role"], columns="stat", values="value")  # noqa: PD010
    olds = {(m.layer, m.role): m for m in _matrices(model)}
    for key, matrix in olds.items():
        old = matrix.of(before[matrix.parameter]).double().square().mean().item()
        total = found.loc[key, ["decay", "alignment", "step", "rounding"]].sum()
        assert total == pytest.approx(found.loc[key, "mean_square"] - old, abs=1e-9 * old)


def _matrices(model: nn.Module) -> list:
    from initscope.tracking.matrices import find_weight_matrices

    return find_weight_matrices(model)


def test_a_budget_of_any_optimizer_with_the_weights_before() -> None:
    torch.manual_seed(0)
    model = tiny.gpt2().double()
    optimizer = Lion(model.parameters())
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    before = {p: p.detach().clone() for p in model.parameters()}
    optimizer.step()
    with pytest.raises(UsageError, match="the update of Lion cannot be read"):
        variance_budget(optimizer, model)
    frame = variance_budget(optimizer, model, before=before).set_index(["layer", "role", "stat"])
    matrix = next(m for m in _matrices(model) if m.role == "v")
    old = matrix.of(before[matrix.parameter]).square().mean().item()
    terms = sum(frame["value"][1, "v", stat] for stat in ("decay", "alignment", "step"))
    assert terms == pytest.approx(frame["value"][1, "v", "mean_square"] - old, rel=1e-9)
    for wrong in (3, {}, {p: t[:1] for p, t in before.items()}):
        with pytest.raises(UsageError, match="before must be a dictionary"):
            variance_budget(optimizer, model, before=wrong)


@pytest.mark.parametrize("known", [False, True])
def test_weights_of_both_precisions_have_rows_of_their_own(known: bool) -> None:
    """Those of 16 bits say how many stayed; matrices of each precision are measured together."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        nn.Parameter(torch.randn(5, 4, generator=generator).to(dtype))
        for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16)
    ]
    optimizer = AdamW(weights, lr=1e-3) if known else Lion(weights)
    for weight in weights:
        weight.grad = torch.randn(5, 4, generator=generator).to(weight.dtype)
    before = {weight: weight.detach().clone() for weight in weights}
    optimizer.step()
    frame = variance_budget(optimizer, before=before).set_index(["layer", "stat"])["value"]
    for layer, weight in enumerate(weights, start=1):
        narrow = weight.dtype == torch.bfloat16
        row = frame[layer]
        assert ("unchanged" in row) == narrow
        assert ("rounding" in row) == (narrow and known)
        old, new = before[weight].double(), weight.detach().double()
        change = (new.square().mean() - old.square().mean()).item()
        terms = row[["decay", "alignment", "step", *["rounding"] * (narrow and known)]].sum()
        assert terms == pytest.approx(change, abs=1e-6)
        if narrow:
            assert row["unchanged"] == pytest.approx((new == old).double().mean().item())
        if known:  # the terms are those of what was asked for: Adam's first step is the sign
            kept, moved = 1 - 1e-3 * 0.01, -1e-3 * weight.grad.double().sign()
            within = 0.01 if narrow else 1e-5  # moments of 8 bits
            assert row["decay"] == pytest.approx((kept**2 - 1) * old.square().mean().item())
            aligned = 2 * kept * (old * moved).mean().item()
            assert row["alignment"] == pytest.approx(aligned, rel=within)
            assert row["step"] == pytest.approx(moved.square().mean().item(), rel=within)


# --- what is not of this step ------------------------------------------------------------------


def test_a_scheduler_that_has_stepped_is_noticed() -> None:
    torch.manual_seed(0)
    model = tiny.gpt2()
    optimizer = AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    before = {p: p.detach().clone() for p in model.parameters()}
    optimizer.step()
    variance_budget(optimizer, model, before=before)
    scheduler.step()
    with pytest.raises(UsageError, match="before a scheduler's step"):
        variance_budget(optimizer, model, before=before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "build",
    [
        lambda p: AdamW(p, lr=0.01, weight_decay=0.3),
        lambda p: SGD(p, lr=0.03, weight_decay=0.1),
        lambda p: SGD(p, lr=30.0, momentum=0.9),
    ],
    ids=["adamw", "small steps", "large steps"],
)
def test_a_rate_that_is_not_that_of_the_step_is_noticed(build: Any, dtype: torch.dtype) -> None:
    """From one percent on, however large a step is beside its rate."""
    torch.manual_seed(0)
    model = tiny.gpt2().to(dtype)
    optimizer = build(model.parameters())
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    before = {p: p.detach().clone() for p in model.parameters()}
    optimizer.step()
    variance_budget(optimizer, model, before=before)
    for factor in (0.99, 1.01):
        other = copy.deepcopy(optimizer.state_dict())
        optimizer.param_groups[0]["lr"] *= factor
        with pytest.raises(UsageError, match="before a scheduler's step"):
            variance_budget(optimizer, model, before=before)
        optimizer.load_state_dict(other)


@pytest.mark.filterwarnings("ignore:.*are rounded after the step")
@pytest.mark.parametrize("start", [0.0, 1e-3])
@pytest.mark.parametrize("build", [partial(SGD, lr=0.1), partial(AdamW, lr=0.1)])
def test_weights_that_grow_from_nothing_are_rounded_by_what_they_become(
    build: Any, start: float
) -> None:
    """In bfloat16 far more coarsely than where they started."""
    torch.manual_seed(0)
    layer = nn.Linear(40, 30, dtype=torch.bfloat16)
    nn.init.constant_(layer.weight, start)
    optimizer = build(layer.parameters())
    (layer(torch.randn(8, 40, dtype=torch.bfloat16)) * torch.randn(30)).sum().backward()
    before = {p: p.detach().clone() for p in layer.parameters()}
    optimizer.step()
    found = variance_budget(optimizer, before=before).set_index("stat")["value"]
    assert found["step"] == pytest.approx(
        (layer.weight.double() - start).square().mean().item(), rel=0.02
    )


def test_the_tracker_takes_the_rate_of_the_step_itself() -> None:
    """Recorded by hand after the scheduler has stepped, and by itself before: the same rows."""
    frames = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        model = tiny.gpt2()
        optimizer = AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        tracker = VarianceTracker(model, optimizer, every=1)
        tracker.start() if by_hand else tracker.__enter__()
        for _ in range(2):
            optimizer.zero_grad()
            model(input_ids=TOKENS, labels=TOKENS).loss.backward()
            if by_hand:
                tracker.begin_step()
                tracker.before_optimizer_step()
            optimizer.step()
            scheduler.step()
            if by_hand:
                tracker.after_optimizer_step()
        tracker.__exit__()
        frames.append(tracker.to_frame())
    pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.parametrize("kind", [AdamW, Adam])
def test_the_state_of_an_earlier_step_is_not_this_one_s(kind: type[Optimizer]) -> None:
    torch.manual_seed(0)
    model = tiny.gpt2()
    optimizer = kind(model.parameters())

    def step() -> set[int]:
        optimizer.zero_grad()
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        return set(variance_budget(optimizer, model)["layer"])

    assert step() == {0, 1, 2}
    model.transformer.h[0].requires_grad_(False)
    assert step() == {0, 2}
    optimizer.zero_grad()
    assert set(variance_budget(optimizer, model)["layer"]) == {0, 2}


def test_a_matrix_in_no_optimizer_is_named(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.llama()
    muon, _ = split(model)
    VarianceTracker(model, AdamW([model.lm_head.weight]), quantities=["update"])
    said = [r.message for r in caplog.records if r.name == "initscope.tracking"]
    assert "15 followed parameters are in no parameter group of the optimizer" in said[0]
    assert "model.embed_tokens.weight, " in said[0]
    caplog.clear()
    caplog.set_level(logging.WARNING, "initscope.tracking")
    VarianceTracker(model, [muon, AdamW([model.lm_head.weight, model.model.embed_tokens.weight])])
    said = [r.message for r in caplog.records if r.name == "initscope.tracking"]
    assert len(said) == 1
    assert said[0].startswith("the update of Muon is not read from its state")


def test_a_loop_that_does_not_say_when_is_warned_once(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.gpt2()
    optimizer = Lion(model.parameters())
    tracker = VarianceTracker(model, optimizer, every=1, quantities=["weight", "update"])
    tracker.start()
    for _ in range(3):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        tracker.after_optimizer_step()
    assert "update" not in set(tracker.to_frame()["kind"])
    said = [r.message for r in caplog.records if "before_optimizer_step was not" in r.message]
    assert len(said) == 1
