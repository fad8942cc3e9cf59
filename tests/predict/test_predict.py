"""Predictions from a config.json: against the models of transformers, and trained weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers
import torch
import transformers
from torch import nn

from initscope.analysis.trajectories import weight_std
from initscope.cli import main
from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.plots import weights_through_training
from initscope.predict import TransformerConfig, predict
from initscope.predict.rounding import unchanged_share
from initscope.theory import adamw_equilibrium_rms, residual_stream_variance
from initscope.tracking import VarianceTracker, weight_matrices

SIZES = tiny_transformers.SIZES | {"max_position_embeddings": 32}
GEMMA = {"num_key_value_heads": 2, "head_dim": 16}
OPT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48,
    "vocab_size": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 30,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "gpt2": lambda: transformers.GPT2Config(**tiny_transformers.GPT_SIZES),
    "gpt_bigcode": lambda: transformers.GPTBigCodeConfig(**tiny_transformers.GPT_SIZES),
    "llama": lambda: transformers.LlamaConfig(**SIZES, num_key_value_heads=2),
    "mistral": lambda: transformers.MistralConfig(**SIZES, num_key_value_heads=2),
    "qwen2": lambda: transformers.Qwen2Config(**SIZES, num_key_value_heads=2),
    "olmo": lambda: transformers.OlmoConfig(**SIZES),
    "gemma": lambda: transformers.GemmaConfig(**SIZES, **GEMMA),
    "starcoder2": lambda: transformers.Starcoder2Config(**SIZES, num_key_value_heads=2),
    "opt": lambda: transformers.OPTConfig(**OPT),
}


@pytest.mark.parametrize("family", CONFIGS)
def test_the_matrices_of_a_file_are_those_of_the_model(family: str, tmp_path: Path) -> None:
    """Roles, shapes, and the std of transformers, or of GPT-2's paper where versions differ."""
    config = CONFIGS[family]()
    config.save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_config(config)
    found = predict(tmp_path / "config.json")
    assert not found.config.unknown
    expected = {  # Conv1D stores (in, out)
        (layer, role): tuple(view.shape)[:: -1 if family == "gpt2" and "mlp" in role else 1]
        for layer, role, view in weight_matrices(model)
        if role != "position_embedding" or family != "opt"  # which has two rows more
    }
    rows = found.matrices[(found.matrices["role"] != "position_embedding") | (family != "opt")]
    shapes = {(row.layer, row.role): (row.rows, row.columns) for row in rows.itertuples()}
    assert shapes == expected
    embedding = next(v for _, role, v in weight_matrices(model) if role == "token_embedding")
    start = found.matrices.set_index("role").loc["token_embedding", "std_start"]
    assert float(embedding.std()) == pytest.approx(start, rel=0.1)
    assert predict(config).matrices.equals(found.matrices)  # the configuration itself


def streams(model: nn.Module, blocks: Any, tokens: torch.Tensor) -> tuple[list, list]:
    """Mean squares of the stream and of the gradient of the mean loss along it."""
    kept: list[torch.Tensor] = []
    hooks = [blocks[0].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))]
    hooks += [
        block.register_forward_hook(
            lambda _, inputs, out: kept.append(out if isinstance(out, torch.Tensor) else out[0])
        )
        for block in blocks
    ]
    logits = model(tokens).logits
    labels = torch.randint(logits.shape[-1], tokens.shape)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    gradients = torch.autograd.grad(loss, kept, retain_graph=True)
    loss.backward()
    for hook in hooks:
        hook.remove()
    return [x.square().mean().item() for x in kept], [g.square().mean().item() for g in gradients]


