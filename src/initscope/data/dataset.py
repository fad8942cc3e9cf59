"""Load real data sets as tensors: MNIST, UCI Wine and the 8x8 digits.

Inputs are standardized with statistics of the training split only: per feature for Wine and the
digits, one mean and one std over all training pixels for MNIST. The std is the population std
(divided by n), so the training inputs have mean 0 and variance 1.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import os
import tempfile
import uuid
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from initscope.checks import require_name
from initscope.data.folders import (
    add_files,
    cache_folder,
    data_folder,
    no_progress_bars,
    short_reason,
)
from initscope.data.text import Text, load_text
from initscope.errors import UsageError, shown

MNIST_HUB_NAME = "ylecun/mnist"
CACHE_FORMAT = "1"

__all__ = [
    "DATASETS",
    "Dataset",
    "Text",
    "load",
    "load_digits",
    "load_mnist",
    "load_text",
    "load_wine",
]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set, split and standardized.

    Attributes
    ----------
    name
        Name in :data:`DATASETS`.
    train_inputs, test_inputs
        float32, shape ``(n, n_features)``, standardized with the training split's statistics.
    train_labels, test_labels
        int64, shape ``(n,)``, from 0 to ``n_classes - 1``.
    classes
        Name of each class.
    input_mean, input_std
        What was subtracted and divided by, float64, in the units of the source: shape
        ``(n_features,)``, or ``()`` for MNIST, whose pixels are scaled to [0, 1]. Where
        `input_std` is 0, the feature is constant in training and is 0 in both splits.
    """

    name: str
    train_inputs: torch.Tensor
    train_labels: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor
    classes: tuple[str, ...]
    input_mean: torch.Tensor
    input_std: torch.Tensor

    @property
    def n_features(self) -> int:
        """Number of inputs of a network for this data set."""
        return self.train_inputs.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of outputs of a network for this data set."""
        return len(self.classes)


def load(name: str, seed: int = 0, source: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of :data:`DATASETS`.
    seed
        Seed of the split of Wine and digits. MNIST is published split: it has no seed.
    source
        Hub name or local folder, for MNIST only.

    Raises
    ------
    UsageError
        Unknown name; a source for a set that comes with scikit-learn; and see each loader.
    """
    require_name("data set", name, DATASETS)
    if name == "mnist":
        return load_mnist(source)
    if source is not None:
        raise UsageError(
            f"{name} comes with scikit-learn: it takes no source ({shown(source)} given)."
        )
    return DATASETS[name](seed=seed)


# --- Wine and digits, from scikit-learn ----------------------------------------------------


def load_wine(seed: int = 0, test_size: float = 0.25) -> Dataset:
    """UCI Wine: 178 rows, 13 features, 3 classes; a stratified random split.

    Parameters
    ----------
    seed
        Seed of the split. Every seed gives the same number of rows in each split and class.
    test_size
        Share of the rows in the test split, between 0 and 1.

    >>> wine = load_wine(seed=0)
    >>> wine.train_inputs.shape, wine.test_inputs.shape
    (torch.Size([133, 13]), torch.Size([45, 13]))
    """
    from sklearn import datasets

    return _split("wine", datasets.load_wine(), seed, test_size)


def load_digits(seed: int = 0, test_size: float = 0.25) -> Dataset:
    """Handwritten digits, 8x8 pixels: 1797 rows, 64 features, 10 classes; split as for Wine.

    >>> digits = load_digits(seed=0)
    >>> digits.train_inputs.shape, digits.test_inputs.shape
    (torch.Size([1347, 64]), torch.Size([450, 64]))
    """
    from sklearn import datasets

    return _split("digits", datasets.load_digits(), seed, test_size)


def _split(name: str, bunch: Any, seed: int, test_size: float) -> Dataset:
    """Stratified split of a scikit-learn data set, standardized per feature."""
    from sklearn.model_selection import train_test_split

    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UsageError(f"seed must be a whole number from 0 to 2**32 - 1, not {shown(seed)}.")
    classes = tuple(str(label) for label in bunch.target_names)
    n_rows = len(bunch.target)
    if (
        isinstance(test_size, bool)
        or not isinstance(test_size, int | float | np.number)
        or not 0 < test_size < 1
        or math.ceil(n_rows * test_size) < len(classes)
        or n_rows - math.ceil(n_rows * test_size) < len(classes)
    ):
        raise UsageError(
            f"test_size must be a share between 0 and 1 that leaves every one of the "
            f"{len(classes)} classes of {name} ({n_rows} rows) in both splits, not "
            f"{shown(test_size)}."
        )
    train_raw, test_raw, train_labels, test_labels = train_test_split(
        bunch.data,
        bunch.target,
        test_size=float(test_size),
        random_state=int(seed),
        stratify=bunch.target,
    )
    mean, std = train_raw.mean(axis=0), train_raw.std(axis=0)
    # A feature is constant when its values are equal; its computed std may be off by rounding.
    std[np.ptp(train_raw, axis=0) == 0] = 0.0

    def standardize(raw: np.ndarray) -> torch.Tensor:
        inputs = np.where(std > 0, (raw - mean) / np.where(std > 0, std, 1.0), 0.0)
        return torch.from_numpy(inputs.astype(np.float32))

    return Dataset(
        name=name,
        train_inputs=standardize(train_raw),
        train_labels=torch.from_numpy(train_labels.astype(np.int64)),
        test_inputs=standardize(test_raw),
        test_labels=torch.from_numpy(test_labels.astype(np.int64)),
        classes=classes,
        input_mean=torch.from_numpy(mean),
        input_std=torch.from_numpy(std),
    )


