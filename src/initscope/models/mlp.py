"""The networks that are measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initscope import checks
from initscope.errors import UsageError, is_number, require, require_name, shown
from initscope.names import GPT2_PRESETS

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, OpenAIGPTLMHeadModel

__all__ = ["ACTIVATIONS", "GPT2_PRESETS", "MLP", "check_widths", "gpt2", "post_norm_gpt"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
    "identity": nn.Identity,
}
"""Activation functions by name."""


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return `widths` as a tuple of at least two positive whole numbers, or raise `UsageError`."""
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise UsageError(f"widths must be a list of whole numbers, not {shown(widths)}.")
    try:
        given = tuple(widths)
    except TypeError:  # an array or a tensor without axes
        raise UsageError(f"widths must be a list of whole numbers, not {shown(widths)}.") from None
    require(
        all(is_number(width, 1, whole=True) for width in given),
        f"widths {shown(given)} must be whole numbers of at least 1.",
    )
    require(
        len(given) >= 2,
        f"widths {shown(given)} describe no layer: give at least the inputs and the outputs.",
    )
    return tuple(int(width) for width in given)


class MLP(nn.Sequential):
    """Fully connected network: linear layers with an activation between them, none after the last.

    Parameters
    ----------
    widths
        Number of inputs, of units in each hidden layer, and of outputs; `len(widths) - 1` weight
        layers.
    activation
        One of :data:`ACTIVATIONS`.

    Input of shape ``(batch, widths[0])``, output of shape ``(batch, widths[-1])``. The weights
    are torch's defaults until :func:`initscope.init.initialize_` sets them.

    >>> MLP([784, 256, 128, 10]).widths
    (784, 256, 128, 10)
    """

    def __init__(self, widths: Sequence[int], activation: str = "relu") -> None:
        require_name("activation", activation, ACTIVATIONS)
        self.widths = check_widths(widths)
        self.activation = activation
        weights = sum(4 * before * after for before, after in itertools.pairwise(self.widths))
        checks.fits(f"a network of widths {shown(self.widths)}", weights)
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(self.widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])

    @property
    def linear_layers(self) -> list[nn.Linear]:
        """The weight layers, from input to output."""
        return [module for module in self if isinstance(module, nn.Linear)]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(batch, widths[-1])``, for `inputs` of shape ``(batch, widths[0])``."""
        if inputs.dim() < 2:
            raise UsageError(f"inputs must have shape (batch, ...), not {tuple(inputs.shape)}.")
        return super().forward(inputs.flatten(1))


MOST_BLOCKS = 10_000


def gpt2(preset: str = "124m", **overrides: Any) -> GPT2LMHeadModel:
    """GPT-2 with a language-modeling head, as transformers builds it, without dropout.

    Its weights are transformers' own, which differ from version to version (5.0 to 5.14 leave out
    the 1/sqrt(2 n_layer) of GPT-2), until ``initialize_(model, "gpt2")`` sets them.

    Parameters
    ----------
    preset
        One of :data:`GPT2_PRESETS`.
    **overrides
        Fields of `transformers.GPT2Config`, for example ``n_layer=6`` or ``vocab_size=65``.

    Returns
    -------
    transformers.GPT2LMHeadModel
        On the CPU. The output layer shares its weight with the token embedding.

    Raises
    ------
    UsageError
        For an unknown preset, a field that `GPT2Config` does not have, a size that is no whole
        number of at least 1, or a width that the heads do not divide.

    Examples
    --------
    >>> model = gpt2("nano12", n_layer=2)
    >>> model.transformer.h[0].attn.c_attn.weight.shape
    torch.Size([96, 288])
    """
    require_name("preset", preset, GPT2_PRESETS)
    from transformers import GPT2Config, GPT2LMHeadModel

    fields: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    fields |= {**GPT2_PRESETS[preset], **overrides}
    known = GPT2Config().to_dict()
    for name in overrides:
        require_name("field of GPT2Config", name, known)
    for name in GPT2_PRESETS[preset]:
        require(
            is_number(fields[name], 1, whole=True),
            f"{name} must be a whole number of at least 1, not {shown(fields[name])}.",
        )
    if fields["vocab_size"] <= GPT2Config().eos_token_id:
        # The token that starts and ends GPT-2's texts does not exist: transformers would warn.
        fields = {"bos_token_id": None, "eos_token_id": None, **fields}
    width, heads = fields["n_embd"], fields["n_head"]
    require(width % heads == 0, f"n_embd {width} is no multiple of n_head {heads}.")
    rows = fields["vocab_size"] + fields["n_positions"] + 12 * fields["n_layer"] * width
    checks.fits(
        f"a GPT-2 with n_layer {fields['n_layer']}, n_embd {width}, vocab_size "
        f"{fields['vocab_size']} and n_positions {fields['n_positions']}",
        4 * rows * width,
    )
    require(fields["n_layer"] <= MOST_BLOCKS, f"n_layer must be at most {MOST_BLOCKS:,}.")
    try:
        model = GPT2LMHeadModel(GPT2Config(**fields))
    except Exception as error:  # each version of transformers checks its fields in its own way
        given = ", ".join(f"{name}={shown(value)}" for name, value in overrides.items())
        raise UsageError(f"transformers makes no GPT-2 of {given}: {shown(str(error))}.") from error
    model.loss_type = "ForCausalLM"  # what it computes anyway, after a warning
    return model


def post_norm_gpt(like: GPT2LMHeadModel) -> OpenAIGPTLMHeadModel:
    """The first GPT, of the sizes of a GPT-2: the same blocks with LayerNorm after each sum.

    Radford et al. (2018); transformers' `OpenAIGPTLMHeadModel`. Its weights are transformers' own
    until ``initialize_(model, "gpt2")`` sets them.

    >>> model = post_norm_gpt(gpt2("nano12", n_layer=2))
    >>> len(model.transformer.h), model.config.n_embd
    (2, 96)
    """
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    for name in ("config", "transformer"):
        require(hasattr(like, name), f"like must be a GPT-2, not {shown(like)}.")
    names = (*GPT2_PRESETS["124m"], "resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon")
    fields = {name: getattr(like.config, name) for name in names}
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**fields))
