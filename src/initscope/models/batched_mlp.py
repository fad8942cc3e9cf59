"""Propagate many MLPs of the same widths at once, one batched matrix product a layer.

One small network after another leaves most of a machine idle; stacked, their layers are batched
matrix products that keep it busy. The networks never meet: run `r` of the stack sees only its own
weights, so it trains as it would alone, and a run that turns to NaN disturbs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import torch

from initscope.models.batched_product import product
from initscope.models.mlp import ACTIVATIONS, MLP

__all__: list[str] = []  # for this package alone


class BatchedMLP:
    """A stack of :class:`~initscope.models.MLP` of equal widths and activation.

    Parameters
    ----------
    weights, biases
        One tensor a layer, of shape ``(n_runs, fan_out, fan_in)`` and ``(n_runs, 1, fan_out)``;
        none of them is copied.
    activation
        One of :data:`~initscope.models.ACTIVATIONS`.

    Examples
    --------
    >>> stack = BatchedMLP.of([MLP([4, 8, 3]), MLP([4, 8, 3])])
    >>> inputs = torch.ones(2, 5, 4)  # run, example, unit
    >>> layer_inputs, pre_activations = stack.forward(inputs)
    >>> gradients = stack.gradients(pre_activations, torch.ones(2, 5, 3))
    >>> [tuple(gradient.shape) for gradient in gradients]
    [(2, 5, 4), (2, 5, 8), (2, 5, 3)]
    """

    def __init__(
        self, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor], activation: str
    ) -> None:
        self.weights, self.biases = list(weights), list(biases)
        self.activation = activation
        self.n_runs = len(self.weights[0])
        self.activate = ACTIVATIONS[activation]()
        self._buffers: dict[tuple[str, int], torch.Tensor] = {}

    @classmethod
    def of(cls, models: Iterable[MLP], device: torch.device | str = "cpu") -> Self:
        """Stack networks, at least one, on a device.

        The parameters of each are copied before the next is taken, so that one module may come
        again with other weights.

        Raises
        ------
        ValueError
            No networks, or networks of different widths or activations.
        """
        drawn, kinds = [], set()
        for model in models:
            kinds.add((model.widths, model.activation))
            drawn.append([p.detach().clone() for p in model.parameters()])
        if len(kinds) != 1:
            raise ValueError("a stack needs networks, all of the same widths and activation")
        ((_, activation),) = kinds
        stacked = [torch.stack(p).to(device) for p in zip(*drawn, strict=True)]
        return cls(stacked[::2], [b[:, None] for b in stacked[1::2]], activation)

    @property
    def n_layers(self) -> int:
        """Number of weight layers."""
        return len(self.weights)

    def part(self, runs: slice) -> Self:
        """Return the stack of some of the networks: its parameters are theirs, its storage not."""
        weights, biases = ([p[runs] for p in each] for each in (self.weights, self.biases))
        return type(self)(weights, biases, self.activation)

    def parameters(self) -> list[torch.Tensor]:
        """Return the weights, then the biases."""
        return [*self.weights, *self.biases]

    def _buffer(self, name: str, layer: int, like: torch.Tensor, width: int) -> torch.Tensor:
        """Return storage of shape ``(n_runs, batch, width)``, the same at every step.

        Fresh large tensors at every step would cost a tenth of the time in page faults.
        """
        shape = (self.n_runs, like.shape[1], width)
        held = self._buffers.get((name, layer))
        if held is None or held.shape != shape:
            held = torch.empty(shape, dtype=like.dtype, device=like.device)
            self._buffers[name, layer] = held
        return held

    # The two products of a layer with its weights: all that a number format would round otherwise.

    def affine(self, k: int, inputs: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``W x + b`` of layer `k` for its inputs."""
        return product(inputs, self.weights[k].mT, out, self.biases[k])

    def input_gradient(
        self, k: int, delta: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the gradient at the inputs of layer `k` for that at its pre-activations."""
        return product(delta, self.weights[k], out)

    def forward(self, inputs: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Propagate `inputs`, of shape ``(n_runs, batch, widths[0])``.

        Returns
        -------
        layer_inputs, pre_activations
            For each weight layer what enters it and what leaves it, of shape
            ``(n_runs, batch, width)``; the last pre-activation holds the logits. All but `inputs`
            is overwritten by the next call.
        """
        layer_inputs, pre_activations = [inputs], []
        for k, weight in enumerate(self.weights):
            z = self.affine(k, layer_inputs[k], self._buffer("pre", k, inputs, weight.shape[1]))
            pre_activations.append(z)
            if k + 1 < self.n_layers:
                if self.activation == "relu":
                    hidden = self._buffer("post", k, inputs, weight.shape[1])
                    layer_inputs.append(torch.clamp_min(z, 0, out=hidden))
                else:
                    layer_inputs.append(self.activate(z))
        return layer_inputs, pre_activations

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross-entropy of each run, and its gradient with respect to the logits.

        Parameters
        ----------
        logits
            Shape ``(n_runs, batch, n_classes)``.
        labels
            Class numbers, shape ``(n_runs, batch)``.

        Returns
        -------
        loss
            Mean over the batch, shape ``(n_runs,)``.
        gradient
            Of the mean loss, shape of `logits`.
        """
        # By hand: log_softmax over a few classes takes three to four times as long.
        target = labels[:, :, None]
        centered = logits - logits.amax(2, keepdim=True)
        at_target = centered.gather(2, target)
        gradient = centered.exp_()
        total = gradient.sum(2, keepdim=True)
        loss = total.log().sub_(at_target).mean((1, 2))
        gradient.div_(total)
        gradient.scatter_add_(2, target, torch.full_like(target, -1, dtype=gradient.dtype))
        return loss, gradient.div_(labels.shape[1])

    def _through_activation(self, z: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient at `z` for that at its activation, which may be overwritten."""
        if self.activation == "relu":
            return torch.ops.aten.threshold_backward.grad_input(gradient, z, 0, grad_input=gradient)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.activate(z), z, gradient)
        return gradient

    def backward(
        self, pre_activations: list[torch.Tensor], logits_gradient: torch.Tensor
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield ``(layer, delta)`` from the last layer to the first.

        `delta` is the gradient with respect to the pre-activation of the layer, of shape
        ``(n_runs, batch, width)``. The weight of a layer may be changed as soon as its delta is
        there: what lies below has been computed.
        """
        delta = logits_gradient
        for k in range(self.n_layers - 1, -1, -1):
            below = None
            if k:
                out = self._buffer("delta", k, delta, self.weights[k].shape[2])
                below = self._through_activation(
                    pre_activations[k - 1], self.input_gradient(k, delta, out)
                )
            yield k, delta
            if below is not None:
                delta = below

    def gradients(
        self, pre_activations: list[torch.Tensor], logits_gradient: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the gradients at the inputs and at the pre-activations of each layer."""
        deltas = [delta for _, delta in self.backward(pre_activations, logits_gradient)]
        return [self.input_gradient(0, deltas[-1]), *deltas[::-1]]

    def weight_gradient(
        self, delta: torch.Tensor, layer_input: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the gradient of a weight, shape ``(n_runs, fan_out, fan_in)``."""
        return product(delta.mT, layer_input, out)

    def jacobians(self, pre_activations: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield of each layer how its output changes with the input of the network.

        For one example: the pre-activations have shape ``(n_runs, 1, width)``. The output is what
        the activation makes of them, and in the last layer the logits; its Jacobian has shape
        ``(n_runs, width, widths[0])``.
        """
        jacobian = None
        for k, (weight, z) in enumerate(zip(self.weights, pre_activations, strict=True)):
            jacobian = weight if jacobian is None else weight @ jacobian
            if k + 1 < self.n_layers:
                slope = self._through_activation(z, torch.ones_like(z))
                jacobian = slope.mT * jacobian
            yield jacobian

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape ``(n_runs, batch, widths[-1])``; the next call overwrites them.

        What :meth:`forward` returned stays as it is.
        """
        hidden = inputs
        for k, weight in enumerate(self.weights):
            hidden = self.affine(k, hidden, self._buffer("predicted", k, inputs, weight.shape[1]))
            if k + 1 < self.n_layers:
                relu = self.activation == "relu"
                hidden = hidden.clamp_min_(0) if relu else self.activate(hidden)
        return hidden
