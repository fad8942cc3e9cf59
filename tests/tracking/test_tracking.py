from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import MLP
from initscope.tracking import layer_variances, record_variances

summed = partial(cross_entropy, reduction="sum")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(widths: list[int], scheme: str = "kaiming", activation: str = "relu", **options) -> MLP:
    model = MLP(widths, activation)
    initialize_(model, scheme, generator=generator(), **options)
    return model


def batch(n: int, n_features: int, n_classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    source = generator(1)
    inputs = torch.randn(n, n_features, generator=source)
    return inputs, torch.randint(0, n_classes, (n,), generator=source)


def values(frame: pd.DataFrame, stat: str) -> list[float]:
    return frame[frame["stat"] == stat]["value"].tolist()


# --- closed forms --------------------------------------------------------------------------


def test_kaiming_keeps_forward_variance_at_two_in_a_relu_network() -> None:
    # He et al. (2015, eq. 10): Var[W] = 2/n keeps Var[z] from layer to layer; inputs of mean
    # square 1 start it at 2.
    frame = layer_variances(mlp([1024] * 6), batch(512, 1024)[0])
    # The spread at finite width grows with depth, in proportion to 1/width (about 5/1024 here).
    np.testing.assert_allclose(values(frame, "forward_variance"), 2.0, rtol=0.15)
    np.testing.assert_allclose(values(frame, "dead_fraction"), 0.0, atol=0.02)


def test_kaiming_keeps_backward_mean_square_in_a_relu_network() -> None:
    # Var[W] = 2/n backward too, for equal widths (eq. 14): it starts at the mean square of the
    # weights of a linear loss, 1.
    model = mlp([1024] * 6)
    inputs, _ = batch(512, 1024)
    direction = torch.randn(512, 1024, generator=generator(2))
    frame = layer_variances(model, inputs, direction, lambda z, v: (z * v).sum())
    np.testing.assert_allclose(values(frame, "backward_mean_square"), 1.0, rtol=0.15)


def test_lecun_keeps_forward_variance_at_one_in_a_linear_network() -> None:
    frame = layer_variances(mlp([1024] * 5, "lecun", "identity"), batch(512, 1024)[0])
    np.testing.assert_allclose(values(frame, "forward_variance"), 1.0, rtol=0.1)
    np.testing.assert_allclose(values(frame, "std"), 1 / 32, rtol=0.01)


def test_std_of_half_the_critical_one_quarters_the_variance_each_layer() -> None:
    frame = layer_variances(
        mlp([1024] * 6, "normal", std=0.5 * np.sqrt(2 / 1024)), batch(512, 1024)[0]
    )
    expected = 2.0 * 0.25 ** np.arange(1, 6)
    np.testing.assert_allclose(values(frame, "forward_variance"), expected, rtol=0.15)


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (32, 10), (7, 3)])
def test_zero_weights_give_the_gradient_of_uniform_softmax(n: int, classes: int) -> None:
    model = mlp([5, classes], "normal", std=0.0)
    inputs, labels = batch(n, 5, classes)
    # Each row of dL/dz is (1/C - onehot)/n: mean 0, mean square (C - 1)/(C n)^2.
    expected = (classes - 1) / (classes * n) ** 2
    frame = layer_variances(model, inputs, labels)
    assert values(frame, "backward_variance") == pytest.approx([expected], rel=1e-6)
    assert values(frame, "backward_mean_square") == pytest.approx([expected], rel=1e-6)
    # For the summed loss, n^2 times as much.
    frame = layer_variances(model, inputs, labels, summed)
    assert values(frame, "backward_variance") == pytest.approx([expected * n**2], rel=1e-6)


