"""What pyproject.toml cannot say: addresses in the metadata, all from the one entry in _config.yml.

While that entry is empty, there are none; then the README is given without its picture and with
the words of its links alone, for neither leads anywhere outside of a copy of the project.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")  # one to a file of the project


def entry() -> tuple[str, str]:
    """Address and branch of the repository, as _config.yml has them."""
    config = (ROOT / "_config.yml").read_text(encoding="utf8")
    found = re.search(r'^repository:\n  url: "?([^"\s]*)"?\n  branch: (\S+)$', config, re.MULTILINE)
    assert found, "_config.yml has no entry `repository:` with `url:` and `branch:`"
    return found[1].rstrip("/"), found[2]


def readme(address: str, branch: str) -> str:
    """The README with addresses for its links to files, so that they lead there from anywhere."""

    def resolved(link: re.Match[str]) -> str:
        is_picture, words, path = link.groups()
        if not address:
            return "" if is_picture else words
        return f"{is_picture}[{words}]({address}/{'raw' if is_picture else 'blob'}/{branch}/{path})"

    return LINK.sub(resolved, (ROOT / "README.md").read_text(encoding="utf8"))


address, branch = entry()
setup(
    long_description=readme(address, branch),
    long_description_content_type="text/markdown",
    project_urls={"Source": address, "Issues": f"{address}/issues"} if address else {},
)
