"""The variance of weights under AdamW, against torch's own AdamW."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
import torch

from initscope.errors import UsageError
from initscope.theory import (
    adamw_equilibrium_rms,
    adamw_momentum_alignment,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
    data_memory,
)

STEPS = 1000
COORDINATES = 20_000
PEAK = 3e-3
DONE = np.arange(STEPS) / STEPS
SCHEDULES = {
    "constant": np.ones(STEPS),
    "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * DONE)) / 2,
    "linear": 1 - DONE,
    "wsd": np.minimum(np.minimum((DONE + 1 / STEPS) / 0.1, 1), (1 - DONE) / 0.2),
}
FALLING = 10.0**-DONE
BETAS = ((0.9, 0.95), (0.9, 0.999))


@dataclasses.dataclass
class Run:
    """One run of torch's AdamW on independent coordinates; what may differ a step is an array."""

    lr: Any = PEAK
    decay: Any = 0.0
    rms: Any = 1.0
    epsilon: float = 1e-12
    drift: float = 0.0
    std0: float = 0.02
    cautious: bool = False

    def predicted(self, betas=(0.9, 0.999), **changes) -> np.ndarray:
        of = dataclasses.replace(self, **changes)
        return adamw_variance_trajectory(
            of.std0,
            of.lr,
            of.decay,
            betas,
            drift=of.drift,
            epsilon=of.epsilon,
            gradient_rms=of.rms,
            steps=STEPS,
        )


