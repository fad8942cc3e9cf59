"""Many MLPs of the same widths trained at once, one batched matrix product a layer.

One small network after another leaves most of a machine idle; stacked, their layers are batched
matrix products that keep it busy. The networks never meet: run `r` of the stack sees only its own
weights, so it trains as it would alone, and a run that turns to NaN disturbs no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F

from initscope.models.mlp import ACTIVATIONS, MLP

__all__: list[str] = []  # for this package alone


class BatchedMLP:
    """A stack of :class:`~initscope.models.MLP` of equal widths and activation.

    Parameters
    ----------
    models
        The networks, at least one. The weights of each are copied before the next is taken, so
        that one module may come again with other weights.
    device
        Where the stack lives.

    Attributes
    ----------
    weights, biases
        One tensor a layer, of shape ``(n_runs, fan_out, fan_in)`` and ``(n_runs, 1, fan_out)``.
    """

    def __init__(self, models: Iterable[MLP], device: torch.device | str = "cpu") -> None:
        drawn, kinds = [], set()
        for model in models:
            kinds.add((model.widths, model.activation))
            drawn.append([p.detach().clone() for p in model.parameters()])
        if len(kinds) != 1:
            raise ValueError("a stack needs networks, all of the same widths and activation")
        ((self.widths, self.activation),) = kinds
        self.n_runs = len(drawn)
        self._activate = ACTIVATIONS[self.activation]()
        stacked = [torch.stack(p).to(device) for p in zip(*drawn, strict=True)]
        self.weights = stacked[::2]
        self.biases = [b[:, None] for b in stacked[1::2]]
        self._buffers: dict[tuple[str, int], torch.Tensor] = {}

    @property
    def n_layers(self) -> int:
        """Number of weight layers."""
        return len(self.weights)

    def parameters(self) -> list[torch.Tensor]:
        """Weights, then biases."""
        return [*self.weights, *self.biases]

    def _buffer(self, name: str, layer: int, like: torch.Tensor, width: int) -> torch.Tensor:
        """Reused storage of shape ``(n_runs, batch, width)``.

        Fresh large tensors at every step would cost a tenth of the time in page faults.
        """
        shape = (self.n_runs, like.shape[1], width)
        held = self._buffers.get((name, layer))
        if held is None or held.shape != shape:
            held = self._buffers[name, layer] = torch.empty(shape, device=like.device)
        return held

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
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = self._buffer("pre", k, inputs, weight.shape[1])
            torch.baddbmm(bias, layer_inputs[k], weight.mT, out=z)
            pre_activations.append(z)
            if k + 1 < self.n_layers:
                if self.activation == "relu":
                    hidden = self._buffer("post", k, inputs, weight.shape[1])
                    layer_inputs.append(torch.clamp_min(z, 0, out=hidden))
                else:
                    layer_inputs.append(self._activate(z))
        return layer_inputs, pre_activations

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of each run, and its gradient with respect to the logits.

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
        log_probability = F.log_softmax(logits, 2)
        target = labels[:, :, None]
        loss = -log_probability.gather(2, target).mean((1, 2))
        gradient = log_probability.exp_()
        gradient.scatter_add_(2, target, torch.full_like(target, -1, dtype=gradient.dtype))
        return loss, gradient.div_(labels.shape[1])

    def backward(
        self,
        layer_inputs: list[torch.Tensor],
        pre_activations: list[torch.Tensor],
        logits_gradient: torch.Tensor,
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
                width = self.weights[k].shape[2]
                below = torch.bmm(
                    delta, self.weights[k], out=self._buffer("delta", k, delta, width)
                )
                if self.activation == "relu":
                    torch.ops.aten.threshold_backward.grad_input(
                        below, pre_activations[k - 1], 0, grad_input=below
                    )
                else:
                    with torch.enable_grad():
                        z = pre_activations[k - 1].detach().requires_grad_()
                        (below,) = torch.autograd.grad(self._activate(z), z, below)
            yield k, delta
            if below is not None:
                delta = below

    def weight_gradient(
        self, delta: torch.Tensor, layer_input: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Gradient of a weight, shape ``(n_runs, fan_out, fan_in)``."""
        return torch.bmm(delta.mT, layer_input, out=out)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(n_runs, batch, widths[-1])``, without touching the buffers."""
        hidden = inputs
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight.mT)
            if k + 1 < self.n_layers:
                hidden = self._activate(hidden)
        return hidden