def test_a_network_small_enough_for_paper() -> None:
    model = MLP([2, 2, 1])
    first, second = model.linear_layers
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        second.weight.copy_(torch.tensor([[3.0, 5.0]]))
        first.bias.zero_()
        second.bias.zero_()
    # z1 = (1, -2), (3, -1): the second unit is dead. z2 = 3, 9. dL/dz2 = 1, 1;
    # dL/dz1 = (3, 0), (3, 0); dL/dW2 = (4, 0); dL/dW1 = (3 * 4, 3 * 3; 0, 0).
    inputs = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    frame = layer_variances(model, inputs, torch.zeros(2), lambda z, _: z.sum(), step=4)
    expected = [
        ("activation", "forward_variance", 1, 59 / 16),
        ("activation", "forward_mean_square", 1, 15 / 4),
        ("weight", "std", 1, np.sqrt(1 / 2)),
        ("activation", "dead_fraction", 1, 1 / 2),
        ("gradient", "backward_variance", 1, 9 / 4),
        ("gradient", "backward_mean_square", 1, 9 / 2),
        ("gradient", "norm", 1, 15.0),
        ("activation", "forward_variance", 2, 9.0),
        ("activation", "forward_mean_square", 2, 45.0),
        ("weight", "std", 2, 1.0),
        ("gradient", "backward_variance", 2, 0.0),
        ("gradient", "backward_mean_square", 2, 1.0),
        ("gradient", "norm", 2, 4.0),
    ]
    roles = {1: "0", 2: "2"}
    assert list(frame.columns) == ["step", "layer", "role", "kind", "stat", "value"]
    found = frame.set_index(["kind", "stat", "layer"])
    assert len(found) == len(expected)
    assert found.index.is_unique
    for kind, stat, layer, value in expected:
        row = found.loc[(kind, stat, layer)]
        assert row["value"] == pytest.approx(value, rel=1e-6), (kind, stat, layer)
        assert (row["role"], row["step"]) == (roles[layer], 4)


# --- against a computation of its own ------------------------------------------------------


@settings(max_examples=40)
@given(
    widths=st.lists(st.integers(1, 20), min_size=2, max_size=6),
    n=st.integers(1, 30),
    activation=st.sampled_from(["relu", "tanh", "gelu", "identity"]),
    seed=st.integers(0, 2**31),
    std=st.floats(1e-3, 2.0),
)
def test_agrees_with_autograd_on_a_functional_network(
    widths: list[int], n: int, activation: str, seed: int, std: float
) -> None:
    model = MLP(widths, activation)
    source = generator(seed)
    initialize_(model, "normal", std=std, bias_std=0.1, generator=source)
    inputs = torch.randn(n, widths[0], generator=source)
    labels = torch.randint(0, widths[-1], (n,), generator=source)
    frame = layer_variances(model, inputs, labels)

    phi = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "gelu": nn.functional.gelu,
        "identity": lambda z: z,
    }
    weights = [layer.weight.detach().clone().requires_grad_() for layer in model.linear_layers]
    h, z = inputs, []
    for weight, layer in zip(weights, model.linear_layers, strict=True):
        z.append(nn.functional.linear(h, weight, layer.bias.detach()))
        h = phi[activation](z[-1])
    loss = -torch.log_softmax(z[-1], dim=1)[torch.arange(n), labels].mean()
    gradients = torch.autograd.grad(loss, [*z, *weights])
    dz, dw = gradients[: len(z)], gradients[len(z) :]

    def double(tensors: object) -> list[np.ndarray]:
        return [tensor.detach().numpy().astype(np.float64) for tensor in tensors]

    expected = {
        "forward_variance": [x.var() for x in double(z)],
        "forward_mean_square": [(x**2).mean() for x in double(z)],
        "backward_variance": [x.var() for x in double(dz)],
        "backward_mean_square": [(x**2).mean() for x in double(dz)],
        "norm": [np.linalg.norm(x) for x in double(dw)],
        "std": [x.std() for x in double(weights)],
    }
    if activation == "relu":
        expected["dead_fraction"] = [(x <= 0).all(axis=0).mean() for x in double(z[:-1])]
    for stat, numbers in expected.items():
        # Float32 rounding may differ between the two; the floor is far below what is measured.
        np.testing.assert_allclose(
            values(frame, stat), numbers, rtol=1e-4, atol=1e-12, err_msg=stat
        )
    assert frame["layer"].tolist() == sorted(frame["layer"])


def test_tiny_variances_keep_their_digits() -> None:
    # A ReLU network without biases is homogeneous: halving every weight 30 times scales z of
    # layer l by 2^(-30 l), exactly in floating point.
    model = mlp([64] * 4)
    inputs, _ = batch(50, 64)
    before = values(layer_variances(model, inputs), "forward_variance")
    with torch.no_grad():
        for layer in model.linear_layers:
            layer.weight.mul_(2.0**-30)
    after = values(layer_variances(model, inputs), "forward_variance")
    scales = 2.0 ** (-60.0 * np.arange(1, 4))
    assert after[-1] < 1e-50
    np.testing.assert_allclose(after, np.array(before) * scales, rtol=1e-12)