def train(runs, betas, snr=0.0, with_turns=False):
    """Mean squares ``(runs, steps)`` of coordinates with Gaussian gradients, and what else is seen.

    That is the angle by which each step turns the weights, and the share of their square that is
    decayed. All runs get the same noise.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(COORDINATES, generator=generator)
    parameters = [torch.nn.Parameter(run.std0 * start) for run in runs]
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameter], "eps": run.epsilon}
            for parameter, run in zip(parameters, runs, strict=True)
        ],
        lr=1.0,
        betas=betas,
    )
    rates, decays, scales = (
        np.array([np.broadcast_to(getattr(run, name), STEPS) for run in runs])
        for name in ("lr", "decay", "rms")
    )
    signal = np.sqrt(snr) * torch.sign(torch.randn(COORDINATES, generator=generator))
    squares, turns, shares = np.ones((3, len(runs), STEPS))
    for step in range(STEPS):
        gradient = (torch.randn(COORDINATES, generator=generator) + signal) / np.sqrt(1 + snr)
        before = [parameter.detach().clone() for parameter in parameters if with_turns]
        for i, (group, run) in enumerate(zip(optimizer.param_groups, runs, strict=True)):
            weight = group["params"][0]
            group["lr"], group["weight_decay"] = float(rates[i, step]), float(decays[i, step])
            push = run.drift / 2 * weight.detach() / weight.detach().square().mean()
            weight.grad = float(scales[i, step]) * (gradient - push)
            if run.cautious:  # decay where the update shrinks the weight, too
                momentum = optimizer.state[weight].get("exp_avg", torch.zeros(()))
                update = betas[0] * momentum + (1 - betas[0]) * weight.grad
                left = weight.detach() * (update * weight.detach() > 0)
                shares[i, step] = left.square().sum() / weight.detach().square().sum()
                with torch.no_grad():
                    weight -= group["lr"] * group["weight_decay"] * left
                group["weight_decay"] = 0.0
        optimizer.step()
        for i, parameter in enumerate(parameters):
            squares[i, step] = parameter.detach().square().mean()
            if with_turns:
                cosine = torch.cosine_similarity(before[i], parameter.detach(), dim=0)
                turns[i, step] = np.arccos(min(float(cosine), 1.0))
    return squares, turns, shares


def worst(predicted, measured) -> float:
    """Largest error of the std over all steps, as a share of it."""
    return np.abs(np.sqrt(predicted / measured) - 1).max()


def runs_of(lr):
    """Runs with the terms of the theory, each with what the theory is without that term."""
    on_and_off = np.random.default_rng(0).integers(0, 2, STEPS)
    sudden = np.where(DONE < 0.3, 1.0, 0.1)
    runs = {f"decay {decay:g}": (Run(lr, decay), {}) for decay in (0.0, 0.1, 1.0)}
    runs |= {
        "AdamC": (Run(lr, 3 * lr / PEAK), {"decay": 3.0}),
        "independent decay": (Run(lr, 3e-3 / lr), {"decay": 0.0}),
        "decay on and off": (Run(lr, 2.0 * on_and_off), {"decay": 2.0}),
        "falling gradients": (Run(3 * lr, 1.0, FALLING), {"rms": 1.0}),
        "gradients that fall at once": (Run(3 * lr, 1.0, sudden), {"rms": 1.0}),
        "falling below epsilon": (Run(lr, 0.1, FALLING, 0.3), {"epsilon": 0.0}),
    }
    for ratio in (0.01, 0.1, 1.0, 10.0, 100.0):
        run = Run(lr * (1 + ratio), 1 / (1 + ratio), 3.0, 3 * ratio)
        runs[f"epsilon {ratio:g}"] = (run, {"epsilon": 0.0} if ratio > 0.1 else {})
    for drift in (1e-3, 1e-2):
        runs[f"drift {drift:g}"] = (Run(lr, 1.0, drift=drift), {"drift": 0.0})
    return runs


@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("kind", SCHEDULES)
def test_std_follows_torch_at_every_step(kind, betas):
    runs = runs_of(PEAK * SCHEDULES[kind])
    measured, *_ = train([run for run, _ in runs.values()], betas)
    found = {
        name: worst(run.predicted(betas), square)
        for (name, (run, _)), square in zip(runs.items(), measured, strict=True)
    }
    assert max(found.values()) < 0.025, found
    # And it does so by the term that the run has: without it the std is not what torch gives.
    for (name, (run, without)), square in zip(runs.items(), measured, strict=True):
        constant = name == "AdamC" and kind == "constant"  # no decay per step then
        slow = name == "falling gradients" and betas[1] == 0.95  # v keeps up with them
        if without and not constant and not slow:
            assert worst(run.predicted(betas, **without), square) > 0.05, name


def test_first_steps_of_a_large_rate_are_the_least_exact():
    # v is then the average of a few gradients, and its fluctuations are left out.
    run = Run(3 * PEAK, 0.1, FALLING, 0.3)
    (measured,), *_ = train([run], (0.9, 0.95))
    error = np.abs(np.sqrt(run.predicted((0.9, 0.95)) / measured) - 1)
    assert 0.03 < error[:20].max() < 0.05
    assert error[60:].max() < 0.03


def test_decay_of_half_the_weights_is_no_decay_per_step():
    # Cautious weight decay: momentum has moved weights away from the sign that it shrinks, so less
    # than half of the square is decayed.
    measured, _, shares = train([Run(PEAK, 3.0, cautious=True)], (0.9, 0.95))
    late = shares[0, STEPS // 2 :].mean()
    assert 0.35 < late < 0.38
    assert 0.18 < worst(Run(PEAK, 1.5).predicted((0.9, 0.95)), measured[0]) < 0.22
    assert 0.04 < worst(Run(PEAK, 3.0 * shares[0]).predicted((0.9, 0.95)), measured[0]) < 0.07


def test_std_follows_torch_from_far_above_and_with_a_signal():
    runs = [Run(decay=decay, std0=0.3) for decay in (0.0, 0.1, 1.0)]
    for run, square in zip(runs, train(runs, (0.9, 0.999))[0], strict=True):
        assert worst(run.predicted(), square) < 0.03
    runs = [Run(decay=decay) for decay in (0.0, 0.1, 1.0)] + [Run(rms=FALLING)]
    for run, square in zip(runs, train(runs, (0.9, 0.999), snr=0.05)[0], strict=True):
        predicted = adamw_variance_trajectory(
            0.02, run.lr, run.decay, snr=0.05, gradient_rms=run.rms, steps=STEPS
        )
        assert worst(predicted, square) < 0.03


def test_equilibrium_and_rotation_follow_torch():
    decays, late = (1.0, 4.0), slice(STEPS * 3 // 4, None)
    runs = [Run(5e-3, decay, std0=0.05) for decay in decays]
    measured, turns, _ = train(runs, (0.9, 0.999), with_turns=True)
    rms = np.sqrt(measured[:, late].mean(axis=1))
    assert rms[0] == pytest.approx(adamw_equilibrium_rms(5e-3, 1.0), rel=0.03)
    assert turns[0, late].mean() == pytest.approx(adamw_rotation(5e-3, 1.0), rel=0.03)
    # At lr * decay = .02 momentum outlasts a good part of the decay: beta1 no longer cancels.
    assert rms[1] == pytest.approx(adamw_equilibrium_rms(5e-3, 4.0, betas=(0.9, 0.999)), rel=0.02)
    assert rms[1] < 0.95 * adamw_equilibrium_rms(5e-3, 4.0)


def descend(gradients, lr, decay, betas, start=0.0):
    """Weights after each step of torch's AdamW, the start first; gradients ``(steps, n)``."""
    weight = torch.nn.Parameter(torch.full(gradients.shape[1:], start, dtype=gradients.dtype))
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=betas, eps=1e-12)
    weights = [weight.detach().clone()]
    for gradient, rate, share in zip(gradients, lr, decay, strict=True):
        optimizer.param_groups[0].update(lr=float(rate), weight_decay=float(share))
        weight.grad = gradient
        optimizer.step()
        weights.append(weight.detach().clone())
    return torch.stack(weights)


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_memory_is_what_a_changed_gradient_changes(kind):
    steps, betas, change = 500, (0.9, 0.999), 0.1
    lr = 0.01 * SCHEDULES[kind][::2]
    decay = 0.5 + np.arange(steps) / steps
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(steps, 2000, generator=generator, dtype=torch.float64)
    whole = descend(noise, lr, decay, betas)
    memory = data_memory(lr, decay)
    # The start and all updates together are the final weights, without any assumption.
    updates = ((1 - lr * decay)[:, None] * whole[:-1].numpy() - whole[1:].numpy()) / lr[:, None]
    np.testing.assert_allclose(-memory.updates @ updates, whole[-1].numpy(), rtol=1e-9, atol=1e-12)
    moved = descend(noise, lr, decay, betas, start=change)[-1] - whole[-1]
    np.testing.assert_allclose(moved.numpy(), change * memory.start, rtol=1e-9)
    # A gradient reaches the weights through all later updates.
    for step in (100, 250, 420, 495):
        other = noise.clone()
        other[step] += change
        moved = (descend(other, lr, decay, betas)[-1] - whole[-1]).mean().item()
        later = np.arange(steps - step)
        through_momentum = (0.1 * 0.9**later) @ memory.updates[step:]
        assert moved == pytest.approx(-change * through_momentum, rel=0.02)