# --- MNIST, through datasets.load_dataset --------------------------------------------------


def load_mnist(source: str | Path | None = None) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of 28x28 pixels, 10 classes.

    Parameters
    ----------
    source
        A name on the Hugging Face hub, or a local folder of the same layout (parquet files of a
        train and a test split, with columns ``image``, PNG, and ``label``). By default the
        folder ``mnist`` in the folder named by the environment variable ``INITSCOPE_DATA``, if
        it is there, else ``ylecun/mnist`` on the hub.

    The rows keep their order. All rows found in the source are loaded.

    The decoded pixels are kept in a cache, in the folder named by the environment variable
    ``INITSCOPE_CACHE`` or ``~/.cache/initscope``, under a fingerprint of the source: the content
    of the files for a folder, the name for the hub. A cache that cannot be read is rebuilt; one
    that cannot be written is done without, with one warning.

    Raises
    ------
    UsageError
        The source is missing, empty, corrupt, of another layout, or cannot be reached.
    """
    source = _mnist_source(source)
    cache = _cache_path(_fingerprint(source))
    pixels = _read_cache(cache)
    if pixels is None:
        pixels = _read_mnist(source)
        _write_cache(cache, pixels, str(source))

    # The 256 values are counted, so that mean and std are exact for any number of pixels.
    counts = torch.bincount(pixels["train_images"].flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64)
    mean = (counts @ values) / counts.sum()
    std = ((counts @ (values - mean).square()) / counts.sum()).sqrt()
    if std == 0:
        raise UsageError(f"every pixel of the training split of {source} has the same value.")

    def standardize(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float().sub_(mean.item()).div_(std.item())

    return Dataset(
        name="mnist",
        train_inputs=standardize(pixels["train_images"]),
        train_labels=pixels["train_labels"].long(),
        test_inputs=standardize(pixels["test_images"]),
        test_labels=pixels["test_labels"].long(),
        classes=tuple("0123456789"),
        input_mean=mean / 255,
        input_std=std / 255,
    )


def _mnist_source(source: str | Path | None) -> str | Path:
    """Path of a local folder, or a name on the hub."""
    if source is not None:
        if not isinstance(source, str | Path):
            raise UsageError(f"the source of MNIST must be text or a Path, not {shown(source)}.")
        if not str(source):
            raise UsageError("the source of MNIST is empty: give a hub name or a folder.")
        if Path(source).is_dir():
            return Path(source)
        parts = str(source).split("/")
        if isinstance(source, Path) or len(parts) > 2 or not all(parts) or parts[0] in (".", ".."):
            raise UsageError(
                f"the folder {str(source)!r}, given as the source of MNIST, is not there."
            )
        return source
    data = data_folder()
    if data is not None and (data / "mnist").is_dir():
        return data / "mnist"
    return MNIST_HUB_NAME


def _read_mnist(source: str | Path) -> dict[str, torch.Tensor]:
    """Decode the images of both splits: uint8, ``(n, 28, 28)``, and labels, uint8, ``(n,)``."""
    # A folder is read through a temporary cache: it is decoded once, then our own cache serves.
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_progress_bars())
        if isinstance(source, Path):
            scratch = tempfile.TemporaryDirectory(prefix="initscope-", ignore_cleanup_errors=True)
            splits = _load_dataset(source, cache_dir=stack.enter_context(scratch))
        else:
            splits = _load_dataset(source)
        missing = [split for split in ("train", "test") if not splits.get(split)]
        if missing:
            raise UsageError(
                f"{source} has no {' and no '.join(missing)} split (found: {', '.join(splits)}): "
                f"MNIST needs train and test, none of them empty."
            )
        pixels = {}
        for split in ("train", "test"):
            where = f"the {split} split of {source}"
            table = splits[split].with_format("arrow")[:]
            pixels[f"{split}_images"], pixels[f"{split}_labels"] = _decode(table, where)
        return pixels


def _load_dataset(source: str | Path, **options: Any) -> Any:
    """``datasets.load_dataset``, every failure as one clear error."""
    import datasets

    try:
        return datasets.load_dataset(str(source), **options)
    except Exception as error:
        detail = short_reason(error)
        if isinstance(source, Path):
            raise UsageError(
                f"cannot read the data in {str(source)!r}: empty, corrupt or of another layout "
                f"than {MNIST_HUB_NAME} on the hub ({detail})."
            ) from error
        given = os.environ.get("INITSCOPE_DATA")
        looked = f"INITSCOPE_DATA={given} holds no folder 'mnist'" if given else "it is not set"
        raise UsageError(
            f"no local copy of MNIST, and {source!r} cannot be had from the Hugging Face hub "
            f"({detail}). Either set the environment variable INITSCOPE_DATA to a folder that "
            f"holds mnist/*.parquet ({looked}), or connect to the network once: the copy from "
            f"the hub is then kept."
        ) from error


def _decode(table: Any, where: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels of one split, an Arrow table with columns ``image`` and ``label``."""
    from PIL import Image

    if not {"image", "label"} <= set(table.column_names):
        raise UsageError(
            f"{where} has the columns {', '.join(table.column_names)}: MNIST needs image and label."
        )
    try:
        labels = np.array(table.column("label").to_pylist(), dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"the labels in {where} are not whole numbers ({error}).") from error
    if labels.min() < 0 or labels.max() > 9:
        raise UsageError(f"{where} has labels from {labels.min()} to {labels.max()}, not 0 to 9.")

    images = np.empty((len(labels), 28, 28), dtype=np.uint8)
    for row, cell in enumerate(table.column("image").to_pylist()):
        try:
            # Naming the format spares Pillow trying every one of them on each of 70,000 images.
            image = Image.open(io.BytesIO(cell["bytes"]), formats=("PNG",))
            content = image.tobytes()
        except Exception as error:
            raise UsageError(f"row {row} of {where} is not a PNG image ({error}).") from error
        if image.size != (28, 28) or image.mode != "L":
            raise UsageError(
                f"row {row} of {where} has {image.width}x{image.height} pixels in mode "
                f"{image.mode}: MNIST has 28x28 in mode L (gray)."
            )
        images[row] = np.frombuffer(content, dtype=np.uint8).reshape(28, 28)
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.uint8))


