"""Whatever is typed: an exit status and at most one line, never a traceback, a hang or the memory.

The tables are derived from the fields of the specifications and from the options of the command
line, so that a new one is tested at once. Every case ends before anything is trained: where all
that was given is right, a file that is no record of ours stands in the way of the results.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import io
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initscope.cli import _parser, main
from initscope.cli.options import LONGEST_ERROR
from initscope.errors import UsageError
from initscope.pretrain import plan_training
from initscope.pretrain.spec import PretrainSpec
from initscope.sweep.chunks import require_room
from initscope.sweep.cost import sweep_cost
from initscope.sweep.optimizers import Optimizer
from initscope.sweep.spec import SweepSpec
from initscope.yaml_files import parse_yaml

FEW = settings(
    max_examples=20,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=60)

SWEEP: dict[str, Any] = {"dataset": "wine", "stds": [0.1], "hidden": [[4]]}
PRETRAIN: dict[str, Any] = {"text": "stdlib", "preset": "nano12", "n_layer": 1, "steps": 4}

# --- Hostile values ------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([10**6, 10**8, 10**9, 10**12, 10**18, 10**30, 10**200]),
    st.sampled_from([2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 2**70, -(2**63) - 1]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e-320, 1e-30, 1e30, 1e300, float("nan"), float("inf")]),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", " ", "1e-3", "1e3", "1e400", "nan", "-inf", "12", "null", "true", "."]),
    st.sampled_from(["..", "/", "a/b", "~", "a\0b", "a\nb", "x" * 5000, "\x1b[31m", "\u0663"]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXTS,
    st.binary(max_size=20),
    st.dates(),
    st.datetimes(),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.lists(st.lists(NUMBERS, max_size=3), max_size=3),
    st.lists(
        st.dictionaries(
            st.sampled_from(["name", "learning_rate", "momentum", "gain", "mode", "std", "x"]),
            st.one_of(SCALARS, st.sampled_from(["sgd", "adam", "kaiming", "xavier", "fan_out"])),
            max_size=3,
        ),
        max_size=3,
    ),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.one_of(TEXTS, st.integers(), st.none()), inner, max_size=3),
        ),
        max_leaves=8,
    ),
)

# What no value is dumped as, in the place of a value.
RAW_YAML = [
    "&a [1, 2]",
    "*a",
    "{<<: {a: 1}}",
    "[&a [1], *a, *a]",
    "&a [*a]",
    "!!python/object/apply:os.getcwd []",
    "!!binary '!'",
    "!!binary aGVsbG8=",
    "!!int ''",
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!null x",
    "!!timestamp x",
    "!!set {a, b}",
    "!!set [a]",
    "!!omap [a: 1]",
    "!!pairs [1]",
    "!!map [1]",
    "!!seq {a: 1}",
    "!unknown x",
    "2024-13-45",
    "2024-01-01T99:99:99",
    "1:99:99",
    "1_000",
    "0o17",
    "017",
    "0b2",
    "0x",
    "0x" + "f" * 5000,
    "9" * 5000,
    "1:" * 3000 + "1",
    "[" * 3000,
    "[" * 90 + "]" * 90,
    "{a: " * 2000,
    "{1, 2",
    "'not closed",
    "[1, 1e-3]",
    "[[1e3]]",
    "? [1]\n  : 2",
    "{[1]: 2}",
    "{{a: 1}: 2}",
    "{a: 1, a: 2}",
    "=",
    "<<",
    ".nan",
    "-.inf",
    ".Inf",
    "|\n  a\n  b",
    "> \x85",
    "\x07",
    "x\n--- y",
    "x\n%YAML 9.9",
    "\ufeff",
    "[" + "1," * 600 + "]",
]


# --- What every case must keep to ----------------------------------------------------------


@contextlib.contextmanager
def little_memory(more: int = 3 * 2**30) -> Iterator[None]:
    """Not much more memory than there is in use already, where the system can be told so."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(arguments: list[str]) -> tuple[int, str]:
    """Status and error of a command, which must be as they are promised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), little_memory():
        try:
            status = main(arguments)
        except SystemExit as stop:  # of argparse, after the usage
            status = int(stop.code or 0)
            assert status == 0 or err.getvalue().startswith("usage: ")
    lines = err.getvalue().splitlines()
    assert status in (0, 2), err.getvalue()
    if status:
        assert "error: " in lines[-1]
        assert len(lines) == 1 or lines[0].startswith("usage: ")
        assert err.getvalue().count("error: ") <= 1 + lines[-1].count("error: ")
        assert len(lines[-1]) <= LONGEST_ERROR + 200
        assert all(character.isprintable() for character in lines[-1])
        return status, lines[-1]
    return status, ""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The working folder: specifications that are right, and results that are not ours."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        (folder / "taken" / "record").mkdir(parents=True)
        (folder / "taken" / "record" / "run.json").write_text("{}")
        for stem in ("sweep", "spec"):
            (folder / "taken" / f"{stem}.parquet").write_bytes(b"not a table")
        (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
        (folder / "pretrain.yaml").write_text(yaml.safe_dump(PRETRAIN))
        (folder / "refused.yaml").write_text(yaml.safe_dump(SWEEP | {"batch_size": 1000}))
        notebooks = folder / "notebooks"
        for profiles in (notebooks / "profiles", notebooks / "profiles" / "smoke"):
            profiles.mkdir(parents=True)
        (notebooks / "profiles" / "smoke.yaml").write_text("")
        (notebooks / "profiles" / "smoke" / "01_a.yaml").write_text("")
        config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
        (folder / "config.json").write_text(json.dumps(config))
        cell = nbformat.v4.new_code_cell(
            "lr = 0.1\nn: int | None = 3\nstds = [0.1]\nname = 'a'\nof: dict[str, float] = {}\n",
            metadata={"tags": ["parameters"]},
        )
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebooks / "01_a.ipynb")
        yield folder
        os.chdir(before)


TAKEN = ("is not a readable table of a sweep", "run.json cannot be read")
"""What is said where all that was given is right."""


def ends(command: str, content: str | bytes) -> str:
    """The error that a specification file ends in."""
    data = content if isinstance(content, bytes) else content.encode()
    Path("spec.yaml").write_bytes(data)
    status, error = outcome([command, "--spec", "spec.yaml", "--out", "taken", "--dry-run"])
    assert status == 2
    return error


# --- Specifications ------------------------------------------------------------------------

FIELDS = [("sweep", field.name) for field in dataclasses.fields(SweepSpec)]
FIELDS += [("pretrain", field.name) for field in dataclasses.fields(PretrainSpec)]
BASE = {"sweep": SWEEP | {"name": "sweep"}, "pretrain": PRETRAIN}

CALLED = {  # where a message does not call a field by its name
    "dataset": ("data set",),
    "schemes": ("scheme", "mode", "distribution", "gain"),
    "optimizers": ("optimizer", "learning_rate", "momentum"),
    "track_quantities": ("quantity",),
    "text": ("text",),
    "hidden": ("hidden", "widths"),
}


def unless_taken(command: str, fields: dict[str, Any]) -> None:
    """Where a name is right, a file that is not ours must be in its place."""
    name = fields.get("name")
    if command == "sweep" and isinstance(name, str):
        with contextlib.suppress(OSError, ValueError):
            Path("taken", f"{name}.parquet").write_bytes(b"not a table")


@pytest.mark.parametrize(("command", "field"), FIELDS)
@given(data=st.data())
@FEW
def test_a_hostile_value_of_a_field_is_one_line_that_names_it(
    place: Path, command: str, field: str, data: st.DataObject
) -> None:
    content = yaml.safe_dump(BASE[command] | {field: data.draw(VALUES)}, allow_unicode=True)
    with contextlib.suppress(yaml.YAMLError):  # a line break of Unicode comes back as a space
        unless_taken(command, yaml.safe_load(content))
    error = ends(command, content)
    if not any(words in error for words in (*TAKEN, "is not valid YAML")):
        assert any(word in error for word in (field, *CALLED.get(field, ()))), error


def is_read(raw: str) -> bool:
    """Whether it is a value of some kind, and not refused whatever it stands for."""
    try:
        parse_yaml(f"a: {raw}")
    except ValueError:
        return False
    return True


READ = list(filter(is_read, RAW_YAML))  # to try the others takes most of the time


@pytest.mark.parametrize(("command", "field"), FIELDS)
def test_no_yaml_is_too_strange(place: Path, command: str, field: str) -> None:
    base = {name: value for name, value in BASE[command].items() if name != field}
    for raw in READ:
        unless_taken(command, {"name": parse_yaml(f"a: {raw}")["a"]})
        ends(command, f"{yaml.safe_dump(base)}{field}: {raw}\n")


@pytest.mark.parametrize("raw", [raw for raw in RAW_YAML if raw not in READ], ids=repr)
def test_yaml_that_cannot_be_read_is_one_line(place: Path, raw: str) -> None:
    for command, field in (("sweep", "stds"), ("pretrain", "betas")):
        base = {name: value for name, value in BASE[command].items() if name != field}
        assert "is not valid YAML: " in ends(command, f"{yaml.safe_dump(base)}{field}: {raw}\n")


@given(
    command=st.sampled_from(["sweep", "pretrain"]),
    fields=st.dictionaries(
        st.one_of(TEXTS, st.sampled_from([name for _, name in FIELDS])), VALUES, max_size=5
    ),
)
@MANY
def test_many_hostile_fields_are_one_line(
    place: Path, command: str, fields: dict[str, Any]
) -> None:
    fields = {**BASE[command], **fields}
    unless_taken(command, fields)
    ends(command, yaml.safe_dump(fields, allow_unicode=True))


@given(
    content=st.one_of(
        st.binary(max_size=200),
        TEXTS,
        st.sampled_from([b"", b"\xff\xfe\x00", b"\x00", b"\x80abc", b"PAR1", b"null", b"[]", b"3"]),
        st.sampled_from(RAW_YAML),
    ),
    command=st.sampled_from(["sweep", "pretrain"]),
)
@MANY
def test_a_file_that_is_no_specification_is_one_line(
    place: Path, content: str | bytes, command: str
) -> None:
    ends(command, content)


@pytest.mark.parametrize("command", ["sweep", "pretrain"])
def test_a_file_that_cannot_be_read_is_a_mistake(place: Path, command: str) -> None:
    Path("large.yaml").write_text("a: 1\n" * 10**5)
    Path("pointless.yaml").symlink_to("pointless.yaml")
    Path("secret.yaml").write_text("a: 1")
    Path("secret.yaml").chmod(0)
    names = ["none.yaml", ".", "large.yaml", "pointless.yaml", "a\0b", "x" * 5000, "a\nb", "\udcff"]
    names += ["/dev/zero"] * Path("/dev/zero").exists()
    names += ["secret.yaml"] * (not os.access("secret.yaml", os.R_OK))
    for name in names:
        status, error = outcome([command, "--spec", name, "--out", "taken"])
        assert status == 2
        assert error.startswith("error: ")
    for name in ("pointless.yaml", "secret.yaml"):  # none but root could write it once more
        Path(name).unlink()


def test_what_a_specification_accepts_can_be_trained(place: Path) -> None:
    """Not only said yes to: the data are loaded, and a first update is made."""
    tried = 0

    @given(fields=st.dictionaries(st.sampled_from([n for c, n in FIELDS if c == "sweep"]), VALUES))
    @settings(MANY, max_examples=150)
    def accepted(fields: dict[str, Any]) -> None:
        nonlocal tried
        try:
            spec = SweepSpec.from_dict(SWEEP | fields)
            require_room(spec)
        except UsageError:
            return
        weights = sum(sum(a * b for a, b in itertools.pairwise((13, *h))) for h in spec.hidden)
        if spec.dataset == "mnist" or spec.n_runs > 20 or weights > 10**5:
            return
        if spec.epochs * spec.evaluations_per_epoch > 10**5 or spec.memory_mb > 100:
            return
        tried += 1
        with contextlib.suppress(UsageError):
            sweep_cost(spec)

    accepted()
    assert tried


def test_a_pretraining_that_is_accepted_has_a_model_and_learning_rates(place: Path) -> None:
    tried = 0
    names = [field.name for field in dataclasses.fields(PretrainSpec)]

    @given(fields=st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    @settings(MANY, max_examples=150)
    def accepted(fields: dict[str, Any]) -> None:
        nonlocal tried
        try:
            spec = PretrainSpec.from_dict(PRETRAIN | fields)
            spec.require_room("cpu")
            plan = plan_training(spec, "cpu", None, None, None, None)
        except UsageError:
            return
        assert plan.micro_batch_size * plan.accumulated == spec.batch_size
        for update in {0, 1, spec.warmup_steps, spec.steps // 2, spec.steps - 1}:
            assert 0 <= spec.learning_rate_factor(update) <= 1 + 1e-9
        assert PretrainSpec.from_dict(spec.to_dict()) == spec
        if spec.count_parameters()[0] < 10**6:
            tried += 1
            spec.build_model()

    accepted()
    assert tried


# --- Options -------------------------------------------------------------------------------


def options_of(command: str) -> list[argparse.Action]:
    """The options of a command that take a value."""
    (commands,) = (a for a in _parser("initscope")._actions if isinstance(a.choices, dict))
    return [a for a in commands.choices[command]._actions if a.option_strings and a.nargs != 0]


OPTIONS = [
    (command, action.option_strings[-1], action.nargs if isinstance(action.nargs, int) else 1)
    for command in ("sweep", "pretrain", "reproduce", "predict", "show")
    for action in options_of(command)
]
RIGHT = {
    "sweep": ["sweep", "--spec", "sweep.yaml", "--out", "taken"],
    "pretrain": ["pretrain", "--spec", "pretrain.yaml", "--out", "taken"],
    "reproduce": ["reproduce", "--list"],
    "show": ["show", "nowhere"],
    "predict": ["predict", "--config", "config.json", "--learning-rate", "1e-3"],
}
WORDS = st.one_of(
    TEXTS,
    NUMBERS.map(str),
    st.sampled_from(["\udcff", "cuda:9", "mps", "meta", "cpu:1", "0", "-1", "9" * 5000, "--"]),
    st.sampled_from(RAW_YAML),
)


@pytest.mark.parametrize(("command", "option", "n_values"), OPTIONS)
@given(data=st.data())
@FEW
def test_a_hostile_value_of_an_option_is_one_line(
    place: Path, command: str, option: str, n_values: int, data: st.DataObject
) -> None:
    arguments = list(RIGHT[command])
    if option == "--out":  # where a folder is right, the specification is refused
        arguments[1:3] = ["--spec", "refused.yaml"] if command == "sweep" else ["--steps", "1" * 18]
        arguments += ["--text", "stdlib"] if command == "pretrain" else []
    values = [data.draw(WORDS) for _ in range(n_values)]
    if n_values == 2:  # of a parameter
        names = [f.name for f in dataclasses.fields(PretrainSpec)] + ["lr", "n", "stds", "of"]
        values[0] = data.draw(st.one_of(st.sampled_from(names), WORDS))
    status, _ = outcome([*arguments, option, *values])
    assert status == 2 or command in ("reproduce", "predict")


@given(chapters=st.lists(WORDS, min_size=1, max_size=3))
@MANY
def test_a_hostile_chapter_is_one_line(place: Path, chapters: list[str]) -> None:
    outcome(["reproduce", "--list", *chapters])


# --- Each kind that was found, once --------------------------------------------------------

FOUND: list[tuple[str, dict[str, Any], str]] = [
    ("sweep", {"seeds": 10**12}, "about 1,300 TB"),
    ("sweep", {"seeds": [2**70]}, "seeds of wine must be at most 4294967295, not 1180591620717"),
    ("sweep", {"hidden": [[10**6, 10**6]]}, "of hidden widths 1000000-1000000 (1,000,018,000,003"),
    ("sweep", {"hidden": [[10**400]]}, "a whole number of 1,329 bits is too large"),
    ("sweep", {"epochs": 10**12}, "1,000,000,000,000 evaluations of 1 network, and this machine"),
    ("sweep", {"memory_mb": 10**9, "seeds": 10**5, "hidden": [[10**4]]}, "make memory_mb smaller"),
    ("sweep", {"batch_size": 10**12}, "only 133 examples are trained on"),
    ("sweep", {"batch_size": 10**12, "dataset": "mnist"}, "on batches of 1,000,000,000,000"),
    ("sweep", {"train_size": 134}, "train_size is 134, but wine has 133 examples"),
    ("sweep", {"loss_points": 10**15, "epochs": 10**9}, "evaluations of 1 network"),
    ("sweep", {"stds": ["1e-3"]}, "not '1e-3'. In YAML, write 1.0e-3."),
    ("sweep", {"hidden": [[8, "1e2"]]}, "Write 100, without quotes."),
    ("sweep", {"seeds": ["1e2"]}, "Write 100, without quotes."),
    ("sweep", {"optimizers": [{"name": "adam", "learning_rate": "1e-3"}]}, "write 1.0e-3."),
    ("sweep", {"schemes": [{"name": "xavier", "gain": "1e-3"}]}, "In YAML, write 1.0e-3."),
    ("sweep", {"schemes": ["gpt2"]}, "it is for a GPT-2, whose residual projections"),
    ("sweep", {"schemes": ["normal"]}, "give the stds of scheme 'normal' as stds"),
    ("sweep", {"optimizers": ["adamw"]}, "each must be a mapping such as {name: adam, learning"),
    ("sweep", {"optimizers": [{"name": "adamw"}]}, "trained without weight decay"),
    ("sweep", {"optimizers": {"name": "sgd"}}, "put the mapping into brackets"),
    ("pretrain", {"batch_size": 10**12}, "about 2,048 TB of memory for a batch of 128,000,000"),
    ("pretrain", {"n_layer": 10**9}, "about 447 TB of memory for a model of 111,840,000,037,056"),
    ("pretrain", {"n_embd": 4 * 10**9}, "of memory for a model of"),
    ("pretrain", {"vocab_size": 10**12}, "of memory for a model of"),
    ("pretrain", {"context": 10**12}, "of memory for a model of"),
    ("pretrain", {"steps": 10**15}, "rows of what is logged in 1,000,000,000,000,000 steps"),
    ("pretrain", {"steps": 2**62, "log_every": 2**61}, "are more than can be counted"),
    ("pretrain", {"seed": 2**32}, "seed must be at most 4294967295, not 4294967296"),
    ("pretrain", {"learning_rate": "1e-3"}, "not '1e-3'. In YAML, write 1.0e-3."),
    ("pretrain", {"betas": [0.9, "95e-2"]}, "In YAML, write 95.0e-2."),
    ("pretrain", {"text": "nonsense"}, "unknown text 'nonsense'"),
    ("pretrain", {"text": "./nonsense"}, "the folder './nonsense', given as a source of text"),
    ("pretrain", {"tokenizer": "byte"}, "unknown tokenizer 'byte'. Did you mean 'bytes'?"),
    ("pretrain", {"tokenizer": "gpt2"}, "50,257 entries, which do not fit the model's vocab_size"),
]


@pytest.mark.parametrize(
    ("command", "fields", "message"), FOUND, ids=[str(case[1])[:60] for case in FOUND]
)
def test_what_was_found_is_said(
    place: Path, command: str, fields: dict[str, Any], message: str
) -> None:
    base = {k: v for k, v in BASE[command].items() if k != "n_layer"}
    error = ends(command, yaml.safe_dump(base | fields))
    assert message in error
    if "memory" in error and "memory_mb must" not in error:
        assert f"and this machine has {error.rpartition('this machine has ')[2]}" in error


def test_what_is_right_gets_as_far_as_the_results(place: Path) -> None:
    """Or the cases above would be refused for another reason than theirs."""
    for command, base in BASE.items():
        assert any(words in ends(command, yaml.safe_dump(base)) for words in TAKEN)


def test_dates_are_values_too() -> None:
    with pytest.raises(UsageError, match="learning_rate must be a finite number"):
        Optimizer(learning_rate=datetime.date(2024, 1, 1))  # type: ignore[arg-type]