def test_memory_of_a_constant_rate_is_exponential():
    left, weight = data_memory(np.full(5000, 1e-3), 0.1)
    assert left == pytest.approx(np.exp(-0.5), rel=1e-4)
    later = np.arange(5000)[::-1]
    np.testing.assert_allclose(weight, 1e-3 * np.exp(-1e-4 * later), rtol=1e-4)
    # Runs lie along the axes before that of the steps; a decay may differ from step to step.
    left, weight = data_memory(1e-3, np.array([[0.1], [1.0]]) * np.linspace(0, 2, 100))
    assert left.shape == (2,)
    assert weight.shape == (2, 100)
    np.testing.assert_allclose(weight[1], data_memory(1e-3, np.linspace(0, 2, 100)).updates)


def test_a_pull_along_the_weights_is_forgetting_and_a_push_its_reverse():
    lr = PEAK * SCHEDULES["cosine"]
    left, weight = data_memory(lr, 0.1, alignment=[0.4, -0.3])
    assert left.shape == (2,)
    assert weight.shape == (2, STEPS)
    more = data_memory(lr, 0.5)
    assert left[0] == pytest.approx(more.start)
    np.testing.assert_allclose(weight[0], more.updates)
    # Each step makes the weights larger: the start counts more than at the start.
    assert left[1] == pytest.approx(np.prod(1 + 0.2 * lr))
    np.testing.assert_allclose(weight[1, :-1] / lr[:-1], np.cumprod(1 + 0.2 * lr[:0:-1])[::-1])


