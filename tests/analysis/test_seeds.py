"""Summaries over the seeds of a sweep, held against plain loops over its runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sweeps import SGD, run

from initscope.analysis import (
    divergence_share,
    gradient_norm_means,
    gradient_ratios_over_seeds,
    layer_medians,
    losses_over_seeds,
    median_grid,
    over_seeds,
    paired_losses,
    to_tidy,
)
from initscope.errors import UsageError
from initscope.sweep import SweepSpec

pytestmark = pytest.mark.filterwarnings("error")

STDS = (0.05, 0.3, 1e7)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Five seeds; with the largest std they diverge."""
    schemes = ("xavier", "kaiming")
    return run(
        SweepSpec(
            hidden=((8, 8),), stds=STDS, schemes=schemes, optimizers=(SGD,), seeds=5, epochs=3,
            probes=3,
        )
    )  # fmt: skip


def of_std(table: pd.DataFrame, std: float) -> pd.DataFrame:
    return table[(table["scheme"] == "normal") & (table["std"] == std)]


def test_percentiles_over_seeds(table: pd.DataFrame) -> None:
    normal = table[table["scheme"] == "normal"]
    found = over_seeds(normal, "test_accuracy")
    assert list(found.index) == list(STDS)
    for std in STDS:
        values = of_std(table, std)["test_accuracy"].to_numpy()
        expected = np.percentile(values, [10, 50, 90])
        assert found.loc[std, ["low", "median", "high"]].to_list() == pytest.approx(expected)
    # What is not finite does not count, and a std without a finite loss has no row.
    assert list(over_seeds(normal, "train_loss").index) == [0.05, 0.3]


def test_medians_on_a_grid() -> None:
    runs = pd.DataFrame(
        {"depth": [2, 2, 2, 4, 8], "std": [0.1, 0.1, 0.3, 0.1, 0.3], "x": [1, 3, 5, 7, math.nan]}
    )
    found = median_grid(runs, "depth", "std", "x")
    np.testing.assert_equal(found.to_numpy(), [[2, 5], [7, math.nan], [math.nan, math.nan]])
    assert (list(found.index), list(found.columns)) == ([2, 4, 8], [0.1, 0.3])


def test_the_share_that_diverges(table: pd.DataFrame) -> None:
    found = divergence_share(table[table["scheme"] == "normal"])
    assert found.to_dict() == {0.05: 0, 0.3: 0, 1e7: 1}
    some = of_std(table, 1e7).assign(diverged_step=[1, None, None, None, 2])
    assert divergence_share(some).to_dict() == {1e7: 0.4}


def test_losses_over_seeds_end_when_half_are_gone(table: pd.DataFrame) -> None:
    runs = of_std(table, 0.3).copy()
    losses = np.stack(runs["loss"].to_list()).astype(float)
    steps = np.asarray(runs["loss_step"].iloc[0])
    found = losses_over_seeds(runs)
    assert list(found.index) == list(steps)
    np.testing.assert_allclose(found["median"], np.median(losses, axis=0))
    np.testing.assert_allclose(found["low"], losses.min(axis=0))
    np.testing.assert_allclose(found["high"], losses.max(axis=0))
    assert (found["low"] < found["high"]).all()
    # Two of four lost from the second point on: no longer most of them; the first keeps a range.
    lost = losses.copy()
    lost[:2, 1:] = [[math.inf], [math.nan]]
    four = runs.assign(loss=list(lost)).iloc[:4]
    found = losses_over_seeds(four)
    assert list(found.index) == [steps[0]]
    # Of five, three are most; the losses that are gone do not count.
    found = losses_over_seeds(runs.assign(loss=list(lost)))
    assert list(found.index) == list(steps)
    np.testing.assert_allclose(found["median"].iloc[1:], np.median(losses[2:, 1:], axis=0))


def test_where_all_diverge_at_once_there_is_no_loss(table: pd.DataFrame) -> None:
    runs = of_std(table, 0.3)
    gone = [np.full(len(loss), math.nan) for loss in runs["loss"]]
    found = losses_over_seeds(runs.assign(loss=gone))
    assert len(found) == 0
    assert list(found.columns) == ["low", "median", "high"]


def test_pairs_are_of_one_seed(table: pd.DataFrame) -> None:
    shuffled = table.sample(frac=1, random_state=0)
    found = paired_losses(shuffled, "xavier", "kaiming")
    assert list(found.columns.unique(0)) == ["xavier", "kaiming", "difference"]
    assert list(found["difference"].columns) == [0, 1, 2, 3, 4, "mean"]
    of = {key: run["loss"].iloc[0] for key, run in table.groupby(["scheme", "seed"])}
    for seed in range(5):
        first, second = (np.asarray(of[s, seed], float) for s in ("xavier", "kaiming"))
        np.testing.assert_allclose(found["xavier", seed], first)
        np.testing.assert_allclose(found["difference", seed], second - first)
    means = found["kaiming", "mean"] - found["xavier", "mean"]
    np.testing.assert_allclose(found["difference", "mean"], means)
    assert list(found.index) == list(table["loss_step"].iloc[0])


