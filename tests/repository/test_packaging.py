"""The package as it is handed on: sdist, wheel, metadata, and what they ask for."""

from __future__ import annotations

import ast
import email
import email.message
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from installed import asked_for, normalized, run, with_all_they_need, with_only
from packaging.requirements import Requirement

from initscope import extras

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://github.com/owner/name"


def copy_of_project(folder: Path) -> Path:
    """The files of the project, without what was built or recorded in passing."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git clone")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def build(what: str, project: Path, out: Path) -> Path:
    """Build with the setuptools of the environment: nothing is downloaded."""
    out.mkdir(parents=True, exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    project = copy_of_project(folder / "project")
    archive = build("sdist", project, folder / "dist")
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 knows no filters.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        tar.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


def test_an_sdist_is_the_whole_project(unpacked: Path) -> None:
    ours = copy_of_project(unpacked.parent / "again")
    expected = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file()}
    found = {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
    assert expected - found == set()
    assert {path for path in found - expected if "egg-info" not in str(path)} == {
        Path("PKG-INFO"),
        Path("setup.cfg"),
    }


def test_the_tests_of_an_sdist_run(unpacked: Path) -> None:
    """Some of each kind: with numbers, with files of the project, with helpers of other tests."""
    names = ("test_claims.py", "repository/test_tree.py", "widgets/test_codec.py")
    pytest_quietly = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(
        [*pytest_quietly, *(f"tests/{name}" for name in names)],
        cwd=unpacked,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(unpacked / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100%" in done.stdout


def metadata(wheel: Path) -> email.message.Message:
    """The metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def relative_links(text: str) -> list[str]:
    return re.findall(r"\]\((?!\w+:|#)[^)]*\)", text)


def test_a_wheel_has_the_package_and_no_link_to_nowhere(unpacked: Path, tmp_path: Path) -> None:
    wheel = build("wheel", unpacked, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "initscope").rglob("*")
        if path.suffix in (".py", ".pyi", ".mjs", ".js", ".css", ".txt") or path.name == "py.typed"
    }
    assert names == sources

    found = metadata(wheel)
    assert found["Author"] == "The initscope authors"
    assert found["Keywords"]
    assert found.get_all("Classifier")
    assert "Programming Language :: Python :: 3.11" in found.get_all("Classifier")
    description = str(found.get_payload())
    assert description.strip().startswith("# Weight initialization")
    if not address_of_project():
        assert found.get_all("Project-URL") is None
        assert "![" not in description
    assert relative_links(description) == []
    assert relative_links((ROOT / "README.md").read_text())  # the README itself keeps its own


def test_with_an_address_links_and_picture_lead_there(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path / "project")
    enter_address(project)
    found = metadata(build("wheel", project, tmp_path / "dist"))
    assert f"Source, {ADDRESS}" in found.get_all("Project-URL")
    description = str(found.get_payload())
    assert relative_links(description) == []
    assert f"({ADDRESS}/raw/main/book/_static/book.png)" in description
    links = re.findall(rf"\({ADDRESS}/(?:blob|raw)/main/([^)]*)\)", description)
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).exists()


def enter_address(project: Path) -> None:
    config = project / "_config.yml"
    text, changed = re.subn(r"(?m)^  url:.*$", f'  url: "{ADDRESS}"', config.read_text())
    assert changed == 1
    config.write_text(text)