@pytest.mark.parametrize("beta1", [0.0, 0.8, 0.9, 0.95])
def test_momentum_on_noise_aligns_updates_with_weights(beta1):
    steps, rate = 600, 1e-3
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(steps, COORDINATES, generator=generator)
    weights = descend(noise, np.full(steps, rate), np.zeros(steps), (beta1, 0.999)).double()
    moves = weights.diff(dim=0)[100:]
    length = moves.square().sum()
    before, after = (2 * (moves * w).sum() / length for w in (weights[100:-1], weights[101:]))
    betas = (beta1, 0.999)
    assert before == pytest.approx(adamw_momentum_alignment(betas), rel=0.05, abs=0.1)
    assert after == pytest.approx(adamw_momentum_alignment(betas, after_step=True), rel=0.05)


def plain_recursion(std0, lr, weight_decay, betas, snr, drift, epsilon, gradient_rms):
    """The recursion of the docstring, one step after the other."""
    beta1, beta2 = betas
    rho, q, c, mean, momentum, v, out = std0**2, 0.0, 0.0, 0.0, 0.0, 0.0, []
    of_steps = (np.broadcast_to(x, len(lr)) for x in (lr, weight_decay, gradient_rms))
    for t, (eta, decay, g) in enumerate(zip(*of_steps, strict=True), 1):
        v = beta2 * v + (1 - beta2) * g**2
        a, e = 1 - eta * decay, eta / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        q = beta1**2 * q + (1 - beta1) ** 2 * g**2 / (1 + snr)
        rho = a * a * rho - 2 * a * e * beta1 * c + e * e * q + a * drift * eta
        c = a * beta1 * c - e * q
        momentum = beta1 * momentum + (1 - beta1) * g * np.sqrt(snr / (1 + snr))
        mean = a * mean - e * momentum
        out.append(rho + mean**2)
    return np.array(out)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("snr", [0.0, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 30.0, 1000.0, "each step"])
@pytest.mark.parametrize("rms", [1.0, 1e-3, "each step"])
def test_fast_recursion_is_the_plain_one(beta1, snr, weight_decay, rms):
    lr = 1e-3 * (1 + np.sin(np.arange(700) / 50) ** 2)
    if weight_decay == "each step":
        weight_decay = np.random.default_rng(0).uniform(0, 5, 700)
    if rms == "each step":
        rms = np.random.default_rng(1).uniform(0, 2, 700)
    for drift, epsilon in ((0.0, 0.0), (0.01, 0.5)):
        options = {"drift": drift, "epsilon": epsilon, "gradient_rms": rms}
        betas = (beta1, 0.98)
        fast = adamw_variance_trajectory(0.02, lr, weight_decay, betas, snr=snr, **options)
        slow = plain_recursion(0.02, lr, weight_decay, betas, snr, **options)
        np.testing.assert_allclose(fast, slow, rtol=1e-9)