def test_variance_small_beside_the_mean_keeps_its_digits() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    inputs = torch.tensor([[4096.0], [4096.0 + 2**-11]])
    frame = layer_variances(model, inputs)
    assert values(frame, "forward_variance") == pytest.approx([2.0**-24], rel=1e-9)


def test_overflow_is_reported_as_it_is() -> None:
    model = mlp([16, 16, 16, 3], "normal", std=1e30)
    frame = layer_variances(model, *batch(8, 16, 3))
    first, *later = values(frame, "forward_mean_square")
    assert 1e60 < first < 1e63  # the values fit float32, their squares only float64
    assert not np.isfinite(later).any()
    assert not np.isfinite(values(frame, "backward_variance")).all()
    assert len(frame) == 3 * 6 + 2


def test_width_one_and_batch_of_one() -> None:
    model = mlp([1, 1, 1], bias_std=1.0)
    frame = layer_variances(model, torch.ones(1, 1), torch.zeros(1, dtype=torch.long))
    assert values(frame, "forward_variance") == [0.0, 0.0]
    assert values(frame, "std") == [0.0, 0.0]
    assert np.isfinite(frame["value"]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = mlp([128, 128, 10])
    inputs, labels = batch(64, 128)
    expected = layer_variances(model, inputs, labels)
    found = layer_variances(model.to(dtype), inputs.to(dtype), labels)
    np.testing.assert_allclose(found["value"], expected["value"], rtol=0.05, atol=1e-6)


# --- dead units ----------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
def test_dead_units_are_those_off_on_every_example(inplace: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 4), nn.Tanh())
    initialize_(model, "kaiming", generator=generator())
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    inputs, labels = batch(400, 6, 4)
    frame = layer_variances(model, inputs, labels)
    # None for tanh either, which is 0 only at 0.
    assert values(frame, "dead_fraction") == [3 / 8, 0.0]
    expected = model[0](inputs).detach().double().var(correction=0).item()
    assert values(frame, "forward_variance")[0] == pytest.approx(expected, rel=1e-12)


def test_in_place_activation_changes_no_value() -> None:
    inputs, labels = batch(20, 6, 4)
    frames = []
    for inplace in (False, True):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace), nn.Linear(8, 4))
        initialize_(model, "kaiming", generator=generator())
        frames.append(layer_variances(model, inputs, labels))
    pd.testing.assert_frame_equal(*frames)


def test_nan_is_not_dead_and_no_activation_gives_no_row() -> None:
    model = mlp([4, 5, 3])
    frame = layer_variances(model, torch.full((2, 4), float("nan")))
    assert values(frame, "dead_fraction") == [0.0]
    assert np.isnan(values(frame, "forward_variance")).all()
    assert values(layer_variances(nn.Linear(4, 3), torch.zeros(2, 4)), "dead_fraction") == []


# --- the model is left as it was -----------------------------------------------------------


