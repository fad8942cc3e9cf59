"""GPT-2's stds under other versions of transformers: ``python tests/transformers_versions.py``.

Versions 5.0 to 5.14 draw the residual projections without the 1/sqrt(2 n_layer) of GPT-2, and no
version says so. Ours must not depend on it. Each version is installed into a folder of its own,
which goes before the installed packages. Without arguments, the newest patch of every minor version
that the ranges of the project admit is tried; with arguments, those named.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

MEASURE = """
import json, math, torch, transformers
from initscope.init import initialize_
from initscope.models import gpt2

def stds(model):
    found = {}
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        weights = [block.get_submodule(name).weight for block in model.transformer.h]
        found[name] = torch.stack(weights).std().item()
    found["wte"] = model.transformer.wte.weight.std().item()
    return found

torch.manual_seed(0)
model = gpt2("nano12", n_embd=192)
own = stds(model)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.fill_(math.nan)
initialize_(model, "gpt2", generator=torch.Generator().manual_seed(0))
print(json.dumps({"version": transformers.__version__, "own": own, "ours": stds(model)}))
"""


def admitted() -> Requirement:
    """The range of transformers in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(r for r in map(Requirement, project["dependencies"]) if r.name == "transformers")


def newest_of_each_minor() -> list[str]:
    """Newest patch of each minor version on the package index inside the range."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "transformers"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    line = re.search(r"Available versions: (.*)", listing)
    assert line is not None, listing
    versions = [Version(v) for v in line[1].split(", ")]
    newest: dict[tuple[int, ...], Version] = {}
    for version in sorted(v for v in versions if v in admitted().specifier):
        newest[version.release[:2]] = version
    return [str(v) for v in newest.values()]


def install(version: str, folder: Path) -> None:
    """Install a version of transformers, and what it asks for itself, into `folder`."""
    # Few of its thousands of modules are imported: those are compiled then.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    wanted = f"transformers=={version}"
    subprocess.run(
        [*pip, "--target", str(folder), wanted], capture_output=True, text=True, check=True
    )


def measure(folder: Path) -> dict[str, Any]:
    """Stds of GPT-2's matrices with the transformers in `folder`: its own and ours."""
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """A line for each version."""
    print(f"{'transformers':<14}{'its own c_proj, over s/sqrt(2L)':>34}{'ours':>8}")
    for version in sys.argv[1:] or newest_of_each_minor():
        with tempfile.TemporaryDirectory() as folder:
            try:
                install(version, Path(folder))
                found = measure(Path(folder))
            except (subprocess.CalledProcessError, RuntimeError) as error:
                reason = getattr(error, "stderr", None) or str(error)
                print(f"{version:<14}cannot be tried: {reason.strip().splitlines()[-1][:90]}")
                continue
        residual = 0.02 / 24**0.5
        own, ours = (found[which]["mlp.c_proj"] / residual for which in ("own", "ours"))
        print(f"{found['version']:<14}{own:>34.3f}{ours:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