def test_gradients_have_no_unit():
    lr, rms = PEAK * SCHEDULES["cosine"], 1e-3 * FALLING
    plain = adamw_variance_trajectory(0.02, lr, 0.1, epsilon=1e-4, gradient_rms=rms)
    for unit in (1e-200, 1e200):
        scaled = {"epsilon": 1e-4 * unit, "gradient_rms": rms * unit}
        np.testing.assert_allclose(adamw_variance_trajectory(0.02, lr, 0.1, **scaled), plain)
    # No gradient, no steps: decay alone.
    still = adamw_variance_trajectory(0.02, lr, 0.1, gradient_rms=0.0)
    np.testing.assert_allclose(still, 0.02**2 * np.cumprod((1 - lr * 0.1) ** 2))
    # A gradient that is the same at each step is a number.
    same = {"epsilon": 1e-4, "gradient_rms": np.full(STEPS, 1e-3)}
    number = {"epsilon": 1e-4, "gradient_rms": 1e-3}
    np.testing.assert_allclose(
        adamw_variance_trajectory(0.02, lr, 0.1, **same),
        adamw_variance_trajectory(0.02, lr, 0.1, **number),
        rtol=1e-12,
    )


def test_long_runs_reach_the_equilibrium():
    variance = adamw_variance_trajectory(0.02, 1e-3, 0.1, steps=200_000)
    assert np.sqrt(variance[-1]) == pytest.approx(adamw_equilibrium_rms(1e-3, 0.1), rel=1e-3)
    # Over one time constant 1 / (2 lr decay) the distance shrinks by e.
    end, span = variance[-1], 5000
    assert (end - variance[20_000 + span]) / (end - variance[20_000]) == pytest.approx(
        np.exp(-1), rel=1e-2
    )


def test_known_runs():
    # Std from .02 with decay .1, cosine: 5,000 steps from 5e-4 to 0; 600,000 from 6e-4 to 6e-5.
    cosine = (1 + np.cos(np.linspace(0, np.pi, 5000))) / 2
    short = np.sqrt(adamw_variance_trajectory(0.02, 5e-4 * cosine, 0.1, (0.9, 0.95)))
    assert short[-1] == pytest.approx(0.0267, abs=2e-4)
    cosine = (1 + np.cos(np.linspace(0, np.pi, 600_000))) / 2
    long = np.sqrt(adamw_variance_trajectory(0.02, 6e-5 + 5.4e-4 * cosine, 0.1, (0.9, 0.95)))
    assert long.max() == pytest.approx(0.0544, abs=2e-4)
    assert long[-1] == pytest.approx(0.0205, abs=2e-4)


def test_diffusion_and_alignment_move_the_equilibrium():
    lr, options = np.full(60_000, 2e-3), {"diffusion": 2.0, "alignment": 0.15}
    variance = adamw_variance_trajectory(0.02, lr, 0.1, **options)
    expected = adamw_equilibrium_rms(2e-3, 0.1, **options)
    exact = adamw_equilibrium_rms(2e-3, 0.1, **options, betas=(0.9, 0.999))
    assert np.sqrt(variance[-1]) == pytest.approx(exact, rel=1e-9)
    assert expected == pytest.approx(exact, rel=5e-3)
    assert expected == pytest.approx(np.sqrt(2 * 2e-3 / 0.5))


def test_every_argument_may_be_an_array():
    lr = PEAK * SCHEDULES["cosine"]
    decays = np.array([0.0, 0.1, 0.5])
    stds = np.array([0.005, 0.02])[:, None]
    together = adamw_variance_trajectory(
        stds, lr, decays[:, None], (np.array([0.9, 0.8, 0.9]), 0.95), snr=0.1
    )
    assert together.shape == (2, 3, STEPS)
    alone = adamw_variance_trajectory(0.02, lr, 0.1, (0.8, 0.95), snr=0.1)
    np.testing.assert_allclose(together[1, 1], alone, rtol=1e-12)
    rates = np.stack([lr, 2 * lr])
    assert adamw_variance_trajectory(0.02, rates, 0.1).shape == (2, STEPS)
    assert adamw_equilibrium_rms([1e-3, 2e-3], 0.1).shape == (2,)
    assert adamw_rotation(1e-3, decays).shape == (3,)


