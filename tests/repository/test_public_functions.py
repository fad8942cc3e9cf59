"""Every public function refuses what it cannot use with one clear `UsageError`.

The arguments are in :mod:`hostile_calls`: a row a public function, in which one argument after the
other, and some pairs, are replaced by what does not belong there. A function without a row fails
here, so that a new one is tested at once.
"""

from __future__ import annotations

import inspect
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_calls import (
    IN_COLUMNS,
    ROWS,
    bounded_memory,
    hostile_values,
    needed,
    outcome,
    public_callables,
    tables_in,
)

from initscope import checks
from initscope.errors import UsageError, shown, unknown_name
from initscope.memory import require_memory

PUBLIC = public_callables()

EXEMPT = {
    # What a command does, and the files that it leaves.
    "initscope.chapter.": "called in chapters, with their own parameters: test_chapter.py",
    "initscope.extras.": "of packages, where they are imported: test_packaging.py",
    "initscope.cli.main": "the commands: test_cli.py, test_hostile_input.py",
    "initscope.reproduce.parameters.": "files of chapters: test_parameters.py, test_cli.py",
    "initscope.reproduce.": "a command: test_cli.py and test_reproduce.py",
    "initscope.reproduce.normalize.": "a step of reproduce, which hands it what nbformat has read",
    "initscope.reproduce.small_svg.": "a step of normalize: test_figures.py",
    "initscope.sweep.executors.": "a command's: test_hostile_input.py, test_executors.py",
    "initscope.devices.": "checks of other arguments: test_devices.py",
    "initscope.memory.": "asked before anything is allocated: test_devices.py",
    "initscope.yaml_files.": "files and options of a command: test_hostile_input.py, test_cli.py",
    "initscope.folder_lock.": "called before files are written: test_folder_lock.py",
    "initscope.sweep.": "run of a specification: test_hostile_input.py, test_sweep.py",
    "initscope.sweep.spec.": "a specification: test_hostile_input.py, test_sweep.py",
    "initscope.sweep.cost.": "a command's: test_hostile_input.py, test_sweep_cost.py",
    "initscope.sweep.records.": "files of a sweep, called by it: test_sweep.py",
    "initscope.pretrain.": "a command: test_hostile_input.py and test_pretrain.py",
    "initscope.pretrain.cost.": "a command's: test_pretrain.py",
    "initscope.pretrain.records.": "files of a run: test_damage.py, test_pretrain.py",
    "initscope.pretrain.spec.": "its specification: test_hostile_input.py",
    "initscope.records.": "files, also damaged ones: test_records.py",
    # What another library calls.
    "initscope.pretrain.trainer.": "called by transformers' Trainer: test_pretrain.py",
    "initscope.tracking.callback.VarianceCallback.on_": "called by transformers' Trainer",
    "initscope.tracking.json_lines.JsonLinesCallback.on_": "called by transformers' Trainer",
    "initscope.models.mlp.MLP.forward": "of a torch module: torch says what does not fit",
    "initscope.sweep.full_batch.full_batch_losses": "a training loop: test_rescaling.py",
    "initscope.models.gelu.": "a torch module inside of GPT-2: test_gelu.py",
    # Any name may be one on the hub.
    "initscope.data.mnist.load_mnist": "test_data.py",
    # What the package hands out, and nobody else makes.
    "initscope.data.dataset.Dataset": "made by the loaders",
    "initscope.data.text.Text": "made by load_text",
    "initscope.data.published_weights.": "files of others: test_published_weights.py",
    "initscope.theory.published_runs.Recipe": "made by the package, of published settings",
    "initscope.widgets.qkv_training.widget.QKVTraining.of_runs": "runs that were read before",
    "initscope.schema.require_length": "a check of other arguments: test_sweep.py",
    "initscope.data.tokenizers.Tokenizer": "made by load_tokenizer",
    "initscope.tracking.lightning_callback.": "needs lightning: test_lightning.py",
    "initscope.tracking.coverage.Coverage": "made by VarianceTracker",
    "initscope.tracking.layer_records.LayerRecord": "made by record_variances",
    "initscope.tracking.layer_records.VarianceRecord": "made by record_variances",
    "initscope.predict.config.TransformerConfig": "read from a config.json, which has a row",
    "initscope.predict.model_prediction.ModelPrediction": "made by predict",
    "initscope.theory.activations.Activation": "made by the package, for those with a name",
}
"""Beginnings of the names of what is public and has no row, and why."""


def exempt(name: str) -> bool:
    kind: Any = PUBLIC[name]
    if inspect.isclass(kind) and issubclass(kind, tuple | BaseException):
        return True  # results by name, and errors
    if name == "initscope.widgets.base.BookWidget":
        return True  # its subclasses have their rows
    return any(name.startswith(beginning) for beginning in EXEMPT)


