"""Bring the address of the repository from its one entry, in _config.yml, into the chapters.

A chapter that is opened alone, in Colab, gets the rest of the project from there.
"""

import json
import re
from pathlib import Path

import nbformat
import yaml

from initscope.reproduce.normalize import dumps, normalize

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r'^repository = ".*?"', re.MULTILINE)


def main() -> None:
    """Rewrite the chapters whose address is another, and say which."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    line = f"repository = {json.dumps(address)}"
    for path in sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = LINE.sub(lambda _: line, cell.source)
        text = dumps(normalize(notebook))
        if text != path.read_text(encoding="utf8"):
            path.write_text(text, encoding="utf8")
            print(f"{path.relative_to(ROOT)}: {line}")


if __name__ == "__main__":
    main()
