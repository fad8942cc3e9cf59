"""Say at the foot of each page which version it is: of the package, and of the whole by git.

Without git, as in an unpacked archive, the version of the package stands alone.
"""

import html
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

# The package is not installed where only the book is built; to import it takes nothing else.
sys.path.append(str(Path(__file__).resolve().parents[2] / "src"))

from initscope import __version__

SOURCES = ("_config.yml", "book", "notebooks", "src")


@dataclass(frozen=True)
class Edition:
    """What a book is built from.

    `day` and `commit` are those of the last commit, None without git; `changed` says whether a
    source is no longer what was committed.
    """

    version: str
    day: date | None = None
    commit: str | None = None
    changed: bool = False


def edition_of(root: Path) -> Edition:
    """Ask git about the book in `root`; a repository that is merely around it is not meant."""
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return Edition(__version__)
    last = _git(root, "log", "-1", "--date=format-local:%Y-%m-%d", "--format=%cd %H")
    if last is None:  # nothing is committed yet
        return Edition(__version__)
    day, commit = last.split()
    known = [name for name in SOURCES if (root / name).exists()]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *known)
    return Edition(__version__, date.fromisoformat(day), commit, bool(changed))


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git says, or None if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=os.environ | {"TZ": "UTC"},  # one day for all who build it
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def in_words(edition: Edition, repository: str = "") -> str:
    """Return the line at the foot of a page, as HTML; the commit leads to the repository, if any.

    >>> in_words(Edition("1.2", date(2026, 3, 1), "0123456789abcdef", changed=True))
    'Version 1.2, 2026-03-01, commit <code>0123456</code> and changes since.'
    >>> in_words(Edition("1.2"))
    'Version 1.2.'
    """
    parts = [f"Version {html.escape(edition.version)}"]
    if edition.day is not None and edition.commit is not None:
        commit = f"<code>{edition.commit[:7]}</code>"
        if repository:
            address = html.escape(f"{repository.rstrip('/')}/commit/{edition.commit}")
            commit = f'<a href="{address}">{commit}</a>'
        parts += [edition.day.isoformat(), f"commit {commit}"]
    return ", ".join(parts) + (" and changes since." if edition.changed else ".")


def add_to_footer(app: Sphinx, config: Config) -> None:
    """Put the line after what the footer says of the licenses."""
    options = config.html_theme_options
    line = in_words(edition_of(Path(app.srcdir)), options.get("repository_url", ""))
    options["extra_footer"] = f"{options.get('extra_footer', '')} <span>{line}</span>"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", add_to_footer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