WIDE = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 352, "vocab_size": 1000, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "std"),
    [
        (transformers.LlamaConfig(**WIDE), 0.05),
        (transformers.GemmaConfig(**WIDE, head_dim=32), 0.04),
        (transformers.Starcoder2Config(**WIDE), 0.05),
        (transformers.OPTConfig(**{**OPT, "hidden_size": 128, "num_hidden_layers": 3,
                                   "ffn_dim": 512, "word_embed_proj_dim": 128,
                                   "max_position_embeddings": 64, "vocab_size": 1000}), 0.05),
    ],
    ids=["gate", "gate, wide heads, scaled embedding", "no gate", "ReLU, positions"],
)  # fmt: skip
def test_the_start_is_that_of_the_model(config: Any, std: float) -> None:
    """Mean over 16 draws: the stream, its gradient, and the gradients of q, k and v."""
    signals, gradients, weights = [], [], []
    for seed in range(16):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
        initialize_(model, "gpt2", std=std, residual_scaling=False)
        model.zero_grad()
        tokens = 2 + torch.stack([torch.randperm(998)[:48] for _ in range(2)])  # no padding
        body = getattr(model.model, "decoder", model.model)
        signal, gradient = streams(model, body.layers, tokens)
        signals.append(signal)
        gradients.append(gradient)
        weights.append(
            [
                [
                    getattr(block.self_attn, f"{role}_proj").weight.grad.square().mean().item()
                    for block in body.layers
                ]
                for role in "qkv"
            ]
        )
    found = predict(config, std=std, residual_scaling=False, seq_len=48, batch_tokens=96)
    blocks = found.blocks
    np.testing.assert_allclose(np.mean(signals, 0), blocks["signal_std"] ** 2, rtol=0.15)
    ratios = np.mean(gradients, 0) / blocks["gradient_std"].to_numpy() ** 2
    np.testing.assert_allclose(ratios, 1, rtol=0.25)
    # Rotated by their positions, keys do not lose what they share, as theory has it.
    above = 1.2 if isinstance(config, transformers.OPTConfig) else 1.4
    for role, measured in zip("qkv", np.mean(weights, 0), strict=True):
        rms = found.matrices.query(f"role == {role!r}")["gradient_rms"]
        assert (np.abs(np.log(measured / rms**2)) < np.log(1.3 if role == "v" else above)).all()


GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 100,
        "n_positions": 64}  # fmt: skip


def test_the_numbers_are_those_of_the_theory() -> None:
    found = predict(
        GPT2, learning_rate=3e-3, weight_decay=0.3, steps=3000, seq_len=32, betas=(0.9, 0.95)
    )
    stream = residual_stream_variance(2, 64, 32)
    np.testing.assert_allclose(found.blocks["signal_std"] ** 2, stream)
    # Softmax less the label, through the output matrix and the last norm, a mean over tokens.
    at_end = 0.02**2 * (1 - 1 / 100) / (32**2 * (stream[-1] + 1e-5))
    assert found.blocks["gradient_std"].iloc[-1] ** 2 == pytest.approx(at_end)
    longer = predict(GPT2, seq_len=32, batch_tokens=320)
    for part, name, power in (("blocks", "gradient_std", 1), ("matrices", "gradient_rms", 0.5)):
        one, ten = (getattr(each, part)[name] for each in (found, longer))
        np.testing.assert_allclose(one, 10**power * ten)
    table = found.matrices.set_index(["layer", "role"])
    assert table.loc[(1, "q"), "std_start"] == 0.02
    assert table.loc[(1, "mlp_out"), "std_start"] == pytest.approx(0.01)
    equilibrium = adamw_equilibrium_rms(3e-3, 0.3)
    np.testing.assert_allclose(table["std_equilibrium"], equilibrium, rtol=0.02)
    assert found.time_constant == pytest.approx(1 / (2 * 3e-3 * 0.3))
    # A smaller start takes longer, and nothing is left of either at the end of many constants.
    steps = table["steps_to_equilibrium"]
    assert steps[(1, "mlp_out")] > steps[(1, "q")] > 0
    assert found.start_left == pytest.approx(np.prod(1 - found.learning_rates * 0.3))