def address_of_project() -> str:
    (address,) = re.findall(r'(?m)^repository:\n  url: "?([^"\s]*)', read("_config.yml"))
    return address


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def addresses_of_chapters(project: Path) -> set[str]:
    """What the chapters have in place of an address."""
    cells = [
        "".join(cell["source"])
        for path in project.glob("notebooks/[0-9][0-9]_*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
    ]
    found = [re.search(r'^repository = "(.*?)"', cell, re.MULTILINE) for cell in cells]
    addresses = [match[1] for match in found if match]
    assert len(addresses) == len(list(project.glob("notebooks/[0-9][0-9]_*.ipynb")))
    return set(addresses)


def test_the_address_is_the_same_in_every_chapter() -> None:
    assert addresses_of_chapters(ROOT) == {address_of_project()}, "run `make address`"


def test_make_address_brings_it_into_the_chapters_and_changes_nothing_else(tmp_path: Path) -> None:
    project = copy_of_project(tmp_path)
    enter_address(project)
    subprocess.run([sys.executable, "book/address.py"], cwd=project, check=True)
    assert addresses_of_chapters(project) == {ADDRESS}
    for path in project.glob("notebooks/[0-9][0-9]_*.ipynb"):
        before = read(f"notebooks/{path.name}").splitlines()
        after = path.read_text(encoding="utf8").splitlines()
        different = [
            old for old, new in zip(before, after, strict=True) if old != new and '"id":' not in old
        ]
        assert len(different) == (0 if address_of_project() == ADDRESS else 1)


# --- What is asked for ----------------------------------------------------------------------


def imports(source: str) -> set[str]:
    """Modules that Python code imports, wherever in it; none of what is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    ]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_what_is_imported_is_asked_for() -> None:
    """Or comes with something that is: as IPython with ipykernel."""
    packages = packages_distributions()
    code = [path.read_text(encoding="utf8") for path in (ROOT / "src").rglob("*.py")]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf8"))["cells"]
        code += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    tests = [path.read_text(encoding="utf8") for path in (ROOT / "tests").rglob("*.py")]
    beside = (ROOT / folder for folder in ("tests", "book"))
    files = (path for folder in beside for path in folder.rglob("*.py"))
    of_tests = {path.parent.name if path.stem == "__init__" else path.stem for path in files}
    for sources, chosen in (
        (code, ("train", "notebooks", "dask", "slurm", "lightning")),
        (tests, ("train", "notebooks", "test", "book")),
    ):
        there = with_all_they_need(asked_for(*chosen)) | {"initscope"}
        modules = set().union(*map(imports, sources)) - of_tests
        assert len(modules) > 10
        missing = {
            module
            for module in modules
            if there.isdisjoint(map(normalized, packages.get(module, [module])))
        }
        assert missing == set()


def bounds() -> list[Requirement]:
    """What the package and the extras that it computes with ask for."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    return list(map(Requirement, project["dependencies"] + extras["train"] + extras["notebooks"]))


@pytest.mark.parametrize(
    ("package", "too_old"),
    [
        ("pandas", "2.2.1"),  # is made for numpy 1
        ("pyarrow", "16.0.0"),  # cannot read the split bytes of float64
        ("accelerate", "1.3.0"),  # the Trainer of transformers 5.23 fails with it
        ("safetensors", "0.4.2"),  # transformers wants 0.4.3
        ("tqdm", "4.66.2"),  # datasets 3.0 wants 4.66.3
    ],
)
def test_bounds_that_were_seen_not_to_hold(package: str, too_old: str) -> None:
    (asked,) = [r for r in bounds() if normalized(r.name) == package]
    assert not asked.specifier.contains(too_old)


# --- Dependencies in layers -----------------------------------------------------------------

BASE = """
import numpy as np, torch
from torch import nn
import initscope
from initscope.init import initialize_
from initscope.models import MLP
from initscope.theory import propagate
from initscope.tracking import VarianceTracker, read_variances, weight_matrices

model = MLP([12, 8, 4])
assert set(initialize_(model, "kaiming")) == {name for name, _ in model.named_parameters()}
assert propagate([64] * 9, "gelu", 0.1).forward.shape == (9,)
"""

TRACKED = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))
        self.o_proj = nn.Linear(8, 8)
    def forward(self, x):
        return self.o_proj(self.q_proj(x) + self.k_proj(x) + self.v_proj(x))
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention()
    def forward(self, x):
        return x + self.self_attn(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
    def forward(self, x):
        for block in self.layers:
            x = block(x)
        return x
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
with VarianceTracker(net, optimizer, every=1, out_folder="variances") as tracker:
    net(torch.ones(2, 8)).sum().backward()
    optimizer.step()
assert {"q", "k", "v"} <= set(read_variances("variances")["role"])
"""

MISSING = """
def missing(use):
    try:
        use()
    except ModuleNotFoundError as error:
        return str(error)
    raise AssertionError("nothing was missing")
"""


def test_the_package_alone_initializes_and_tracks(tmp_path: Path) -> None:
    code = (
        BASE
        + TRACKED
        + MISSING
        + """
from initscope import data, models
assert missing(lambda: data.load_mnist("a/hub-name")).endswith("pip install 'initscope[train]'")
assert missing(lambda: data.load_wine()).endswith("needs sklearn: pip install 'initscope[train]'")
assert missing(lambda: models.gpt2()).endswith("needs transformers: pip install 'initscope[train]'")
def callback():
    from initscope.tracking import VarianceCallback
assert missing(callback).endswith("needs transformers: pip install 'initscope[train]'")
def figures():
    from initscope.plots import number_format_bands
assert missing(figures).endswith("needs matplotlib: pip install 'initscope[notebooks]'")
def widgets():
    from initscope.widgets import SignalPropagation
assert missing(widgets).endswith("pip install 'initscope[notebooks]'")
"""
    )
    run(with_only(with_all_they_need(asked_for())) + code, tmp_path)


def test_with_notebooks_alone_widgets_name_the_extra_of_their_data(tmp_path: Path) -> None:
    code = (
        MISSING
        + """
from initscope.widgets import SignalPropagation, WineTraining
SignalPropagation(std=0.07, depth=5).figure()
for settings in ({}, {"depth": 5}):
    said = missing(lambda: WineTraining(**settings))
    assert said == "WineTraining needs sklearn: pip install 'initscope[train]'", said
"""
    )
    run(with_only(with_all_they_need(asked_for("notebooks"))) + code, tmp_path)


def test_with_train_it_sweeps(tmp_path: Path) -> None:
    code = (
        BASE
        + """
from initscope.sweep import SweepSpec, run_sweep
table = run_sweep(SweepSpec(dataset="wine", stds=(0.1,), seeds=2, epochs=2), progress=False)
assert len(table) == 2
"""
    )
    run(with_only(with_all_they_need(asked_for("train"))) + code, tmp_path)


def test_a_module_is_named_with_the_extra_that_brings_it() -> None:
    packages = packages_distributions()
    for extra, modules in extras.MODULES.items():
        brought = with_all_they_need(asked_for(extra)) if extra in ("train", "notebooks") else set()
        for module in modules:
            names = set(map(normalized, packages.get(module, [module])))
            if brought:
                assert names & brought, f"{module} does not come with {extra}"
            else:
                assert names & asked_for(extra)


USE = """
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from initscope.sweep import SweepSpec, run_sweep
from initscope.theory import gain, propagate
from initscope.tracking import VarianceCallback, read_variances
from initscope.widgets import SignalPropagation

assert abs(gain("relu") - 2**0.5) < 1e-9
assert propagate([64] * 9, "gelu", 0.1).forward.shape == (9,)
spec = SweepSpec(dataset="wine", stds=(0.01, 0.1), seeds=2, epochs=2)
table = run_sweep(spec, out="results", progress=False)
assert run_sweep(spec, out="results").equals(table)  # from the record
model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, n_positions=8, vocab_size=32))
tokens = torch.randint(32, (32, 8))
trainer = Trainer(
    model,
    TrainingArguments("trained", max_steps=4, report_to=[], use_cpu=True),
    train_dataset=[{"input_ids": row, "labels": row} for row in tokens],
    callbacks=[VarianceCallback("variances", every=2)],
)
trainer.train()
assert set(read_variances("variances")["role"]) >= {"q", "k", "v"}
SignalPropagation(std=0.07, depth=5).figure()
"""


@pytest.mark.compatibility
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the oldest versions are built for Python 3.11 at most"
)
def test_the_oldest_versions_that_are_asked_for_work(tmp_path: Path) -> None:
    """All but torch, whose oldest build pip would take for CUDA: gigabytes."""
    oldest = {}
    for asked in bounds():
        (bound,) = [clause.version for clause in asked.specifier if clause.operator == ">="]
        oldest[asked.name] = f"{asked.name}=={bound}"
    del oldest["torch"]
    needs_torch = [oldest.pop("accelerate")]
    folder = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"]
    for options in (list(oldest.values()), ["--no-deps", *needs_torch]):
        done = subprocess.run(
            [*pip, "--target", str(folder), *options], capture_output=True, text=True
        )
        if done.returncode != 0 and not os.environ.get("CI"):
            pytest.skip(f"they cannot be installed here: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")])},
    )
    assert done.returncode == 0, done.stderr
