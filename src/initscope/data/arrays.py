"""Read a classification data set of one's own: a file of numpy arrays, or a set of `datasets`."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from initscope import checks
from initscope.checks import require
from initscope.data.dataset import Dataset, DatasetSizes
from initscope.errors import UsageError, shown

if TYPE_CHECKING:
    import torch

__all__ = ["load_arrays", "load_columns"]

ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def load_arrays(path: str | Path, *, standardize: bool = True) -> Dataset:
    """Load a data set from an .npz file of the arrays `train_inputs`, `train_labels` and so on.

    Parameters
    ----------
    path
        File with ``train_inputs`` and ``test_inputs``, numbers with examples along the first axis,
        and ``train_labels`` and ``test_labels``, whole numbers from 0.
    standardize
        Whether each feature is brought to mean 0 and variance 1 over the training examples.

    Raises
    ------
    UsageError
        There is no such file, one of the arrays is missing, or they do not fit together.

    Examples
    --------
    >>> inputs, labels = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])
    >>> np.savez("mine.npz", train_inputs=inputs, train_labels=labels, test_inputs=inputs,
    ...          test_labels=labels)
    >>> load_arrays("mine.npz").n_classes
    3
    """
    place = checks.file_path("path", path)
    checks.flag("standardize", standardize)
    with _opened(place) as file:
        arrays = [file[name] for name in ARRAYS]
    return _dataset(place.stem, *arrays, standardize=standardize)


def array_sizes(path: str | Path) -> DatasetSizes:
    """Return the sizes of the data set in an .npz file, of which the labels alone are read."""
    place = checks.file_path("path", path)
    with _opened(place) as file:
        labels = [file[name] for name in ("train_labels", "test_labels")]
        with zipfile.ZipFile(place) as archive, archive.open("train_inputs.npy") as member:
            if np.lib.format.read_magic(member) == (1, 0):
                shape, _, _ = np.lib.format.read_array_header_1_0(member)
            else:
                shape, _, _ = np.lib.format.read_array_header_2_0(member)
    require(
        len(shape) >= 2 and all(one.size and one.dtype.kind in "iub" for one in labels),
        f"path {place.name} must hold inputs of an example along the first axis, and labels that "
        f"are whole numbers.",
    )
    n_classes = int(max(one.max() for one in labels)) + 1
    return DatasetSizes(math.prod(shape[1:]), n_classes, shape[0])


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an .npz file that has the :data:`ARRAYS`, or raise `UsageError`."""
    try:
        loaded = np.load(place, allow_pickle=False)
        require(
            isinstance(loaded, np.lib.npyio.NpzFile),
            f"path {place.name} is no .npz file: it is a single array.",
        )
        with loaded as file:
            missing = [name for name in ARRAYS if name not in file]
            require(not missing, f"path {place.name} lacks the arrays {', '.join(missing)}.")
            yield file
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"path: there is no file {shown(str(place))}.") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"path {shown(str(place))} is no .npz file: {error}.") from None


def load_columns(
    splits: Any,
    inputs: str,
    labels: str,
    *,
    train: str = "train",
    test: str = "test",
    standardize: bool = True,
) -> Dataset:
    """Return the data set in two columns of a `datasets.DatasetDict`.

    Parameters
    ----------
    splits
        What `datasets.load_dataset` returns: splits by name, or any mapping to tables with columns.
    inputs, labels
        Names of the columns: `inputs` holds numbers or images, all of one shape, `labels` whole
        numbers from 0.
    train, test
        Names of the splits.
    standardize
        As in :func:`load_arrays`.

    Raises
    ------
    UsageError
        A split or a column that is not there; inputs of different shapes.

    Examples
    --------
    >>> split = {"x": [[0.0, 1.0], [2.0, 1.0]], "y": [0, 1]}
    >>> load_columns({"train": split, "test": split}, "x", "y").n_features
    2
    """
    checks.flag("standardize", standardize)
    found = []
    for split in (train, test):
        checks.text("train and test", split)
        require(isinstance(splits, Mapping), f"splits must be splits by name, not {shown(splits)}.")
        checks.require_name("split", split, [str(name) for name in splits])
        for kind, column in (("inputs", inputs), ("labels", labels)):
            checks.text(kind, column)
            try:
                values = splits[split][column]
                found.append(np.array([np.asarray(value) for value in values]))
            except Exception as error:  # whatever the table says
                raise UsageError(
                    f"{kind}: the column {column!r} of the split {split!r} of splits cannot be "
                    f"read as one array: {shown(str(error))}."
                ) from None
    return _dataset("columns", *found, standardize=standardize)


def _dataset(name: str, *arrays: np.ndarray[Any, Any], standardize: bool) -> Dataset:
    """Return the data set of four arrays, in the order of :data:`ARRAYS`."""
    import torch

    tensors: list[torch.Tensor] = []
    for kind, array in zip(ARRAYS, arrays, strict=True):
        label = kind.endswith("labels")
        require(
            array.dtype.kind in ("iub" if label else "iufb") and array.size > 0,
            f"{kind} of path or splits must hold {'whole ' * label}numbers, not {array.dtype}.",
        )
        if label:
            require(
                array.ndim == 1 and int(array.min()) >= 0,
                f"{kind} of path or splits must be one number from 0 for each example.",
            )
            tensors.append(torch.from_numpy(array.astype(np.int64)))
        else:
            require(
                array.ndim >= 2 and bool(np.isfinite(array).all()),
                f"{kind} of path or splits must be finite, an example along the first axis.",
            )
            tensors.append(torch.from_numpy(array.astype(np.float64)))
    for one, other in ((0, 1), (2, 3)):
        require(
            len(tensors[one]) == len(tensors[other]),
            f"{ARRAYS[one]} and {ARRAYS[other]} of path or splits must have as many examples.",
        )
    require(
        tensors[0].shape[1:] == tensors[2].shape[1:],
        "train_inputs and test_inputs of path or splits must have one shape.",
    )
    train, test = tensors[0], tensors[2]
    mean, std = torch.zeros(train.shape[1:]), torch.ones(train.shape[1:])
    if standardize:
        mean, std = train.mean(0), train.std(0, correction=0)
        train, test = ((x - mean) / torch.where(std > 0, std, 1.0) for x in (train, test))
        train, test = (torch.where(std > 0, x, 0.0) for x in (train, test))
    n_classes = int(max(tensors[1].max(), tensors[3].max())) + 1
    require(n_classes <= 1_000_000, "labels of path or splits must be numbers of classes.")
    return Dataset(
        name,
        train.float(),
        tensors[1],
        test.float(),
        tensors[3],
        tuple(map(str, range(n_classes))),
        mean.double(),
        std.double(),
    )
