"""Stacks of networks predict as each of them does alone, and keep what training still needs."""

import pytest
import torch

from initscope.models import ACTIVATIONS, MLP
from initscope.models.batched_mlp import BatchedMLP


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_predicts_what_its_networks_do(activation: str) -> None:
    torch.manual_seed(0)
    models = [MLP([5, 8, 6, 3], activation) for _ in range(3)]
    examples = torch.randn(20, 5)
    with torch.no_grad():
        stack = BatchedMLP.of(models)
        # First some, then fewer, then as many as at first: each time in storage of the last.
        for rows in (slice(0, 8), slice(8, 12), slice(12, 20)):
            logits = stack.predict(examples[rows].expand(3, -1, -1))
            for found, model in zip(logits, models, strict=True):
                torch.testing.assert_close(found, model(examples[rows]))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_prediction_leaves_inputs_and_what_forward_returned(activation: str) -> None:
    torch.manual_seed(0)
    stack = BatchedMLP.of([MLP([5, 8, 6, 3], activation) for _ in range(2)])
    inputs = torch.randn(1, 4, 5).expand(2, -1, -1)
    with torch.no_grad():
        layer_inputs, pre_activations = stack.forward(inputs)
        held = [t.clone() for t in (*layer_inputs, *pre_activations)]
        stack.predict(torch.randn(2, 4, 5))
        stack.predict(inputs)
    for tensor, before in zip((*layer_inputs, *pre_activations), held, strict=True):
        assert torch.equal(tensor, before)