# --- The cache of decoded MNIST: one safetensors file a source -----------------------------


def _fingerprint(source: str | Path) -> str:
    """Digest of a folder's files, names and content, or of a name on the hub."""
    digest = hashlib.sha256(CACHE_FORMAT.encode())
    if not isinstance(source, Path):
        digest.update(f"hub:{source}".encode())
        return digest.hexdigest()
    add_files(digest, source)
    return digest.hexdigest()


def _cache_path(fingerprint: str) -> Path:
    return cache_folder() / f"mnist-{fingerprint[:32]}.safetensors"


def _checksum(pixels: dict[str, torch.Tensor]) -> str:
    total = 0
    for name in sorted(pixels):
        total = zlib.crc32(pixels[name].numpy().data, total)
    return f"{total:08x}"


def _read_cache(path: Path) -> dict[str, torch.Tensor] | None:
    """The memory-mapped tensors of a cache file; nothing if it is absent or not intact."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            pixels = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            intact = (file.metadata() or {}).get("crc32") == _checksum(pixels)
        for split in ("train", "test"):
            images, labels = pixels[f"{split}_images"], pixels[f"{split}_labels"]
            intact = intact and images.dtype == labels.dtype == torch.uint8
            intact = intact and images.shape == (len(labels), 28, 28)
    except Exception:
        # Whatever is wrong with the file, the data is still in the source: decode it again.
        return None
    return pixels if intact else None


def _write_cache(path: Path, pixels: dict[str, torch.Tensor], source: str) -> None:
    """Write a cache file whole or not at all; say once if that is impossible."""
    from safetensors.torch import save

    # Written beside and renamed: whenever it is killed, no half file stands under the name.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(save(pixels, metadata={"crc32": _checksum(pixels), "source": source}))
        os.replace(part, path)
    except OSError as error:
        _warn_no_cache(str(path.parent), str(error.strerror or error))
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@functools.cache
def _warn_no_cache(folder: str, reason: str) -> None:
    warnings.warn(
        f"MNIST cannot be cached in {folder!r} ({reason}), so that each load decodes it again, in "
        f"seconds. Set the environment variable INITSCOPE_CACHE to a folder that can be written.",
        UserWarning,
        stacklevel=4,
    )


DATASETS: dict[str, Callable[..., Dataset]] = {
    "mnist": load_mnist,
    "wine": load_wine,
    "digits": load_digits,
}
"""Loaders by name."""
