"""Xavier is Kaiming with other learning rates: held against networks that are trained so."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from initscope.data import load_wine
from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import MLP
from initscope.sweep.full_batch import full_batch_losses, layer_rates
from initscope.theory import fan_ratios, scheme_std, xavier_as_kaiming

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, 0.1),
    # Epsilon breaks the invariance.
    "adam": (partial(torch.optim.Adam, eps=1e-100), 0.003),
}
WIDTHS = [[13, 3], [13, 16, 3], [13, 8, 24, 8, 3]]


def losses(widths, scheme, optimizer, disguise=(1.0, 1.0, 1.0), steps=30):
    make, rate = OPTIMIZERS[optimizer]
    model = MLP(widths).double()
    initialize_(model, scheme, generator=torch.Generator().manual_seed(0))
    *factors, output_factor = disguise
    groups = layer_rates(model, rate, *factors)
    return full_batch_losses(model, make(groups), load_wine(seed=0), steps, output_factor)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_ratios_are_those_of_the_variances(widths):
    stds = [
        [scheme_std(scheme, *fans) for fans in itertools.pairwise(widths)]
        for scheme in ("xavier", "kaiming")
    ]
    np.testing.assert_allclose(fan_ratios(widths), (np.array(stds[0]) / stds[1]) ** 2, rtol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_kaiming_in_disguise_trains_as_xavier(widths, optimizer):
    xavier = losses(widths, "xavier", optimizer)
    same = losses(widths, "kaiming", optimizer, xavier_as_kaiming(widths, optimizer))
    np.testing.assert_allclose(same, xavier, rtol=1e-9)
    assert xavier[-1] < 0.98 * xavier[0]
    other = losses(widths, "kaiming", optimizer)
    assert np.abs(other / xavier - 1).max() > 1e-3


def test_the_losses_are_those_of_a_plain_loop():
    data, model = load_wine(seed=1), MLP([13, 6, 3])
    initialize_(model, "kaiming", generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = 0.5 * model(data.train_inputs).double().numpy()
    labels = data.train_labels.numpy()
    picked = scores[np.arange(len(labels)), labels]
    expected = (np.log(np.exp(scores).sum(axis=1)) - picked).mean()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.linear_layers[0].weight.clone()
    found = full_batch_losses(model, optimizer, data, 2, 0.5)
    assert found[0] == pytest.approx(expected, rel=1e-6)
    assert found[1] < found[0]
    assert not torch.equal(before, model.linear_layers[0].weight)


def test_a_training_ends_at_the_loss_it_is_asked_for():
    whole = losses([13, 8, 3], "kaiming", "sgd")
    goal = float(whole[len(whole) // 2])
    data, model = load_wine(seed=0), MLP([13, 8, 3]).double()
    initialize_(model, "kaiming", generator=torch.Generator().manual_seed(0))
    groups = layer_rates(model, 0.1, bias_factors=0.0)
    found = full_batch_losses(model, torch.optim.SGD(groups), data, 500, until=goal)
    assert found[-1] <= goal < found[-2]
    assert all(not layer.bias.any() for layer in model.linear_layers)  # their rate is 0


def test_rates_are_one_a_layer():
    model = MLP([4, 4, 2])
    groups = layer_rates(model, 0.1, [1.0, 2.0], 3.0)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert groups[1]["params"][0] is model.linear_layers[1].weight
    with pytest.raises(UsageError, match="weight_factors must be one number, or one for each of"):
        layer_rates(model, 0.1, [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="optimizer"):
        xavier_as_kaiming([4, 2], "lion")
