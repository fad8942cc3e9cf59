"""The critical line and the correlation from layer to layer, held against what they state."""

import numpy as np
import pytest

from initscope.errors import UsageError
from initscope.theory import (
    chi,
    correlation_fixed_point,
    correlation_map,
    correlation_path,
    critical_line,
    critical_point,
    fixed_point,
    length_map,
)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "selu", "relu"])
def test_on_the_line_lengths_stand_still_and_gradients_keep_their_variance(activation):
    line = critical_line(activation, np.geomspace(0.05, 20, 40))
    q, w, b, _ = line
    # A negative bias variance is none that a network can have.
    there = b >= 0
    np.testing.assert_allclose(length_map(q, activation, w, b * there)[there], q[there], rtol=1e-9)
    np.testing.assert_allclose(chi(activation, w, b * there, q=q), np.ones_like(q), rtol=1e-9)


def test_the_line_of_tanh_goes_through_the_critical_point():
    point = critical_point("tanh", 0.05)
    line = critical_line("tanh", np.geomspace(1e-3, 10, 20_000))
    at = np.abs(line.q - float(point.q)).argmin()
    assert line.sigma_w2[at] == pytest.approx(float(point.sigma_w2), rel=1e-3)
    assert line.sigma_b2[at] == pytest.approx(0.05, rel=1e-2)
    assert line.stable.all()


def test_stable_is_where_iterating_leads_back():
    line = critical_line("gelu", np.geomspace(0.5, 30, 300))
    there = line.sigma_b2 >= 0
    assert 0 < line.stable[there].mean() < 1
    steep = []
    for q, w, b in zip(*(column[there] for column in line[:3]), strict=True):
        near = np.array([0.999, 1.001]) * q
        steep.append(np.ptp(length_map(near, "gelu", w, b)) / np.ptp(near))
    sure = np.abs(np.array(steep) - 1) > 1e-2
    np.testing.assert_array_equal(line.stable[there][sure], (np.array(steep) <= 1)[sure])


@pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(1.0, 0.05), (3.0, 0.05), (1.5, 0.2)])
def test_a_correlation_goes_by_the_map_to_its_fixed_point(sigma_w2, sigma_b2):
    q = float(fixed_point("tanh", sigma_w2, sigma_b2))
    path = correlation_path(0.5, 400, "tanh", sigma_w2, sigma_b2, q=q)
    assert path.shape == (401,)
    first_input = (q - sigma_b2) / sigma_w2
    assert path[1] == pytest.approx((sigma_w2 * first_input * 0.5 + sigma_b2) / q)
    np.testing.assert_allclose(
        path[2:], correlation_map(path[1:-1], "tanh", sigma_w2, sigma_b2), atol=1e-9
    )
    end = float(correlation_fixed_point("tanh", sigma_w2, sigma_b2))
    assert path[-1] == pytest.approx(end, abs=1e-4)


def test_bad_input_is_one_sentence():
    for q in ([2.0, 1.0], [1.0, 1.0, 2.0]):
        with pytest.raises(UsageError, match="q must ascend"):
            critical_line("tanh", q)
    with pytest.raises(UsageError, match="q must be above 0 and at least sigma_b2"):
        correlation_path(0.5, 3, "tanh", 1.0, 0.5, q=0.1)
    with pytest.raises(UsageError, match="correlation"):
        correlation_path(2.0, 3, "tanh", 1.0, q=1.0)