def test_every_public_function_has_a_row_or_a_reason() -> None:
    missing = [name for name in PUBLIC if name not in ROWS and not exempt(name)]
    assert not missing, "add a row to ROWS in hostile_calls.py, or a leading underscore"
    assert not set(ROWS) - set(PUBLIC), "rows of what is not public"


@pytest.mark.parametrize("beginning", EXEMPT)
def test_every_reason_is_still_needed(beginning: str) -> None:
    assert any(name.startswith(beginning) and name not in ROWS for name in PUBLIC)


@pytest.fixture(autouse=True)
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own to write to, and memory that ends."""
    monkeypatch.chdir(tmp_path)
    with bounded_memory():
        yield


def found_at(name: str) -> Any:
    return PUBLIC[name]


@pytest.mark.parametrize("name", ROWS)
def test_a_valid_call_is_valid(name: str) -> None:
    row = ROWS[name]
    kind, message = outcome(found_at(name), row, {})
    # Where no valid call is cheap, what is given is refused, and names no replaced argument.
    assert kind == "valid" if row.valid else kind in ("refused", "unclear"), message


@pytest.mark.parametrize("name", ROWS)
def test_what_does_not_belong_there_is_refused(name: str) -> None:
    """Columns that can be spared are not taken from a table, and spoilt, one by one."""
    row, wrong = ROWS[name], []

    def tried(argument: str, kind: str, make: Callable[[], Any]) -> str:
        became, message = outcome(found_at(name), row, {argument: make})
        if became not in ("valid", "refused"):
            wrong.append(f"{argument} = {kind}: {became}: {message}")
        return became

    for argument, valid in row.base().items():
        for kind, make in hostile_values(valid, columns=False).items():
            tried(argument, kind, make)
        for _, table, put in tables_in(valid):

            def became(
                kind: str, columns: Sequence[Any], argument=argument, table=table, put=put
            ) -> str:
                change = IN_COLUMNS[kind]
                return tried(argument, f"{kind} {columns}", lambda: put(change(table, columns)))

            def spared(columns: Sequence[Any], became=became) -> bool:
                return became("without", columns) == "valid"

            found = needed(list(table.columns), spared)
            others = [column for column in table.columns if column not in found]
            for columns in [*([column] for column in found), others]:
                for kind in ("None in", "text in"):
                    if columns:
                        became(kind, columns)
    assert not wrong, "\n".join(wrong)


def test_the_columns_that_are_needed() -> None:
    tried = []

    def spared(columns: Sequence[str]) -> bool:
        tried.append(list(columns))
        return not {"c", "d", "g"} & set(columns)

    assert needed("abcdefgh", spared) == ["c", "d", "g"]
    assert ["a", "b"] in tried
    assert ["a"] not in tried


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if len(row.base()) > 1])
def test_two_at_once_are_refused(name: str) -> None:
    row, wrong = ROWS[name], []
    base = row.base()
    draw = random.Random(name)  # the same pairs every time
    pairs = list(itertools.combinations(base, 2))
    for _ in range(15):
        replaced = {
            argument: draw.choice(list(hostile_values(base[argument]).items()))
            for argument in draw.choice(pairs)
        }
        became, message = outcome(
            found_at(name), row, {argument: make for argument, (_, make) in replaced.items()}
        )
        if became not in ("valid", "refused"):
            given = ", ".join(f"{argument} = {kind}" for argument, (kind, _) in replaced.items())
            wrong.append(f"{given}: {became}: {message}")
    assert not wrong, "\n".join(wrong)


# --- The vocabulary of the messages ----------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("word", "'word'"),
        (0.1, "0.1"),
        (np.zeros((2, 2)), "array([[0., 0.], [0., 0.]])"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    for value in ("a" * 10**6, list(range(10**6)), np.arange(10**6), 10**400, 10**5000):
        assert len(shown(value)) <= 600
        assert "\n" not in shown(value)


def test_an_unknown_name_among_thousands_lists_a_few() -> None:
    message = str(unknown_name("role", object(), [f"role {k}" for k in range(5000)]))
    assert len(message) < 700
    assert message.endswith("and 4960 others.")


def test_more_than_the_machine_has_is_refused_with_both_figures() -> None:
    require_memory(1e3, "a little")
    with pytest.raises(
        UsageError, match=r"needs about 1e\+06 TB of memory for much, and .* has [\d.,]+ [GT]B"
    ):
        require_memory(1e18, "much")


@pytest.mark.parametrize("value", ["1", b"1", True, [True], ["1", 2.0], 1j, None, {1}, [None]])
def test_what_numpy_would_read_as_a_number_is_none(value: Any) -> None:
    with pytest.raises(UsageError, match="std must be a number or an array of numbers"):
        checks.real("std", value)
