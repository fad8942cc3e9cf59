"""Jacobians of networks against autograd, and their singular values against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import ACTIVATIONS, MLP
from initscope.monte_carlo.jacobian import jacobian_spectra, layer_jacobians
from initscope.theory import activation_moments, jacobian_moments

# --- The Jacobian of one network -----------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layer_jacobians_are_those_of_autograd(activation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    model = MLP([5, 7, 4, 3], activation).double()
    initialize_(model, "lecun", gain=1.5, bias_std=0.3, generator=generator)
    x = torch.randn(5, generator=generator, dtype=torch.float64)
    before = [p.clone() for p in model.parameters()]
    first, second, output = layer_jacobians(model, x)
    for (hidden, jacobian), modules in ((first, 2), (second, 4), (output, 5)):
        part = torch.nn.Sequential(*list(model)[:modules])
        expected = torch.autograd.functional.jacobian(part, x[None]).squeeze((0, 2))
        torch.testing.assert_close(hidden, part(x[None])[0].detach())
        torch.testing.assert_close(jacobian, expected.reshape(jacobian.shape))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("shape", [(4,), (6,), (1, 5), ()])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one vector of 5 elements"):
        layer_jacobians(MLP([5, 4]), torch.zeros(shape))


# --- Many networks -------------------------------------------------------------------------


def test_spectra_agree_with_their_moments_and_are_drawn_by_the_seed() -> None:
    widths = [6, 8, 5, 3]
    moments, values = jacobian_spectra(widths, "tanh", "lecun", gain=1.1, at=[1, 2], networks=4)
    assert {layer: v.shape for layer, v in values.items()} == {1: (4, 6), 2: (4, 5)}
    for layer, found in values.items():
        squares = found**2
        of_layer = moments[moments["layer"] == layer]
        np.testing.assert_allclose(of_layer["mean"], squares.mean(1))
        np.testing.assert_allclose(of_layer["variance"], squares.var(1))
        assert (np.diff(found, axis=1) <= 0).all()
    assert (moments["length"] > 0).all()
    again, _ = jacobian_spectra(widths, "tanh", "lecun", gain=1.1, networks=4)
    other, _ = jacobian_spectra(widths, "tanh", "lecun", gain=1.1, networks=4, seed=1)
    assert moments.equals(again)
    assert not np.isclose(moments["mean"], other["mean"]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": 0}, "networks must be at least 1"),
        ({"at": [0]}, "layer 0 is none of the 2 hidden"),
        ({"at": [3]}, "layer 3 is none of the 2 hidden"),
        ({"activation": "rellu"}, "unknown activation"),
        ({"scheme": "kaimin"}, "unknown scheme"),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        jacobian_spectra([4, 4, 4, 4], gain=1.0, **options)


# --- Theory --------------------------------------------------------------------------------


def test_one_gaussian_layer_is_a_wishart_matrix() -> None:
    """E tr (W W^T)^2 / n = 2 + 1/n and E (tr W W^T / n)^2 = 1 + 2/n^2 for variance 1/n."""
    for n in (1, 2, 7, 100):
        found = jacobian_moments(1, n, "identity")
        assert found.fourth[1] == pytest.approx(2 + 1 / n)
        assert found.mean_square[1] == pytest.approx(1 + 2 / n**2)


def test_wide_limits() -> None:
    """Pennington, Schoenholz & Ganguli (2017): d (mu_2 / mu_1^2 - 1 - s_1)."""
    for activation, q in (("identity", 1.0), ("relu", 1.0), ("leaky_relu", 2.0)):
        first = activation_moments(activation, q).derivative_second
        slopes = {"identity": 1.0, "relu": 0.5, "leaky_relu": (1 + 0.01**4) / 2}
        r = slopes[activation] / first**2
        depth = np.arange(31)
        wide = jacobian_moments(30, None, activation, q=q)
        np.testing.assert_allclose(wide.variance, depth * r, rtol=1e-12)
        wide = jacobian_moments(30, None, activation, "orthogonal", q=q)
        np.testing.assert_allclose(wide.variance, depth * (r - 1), rtol=1e-12, atol=1e-12)
        large = jacobian_moments(30, 10**9, activation, q=q)
        np.testing.assert_allclose(large.variance, depth * r, rtol=1e-5)


def test_an_orthogonal_linear_network_is_an_isometry() -> None:
    found = jacobian_moments(100, 10, "identity", "orthogonal", 1.0)
    np.testing.assert_allclose(found.mean, 1, rtol=1e-12)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)


def test_a_gain_multiplies_every_layer() -> None:
    one = jacobian_moments(5, 20, "relu", sigma_w2=2.0)
    double = jacobian_moments(5, 20, "relu", sigma_w2=np.array([2.0, 4.0]))
    np.testing.assert_allclose(double.mean[1], 2.0 ** np.arange(6))
    np.testing.assert_allclose(double.variance[0], one.variance)
    np.testing.assert_allclose(double.variance[1], one.variance * 4.0 ** np.arange(6))


@pytest.mark.parametrize("scheme", ["lecun", "orthogonal"])
@pytest.mark.parametrize(("activation", "gain"), [("relu", math.sqrt(2)), ("identity", 1.0)])
def test_moments_are_exact_at_any_width(activation: str, gain: float, scheme: str) -> None:
    """Width 6: 1/n is no small number. Each is wrong once in 10^5 draws, fixed by the seed."""
    n, depth, networks = 6, 3, 2000
    moments, _ = jacobian_spectra(
        [n] * (depth + 2), activation, scheme, gain=gain, networks=networks
    )
    ensemble = "orthogonal" if scheme == "orthogonal" else "gaussian"
    theory = jacobian_moments(depth, n, activation, ensemble, gain**2)
    bound = stats.norm.ppf(1 - 0.5e-5)
    for layer in range(1, depth + 1):
        of_layer = moments[moments["layer"] == layer]
        measured = {
            "mean": of_layer["mean"],
            "mean_square": of_layer["mean"] ** 2,
            "variance": of_layer["variance"],
        }
        for name, values in measured.items():
            expected = getattr(theory, name)[layer]
            error = values.std() / math.sqrt(networks)
            assert abs(values.mean() - expected) <= bound * error + 1e-9, (name, layer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, "relu"), "depth must be a whole number"),
        ((3, 0, "relu"), "width must be a whole number"),
        ((3, 5, "rellu"), "unknown activation"),
        ((3, 5, "relu", "haar"), "unknown weights"),
        ((3, 5, "relu", "gaussian", -1.0), "sigma_w2 must be"),
    ],
)
def test_bad_arguments_of_the_theory_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        jacobian_moments(*arguments)
