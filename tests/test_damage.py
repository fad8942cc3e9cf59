"""Every file that a pretraining run rests on, damaged in every way we could think of.

What may come of it: the result of the undisturbed run, or one clear error. A sample of the cases is
tried; all of them with ``INITSCOPE_DAMAGE=all``, which takes minutes and prints what came of them.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain import (  # noqa: F401  (fixtures)
    assert_same,
    data,
    final_weights,
    run,
    spec_of,
    train_and_die,
    undisturbed,
)

from initscope.data.text import Text
from initscope.errors import UsageError
from initscope.pretrain import PretrainSpec, load_spec_text, pretrain, read_record
from initscope.pretrain.checkpoints import checkpoints

Damage = Callable[[bytes, random.Random], bytes | None]


def flip(good: bytes, chosen: random.Random) -> bytes:
    bad = bytearray(good)
    bad[chosen.randrange(len(bad))] ^= 1 << chosen.randrange(8)
    return bytes(bad)


def zeros(good: bytes, chosen: random.Random) -> bytes:
    """A block that was never written, as after a loss of power."""
    length = min(len(good), chosen.choice([8, 64, 512]))
    place = chosen.randrange(len(good) - length + 1)
    return good[:place] + bytes(length) + good[place + length :]


KINDS: dict[str, Damage] = {
    **{f"flip-{n}": flip for n in range(4)},
    **{f"zeros-{n}": zeros for n in range(2)},
    "cut-0.1": lambda good, _: good[: len(good) // 10],
    "cut-0.5": lambda good, _: good[: len(good) // 2],
    "cut-last": lambda good, _: good[:-1],
    "longer": lambda good, _: good + b"\0",
    "noise": lambda good, chosen: chosen.randbytes(len(good)),
    "empty": lambda good, _: b"",
    "removed": lambda good, _: None,
    "another": lambda good, _: good,  # the file of another run takes its place
}

IN_CHECKPOINT = (
    *("config.json", "generation_config.json", "initscope.json", "model.safetensors"),
    *("optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin"),
)
TABLES = tuple(f"{n}.parquet" for n in ("training", "evaluation", "variances", "histograms"))

FILES = {
    "killed": [
        *(f"checkpoints/checkpoint-{step}/{name}" for step in (4, 8) for name in IN_CHECKPOINT),
        *("record/run.json", "record/training.parquet", "record/evaluation.parquet"),
        *("record/variances.arrows", "record/histograms.arrows"),
    ],
    "stopped": [*(f"record/{name}" for name in ("run.json", *TABLES))],
    "finished": [*(f"record/{name}" for name in ("run.json", *TABLES))],
    "cache": ["train.bin", "validation.bin", "facts.json"],
}
ALL = [(state, file, kind) for state, files in FILES.items() for file in files for kind in KINDS]
WHOLE = os.environ.get("INITSCOPE_DAMAGE") == "all"
CASES = ALL if WHOLE else random.Random(0).sample(ALL, 36)


def other_of(**fields: Any) -> PretrainSpec:
    return spec_of(seed=1, **fields)


def killed(environment: dict[str, str], out: str, other: bool) -> None:
    if other:
        globals()["run"].__globals__["spec_of"] = other_of
    train_and_die(environment, out, 10, False)


@pytest.fixture(scope="module")
def states(
    tmp_path_factory: pytest.TempPathFactory,
    data: Path,  # noqa: F811
    undisturbed: tuple[Path, Any],  # noqa: F811
    server: multiprocessing.context.BaseContext,
) -> dict[str, dict[bool, Path]]:
    """Folders of runs that were killed, stopped and finished: of this one, and of another seed."""
    torch.set_num_threads(1)
    folders: dict[str, dict[bool, Path]] = {state: {} for state in FILES}
    for other in (False, True):
        place = tmp_path_factory.mktemp("other" if other else "this")
        spec = other_of() if other else spec_of()
        arguments = (dict(os.environ), str(place / "killed"), other)
        child = server.Process(target=killed, args=arguments)
        child.start()
        for _ in range(4):
            pretrain(spec, place / "stopped", 0, device="cpu", progress=False)
        if other:
            pretrain(spec, place / "finished", device="cpu", progress=False)
        else:
            shutil.copytree(undisturbed[0], place / "finished")
        child.join()
        for state in ("killed", "stopped", "finished"):
            folders[state][other] = place / state
    (cache,) = (data / "cache").iterdir()
    folders["cache"] = {False: cache, True: tmp_path_factory.mktemp("cache") / "other"}
    shutil.copytree(cache, folders["cache"][True])
    for file in FILES["cache"][:2]:
        path = folders["cache"][True] / file
        path.write_bytes(path.read_bytes()[::-1])
    return folders


def test_every_file_is_among_those_that_are_damaged(states: dict[str, dict[bool, Path]]) -> None:
    for state, files in FILES.items():
        folder = states[state][False]
        parts = [folder] if state in ("cache", "killed") else [folder / "record"]
        found = {
            path.relative_to(folder).as_posix()
            for part in parts
            for path in part.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        assert found == set(files)
    newest, older = checkpoints(states["killed"][False], spec_of().digest)
    assert (newest.name, older.name) == ("checkpoint-8", "checkpoint-4")


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Counter[tuple[str, str]]]:
    counted: Counter[tuple[str, str]] = Counter()
    yield counted
    if WHOLE:
        for (state, outcome), n in sorted(counted.items()):
            print(f"{state:<9} {outcome:<24} {n:>4}")


def same_text(found: Text, expected: Text) -> bool:
    return found.digest == expected.digest and all(
        np.array_equal(a, b)
        for split in ("train", "validation")
        for a, b in zip(getattr(found, split), getattr(expected, split), strict=True)
    )


@pytest.mark.parametrize(("state", "file", "kind"), CASES, ids=[" ".join(c) for c in CASES])
def test_damage_is_mended_or_told(
    state: str,
    file: str,
    kind: str,
    states: dict[str, dict[bool, Path]],
    undisturbed: tuple[Path, Any],  # noqa: F811
    outcomes: Counter[tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    expected = load_spec_text(spec_of())
    if state == "cache":
        out = tmp_path / "cache" / states[state][False].name
        monkeypatch.setenv("INITSCOPE_CACHE", str(out.parent))
    else:
        out = tmp_path / "out"
    shutil.copytree(states[state][False], out)
    good = (out / file).read_bytes()
    content = (states[state][True] / file).read_bytes() if kind == "another" else good
    bad = KINDS[kind](content, random.Random(f"{state} {file} {kind}"))
    if bad is None:
        (out / file).unlink()
    else:
        (out / file).write_bytes(bad)
    if bad == good:
        pytest.skip("this file is the same in every run")
    capsys.readouterr()

    if state == "cache":
        assert same_text(load_spec_text(spec_of()), expected)
        said = capsys.readouterr().out
        assert len(said.splitlines()) == 1
        outcomes[state, "made again, and said so"] += 1
        return
    record, refusal = None, ""
    try:
        record = run(out)
    except UsageError as error:
        refusal = str(error)
    if record is None:
        assert len(refusal.splitlines()) == 1
        assert str(out) in refusal
        outcomes[state, "one error"] += 1
        return
    assert_same(record, undisturbed[1])
    assert_same(read_record(out), undisturbed[1])
    if state != "finished":
        assert final_weights(out) == final_weights(undisturbed[0])
    told = ("status", "step", "diverged_step", "spec", "digest", "text", "model")
    assert {n: record.run[n] for n in told} == {n: undisturbed[1].run[n] for n in told}
    said = capsys.readouterr().out
    outcomes[state, "the same, and said so" if said else "the same"] += 1
    if "checkpoint-8" in file and (file.rpartition("/")[2], kind) != ("initscope.json", "removed"):
        assert "checkpoint-8 is passed over: " in said