@pytest.mark.parametrize("std", [0.01, 0.2, 0.07])
def test_updates_to_the_equilibrium_are_those_of_the_trajectory(std: float) -> None:
    found = predict(
        GPT2, learning_rate=1e-3, weight_decay=0.1, steps=40_000, schedule="constant", std=std
    )
    row = found.matrices.set_index("role").loc["token_embedding"]
    curve = found.variances(range(0, 40_001, 20)).query("role == 'token_embedding'")
    near = (curve["value"] / row["std_equilibrium"] - 1).abs() < 0.1
    reached = curve["step"][near].min()
    assert reached == pytest.approx(row["steps_to_equilibrium"], rel=0.02, abs=20)


def record_of_noise(steps: int, rate: float, decay: float) -> pd.DataFrame:
    """The record of a GPT-2 whose gradients are noise."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(**{k: v for k, v in GPT2.items() if k != "model_type"})
    model = transformers.GPT2LMHeadModel(config)
    initialize_(model, "gpt2")
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    with VarianceTracker(model, optimizer, every=20, quantities=("weight",)) as tracker:
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
    return tracker.to_frame()


def test_it_lies_on_the_record_of_a_model_that_sees_noise() -> None:
    record = record_of_noise(200, 2e-3, 1.0)
    found = predict(GPT2, learning_rate=2e-3, weight_decay=1.0, steps=200, schedule="constant")
    both = found.beside(record)
    assert set(both["step"]) == set(record["step"])
    assert set(both["role"]) == set(found.matrices["role"])
    assert both["ratio"].between(0.96, 1.04).all()
    # The same columns as a record's, so that figures take both.
    figure = weights_through_training(
        weight_std(record), weight_std(found.variances(sorted(set(record["step"]))))
    )
    assert "theory: noise alone" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("name", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
@pytest.mark.parametrize(("std", "step"), [(0.02, 3e-6), (0.02, 3e-5), (0.1, 1e-3)])
def test_weights_that_an_update_does_not_move(
    name: str, dtype: torch.dtype, std: float, step: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = (std * torch.randn(200_000, generator=generator)).to(dtype)
    updates = step * torch.randn(200_000, generator=generator)
    unchanged = ((weights.float() + updates).to(dtype) == weights).double().mean().item()
    assert unchanged_share(std, step, name) == pytest.approx(unchanged, abs=0.005)
    assert unchanged_share(std, step, "float32") < 0.01


def test_gradients_near_epsilon_are_said() -> None:
    smallest = predict(GPT2, seq_len=32).matrices["gradient_rms"].min()
    for factor, said in ((0.099, False), (0.101, True)):
        notes = predict(GPT2, seq_len=32, epsilon=factor * smallest).notes
        assert any("below ten times epsilon" in note for note in notes) == said


def test_what_a_format_does_not_hold_is_said() -> None:
    small = {"seq_len": 4, "batch_tokens": 10**9}
    single = predict(GPT2, dtype="float16", **small)
    assert single.blocks["underflows"].all()
    assert any("scale the loss" in note for note in single.notes)
    assert not predict(GPT2, dtype="bfloat16", **small).blocks["underflows"].any()
    # One wide layer of a large std writes 6.5e4 and more into the stream.
    wide = {"model_type": "llama", "n_layer": 1, "n_embd": 16, "n_head": 1, "vocab_size": 9,
            "intermediate_size": 10**8}  # fmt: skip
    found = predict(wide, std=1.0, dtype="float16", seq_len=4)
    assert found.blocks["overflows"].tolist() == [False, True]
    assert any("leaves the range of float16" in note for note in found.notes)


def test_of_a_family_that_is_not_known_only_the_training_is_predicted() -> None:
    bert = transformers.BertConfig(**tiny_transformers.SIZES).to_dict()
    found = predict(bert, learning_rate=1e-3, weight_decay=0.1, steps=10)
    assert found.blocks.empty
    assert "blocks of model_type 'bert' are built is not known" in found.notes[0]
    assert found.matrices["gradient_rms"].isna().all()
    assert found.matrices["std_end"].notna().all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "names no size n_embd or hidden_size"),
        ({"n_embd": 64, "n_layer": "2"}, "n_layer of the config must be a whole number"),
        ({"n_embd": 64, "n_layer": 2, "n_head": 3}, "no multiple of 3"),
        ({"n_embd": 64, "n_layer": 2, "initializer_range": -1}, "std of the config must be"),
    ],
)
def test_sizes_that_are_none_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TransformerConfig.read({"model_type": "gpt2"} | values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5}, "steps are of no use without a learning_rate"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": 1e-3, "steps": 5, "warmup_steps": 6}, "warmup_steps is 6 of 5 steps"),
        ({"seq_len": 65}, "the model takes 64 tokens"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(GPT2, **options)
    with pytest.raises(UsageError, match="with a learning_rate and steps"):
        predict(GPT2).variances()


def test_other_matrices_are_not_laid_beside() -> None:
    found = predict(GPT2, learning_rate=1e-3, steps=10)
    rows = {"step": [0], "layer": [1], "role": ["0"], "kind": ["weight"], "stat": ["std"]}
    with pytest.raises(UsageError, match="its roles are 0"):
        found.beside(pd.DataFrame({**rows, "value": [0.1]}))


# --- The command --------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(json.dumps(GPT2 | {"n_layer": 15}))
    return "config.json"


TRAINING = ["--learning-rate", "1e-3", "--weight-decay", "0.1", "--steps", "500", "--seq-len", "8"]
TRAINED = {"learning_rate": 1e-3, "weight_decay": 0.1, "steps": 500, "seq_len": 8}


def test_the_command_prints_the_tables(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--config", config, *TRAINING]) == 0
    out = capsys.readouterr().out
    found = predict(config, **TRAINED)
    assert "gpt2: 15 blocks of 64 channels, 4 heads of 16, MLP of 256\n" in out
    assert f"loss at the start: {found.initial_loss:.3f}" in out
    (last,) = [line.split() for line in out.splitlines() if line.startswith("  15 ")]
    assert float(last[1]) == pytest.approx(found.blocks["signal_std"].iloc[15], rel=0.01)
    start, end = [line.split() for line in out.splitlines() if line.startswith("  mlp_out ")]
    assert start[1:7] == ["1", "to", "15", "64", "x", "256"]
    mlp_out = found.matrices.query("role == 'mlp_out'")
    assert float(end[1]) == pytest.approx(mlp_out["std_equilibrium"].iloc[0], rel=0.01)
    assert float(end[3]) == pytest.approx(mlp_out["std_end"].iloc[0], rel=0.01)
    assert len(out.splitlines()) < 50
    assert max(map(len, out.splitlines())) <= 80
    assert main(["predict", "--config", config, "--all", "--seq-len", "8"]) == 0
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line[2:4].strip().isdigit()]) == 16
    assert "Under AdamW" not in out


def test_the_command_prints_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--config", config, "--json", *TRAINING]) == 0
    read = json.loads(capsys.readouterr().out)
    found = predict(config, **TRAINED)
    assert read["start_left"] == found.start_left
    assert pd.DataFrame(read["matrices"])["std_end"].equals(found.matrices["std_end"])
    assert read["blocks"][0]["logit_std"] is None


def test_a_file_is_read_without_torch_and_transformers(config: str) -> None:
    code = (
        "import sys\nfrom initscope.cli import main\n"
        f"assert main(['predict', '--config', {config!r}]) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [None, 3])
def test_rates_and_decays_at_the_ends_of_the_range_of_floats(steps: int | None) -> None:
    """What is told is finite or says that nothing is reached; and nothing overflows on the way."""
    model = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
    sizes = [5e-324, 1e-320, 1e-310, 1e-200, 1e-10, 1.0]
    for rate in sizes:
        for decay in [0.0, *sizes]:
            found = predict(model, learning_rate=rate, weight_decay=decay, steps=steps)
            away = found.matrices["steps_to_equilibrium"]
            assert (away >= 0).all()
            if not decay:
                assert np.isinf(away).all()
                assert np.isinf(found.time_constant)
            assert found.time_constant == pytest.approx(0.5 / rate / decay if decay else np.inf)