class Busy(nn.Module):
    """A model with all that a pass may change: dropout, running statistics, frozen weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        initialize_(self, "kaiming", generator=generator())
        self.body[0].weight.requires_grad_(False)
        self.body[4].bias.requires_grad_(False)
        self.body[4].weight.grad = torch.full((3, 8), 7.0)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs)


def state(model: nn.Module) -> dict[str, object]:
    return {
        "state_dict": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "grad": {name: None if p.grad is None else p.grad.clone() for name, p in named(model)},
        "requires_grad": {name: p.requires_grad for name, p in named(model)},
        "training": [module.training for module in model.modules()],
        "hooks": hooks(model),
        "rng": torch.get_rng_state(),
        "grad_enabled": torch.is_grad_enabled(),
    }


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())


def hooks(model: nn.Module) -> int:
    found = 0
    for module in model.modules():
        found += len(module._forward_hooks) + len(module._forward_pre_hooks)
        found += len(module._backward_hooks) + len(module._backward_pre_hooks)
    return found + sum(len(p._backward_hooks or ()) for p in model.parameters())


def assert_same_state(one: dict[str, object], other: dict[str, object]) -> None:
    assert one.keys() == other.keys()
    for key in ("requires_grad", "training", "hooks", "grad_enabled"):
        assert one[key] == other[key], key
    assert torch.equal(one["rng"], other["rng"])
    for key in ("state_dict", "grad"):
        assert one[key].keys() == other[key].keys()
        for name, tensor in one[key].items():
            same = other[key][name]
            assert (tensor is None and same is None) or torch.equal(tensor, same), (key, name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_labels", [True, False])
def test_model_and_random_state_are_left_as_they_were(training: bool, with_labels: bool) -> None:
    model = Busy().train(training)
    inputs, labels = batch(16, 6, 3)
    before = state(model)
    frame = layer_variances(model, inputs, labels if with_labels else None)
    assert_same_state(before, state(model))
    assert set(frame["kind"]) == {"activation", "weight"} | ({"gradient"} if with_labels else set())
    assert inputs.grad is None
    assert not inputs.requires_grad


def broken_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("a loss that fails")


@pytest.mark.parametrize("where", ["loss", "forward", "backward"])
def test_nothing_is_left_behind_after_an_exception(where: str) -> None:
    model = Busy()
    inputs, labels = batch(16, 6, 3)
    before = state(model)
    if where == "loss":
        with pytest.raises(RuntimeError, match="a loss that fails"):
            layer_variances(model, inputs, labels, broken_loss)
    elif where == "forward":
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            layer_variances(model, inputs[:, :5], labels)
    else:

        class Failing(torch.autograd.Function):
            @staticmethod
            def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
                return x.sum()

            @staticmethod
            def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
                raise RuntimeError("a backward pass that fails")

        with pytest.raises(RuntimeError, match="a backward pass that fails"):
            layer_variances(model, inputs, labels, lambda z, _: Failing.apply(z))
    assert_same_state(before, state(model))


def test_training_is_the_same_bit_by_bit_with_and_without_recording() -> None:
    inputs, labels = batch(16, 6, 3)

    def train(recorded: bool) -> tuple[nn.Module, list[torch.Tensor], list[pd.DataFrame]]:
        torch.manual_seed(5)  # for dropout
        model = Busy()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        seen, frames = [], []
        for step in range(4):
            optimizer.zero_grad()
            if recorded:
                with record_variances(model) as record:
                    outputs = model(inputs)
                    cross_entropy(outputs, labels).backward()
                frames.append(record.to_frame(step))
            else:
                outputs = model(inputs)
                cross_entropy(outputs, labels).backward()
            seen += [outputs, *(p.grad for p in model.parameters() if p.grad is not None)]
            optimizer.step()
        return model, [tensor.detach().clone() for tensor in seen], frames

    plain, seen, _ = train(recorded=False)
    tracked, seen_tracked, frames = train(recorded=True)
    assert len(seen) == len(seen_tracked)
    assert all(torch.equal(a, b) for a, b in zip(seen, seen_tracked, strict=True))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, tracked.state_dict()[name]), name
    assert hooks(tracked) == 0
    # What was recorded is that of the step: the norm is that of the gradient just made.
    norm = values(frames[-1], "norm")
    expected = tracked.get_submodule("body.4").weight.grad.double().norm().item()
    assert norm == pytest.approx([expected], rel=1e-12)
    assert [frame["step"].unique().tolist() for frame in frames] == [[0], [1], [2], [3]]


def test_hooks_are_gone_after_an_exception_inside_the_recording() -> None:
    model = mlp([6, 8, 3])
    inputs, labels = batch(16, 6, 3)
    seen = []

    def interrupted() -> None:
        with record_variances(model) as record:
            seen.extend([record, cross_entropy(model(inputs), labels)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert hooks(model) == 0
    record, loss = seen
    loss.backward()  # the hooks on its tensors are gone too
    assert set(record.to_frame()["kind"]) == {"activation", "weight"}


def test_gradient_is_measured_before_it_is_added_to_an_old_one() -> None:
    model = mlp([6, 8, 3])
    inputs, labels = batch(16, 6, 3)
    norms = []
    for _ in range(2):  # without zero_grad
        with record_variances(model) as record:
            cross_entropy(model(inputs), labels).backward()
        norms.append(values(record.to_frame(), "norm"))
    assert norms[0] == norms[1]
    assert norms[0] == values(layer_variances(model, inputs, labels), "norm")


# --- other models --------------------------------------------------------------------------


def test_frozen_weights_are_measured_like_the_others() -> None:
    inputs, labels = batch(16, 6, 3)
    model = mlp([6, 8, 8, 3])
    expected = layer_variances(model, inputs, labels)
    model.requires_grad_(False)
    pd.testing.assert_frame_equal(layer_variances(model, inputs, labels), expected)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_switched_off(context: type) -> None:
    inputs, labels = batch(16, 6, 3)
    model = mlp([6, 8, 3])
    expected = layer_variances(model, inputs, labels)
    with context():
        found = layer_variances(model, inputs, labels)
        assert not torch.is_grad_enabled()
    pd.testing.assert_frame_equal(found, expected)


def test_a_layer_called_twice_is_two_layers_of_one_weight() -> None:
    layer = nn.Linear(5, 5)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    inputs, labels = batch(9, 5, 5)
    frame = layer_variances(model, inputs, labels)
    assert frame["layer"].unique().tolist() == [1, 2]
    assert set(frame["role"]) == {"0"}
    cross_entropy(model(inputs), labels).backward()
    expected = layer.weight.grad.double().norm().item()
    assert values(frame, "norm") == pytest.approx([expected, expected], rel=1e-12)


def test_parametrized_weight_has_variances() -> None:
    model = mlp([6, 8, 3])
    inputs, labels = batch(16, 6, 3)
    nn.utils.parametrizations.orthogonal(model[0])
    frame = layer_variances(model, inputs, labels)
    assert len(values(frame, "backward_variance")) == 2
    expected = model[0].weight.detach().double().std(correction=0).item()
    assert values(frame, "std")[0] == pytest.approx(expected, rel=1e-9)


def test_gpt2_layers_in_order_of_execution() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=2, attn_implementation="eager"
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.randint(0, 50, (3, 12), generator=generator())

    def loss_fn(outputs: object, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    before = state(model)
    frame = layer_variances(model, tokens, tokens, loss_fn)
    assert_same_state(before, state(model))
    names = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    roles = [f"transformer.h.{block}.{name}" for block in (0, 1) for name in names] + ["lm_head"]
    assert frame.drop_duplicates("layer")["role"].tolist() == roles
    assert frame.drop_duplicates("layer")["layer"].tolist() == list(range(1, 10))
    # The activation is called on the output of c_fc only.
    dead = frame[frame["stat"] == "dead_fraction"]["role"].tolist()
    assert dead == ["transformer.h.0.mlp.c_fc", "transformer.h.1.mlp.c_fc"]

    outputs = model(tokens, labels=tokens)
    outputs.loss.backward()
    for layer, role in enumerate(roles, start=1):
        weight = model.get_submodule(role).weight
        row = frame[frame["layer"] == layer].set_index("stat")["value"]
        assert row["norm"] == pytest.approx(weight.grad.double().norm().item(), rel=1e-4)
        std = weight.detach().double().std(correction=0).item()
        assert row["std"] == pytest.approx(std, rel=1e-9)
        assert row["forward_variance"] > 0
        assert row["backward_variance"] > 0
    logits = outputs.logits.detach().double()
    assert values(frame, "forward_variance")[-1] == pytest.approx(
        logits.var(correction=0).item(), rel=1e-6
    )


# --- bad input -----------------------------------------------------------------------------


def test_bad_input_has_one_clear_error() -> None:
    model = mlp([6, 8, 3])
    inputs, labels = batch(16, 6, 3)
    with pytest.raises(UsageError, match="the batch is empty"):
        layer_variances(model, inputs[:0], labels[:0])
    with pytest.raises(UsageError, match=r"ReLU calls no nn.Linear, convolution or Conv1D"):
        layer_variances(nn.ReLU(), inputs)
    with pytest.raises(UsageError, match=r"the loss must be one number, not of shape \(16,\)"):
        layer_variances(model, inputs, labels, partial(cross_entropy, reduction="none"))
    assert hooks(model) == 0
