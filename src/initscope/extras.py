"""Name the extra that brings a package which is not installed: ``pip install 'initscope[train]'``.

The extras and what each brings stand in pyproject.toml; a test holds the two together.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import lazy_loader

from initscope.errors import UsageError

MODULES = {
    "train": (
        *("transformers", "tokenizers", "accelerate", "datasets", "sklearn", "PIL"),
        "huggingface_hub",
    ),
    "notebooks": (
        *("matplotlib", "matplotlib_inline", "ipywidgets", "anywidget", "traitlets", "papermill"),
        *("ipykernel", "IPython", "jupyter_client", "myst_nb", "nbclient", "nbformat"),
    ),
    "lightning": ("lightning",),
    "dask": ("distributed",),
    "mpi": ("mpi4py",),
    "slurm": ("submitit",),
}
"""Modules that each extra brings, by the names they are imported by."""

EXTRA_OF = {module: extra for extra, modules in MODULES.items() for module in modules}


class MissingExtra(UsageError, ModuleNotFoundError):
    """A package that is asked for by an extra which is not installed."""


@contextlib.contextmanager
def named(what: str = "this") -> Iterator[None]:
    """Say which extra brings a module that is missing, where its import fails; also a decorator.

    >>> with named("a sweep on Wine"):
    ...     raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    Traceback (most recent call last):
    initscope.extras.MissingExtra: a sweep on Wine needs sklearn: pip install 'initscope[train]'

    Raises
    ------
    MissingExtra
        Instead of the `ModuleNotFoundError` of a module in :data:`MODULES`.
    """
    try:
        yield
    except MissingExtra:
        raise
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_OF:
            raise
        raise MissingExtra(
            f"{what} needs {module}: pip install 'initscope[{EXTRA_OF[module]}]'"
        ) from error


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__, __dir__, __all__`` of a package whose stub says what is in it.

    What is asked for is imported then; a module that is missing is named with its extra.
    """
    import_one, names, public = lazy_loader.attach_stub(package, file)

    @functools.wraps(import_one)
    def get(name: str) -> Any:
        with named(f"{package}.{name}"):
            return import_one(name)

    return get, names, public
