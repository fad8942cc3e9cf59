"""The variance of weights under AdamW, against torch's own AdamW."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from initscope.errors import UsageError
from initscope.theory import (
    adamw_equilibrium_rms,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
)

STEPS = 1000
COORDINATES = 20_000
DECAYS = (0.0, 0.1, 1.0)
PEAK = 3e-3


def schedule(kind: str) -> np.ndarray:
    done = np.arange(STEPS) / STEPS
    shapes = {
        "constant": np.ones(STEPS),
        "cosine": 0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2,
        "linear": 1 - done,
        "wsd": np.minimum(np.minimum((done + 1 / STEPS) / 0.1, 1), (1 - done) / 0.2),
    }
    return PEAK * shapes[kind]


def train(lr, decays, betas, std0=0.02, snr=0.0, seed=0, with_turns=False):
    """Mean squares ``(decays, steps)`` of independent coordinates with Gaussian gradients.

    And, if asked for, the angles by which the steps turn them.
    """
    generator = torch.Generator().manual_seed(seed)
    start = std0 * torch.randn(COORDINATES, generator=generator)
    parameters = [torch.nn.Parameter(start.clone()) for _ in decays]
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameter], "weight_decay": decay}
            for parameter, decay in zip(parameters, decays, strict=True)
        ],
        lr=1.0,
        betas=betas,
        eps=1e-12,
    )
    signal = np.sqrt(snr) * torch.sign(torch.randn(COORDINATES, generator=generator))
    squares, turns = np.empty((len(decays), len(lr))), np.empty((len(decays), len(lr)))
    for step, rate in enumerate(lr):
        gradient = torch.randn(COORDINATES, generator=generator) + signal
        before = [parameter.detach().clone() for parameter in parameters if with_turns]
        for group, parameter in zip(optimizer.param_groups, parameters, strict=True):
            group["lr"] = float(rate)
            parameter.grad = gradient
        optimizer.step()
        for i, parameter in enumerate(parameters):
            squares[i, step] = parameter.detach().square().mean()
            if with_turns:
                cosine = torch.cosine_similarity(before[i], parameter.detach(), dim=0)
                turns[i, step] = np.arccos(min(float(cosine), 1.0))
    return squares, turns


@pytest.mark.parametrize(("betas", "tolerance"), [((0.9, 0.999), 0.03), ((0.9, 0.95), 0.05)])
@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "wsd"])
def test_std_follows_torch_at_every_step(kind, betas, tolerance):
    lr = schedule(kind)
    measured, _ = train(lr, DECAYS, betas)
    predicted = adamw_variance_trajectory(0.02, lr, np.array(DECAYS), betas)
    error = np.abs(np.sqrt(predicted / measured) - 1)
    assert error.max() < tolerance, error.max(axis=1)


def test_std_follows_torch_from_far_above_and_with_a_signal():
    lr = np.full(STEPS, PEAK)
    measured, _ = train(lr, DECAYS, (0.9, 0.999), std0=0.3)
    predicted = adamw_variance_trajectory(0.3, lr, np.array(DECAYS))
    np.testing.assert_allclose(np.sqrt(predicted / measured), 1, atol=0.03)
    measured, _ = train(lr, DECAYS, (0.9, 0.999), snr=0.05)
    predicted = adamw_variance_trajectory(0.02, lr, np.array(DECAYS), snr=0.05)
    np.testing.assert_allclose(np.sqrt(predicted / measured), 1, atol=0.03)


def test_equilibrium_and_rotation_follow_torch():
    lr, decays, late = np.full(STEPS, 5e-3), (1.0, 4.0), slice(STEPS * 3 // 4, None)
    measured, turns = train(lr, decays, (0.9, 0.999), std0=0.05, with_turns=True)
    rms = np.sqrt(measured[:, late].mean(axis=1))
    assert rms[0] == pytest.approx(adamw_equilibrium_rms(5e-3, 1.0), rel=0.03)
    assert turns[0, late].mean() == pytest.approx(adamw_rotation(5e-3, 1.0), rel=0.03)
    # At lr * decay = .02 momentum outlasts a good part of the decay: beta1 no longer cancels.
    assert rms[1] == pytest.approx(adamw_equilibrium_rms(5e-3, 4.0, betas=(0.9, 0.999)), rel=0.02)
    assert rms[1] < 0.95 * adamw_equilibrium_rms(5e-3, 4.0)


def plain_recursion(std0, lr, weight_decay, beta1, snr):
    """The recursion of the docstring, one step after the other."""
    rho, q, c, mean, momentum, out = std0**2, 0.0, 0.0, 0.0, 0.0, []
    for t, eta in enumerate(lr, 1):
        a, e = 1 - eta * weight_decay, eta / (1 - beta1**t)
        q = beta1**2 * q + (1 - beta1) ** 2 / (1 + snr)
        rho = a * a * rho - 2 * a * e * beta1 * c + e * e * q
        c = a * beta1 * c - e * q
        momentum = beta1 * momentum + (1 - beta1) * np.sqrt(snr / (1 + snr))
        mean = a * mean - e * momentum
        out.append(rho + mean**2)
    return np.array(out)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("snr", [0.0, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1, 30.0, 1000.0])
def test_fast_recursion_is_the_plain_one(beta1, snr, weight_decay):
    lr = 1e-3 * (1 + np.sin(np.arange(700) / 50) ** 2)
    fast = adamw_variance_trajectory(0.02, lr, weight_decay, (beta1, 0.99), snr)
    slow = plain_recursion(0.02, lr, weight_decay, beta1, snr)
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


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
    lr = schedule("cosine")
    decays = np.array([0.0, 0.1, 0.5])
    stds = np.array([0.005, 0.02])[:, None]
    together = adamw_variance_trajectory(stds, lr, decays, (np.array([0.9, 0.8, 0.9]), 0.95), 0.1)
    assert together.shape == (2, 3, STEPS)
    alone = adamw_variance_trajectory(0.02, lr, 0.1, (0.8, 0.95), 0.1)
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
        (lambda: adamw_equilibrium_rms(-1e-3, 0.1), "lr must be finite"),
        (lambda: adamw_equilibrium_rms(1e-3, 0.1, diffusion=-1), "diffusion must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
