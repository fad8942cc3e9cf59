"""Depth- and width-scaling rules against the numbers of their papers."""

from __future__ import annotations

import numpy as np
import pytest

from initscope.errors import UsageError
from initscope.theory import SCHEMES, depth_scaling, mu_parametrization
from initscope.theory.rule import Weight


def test_gpt2():
    scaling = depth_scaling("gpt2", 12, 768)
    np.testing.assert_allclose(scaling.attention_out, 0.02 / np.sqrt(24))
    np.testing.assert_allclose(scaling.mlp_in, 0.02)


def test_layer_index_rescaling():
    scaling = depth_scaling("lir", 9, 64, std=0.006)
    for std in scaling[:5]:
        np.testing.assert_allclose(std, 0.006 / np.sqrt([1, 2, 3, 4, 5, 6, 7, 8, 9]))
    assert scaling.embedding == 0.006


def test_xavier_based_rules():
    xavier = np.sqrt(2 / (512 + 512))
    ds_init = depth_scaling("ds_init", 4, 512)
    np.testing.assert_allclose(ds_init.query_key, xavier / np.sqrt([1, 2, 3, 4]))
    np.testing.assert_allclose(ds_init.mlp_in[0], np.sqrt(2 / (512 + 2048)))
    deepnorm = depth_scaling("deepnorm", 18, 512)
    assert deepnorm.residual_multiplier == pytest.approx(36**0.25)
    np.testing.assert_allclose(deepnorm.value, xavier * 144**-0.25)
    np.testing.assert_allclose(deepnorm.query_key, xavier)
    t_fixup = depth_scaling("t_fixup", 16, 512)
    np.testing.assert_allclose(t_fixup.value, xavier * 0.67 / 2)
    np.testing.assert_allclose(t_fixup.query_key, xavier)
    assert t_fixup.embedding == pytest.approx(512**-0.5 * 144**-0.25)
    fixup = depth_scaling("fixup", 8, 512)
    assert (fixup.mlp_out == 0).all()
    np.testing.assert_allclose(fixup.mlp_in, np.sqrt(2 / 512) * 16**-0.5)


def test_small_init_rules():
    small = np.sqrt(2 / (5 * 1024))
    np.testing.assert_allclose(depth_scaling("small_init", 3, 1024).mlp_out, small)
    np.testing.assert_allclose(depth_scaling("small_wang", 10, 1024).mlp_out, 2 / 10 / 32)
    spike = depth_scaling("spike_no_more", 8, 1024)
    assert spike.embedding == 1
    np.testing.assert_allclose(spike.mlp_out, small / 4)


def test_the_rule_mup_is_the_initialization_of_the_maximal_update_parametrization():
    table = mu_parametrization(1024, 256, std=0.05)
    rule = depth_scaling("mup", 5, 1024, base_width=256, std=0.05)
    assert rule.embedding == table.embedding_std
    for std in rule[:5]:
        np.testing.assert_allclose(std, table.hidden_std)


def test_completep_divides_the_branches_by_the_depth():
    shallow = depth_scaling("completep", 4, 64, base_width=32, base_depth=4)
    deep = depth_scaling("completep", 64, 64, base_width=32, base_depth=4)
    assert shallow.branch_multiplier == 1
    assert deep.branch_multiplier == 1 / 16
    np.testing.assert_array_equal(deep.mlp_out[:4], shallow.mlp_out)


@pytest.mark.parametrize("name", ["ds_init", "deepnorm", "t_fixup", "fixup"])
def test_what_stands_outside_of_the_blocks_keeps_the_scale_of_its_input(name):
    """Embeddings and the output have the stream's channels; a layer beside them has its fan-in."""

    def std(role, fan_in):
        return SCHEMES[name](Weight(fan_in, 20, role, 0, 6, 12, 64)).std

    assert std("outside", 30) == pytest.approx(30**-0.5)
    if name != "fixup":  # which starts the output at 0
        assert std("output", 30) == pytest.approx(64**-0.5)
    if name != "t_fixup":  # which has a rule for embeddings
        assert std("embedding", 30) == pytest.approx(64**-0.5)


def test_mu_parametrization_table():
    scaled = mu_parametrization(np.array([256, 1024]), 256, std=0.02, lr=2e-3, head_dim=64)
    np.testing.assert_allclose(scaled.hidden_std, [0.02, 0.01])
    np.testing.assert_allclose(scaled.hidden_lr, [2e-3, 5e-4])
    np.testing.assert_allclose(scaled.logit_multiplier, [1, 0.25])
    np.testing.assert_allclose(scaled.embedding_lr, 2e-3)
    np.testing.assert_allclose(scaled.attention_multiplier, 1 / 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: depth_scaling("gpt3", 12, 768), "Did you mean 'gpt2'"),
        (lambda: depth_scaling("gpt2", 0, 768), "n_layer must be a whole number"),
        (lambda: depth_scaling("gpt2", 12, 768, std=0), "std must be above 0"),
        (lambda: mu_parametrization(0, 256), "width must be above 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