def test_a_million_steps_take_under_a_second():
    lr = np.full(1_000_000, 6e-4)
    adamw_variance_trajectory(0.02, lr[:1000], 0.1)
    times = []
    for _ in range(3):
        start = time.process_time()  # of this process alone, whatever else the machine does
        adamw_variance_trajectory(0.02, lr, 0.1, (0.9, 0.95))
        times.append(time.process_time() - start)
    assert min(times) < 1.0


def test_update_rms():
    assert adamw_update_rms() == pytest.approx(0.2294, abs=5e-5)
    assert adamw_update_rms((0.0, 0.9)) == 1
    assert adamw_update_rms((0.9, 0.9), snr=1e9) == pytest.approx(1)
    assert adamw_equilibrium_rms(1e-3, 0.0) == np.inf
    assert adamw_rotation(1e-3, 0.0) == 0
    assert adamw_rotation(0.0, 0.0) == 0
    assert adamw_rotation(1e-3, 0.1) == pytest.approx(np.sqrt(2e-4 * 0.1 / 1.9))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adamw_variance_trajectory(0.02, 1e-3, 0.1), r"give steps=\.\.\."),
        (lambda: adamw_variance_trajectory(0.02, [], 0.1), "no steps"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3] * 3, 0.1, steps=4), "lr has 3 steps"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3] * 3, 0.1, steps=2), "but steps=2"),
        (lambda: adamw_variance_trajectory(0.02, np.ones((2, 3)), 0.1, steps=2), "lr has 3 steps"),
        (lambda: adamw_variance_trajectory(0.02, 1e-3, 0.1, steps=0), "steps must be a whole"),
        (lambda: adamw_variance_trajectory(0.02, 1e-3, 0.1, steps=1.5), "steps must be a whole"),
        (lambda: adamw_variance_trajectory(-0.02, [1e-3], 0.1), "std0 must be finite"),
        (lambda: adamw_variance_trajectory(0.02, [-1e-3], 0.1), "lr must be finite"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], -0.1), "weight_decay must be finite"),
        (lambda: adamw_variance_trajectory(0.02, [np.nan], 0.1), "lr must not be NaN"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, (1.0, 0.9)), "beta1 must be"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, (0.9, -0.1)), "beta2 must be"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, 0.9), "betas must be a pair"),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, snr=-1), "snr must be finite"),
        (lambda: adamw_variance_trajectory(0.02, ["fast"], 0.1), "lr must be a number"),
        (
            lambda: adamw_variance_trajectory(0.02, [1e-3] * 3, [0.1] * 4),
            "lr has 3 steps, but weig",
        ),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, epsilon=1e-8), "give gradient_rms"),
        (
            lambda: adamw_variance_trajectory(0.02, [1e-3] * 2, 0.1, gradient_rms=[1.0] * 3),
            "lr has 2 steps, but gradient_rms 3",
        ),
        (lambda: adamw_variance_trajectory(0.02, [1e-3], 0.1, drift=-1e-3), "drift must be finite"),
        (lambda: data_memory(1e-3, 0.1), "both are one number"),
        (lambda: data_memory([1e-3], -0.1), "weight_decay must be finite"),
        (lambda: data_memory([1e-3] * 2, [0.1] * 3), "lr has 2 steps, but weight_decay 3"),
        (lambda: data_memory([1e-3], 0.1, alignment=np.nan), "alignment must not be NaN"),
        (lambda: adamw_momentum_alignment((1.0, 0.9)), "beta1 must be"),
        (lambda: adamw_equilibrium_rms(-1e-3, 0.1), "lr must be finite"),
        (lambda: adamw_equilibrium_rms(1e-3, 0.1, diffusion=-1), "diffusion must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
