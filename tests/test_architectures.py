"""The page on architectures is what the code does today, and nothing in it is silent."""

from __future__ import annotations

import logging

import pytest
from architecture_table import HEAD, PAGE, call, row
from architectures import ARCHITECTURES

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.tracking import layer_variances

COST = 6  # column


def page_rows() -> dict[str, list[str]]:
    _, _, table = PAGE.read_text().partition("* - Architecture")
    rows = [part.rstrip("`\n").split("\n  - ") for part in table.split("\n* - ")[1:]]
    return {cells[0]: [cell.strip("- ") for cell in cells] for cells in rows}


def test_the_page_has_every_architecture_and_says_what_its_columns_are() -> None:
    assert len(ARCHITECTURES) >= 60
    expected = [f"{name} ({one.source})" for name, one in ARCHITECTURES.items()]
    assert list(page_rows()) == expected
    beginning = HEAD.partition("{sources}")[2].partition("```")[0]
    assert beginning.replace("{{", "{") in PAGE.read_text()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_is_what_the_code_does(name: str) -> None:
    one = row(name, with_cost=False)
    found = page_rows()[f"{name} ({one.source})"]
    expected = one.cells()
    for column, (on_page, now) in enumerate(zip(found, expected, strict=True)):
        assert column == COST or on_page == now, column
    assert one.all == 1.0
    assert one.unexplained == 0  # every parameter is in the report of initialize_
    assert one.set == 1.0 or one.reasons
    assert found[COST].endswith("%")
    assert float(found[COST].removesuffix("%")) > 0


@pytest.mark.parametrize("name", ["Mixtral", "LSTM", "two towers, Bilinear", "Llama", "resnet"])
def test_what_is_not_measured_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "initscope.tracking")
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    layer_variances(model, architecture.batch())
    (record,) = [r for r in caplog.records if r.name == "initscope.tracking"]
    if name in ("Llama", "resnet"):
        assert record.levelno == logging.INFO
        assert "hold 100.0% of the weights" in record.message
        return
    assert record.levelno == logging.WARNING
    largest = {
        "Mixtral": "model.layers.0.mlp.experts.gate_up_proj",
        "LSTM": "rnn.weight_hh_l0",
        "two towers, Bilinear": "compare.weight",
    }[name]
    assert f"not measured: {largest}" in record.message


def test_a_model_of_which_nothing_is_drawn_is_refused_with_one_clear_error() -> None:
    architecture = ARCHITECTURES["IA3 on Llama"]
    model = architecture.build()
    with pytest.raises(UsageError, match="no parameter of PeftModel can be set"):
        initialize_(model, "gpt2")
    call(model, architecture)