def test_a_mean_ends_with_the_first_loss_that_is_gone(table: pd.DataFrame) -> None:
    is_gone = (table["scheme"] == "xavier") & (table["seed"] == 0)
    gone = table.assign(loss=table["loss"].where(~is_gone, table["loss"] * math.inf))
    found = paired_losses(gone, "xavier", "kaiming")
    assert found["xavier", "mean"].isna().all()
    assert found["difference", "mean"].isna().all()
    assert found["kaiming", "mean"].notna().all()


def test_schemes_that_are_no_pairs_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="unknown scheme second 'lecun'"):
        paired_losses(table, "xavier", "lecun")
    with pytest.raises(UsageError, match="are both 'xavier'"):
        paired_losses(table, "xavier", "xavier")
    without = table[(table["scheme"] != "kaiming") | (table["seed"] != 3)]
    with pytest.raises(UsageError, match="one run of each seed under xavier and kaiming"):
        paired_losses(without, "xavier", "kaiming")
    twice = pd.concat([table, table], ignore_index=True)
    with pytest.raises(UsageError, match="one run of each seed under xavier and kaiming"):
        paired_losses(twice, "xavier", "kaiming")
    later = table["loss_step"].where(table["scheme"] == "xavier", table["loss_step"] + 1)
    with pytest.raises(UsageError, match="different loss_step"):
        paired_losses(table.assign(loss_step=later), "xavier", "kaiming")


def norms_of(runs: pd.DataFrame) -> np.ndarray:
    return np.array([np.reshape(norms, (-1, 3)) for norms in runs["gradient_norm"]])


def test_ratios_of_gradients(table: pd.DataFrame) -> None:
    runs = of_std(table, 0.3)
    norms = norms_of(runs)
    ratios = norms[:, :, 0] / norms[:, :, 2]
    found = gradient_ratios_over_seeds(runs)
    assert list(found.index) == list(runs["probe_step"].iloc[0])
    np.testing.assert_allclose(found["median"], np.median(ratios, axis=0))
    np.testing.assert_allclose(found["low"], ratios.min(axis=0))
    np.testing.assert_allclose(found["high"], ratios.max(axis=0))
    # A step at which one seed has no ratio is left out, whatever the others have.
    for bad in (0.0, math.nan, math.inf):
        norms[1, 1, 0] = bad
        spoilt = runs.assign(gradient_norm=[one.ravel() for one in norms])
        steps = gradient_ratios_over_seeds(spoilt).index
        assert list(steps) == np.delete(runs["probe_step"].iloc[0], 1).tolist()


def test_means_of_gradient_norms_are_geometric(table: pd.DataFrame) -> None:
    runs = of_std(table, 0.3)
    norms = norms_of(runs)
    norms[0, 0, 1], norms[1, 0, 1] = 0.0, math.nan
    norms[:, -1, 2] = math.inf
    found = gradient_norm_means(runs.assign(gradient_norm=[one.ravel() for one in norms]))
    assert list(found.index) == [1, 2, 3]
    assert found.loc[1, "before"] == pytest.approx(stats.gmean(norms[:, 0, 0]))
    assert found.loc[1, "after"] == pytest.approx(stats.gmean(norms[:, -1, 0]))
    assert found.loc[2, "before"] == pytest.approx(stats.gmean(norms[2:, 0, 1]))
    assert math.isnan(found.loc[3, "after"])


def test_runs_of_several_depths_have_no_common_layers(table: pd.DataFrame) -> None:
    deeper = run(SweepSpec(hidden=((8,),), stds=(0.3,), optimizers=(SGD,), epochs=3, probes=3))
    both = pd.concat([of_std(table, 0.3), deeper], ignore_index=True)
    for function in (gradient_norm_means, gradient_ratios_over_seeds):
        with pytest.raises(UsageError, match="different gradient_norm"):
            function(both)


def test_medians_of_layers(table: pd.DataFrame) -> None:
    runs = of_std(table, 0.3)
    found = layer_medians(to_tidy(runs))
    stds = np.array([np.reshape(one, (-1, 3)) for one in runs["weight_std"]])
    for k, step in enumerate(runs["probe_step"].iloc[0]):
        for layer in (1, 2, 3):
            expected = np.median(stds[:, k, layer - 1])
            assert found["std", 0.3, layer, step] == pytest.approx(expected)
