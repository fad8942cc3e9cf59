"""Updates of a stack of networks: the gradients of a batch, and a step of the optimizer.

Large networks do not make one step all together, but several steps a few at a time: the weights,
gradients and state of a few stay in the cache from step to step, where those of all would come
from memory at every step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from initscope.models.batched_mlp import BatchedMLP
from initscope.models.batched_product import add_product_
from initscope.sweep.optimizers import Optimizer

__all__: list[str] = []  # for this package alone

CACHE_BYTES = 8_000_000
"""Of weights, gradients and state of the networks that make their steps together."""

PRODUCT_FLOPS = 20_000_000
"""Floating-point operations of a product of theirs at the least, so that its call costs little."""

BATCH_BYTES = 8_000_000
"""Of the batches that wait until all networks have taken them."""

FEWEST_BATCHES = 4
"""That must wait for it to be worth while: from one to the next, all would come from memory."""


def _optimizer_step(optimizer: Optimizer, parameters: list[torch.Tensor]) -> Callable[[], object]:
    """Return the function that makes a step of the optimizer, with the gradients as they are."""
    if optimizer.name != "adam":
        return optimizer.build(parameters).step
    # The kernel of torch.optim.Adam(fused=True): what its step does around it takes as long as a
    # small network does.
    gradients = [cast(torch.Tensor, p.grad) for p in parameters]
    means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    steps = [torch.zeros((), device=p.device) for p in parameters]
    (settings,) = optimizer.build(parameters).param_groups
    beta1, beta2 = settings["betas"]

    def step() -> None:
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters, gradients, means, squares, [], steps,
            lr=settings["lr"], beta1=beta1, beta2=beta2, eps=settings["eps"],
            weight_decay=settings["weight_decay"], amsgrad=False, maximize=False,
        )  # fmt: skip

    return step


class StackUpdates:
    """The training of a stack, batch by batch; its weights change in place."""

    def __init__(self, stack: BatchedMLP, optimizer: Optimizer) -> None:
        self.stack, self.rate = stack, optimizer.learning_rate
        # Plain SGD needs no gradient of its own: the product adds it to the weight directly.
        self.in_place = optimizer.name == "sgd" and not optimizer.momentum
        if not self.in_place:
            for parameter in stack.parameters():
                parameter.grad = torch.zeros_like(parameter)
            self.optimizer_step = _optimizer_step(optimizer, stack.parameters())

    def update(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Make one step of the optimizer on one batch; return the loss of each run before it."""
        stack = self.stack
        layer_inputs, pre_activations = stack.forward(inputs)
        loss, logits_gradient = stack.loss(pre_activations[-1], labels)
        for k, delta in stack.backward(pre_activations, logits_gradient):
            if self.in_place:
                add_product_(stack.weights[k], delta.mT, layer_inputs[k], -self.rate)
                stack.biases[k].sub_(delta.sum(1, keepdim=True), alpha=self.rate)
            else:
                stack.weight_gradient(delta, layer_inputs[k], out=stack.weights[k].grad)
                torch.sum(delta, 1, keepdim=True, out=stack.biases[k].grad)
        if not self.in_place:
            self.optimizer_step()
        return loss


def parts_of(stack: BatchedMLP, optimizer: Optimizer, batch_size: int) -> list[slice]:
    """Return which networks of a stack make their steps together: all, or of large ones a few.

    On a processor alone. Each of its threads has as many networks, but in the last part.

    >>> from initscope.models import MLP
    >>> parts_of(BatchedMLP.of([MLP([4, 3])] * 9), Optimizer("adam"), 32)
    [slice(0, 9, None)]
    """
    n, threads = stack.n_runs, torch.get_num_threads()
    n_weights = sum(weight[0].numel() for weight in stack.weights)
    in_cache = CACHE_BYTES // (4 * n_weights * optimizer.tensors_per_parameter)
    worth_a_call = PRODUCT_FLOPS * stack.n_layers / (2 * batch_size * n_weights)
    of_a_thread = max(1, math.ceil(max(in_cache, worth_a_call) / threads))
    n_parts = n // threads // of_a_thread
    if n_parts < 2 or stack.weights[0].device.type != "cpu":
        return [slice(0, n)]
    ends = np.linspace(0, n // threads, n_parts + 1).round().astype(int) * threads
    return [slice(*each) for each in itertools.pairwise([*ends[:-1].tolist(), n])]
