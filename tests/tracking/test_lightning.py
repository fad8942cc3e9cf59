"""The callback under Lightning's Trainer, where that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from torch.optim import AdamW

from initscope.errors import UsageError
from initscope.tracking import (
    LightningVarianceCallback,
    VarianceTracker,
    read_variances,
    rotation_above,
)

INSTALLED = importlib.util.find_spec("lightning") is not None
needs_lightning = pytest.mark.skipif(not INSTALLED, reason="lightning is not installed")
BATCHES = [torch.randint(64, (4, 10), generator=torch.Generator().manual_seed(k)) for k in range(8)]
OPTIONS = {"every": 1, "distribution_every": 2,
           "quantities": ("weight", "gradient", "update", "activation")}  # fmt: skip


def optimizer_of(model: torch.nn.Module, kind: str) -> torch.optim.Optimizer:
    if kind == "nadam":
        return torch.optim.NAdam(model.parameters(), lr=0.01)
    return AdamW(model.parameters(), lr=0.01, weight_decay=0.1)


def fit(folder: Path, kind: str = "adamw", max_steps: int = 4, path: str | None = None,
        save: bool = False, alerts: Any = (), **options: Any) -> Any:  # fmt: skip
    from lightning import pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny.gpt2()

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.model(input_ids=batch, labels=batch).loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = optimizer_of(self, kind)
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
            schedule = {"scheduler": scheduler, "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    torch.manual_seed(0)
    module = Module().train()
    callback = LightningVarianceCallback(folder / "v", alerts=alerts, **OPTIONS)
    trainer = lightning.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
        default_root_dir=folder, gradient_clip_val=0.5, **options,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(BATCHES, batch_size=None)
    trainer.fit(module, loader, ckpt_path=path)
    if save:
        trainer.save_checkpoint(folder / "checkpoint.ckpt")
    return callback


def plain(kind: str, accumulate: int) -> pd.DataFrame:
    """The same training in a loop of one's own."""
    torch.manual_seed(0)
    model = tiny.gpt2().train()
    optimizer = optimizer_of(model, kind)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    with VarianceTracker(model, optimizer, **OPTIONS) as tracker:
        for step in range(4):
            optimizer.zero_grad()
            for k in range(accumulate):
                batch = BATCHES[step * accumulate + k]
                (model(input_ids=batch, labels=batch).loss / accumulate).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
    return tracker.to_frame()


@needs_lightning
@pytest.mark.parametrize(("kind", "accumulate"), [("adamw", 1), ("nadam", 1), ("adamw", 2)])
def test_the_rows_are_those_of_a_plain_loop(tmp_path: Path, kind: str, accumulate: int) -> None:
    fit(tmp_path, kind, accumulate_grad_batches=accumulate)
    keys = ["step", "kind", "stat", "layer", "role"]
    found = read_variances(tmp_path / "v").sort_values(keys, ignore_index=True)
    expected = plain(kind, accumulate).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-9)


@needs_lightning
def test_a_run_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path / "one")
    fit(tmp_path / "two", max_steps=2, save=True)
    fit(tmp_path / "two", path=str(tmp_path / "two" / "checkpoint.ckpt"))
    one, two = (read_variances(tmp_path / name / "v") for name in ("one", "two"))
    assert one["step"].max() == two["step"].max() == 4
    assert one.groupby("step").size().equals(two.groupby("step").size())


@needs_lightning
def test_an_alert_ends_a_run(tmp_path: Path) -> None:
    for limit, last, raised in ((1e-6, 1, ["rotation above 1e-06"]), (3.0, 4, [])):
        alert = rotation_above(limit, records=1, action="stop")
        callback = fit(tmp_path / f"{limit}", alerts=[alert])
        assert read_variances(tmp_path / f"{limit}" / "v")["step"].max() == last
        assert sorted({one.alert for one in callback.watch.raised}) == raised


@needs_lightning
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alerts": ["rotation"]}, "must hold alerts"),
        ({"every": 0}, "every must be a whole number"),
        ({"evry": 1}, "unknown option 'evry'. Did you mean 'every'"),
        ({"matrices": "some"}, "unknown matrices 'some'"),
        ({"quantities": ["weights"]}, "unknown quantity 'weights'"),
    ],
)
def test_bad_options_are_found_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LightningVarianceCallback("variances", **options)


@pytest.mark.skipif(INSTALLED, reason="lightning is installed")
def test_without_lightning_the_extra_is_named() -> None:
    with pytest.raises(UsageError, match=r"needs lightning: pip install 'initscope\[lightning\]'"):
        LightningVarianceCallback("variances")
